package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// condition is one of the record's, or nil.
func (f function) condition(t *testing.T, kind string) *metav1.Condition {
	t.Helper()
	record, err := cluster.objects.Resource(functionKind).Namespace(f.inNamespace()).Get(t.Context(), f.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(record.Object["status"])
	if err != nil {
		t.Fatal(err)
	}
	var status struct {
		Conditions         []metav1.Condition `json:"conditions"`
		ObservedGeneration int64              `json:"observedGeneration"`
	}
	if err := json.Unmarshal(text, &status); err != nil {
		t.Fatal(err)
	}
	for i, c := range status.Conditions {
		if c.Type == kind && status.ObservedGeneration == record.GetGeneration() {
			return &status.Conditions[i]
		}
	}
	return nil
}

// TestPrePull_WhileAtZero updates a function at zero to a private image that no node has. The wake finds it on the node.
func TestPrePull_WhileAtZero(t *testing.T) {
	t.Parallel()
	d := deployment{Image: imageShell, EnvProcess: "cat"}
	f := deploy(t, d)
	f.awaitReplicas(t, 1)
	f.scale(t, 0)
	f.awaitZero(t)

	d = deployment{Image: images.start(t).Private(unique(t, "probe") + ":dev"), Secrets: []string{pullSecret(t)}}
	digest := images.push(t, d.Image, "ahead")
	f.update(t, d)
	eventually(t, "the node has the image", func() (bool, string) {
		nodes, err := cluster.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c := f.condition(t, "ImagePulled")
		if c == nil {
			return false, "no condition"
		}
		open := len(slices.DeleteFunc(nodes.Items, func(n corev1.Node) bool { return n.Spec.Unschedulable }))
		all := fmt.Sprintf("%[1]d of %[1]d nodes have the image", open)
		return c.Status == metav1.ConditionTrue && c.Message == all, c.Message
	})
	fetched := images.registry.Fetches(d.Image)
	if fetched == 0 {
		t.Error("the registry saw nobody fetch the image")
	}
	if a := f.get(t, "/env?name=VERSION").is(t, "call that wakes", http.StatusOK); a.body != "ahead" {
		t.Errorf("version %q", a.body)
	}
	if n := images.registry.Fetches(d.Image) - fetched; n > 0 {
		t.Errorf("the wake asked the registry %d times", n)
	}
	eventually(t, "no pod that pulls is left", func() (bool, string) {
		pods, err := cluster.CoreV1().Pods(functionNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "dragonchain.com/pull"})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pods.Items {
			if strings.Contains(imageOf(p), digest) {
				return false, p.Name
			}
		}
		return true, ""
	})
}

func imageOf(p corev1.Pod) string { return p.Spec.Containers[0].Image }

// TestPrePull_Refused tells of an image that the node cannot pull, before anybody calls.
func TestPrePull_Refused(t *testing.T) {
	t.Parallel()
	d := parrot()
	f := deploy(t, d)
	f.awaitReplicas(t, 1)
	f.scale(t, 0)
	f.awaitZero(t)
	d.Image = images.start(t).Open(unique(t, "nothing") + ":1")
	f.update(t, d)
	eventually(t, "the status has the registry's words", func() (bool, string) {
		said := f.statusText(t)
		return strings.Contains(said, d.Image) && strings.Contains(said, "not found"), said
	})
	if c := f.condition(t, "ImagePulled"); c == nil || c.Status != metav1.ConditionFalse || c.Reason != "PullFailed" {
		t.Errorf("condition %+v", c)
	}
}
