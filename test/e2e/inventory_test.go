package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// inventory names every object of every kind in the namespace, whatever kinds the cluster has. Events are left out: they are
// a log, and expire. So are spares that are nobody's yet: the pool comes and goes by itself.
func inventory(t *testing.T, namespace string) []string {
	t.Helper()
	kinds, err := kinds()
	if err != nil {
		t.Fatalf("find out what kinds of objects there are: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var found []string
	for kind, resource := range kinds {
		objects, err := cluster.objects.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatalf("list all of kind %s: %v", kind, err)
		}
		for _, o := range objects.Items {
			if _, spare := o.GetLabels()[labelSpare]; spare {
				continue
			}
			found = append(found, kind+"/"+o.GetName())
		}
	}
	slices.Sort(found)
	return found
}

// kinds are all that can be listed and deleted, in the version that the API server prefers.
var kinds = sync.OnceValues(func() (map[string]schema.GroupVersionResource, error) {
	lists, err := cluster.discovery.ServerPreferredNamespacedResources()
	if err != nil {
		return nil, err
	}
	found := map[string]schema.GroupVersionResource{}
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "delete"}}, lists) {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, kind := range list.APIResources {
			if kind.Kind != "Event" {
				found[kind.Kind] = version.WithResource(kind.Name)
			}
		}
	}
	return found, nil
})

// objects are those of the function, its record included: all have its name, or one that begins with it.
func (f function) objects(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(inventory(t, f.inNamespace()), func(o string) bool {
		_, name, _ := strings.Cut(o, "/")
		return name != f.name && !strings.HasPrefix(name, f.name+"-")
	})
}

// awaitNothing waits until the function has left nothing.
func (f function) awaitNothing(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is left of "+f.String(), func() (bool, string) {
		left := f.objects(t)
		return len(left) == 0, fmt.Sprint(left)
	})
}

// own are the objects that Kubernetes puts in every namespace, some time after it was made.
var own = []string{"ConfigMap/kube-root-ca.crt", "ServiceAccount/default"}

// awaitInventory waits until the namespace holds nothing that it did not hold before.
func awaitInventory(t *testing.T, namespace string, before []string) {
	t.Helper()
	eventually(t, "nothing new is in namespace "+namespace, func() (bool, string) {
		left := slices.DeleteFunc(inventory(t, namespace), func(o string) bool {
			return slices.Contains(before, o) || slices.Contains(own, o)
		})
		return len(left) == 0, fmt.Sprint(left)
	})
}
