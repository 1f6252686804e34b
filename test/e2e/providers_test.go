package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leader is the name of the pod whose provider leads, and lease how long one that says nothing is waited for.
func leader(t *testing.T) (name string, lease time.Duration) {
	t.Helper()
	l, err := cluster.CoordinationV1().Leases(providerNamespace).Get(t.Context(), "dc-provider", metav1.GetOptions{})
	if err != nil || l.Spec.HolderIdentity == nil || l.Spec.LeaseDurationSeconds == nil {
		return "", 0
	}
	return *l.Spec.HolderIdentity, time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
}

// at is what clients call, at one provider's pod.
func at(ip string) listener {
	l := gateway
	l.url = fmt.Sprintf("http://%s:8080", ip)
	return l
}

// TestProviders_TwoWithOneLeader has a function served by the one that does not lead, which is no reason to take it to zero;
// then the leader dies without a word: the other loses no call, leads, and wakes.
func TestProviders_TwoWithOneLeader(t *testing.T) {
	pods := providerPods(t)
	if len(pods) != 2 {
		t.Skipf("%d providers are installed: make test-e2e installs two in a pass of its own", len(pods))
	}
	eventually(t, "one of the two leads", func() (bool, string) {
		name, _ := leader(t)
		return (name == pods[0].Name || name == pods[1].Name) && podReady(pods[0]) && podReady(pods[1]), name
	})
	leading, lease := leader(t)
	first, other := pods[0], pods[1]
	if other.Name == leading {
		first, other = other, first
	}
	hot := deploy(t, label(label(unhurried(scripted()), labelZero, "true"), labelZeroDuration, "3s"))
	idle := deploy(t, label(label(parrot(), labelZero, "true"), labelZeroDuration, "3s"))
	l, ctx := startLoad(t)
	call := func(ctx context.Context, n int) error {
		a, err := at(other.Status.PodIP).send(ctx, request{method: http.MethodPost, path: hot.path(""), body: fmt.Sprintf("echo %d", n), auth: nobody})
		if err == nil && (a.status != http.StatusOK || a.body != fmt.Sprintln(n)) {
			err = fmt.Errorf("status %d, %q", a.status, a.body)
		}
		return err
	}
	l.again(ctx, "hot", call)
	idle.awaitZero(t) // by now the other would be, too, if nobody called it
	for range 10 {
		if s, _ := hot.status(t); s.Replicas == 0 {
			t.Fatal("a function that the other provider serves was taken to zero")
		}
		time.Sleep(500 * time.Millisecond) // longer together than it may be idle
	}

	now := int64(0)
	if err := cluster.CoreV1().Pods(providerNamespace).Delete(t.Context(), first.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	// Whatever Service leads there: by the one that is left.
	a, err := at(other.Status.PodIP).send(within(t, callTimeout), request{method: http.MethodPost, path: idle.path(""), body: "moo", auth: nobody})
	if err != nil || a.status != http.StatusOK || a.body != "moo" {
		t.Fatalf("wake after the leader's end: %d %q, %v", a.status, a.body, err)
	}
	name, _ := leader(t)
	t.Logf("woken %v after the leader's end, under a lease of %v; %s leads", time.Since(began).Round(time.Millisecond), lease, name)
	if name == first.Name {
		t.Errorf("%s leads, which is no more", name)
	}
	l.report(t)
	eventually(t, "there are two again", func() (bool, string) {
		pods := providerPods(t)
		return len(pods) == 2 && podReady(pods[0]) && podReady(pods[1]), fmt.Sprint(len(pods))
	})
}
