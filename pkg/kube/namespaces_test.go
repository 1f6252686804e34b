package kube

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestNamespaces_LifeOfOne(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	dev := function.Namespace{Name: "dev", Labels: map[string]string{"team": "red"}}
	if err := w.cluster.CreateNamespace(ctx, dev); err != nil {
		t.Fatal(err)
	}
	if got := w.cluster.Namespaces(); !slices.Equal(got, []string{"dev", ns}) || !w.cluster.Managed("dev") {
		t.Errorf("namespaces %v when CreateNamespace had returned", got)
	}
	var o corev1.Namespace
	w.api.get(namespacesPath, "", "dev", &o)
	if o.Labels[labelPodSecurity] != "restricted" || o.Labels["openfaas"] != "1" || o.Annotations["openfaas"] != "1" {
		t.Errorf("made with labels %v, annotations %v", o.Labels, o.Annotations)
	}
	if err := w.cluster.CreateNamespace(ctx, dev); !errors.Is(err, function.ErrExists) {
		t.Errorf("create again: %v", err)
	}

	dev.Labels, dev.Annotations = nil, map[string]string{"cost": "9"}
	if err := w.cluster.UpdateNamespace(ctx, dev); err != nil {
		t.Fatal(err)
	}
	got, err := w.cluster.Namespace(ctx, "dev")
	if want := "{dev map[openfaas:1] map[cost:9 openfaas:1]}"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v, want %s", got, err, want)
	}
	o = corev1.Namespace{}
	w.api.get(namespacesPath, "", "dev", &o)
	if o.Labels[labelPodSecurity] != "restricted" {
		t.Errorf("the update unlocked the namespace: labels %v", o.Labels)
	}

	if err := w.cluster.DeleteNamespace(ctx, "dev"); err != nil {
		t.Fatal(err)
	}
	if w.cluster.Managed("dev") {
		t.Error("still one for functions when DeleteNamespace had returned")
	}
	w.eventually("gone", func() string {
		if _, err := w.cluster.Namespace(ctx, "dev"); !errors.Is(err, function.ErrNotFound) {
			return fmt.Sprint(err)
		}
		return ""
	})
}

func TestNamespaces_Refuses(t *testing.T) {
	w := newWorld(t, nil)
	w.api.put(namespacesPath, "", `{"metadata":{"name":"plain"}}`)
	w.api.put(namespacesPath, "", `{"metadata":{"name":"kube-system","annotations":{"openfaas":"1"}}}`)
	ctx := t.Context()
	named := func(name string) function.Namespace { return function.Namespace{Name: name} }
	for _, test := range []struct {
		name string
		err  error
		want error
	}{
		{"create kube-system", w.cluster.CreateNamespace(ctx, named("kube-system")), function.ErrInvalid},
		{"create a bad name", w.cluster.CreateNamespace(ctx, named("A")), function.ErrInvalid},
		{"create an unlocked one", w.cluster.CreateNamespace(ctx, function.Namespace{Name: "x", Labels: map[string]string{labelPodSecurity: "privileged"}}), function.ErrInvalid},
		{"create one that is there", w.cluster.CreateNamespace(ctx, named("plain")), function.ErrExists},
		{"update one that is not ours", w.cluster.UpdateNamespace(ctx, named("plain")), function.ErrNotFound},
		{"update an absent one", w.cluster.UpdateNamespace(ctx, named("absent")), function.ErrNotFound},
		{"delete the default one", w.cluster.DeleteNamespace(ctx, ns), function.ErrInvalid},
		{"delete kube-system", w.cluster.DeleteNamespace(ctx, "kube-system"), function.ErrInvalid},
		{"delete one that is not ours", w.cluster.DeleteNamespace(ctx, "plain"), function.ErrNotFound},
		{"delete an absent one", w.cluster.DeleteNamespace(ctx, "absent"), function.ErrNotFound},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, test.err, test.want)
		}
	}
	w.eventually("seen", func() string {
		if w.cluster.namespaces.get(function.Ref{Name: "kube-system"}) == nil {
			return "not yet"
		}
		return ""
	})
	if got := w.cluster.Namespaces(); !slices.Equal(got, []string{ns}) {
		t.Errorf("namespaces %v", got)
	}
}

func TestMarked(t *testing.T) {
	for value, want := range map[string]bool{"1": true, "true": true, "0": false, "false": false, "": false} {
		for _, o := range []*corev1.Namespace{
			{ObjectMeta: metaOf("n", map[string]string{"openfaas": value})},
			{ObjectMeta: func() (m metav1.ObjectMeta) { m.Annotations = map[string]string{"openfaas": value}; return m }()},
		} {
			if marked(o) != want {
				t.Errorf("labels %v, annotations %v: want %v", o.Labels, o.Annotations, want)
			}
		}
	}
}
