package kube

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPodProblem_InThePodsOwnWords(t *testing.T) {
	waiting := func(reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
	ended := func(reason string, code int32, message string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason, ExitCode: code, Message: message}}
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	containers := func(s ...corev1.ContainerStatus) corev1.PodStatus { return corev1.PodStatus{ContainerStatuses: s} }
	for _, test := range []struct {
		name   string
		status corev1.PodStatus
		want   string
	}{
		{"just made", corev1.PodStatus{}, ""},
		{"starting", containers(corev1.ContainerStatus{State: waiting("ContainerCreating", "")}), ""},
		{"running, not ready", containers(corev1.ContainerStatus{State: running}), ""},
		{"no node takes it", corev1.PodStatus{Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available: 1 Insufficient memory.",
		}}}, "Unschedulable: 0/1 nodes are available: 1 Insufficient memory."},
		{"image", containers(corev1.ContainerStatus{State: waiting("ImagePullBackOff", "Back-off pulling image \"x\":\n not found")}),
			`ImagePullBackOff: Back-off pulling image "x": not found`},
		{"crash", containers(corev1.ContainerStatus{
			State: waiting("CrashLoopBackOff", "back-off 10s restarting"), LastTerminationState: ended("Error", 3, ""), RestartCount: 2,
		}), "CrashLoopBackOff: the container ended with exit code 3"},
		{"between crashes", containers(corev1.ContainerStatus{
			State: running, LastTerminationState: ended("Error", 3, ""), RestartCount: 2,
		}), "Error: the container ended with exit code 3, restarted 2 times"},
		{"just crashed", containers(corev1.ContainerStatus{State: ended("StartError", 128, "no such file")}),
			"StartError: the container ended with exit code 128: no such file"},
		{"memory", containers(corev1.ContainerStatus{
			State: waiting("CrashLoopBackOff", ""), LastTerminationState: ended("OOMKilled", 137, ""), RestartCount: 1,
		}), "CrashLoopBackOff: the container used more memory than its limit"},
		{"secret", containers(corev1.ContainerStatus{State: waiting("CreateContainerConfigError", `secret "s" not found`)}),
			`CreateContainerConfigError: secret "s" not found`},
		{"init container first", corev1.PodStatus{
			InitContainerStatuses: []corev1.ContainerStatus{{State: waiting("ErrImagePull", "no provider image")}},
			ContainerStatuses:     []corev1.ContainerStatus{{State: waiting("PodInitializing", "")}},
		}, "ErrImagePull: no provider image"},
		{"evicted", corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "low on disk"}, "Evicted: low on disk"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := podProblem(&corev1.Pod{Status: test.status}); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestOneLine_IsBounded(t *testing.T) {
	got := oneLine(strings.Repeat("é ", 400) + "\n\n")
	if len(got) > 300 || !strings.HasSuffix(got, "...") || strings.ContainsRune(got, '\n') || strings.ContainsRune(got, '\uFFFD') {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
