package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Each step is NAME/UID@VERSION=TEXT observed, -NAME/UID deleted, or a list of the former in [] as of a version.
func TestMirror_NewestWinsInWhateverOrder(t *testing.T) {
	for _, test := range []struct {
		name  string
		steps []string
		want  string
	}{
		{"a newer version replaces", []string{"a/1@10=x", "a/1@11=y"}, "a=y"},
		{"an older version is late", []string{"a/1@11=y", "a/1@10=x"}, "a=y"},
		{"the same version again changes nothing", []string{"a/1@10=x", "a/1@10=z"}, "a=x"},
		{"deleted", []string{"a/1@10=x", "-a/1"}, ""},
		{"a late answer does not bring a deleted object back", []string{"a/1@10=x", "-a/1", "a/1@11=y"}, ""},
		{"a successor of the same name lives", []string{"a/1@10=x", "-a/1", "a/2@12=y"}, "a=y"},
		{"a late delete spares the successor", []string{"a/1@10=x", "a/2@12=y", "-a/1"}, "a=y"},
		{"what a list lacks is gone", []string{"a/1@10=x", "b/2@11=y", "[b/2@11=y]@12"}, "b=y"},
		{"unless it is newer than the list", []string{"a/1@13=x", "[]@12"}, "a=x"},
		{"a list brings what is new", []string{"[a/1@3=x b/2@4=y]@9"}, "a=x b=y"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var changes []string
			m := newMirror(func(o any, _ *string) *string {
				text := o.(*corev1.Pod).Annotations["text"]
				return &text
			}, func(key function.Ref, before, after *string) {
				changes = append(changes, fmt.Sprint(key.Name, before != nil, after != nil))
			})
			for _, step := range test.steps {
				apply(t, m, step)
			}
			got := make(map[string]string)
			m.each("", func(key function.Ref, text *string) { got[key.Name] = *text })
			var list []string
			for _, name := range slices.Sorted(maps.Keys(got)) {
				list = append(list, name+"="+got[name])
			}
			if s := strings.Join(list, " "); s != test.want {
				t.Errorf("holds %q, want %q", s, test.want)
			}
			for _, c := range changes {
				if strings.HasSuffix(c, "false false") {
					t.Errorf("told of a change that was none: %s", c)
				}
			}
		})
	}
}

func apply(t *testing.T, m *mirror[string], step string) {
	t.Helper()
	var err error
	switch {
	case step[0] == '-':
		err = m.Delete(mirrored(step[1:] + "@1="))
	case step[0] == '[':
		inside, version, _ := strings.Cut(step[1:], "]@")
		var list []any
		for _, s := range strings.Fields(inside) {
			list = append(list, mirrored(s))
		}
		err = m.Replace(list, version)
		select {
		case <-m.synced:
		default:
			t.Error("not synced after a list")
		}
	default:
		err = m.observe(mirrored(step))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func mirrored(s string) *corev1.Pod {
	name, rest, _ := strings.Cut(s, "/")
	uid, rest, _ := strings.Cut(rest, "@")
	version, text, _ := strings.Cut(rest, "=")
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: "n", UID: types.UID(uid), ResourceVersion: version, Annotations: map[string]string{"text": text},
	}}
}

func TestMirror_AmendLastsUntilANewerVersion(t *testing.T) {
	m := newMirror(func(o any, _ *string) *string {
		text := o.(*corev1.Pod).Annotations["text"]
		return &text
	}, func(function.Ref, *string, *string) {})
	key := function.Ref{Name: "a", Namespace: "n"}
	edit := func(s string) string { return s + "!" }
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() { apply(t, m, "a/1@10=x") }, "x"},
		{func() { m.amend(key, "2", edit) }, "x"},
		{func() { m.amend(key, "1", edit) }, "x!"},
		{func() { apply(t, m, "a/1@10=x") }, "x!"},
		{func() { apply(t, m, "a/1@11=y") }, "y"},
	} {
		step.do()
		if got := *m.get(key); got != step.want {
			t.Errorf("holds %q, want %q", got, step.want)
		}
	}
}
