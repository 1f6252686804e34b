package kube

import (
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// lone waits for a function to have one lone pod.
func (w *poolWorld) lone(name string) *corev1.Pod {
	w.Helper()
	var pod *corev1.Pod
	w.eventually("a lone pod of "+name, func() string {
		list := w.podsThat(func(p *corev1.Pod) bool {
			return p.Labels[labelFunction] == name && p.Annotations[annotationLone] != ""
		})
		if len(list) != 1 {
			return "there is none"
		}
		pod = list[0]
		return ""
	})
	return pod
}

// runs plays the kubelet: the container of a lone pod runs.
func (w *poolWorld) runs(p *corev1.Pod, name string, restarts int32) {
	w.Helper()
	now := new(corev1.Pod)
	w.api.get(podsPath, p.Namespace, p.Name, now)
	now.Spec.NodeName = "node"
	now.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.0.0.9",
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: name, RestartCount: restarts, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}},
	}
	now.Status.ContainerStatuses[0].State.Running.StartedAt.Time = time.Now()
	w.api.put(podsPath, now.Namespace, jsonOf(w.T, now))
}

// A function for which there is no spare is woken in a pod of its own, as its Deployment would have it, and no more is made.
func TestLone_WakesWithoutDeployment(t *testing.T) {
	w := newPoolWorld(t, 0)
	spec := cow()
	spec.Labels = map[string]string{"team": "red"}
	spec.Limits = &function.Resources{Memory: "64Mi", CPU: "1"}
	spec.Requests = spec.Limits // of a class that nothing is changed in
	w.atZero(spec)
	w.scale(cowRef, 1)
	p := w.lone("cow")
	record := w.object("cow")
	if len(p.OwnerReferences) != 1 || p.OwnerReferences[0].UID != record.UID || !*p.OwnerReferences[0].Controller {
		t.Errorf("owners %+v: a ReplicaSet could adopt it, or nobody would delete it", p.OwnerReferences)
	}
	if p.Labels["team"] != "red" || p.Labels[labelRecord] != string(record.UID) || p.Spec.Containers[0].Name != "cow" {
		t.Errorf("made as %+v", p)
	}
	w.eventually("it is known to be on its way up", func() string {
		if !w.cluster.waking(time.Now()) {
			return "it is not"
		}
		return ""
	})
	w.runs(p, "cow", 0)
	w.knows(p.Name)
	w.cluster.MarkReady(cowRef, string(record.UID), p.Name, "10.0.0.9", function.Startup{})
	w.endpoints(cowRef, "10.0.0.9:8080")
	w.condition("cow", "Healthy", "True")
	w.condition("cow", "Reconciling", "False")
	if w.cluster.waking(time.Now()) {
		t.Error("it serves and is on its way up")
	}
	if start := w.cluster.ColdStart(cowRef, p.Name); start.Kind() != function.StartMade {
		t.Errorf("its start is told as %+v", start)
	}
	if got := w.cluster.Claimed(); len(got) != 1 || got[0].Ref != cowRef || got[0].ID != string(record.UID) {
		t.Errorf("what may move to a Deployment: %+v", got)
	}
	for _, path := range []string{deploymentsPath, servicesPath} {
		if got := w.api.names(path); len(got) > 0 {
			t.Errorf("%s %v", path, got)
		}
	}
	w.scale(cowRef, 0)
	w.eventually("the pod is gone", func() string {
		if w.api.get(podsPath, ns, p.Name, new(corev1.Pod)) {
			return "it is there"
		}
		return ""
	})
}

// Whatever is wrong with a lone pod, the Deployment takes its place.
func TestLone_MovesToTheDeployment(t *testing.T) {
	for name, trouble := range map[string]func(*poolWorld, *corev1.Pod){
		"steady demand": func(w *poolWorld, p *corev1.Pod) { w.cluster.Steady(cowRef, p.Labels[labelRecord]) },
		"more replicas": func(w *poolWorld, _ *corev1.Pod) { w.scale(cowRef, 2) },
		"it crashes":    func(w *poolWorld, p *corev1.Pod) { w.runs(p, "cow", 1) },
		"it is deleted": func(w *poolWorld, p *corev1.Pod) {
			if err := w.cluster.core.CoreV1().Pods(ns).Delete(w.Context(), p.Name, metav1.DeleteOptions{}); err != nil {
				w.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newPoolWorld(t, 0)
			w.atZero(cow())
			w.scale(cowRef, 1)
			trouble(w, w.lone("cow"))
			w.deployment("cow")
		})
	}
}

// A pod that Kubernetes does not allow is left to the Deployment, whose status says why.
func TestLone_Refused(t *testing.T) {
	w := newPoolWorld(t, 0)
	w.atZero(cow())
	w.api.refuseIf(func(r *http.Request) int {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/pods") {
			return http.StatusForbidden
		}
		return 0
	})
	w.scale(cowRef, 1)
	w.deployment("cow")
}
