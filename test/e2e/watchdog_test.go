package e2e

import (
	"net/http"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Whichever way the watchdog is put into an image, a function runs behind it. The way is the chart's functions.watchdog; the
// script that runs these tests runs this one again with the other.
func TestWatchdog_PutIn(t *testing.T) {
	t.Parallel()
	f := deploy(t, parrot())
	if a := f.call(t, "moo").is(t, "call", http.StatusOK); a.body != "moo" {
		t.Errorf("answer %q, want the input", a.body)
	}
	ctx := within(t, time.Minute)
	installed, err := cluster.AppsV1().Deployments(providerNamespace).Get(ctx, "dc-provider", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	runs, err := cluster.AppsV1().Deployments(f.inNamespace()).Get(ctx, f.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := runs.Spec.Template.Spec
	byVolume := false
	for _, v := range pod.Volumes {
		byVolume = byVolume || v.Image != nil
	}
	byInit := len(pod.InitContainers) == 1
	if byVolume == byInit {
		t.Errorf("by image volume %v, by init container %v: want one of them", byVolume, byInit)
	}
	if asked := slices.Contains(installed.Spec.Template.Spec.Containers[0].Args, "--watchdog=init-container"); asked && !byInit {
		t.Error("the init container that was asked for is not there")
	}
}
