package kube

import (
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestSecrets_LifeOfOne(t *testing.T) {
	w := newWorld(t, nil)
	value := func() string {
		var s corev1.Secret
		w.api.get(secretsPathAPI, ns, "key", &s)
		return string(s.Type) + " " + s.Labels[labelManagedBy] + " " + string(s.Data["key"])
	}
	for _, step := range []struct {
		name string
		do   func() error
		want error
		then string
	}{
		{"update before there is one", func() error { return w.cluster.UpdateSecret(t.Context(), ns, "key", nil) }, function.ErrNotFound, "  "},
		{"create", func() error { return w.cluster.CreateSecret(t.Context(), ns, "key", []byte("a\x00b")) }, nil, "Opaque openfaas a\x00b"},
		{"create again", func() error { return w.cluster.CreateSecret(t.Context(), ns, "key", nil) }, function.ErrExists, "Opaque openfaas a\x00b"},
		{"update", func() error { return w.cluster.UpdateSecret(t.Context(), ns, "key", []byte("c")) }, nil, "Opaque openfaas c"},
		{"delete", func() error { return w.cluster.DeleteSecret(t.Context(), ns, "key") }, nil, "  "},
		{"delete again", func() error { return w.cluster.DeleteSecret(t.Context(), ns, "key") }, function.ErrNotFound, "  "},
	} {
		if err := step.do(); !errors.Is(err, step.want) {
			t.Errorf("%s: %v, want %v", step.name, err, step.want)
		}
		if got := value(); got != step.then {
			t.Errorf("%s: the cluster has %q, want %q", step.name, got, step.then)
		}
	}
}

func TestSecrets_OfOthersAreNotTouched(t *testing.T) {
	w := newWorld(t, nil)
	w.secret("theirs", "Opaque", map[string][]byte{"theirs": []byte("1")}, nil)
	w.secret("ours", "Opaque", map[string][]byte{"ours": []byte("1")}, map[string]string{labelManagedBy: managedBy})
	list, err := w.cluster.ListSecrets(t.Context(), ns)
	if err != nil || !slices.Equal(list, []string{"ours"}) {
		t.Errorf("listed %v, %v", list, err)
	}
	if err := w.cluster.UpdateSecret(t.Context(), ns, "theirs", []byte("2")); !errors.Is(err, function.ErrNotFound) {
		t.Errorf("update: %v", err)
	}
	if err := w.cluster.DeleteSecret(t.Context(), ns, "theirs"); !errors.Is(err, function.ErrNotFound) {
		t.Errorf("delete: %v", err)
	}
	var s corev1.Secret
	if !w.api.get(secretsPathAPI, ns, "theirs", &s) || string(s.Data["theirs"]) != "1" {
		t.Errorf("the cluster has %v", s.Data)
	}
}

func TestSecrets_Refuses(t *testing.T) {
	w := newWorld(t, nil)
	for _, where := range [][2]string{{ns, ""}, {ns, "UPPER"}, {ns, "a/b"}, {"default", "key"}, {"kube-system", "key"}} {
		for name, do := range map[string]func() error{
			"create": func() error { return w.cluster.CreateSecret(t.Context(), where[0], where[1], nil) },
			"update": func() error { return w.cluster.UpdateSecret(t.Context(), where[0], where[1], nil) },
			"delete": func() error { return w.cluster.DeleteSecret(t.Context(), where[0], where[1]) },
		} {
			if err := do(); !errors.Is(err, function.ErrInvalid) {
				t.Errorf("%s %q in %q: %v", name, where[1], where[0], err)
			}
		}
	}
}
