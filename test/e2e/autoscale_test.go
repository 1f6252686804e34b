package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const annotationStandby = "com.dragonchain.standby"

// scaledBy waits until the function has so many replicas, and says that it has them for this load.
func (f function) scaledBy(t *testing.T, load string, want uint64) {
	t.Helper()
	f.awaitReplicas(t, want)
	s, _ := f.status(t)
	why := ""
	if s.Annotations != nil {
		why = (*s.Annotations)[annotationScaled]
	}
	if !strings.HasPrefix(why, fmt.Sprintf("%d for %s ", want, load)) {
		t.Errorf("%d replicas, and why is %q", want, why)
	}
}

// answers calls the function and compares the answer.
func (f function) answers(ctx context.Context, body, want string) error {
	a, err := gateway.send(ctx, request{method: http.MethodPost, path: f.path(""), body: body, auth: nobody})
	if err == nil && (a.status != http.StatusOK || a.body != want) {
		err = fmt.Errorf("status %d, %q, want %q", a.status, a.body, want)
	}
	return err
}

// pods are the names of the function's pods that do not end yet.
func (f function) pods(t *testing.T) []string {
	t.Helper()
	list, err := cluster.CoreV1().Pods(f.inNamespace()).List(t.Context(), metav1.ListOptions{LabelSelector: "faas_function=" + f.name})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			names = append(names, p.Name)
		}
	}
	return names
}

// TestAutoscale_Capacity has six calls at a time where a replica is to have two, and then one: replicas come at once, go one by
// one, and no call is lost.
func TestAutoscale_Capacity(t *testing.T) {
	t.Parallel()
	d := label(label(label(unhurried(scripted()), labelType, "capacity"), labelTarget, "2"), labelProportion, "1")
	f := deploy(t, label(d, labelMax, "4"))
	f.awaitReplicas(t, 1)
	l, ctx := startLoad(t)
	l.calls(ctx, "short", scriptedTarget(f), 0, keptConnections())
	many, fewer := context.WithCancel(ctx)
	for range 6 {
		l.calls(many, "long", scriptedTarget(f), longCall, keptConnections())
	}
	eventually(t, "three replicas or four", func() (bool, string) {
		s, _ := f.status(t)
		return s.Replicas >= 3 && s.AvailableReplicas == s.Replicas, fmt.Sprint(s.Replicas, " wanted, ", s.AvailableReplicas, " available")
	})
	fewer()
	f.scaledBy(t, "capacity", 1)
	l.report(t)
}

// TestAutoscale_RPS has one client call as fast as it can, which is more than the replica is to have.
func TestAutoscale_RPS(t *testing.T) {
	t.Parallel()
	f := deploy(t, label(label(unhurried(parrot()), labelTarget, "5"), labelMax, "3"))
	f.awaitReplicas(t, 1)
	l, ctx := startLoad(t)
	l.again(ctx, "short", func(ctx context.Context, n int) error { return f.answers(ctx, fmt.Sprint(n), fmt.Sprint(n)) })
	f.scaledBy(t, "rps", 3)
	l.report(t)
}

// TestAutoscale_CPU keeps a processor busy, which only the watchdog sees.
func TestAutoscale_CPU(t *testing.T) {
	t.Parallel()
	d := label(label(label(unhurried(scripted()), labelType, "cpu"), labelTarget, "20"), labelMax, "2")
	f := deploy(t, d)
	f.awaitReplicas(t, 1)
	l, ctx := startLoad(t)
	l.again(ctx, "busy", func(ctx context.Context, n int) error {
		return f.answers(ctx, fmt.Sprintf("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo %d", n), fmt.Sprintln(n))
	})
	f.scaledBy(t, "cpu", 2)
	l.report(t)
}

// TestStandby_StaysParked has a function keep one replica, parked, where it would go to zero, and the next call start its
// process in that one.
func TestStandby_StaysParked(t *testing.T) {
	t.Parallel()
	d := label(label(label(watchedProbe(t), labelZero, "true"), labelZeroDuration, "10s"), labelMin, "2")
	f := deploy(t, annotate(annotate(d, annotationPark, "3s"), annotationStandby, "1"))
	f.awaitReplicas(t, 1)
	f.awaitParked(t, 1)
	s, _ := f.status(t)
	if s.Annotations == nil || (*s.Annotations)[annotationScaled] != "1 parked, idle for 10s" {
		t.Errorf("status %+v", s.Annotations)
	}
	parked := f.pods(t)
	began := time.Now()
	f.get(t, "/").is(t, "call", http.StatusOK)
	t.Logf("the first answer took %v", time.Since(began).Round(time.Millisecond))
	eventually(t, "it is called, and its minimum counts", func() (bool, string) {
		s, _ := f.status(t)
		return s.Replicas == 2, fmt.Sprint(s.Replicas, " replicas")
	})
	if now := f.pods(t); len(parked) != 1 || !slices.Contains(now, parked[0]) {
		t.Errorf("pods %v, which were %v while parked", now, parked)
	}
	f.awaitReplicas(t, 1)
}

func TestStandby_Refused(t *testing.T) {
	t.Parallel()
	d := annotate(label(parrot(), labelZero, "true"), annotationStandby, "1")
	d.Service = unique(t, "f")
	a := gateway.do(t, http.MethodPost, "/system/functions", encode(t, d)).is(t, "deploy", http.StatusBadRequest)
	if !strings.Contains(a.body, "mode fork has no process that could be parked") || strings.Count(strings.TrimSpace(a.body), "\n") > 0 {
		t.Errorf("refused with %q", a.body)
	}
}
