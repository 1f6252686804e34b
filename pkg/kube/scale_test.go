package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// settle plays the Deployment's controller: it has made so many pods, all of the newest version.
func (w *world) settle(name string, replicas int32) {
	w.Helper()
	d := w.deployment(name)
	d.Status = appsv1.DeploymentStatus{Replicas: replicas, UpdatedReplicas: replicas, AvailableReplicas: replicas, ObservedGeneration: d.Generation}
	if _, err := w.cluster.core.AppsV1().Deployments(ns).UpdateStatus(w.Context(), d, metav1.UpdateOptions{}); err != nil {
		w.Fatal(err)
	}
	w.eventually("the Deployment is seen to be settled", func() string {
		if seen := w.cluster.deployments.get(function.Ref{Name: name, Namespace: ns}); seen.settled() && seen.total == replicas {
			return ""
		}
		return "it is not"
	})
}

// marked waits until just these pods are marked.
func (w *world) marked(want ...string) {
	w.Helper()
	w.eventually("marks", func() string {
		var got []string
		for _, key := range w.api.names(podsPath) {
			name := key[strings.LastIndex(key, "/")+1:]
			p := new(corev1.Pod)
			if w.api.get(podsPath, ns, name, p); p.Annotations[annotationLeaving] == "" {
				continue
			}
			if p.Annotations[annotationDeletionCost] != lowestCost {
				return name + " has no deletion cost"
			}
			got = append(got, name)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Sprintf("%v, want %v", got, want)
		}
		return ""
	})
}

func (w *world) wantReplicas(want int32) {
	w.Helper()
	w.eventually("replicas of the Deployment", func() string {
		if d := w.deployment("cow"); *d.Spec.Replicas != want {
			return fmt.Sprintf("%d, want %d", *d.Spec.Replicas, want)
		}
		return ""
	})
}

// three is a function with three replicas, the second of which is the emptiest.
func three(t *testing.T) *world {
	w := newWorld(t, func(c *Config) {
		c.InFlight = func(_ function.Ref, replica string) int {
			return map[string]int{"cow-1": 2, "cow-2": 0, "cow-3": 1}[replica]
		}
	})
	w.create(cow())
	w.deployment("cow")
	w.scaleTo(3)
	for i := 1; i <= 3; i++ {
		w.pod("cow", fmt.Sprint("cow-", i), fmt.Sprint("10.0.0.", i), true)
	}
	w.settle("cow", 3)
	w.endpoints(cowRef, "10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080")
	return w
}

func (w *world) scaleTo(replicas int) {
	w.Helper()
	if err := w.cluster.Scale(w.Context(), cowRef, replicas); err != nil {
		w.Fatal(err)
	}
	w.wantReplicas(int32(replicas))
}

func TestScale_TheEmptiestLeavesFirst(t *testing.T) {
	w := three(t)
	w.scaleTo(2)
	w.marked("cow-2")
	w.endpoints(cowRef, "10.0.0.1:8080", "10.0.0.3:8080")
	// The order counts: nobody may be given to a replica that Kubernetes has been told to end.
	writes := strings.Join(w.api.writes(), "\n")
	if mark, last := strings.LastIndex(writes, "/pods/cow-2"), strings.LastIndex(writes, "PATCH /apis/apps/v1/namespaces/openfaas-fn/deployments/cow"); mark > last {
		t.Errorf("marked after the Deployment was made smaller:\n%s", writes)
	}
	if err := w.cluster.core.CoreV1().Pods(ns).Delete(t.Context(), "cow-2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.settle("cow", 2)
	w.scaleTo(1)
	w.marked("cow-3")
	w.endpoints(cowRef, "10.0.0.1:8080")
}

func TestScale_ReplicasAreWantedAgain(t *testing.T) {
	w := three(t)
	w.scaleTo(1)
	w.marked("cow-2", "cow-3")
	w.scaleTo(3)
	w.marked()
	w.endpoints(cowRef, "10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080")
}

// A provider that died between the mark and the rest, after which the record was changed back.
func TestScale_AMarkThatIsLeftOverIsTakenAway(t *testing.T) {
	w := three(t)
	w.stop()
	patch, err := leavingPatch(true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.cluster.core.CoreV1().Pods(ns).Patch(t.Context(), "cow-1", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.start(nil)
	w.marked()
	w.endpoints(cowRef, "10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080")
}

// One that is not ready goes first whatever its mark, so that none that serves has to go.
func TestScale_TheOneThatIsNotReadyGoes(t *testing.T) {
	w := three(t)
	w.pod("cow", "cow-1", "10.0.0.1", false)
	w.endpoints(cowRef, "10.0.0.2:8080", "10.0.0.3:8080")
	w.scaleTo(2)
	w.marked()
	w.endpoints(cowRef, "10.0.0.2:8080", "10.0.0.3:8080")
}

func TestScale_SaysWhy(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	if err := w.cluster.ScaleBecause(t.Context(), cowRef, 2, "2 for rps 60 at 45 each"); err != nil {
		t.Fatal(err)
	}
	if f, _ := w.cluster.Lookup(cowRef); f.Scaled != "2 for rps 60 at 45 each" || f.Replicas != 2 {
		t.Errorf("%d replicas, %q", f.Replicas, f.Scaled)
	}
	if err := w.cluster.Scale(t.Context(), cowRef, 3); err != nil {
		t.Fatal(err)
	}
	if f, _ := w.cluster.Lookup(cowRef); f.Scaled != "" || f.Replicas != 3 {
		t.Errorf("by hand: %d replicas, %q", f.Replicas, f.Scaled)
	}
}
