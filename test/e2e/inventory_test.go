package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// inventory names every object of every kind in the namespace, whatever kinds the cluster has. Events are left out: they are
// a log, and expire.
func inventory(t *testing.T, namespace string) []string {
	t.Helper()
	ctx := within(t, 30*time.Second)
	lists, err := cluster.discovery.ServerPreferredNamespacedResources()
	if err != nil {
		t.Fatalf("list the kinds of objects: %v", err)
	}
	lists = discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "delete"}}, lists)
	var found []string
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range list.APIResources {
			if kind.Kind == "Event" {
				continue
			}
			objects, err := cluster.objects.Resource(version.WithResource(kind.Name)).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatalf("list %s: %v", kind.Name, err)
			}
			for _, o := range objects.Items {
				found = append(found, kind.Kind+"/"+o.GetName())
			}
		}
	}
	slices.Sort(found)
	return found
}

// objects are those of the function, its record included: all have its name, or one that begins with it.
func (f function) objects(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(inventory(t, f.inNamespace()), func(o string) bool {
		_, name, _ := strings.Cut(o, "/")
		return name != f.name && !strings.HasPrefix(name, f.name+"-")
	})
}

// awaitNothing waits until the function has left nothing.
func (f function) awaitNothing(t *testing.T, limit time.Duration) {
	t.Helper()
	eventually(t, limit, "nothing is left of "+f.String(), func() (bool, string) {
		left := f.objects(t)
		return len(left) == 0, fmt.Sprint(left)
	})
}

// awaitInventory waits until the namespace holds exactly what it held before.
func awaitInventory(t *testing.T, namespace string, want []string, limit time.Duration) {
	t.Helper()
	eventually(t, limit, "namespace "+namespace+" is as it was", func() (bool, string) {
		got := inventory(t, namespace)
		left := slices.DeleteFunc(slices.Clone(got), func(o string) bool { return slices.Contains(want, o) })
		return slices.Equal(got, want), fmt.Sprintf("new: %q; %d objects, %d before", left, len(got), len(want))
	})
}
