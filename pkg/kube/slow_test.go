package kube

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestPod_SlowToGetReady(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(start)}}
	ready := []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	for _, test := range []struct {
		name   string
		status corev1.PodStatus
		after  time.Duration
		tells  string
		next   time.Duration
	}{
		{"just started", corev1.PodStatus{}, slowAfter - time.Second, "", time.Second},
		{"too long", corev1.PodStatus{}, slowAfter, "NotReady", 0},
		{"ready", corev1.PodStatus{Conditions: ready}, slowAfter, "", 0},
		{"has a reason of its own", corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}, slowAfter, "Evicted", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.status.ContainerStatuses = []corev1.ContainerStatus{{Name: "f", State: running}}
			o := &corev1.Pod{Status: test.status}
			o.Labels = map[string]string{labelFunction: "f", labelRecord: "1"}
			p := newPod(o, nil)
			now := start.Add(test.after)
			if got := p.trouble(now); !strings.HasPrefix(got, test.tells) || test.tells == "" && got != "" {
				t.Errorf("tells %q, want %q", got, test.tells)
			}
			if got := nextTrouble(map[string]*pod{"p": p}, types.UID("1"), now); got != test.next {
				t.Errorf("next look after %s, want %s", got, test.next)
			}
		})
	}
}
