package kube

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestPod_UntilStuck(t *testing.T) {
	const never = -1
	start := time.Now().Truncate(time.Second)
	waiting := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "f", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
		}}}
	}
	ended := func(restarts int32, after time.Duration) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "f", RestartCount: restarts, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: 3, StartedAt: metav1.NewTime(start.Add(-after)), FinishedAt: metav1.NewTime(start),
			}},
		}}}
	}
	running := func(restarts int32, ready corev1.ConditionStatus) corev1.PodStatus {
		return corev1.PodStatus{
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "f", RestartCount: restarts, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(start)}},
			}},
		}
	}
	ceased := running(0, corev1.ConditionFalse)
	ceased.Conditions[0].LastTransitionTime = metav1.NewTime(start.Add(-10 * time.Second))
	ceased.ContainerStatuses[0].State.Running.StartedAt = metav1.NewTime(start.Add(-time.Hour))
	unschedulable := corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available",
	}}}
	tests := []struct {
		name   string
		status corev1.PodStatus
		want   time.Duration
	}{
		{"just made", corev1.PodStatus{}, never},
		{"on its way", waiting("ContainerCreating", ""), never},
		{"behind the init container", waiting("PodInitializing", ""), never},
		{"no node", unschedulable, nodePatience},
		{"image that is not there", waiting("ErrImagePull", `failed to resolve reference "r/x:1": r/x:1: not found`), 0},
		{"image behind a password", waiting("ImagePullBackOff", `Back-off pulling image "r/x:1": ErrImagePull: 401 Unauthorized`), 0},
		{"registry that does not answer", waiting("ErrImagePull", "dial tcp 10.0.0.1:5000: i/o timeout"), pullPatience},
		{"image of a bad name", waiting("InvalidImageName", "couldn't parse"), 0},
		{"missing secret", waiting("CreateContainerConfigError", `secret "s" not found`), 0},
		{"runtime refuses", waiting("CreateContainerError", "context deadline exceeded"), createPatience},
		{"ended once", ended(0, time.Second), never},
		{"ended twice", ended(1, time.Second), 0},
		{"ended after a long life", ended(3, time.Hour), never},
		{"keeps ending", waiting("CrashLoopBackOff", "back-off"), 0},
		{"runs", running(0, corev1.ConditionFalse), listenPatience},
		{"runs again", running(2, corev1.ConditionFalse), listenPatience},
		{"has ceased to serve", ceased, listenPatience - 10*time.Second},
		{"ready", running(2, corev1.ConditionTrue), never},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := &corev1.Pod{Status: tt.status}
			o.Labels = map[string]string{labelFunction: "f"}
			p := newPod(o, nil)
			if p.fault.is {
				p.fault.since = start
			}
			left, stuck := p.untilStuck(start)
			if !stuck {
				left = never
			}
			if left != tt.want {
				t.Errorf("stuck in %v, want %v", left, tt.want)
			}
			if left, _ = p.untilStuck(start.Add(time.Hour)); left != 0 {
				t.Errorf("%v left after an hour", left)
			}
		})
	}
}

// A problem's time goes on though the kubelet tells of it in other words, and begins anew with another problem.
func TestFault_LastsWhileItIsTheSame(t *testing.T) {
	start := time.Now()
	image := func(reason string) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "i/o timeout"}},
		}}}}
	}
	first := findFault(image("ErrImagePull"), fault{}, start)
	second := findFault(image("ImagePullBackOff"), first, start.Add(time.Second))
	if !second.since.Equal(start) {
		t.Errorf("begun anew after %v", second.since.Sub(start))
	}
	third := findFault(image("CreateContainerError"), second, start.Add(2*time.Second))
	if third.since.Equal(start) {
		t.Error("another problem goes on with the time of the one before")
	}
	if none := findFault(&corev1.Pod{}, third, start); none.is {
		t.Error("a pod without a problem has one")
	}
}

func TestLastWords(t *testing.T) {
	for message, want := range map[string]string{
		"":                                "",
		"\n \n":                           "",
		"one line\n":                      "one line",
		"first\n\n  second\tline \nthird": "first; second line; third",
		strings.Repeat("long ", 60) + "\nthe last": "the last",
	} {
		if got := lastWords(message); got != want {
			t.Errorf("last words of %q: %q, want %q", message, got, want)
		}
	}
}

// stuck waits until a function is stuck for good with words in its reason, which its status has too.
func (w *world) stuck(ref function.Ref, words string) {
	w.Helper()
	w.eventually("stuck by "+words, func() string {
		why, in := w.cluster.Stuck(ref)
		if status := w.cluster.Status(ref).Reason; in > 0 || !strings.Contains(why, words) || !strings.Contains(status, words) {
			return fmt.Sprintf("%q in %v, status %q", why, in, status)
		}
		return ""
	})
}

// notStuck waits until there is nothing that keeps a function from starting.
func (w *world) notStuck(ref function.Ref) {
	w.Helper()
	w.eventually("not stuck", func() string { why, _ := w.cluster.Stuck(ref); return why })
}

// putStuckPod puts a pod of the present record and the given version whose image cannot be pulled.
func (w *world) putStuckPod(name, rollout string) {
	w.api.put(podsPath, ns, fmt.Sprintf(`{
		"metadata":{"name":%q,"labels":{"faas_function":"cow","dragonchain.com/record":%q,"uid":%q}},"spec":{},
		"status":{"containerStatuses":[{"name":"cow","state":{"waiting":{"reason":"ErrImagePull","message":"cow:1 not found"}}}]}}`,
		name, w.object("cow").UID, rollout))
}

func TestStuck_ByItsPods(t *testing.T) {
	told := make(chan function.Ref, 1000)
	w := newWorld(t, func(c *Config) { c.OnProblem = func(ref function.Ref) { told <- ref } })
	if why, _ := w.cluster.Stuck(cowRef); why != "" {
		t.Errorf("what is not there is stuck by %q", why)
	}
	w.create(cow())
	w.deployment("cow")
	w.notStuck(cowRef)
	for len(told) > 0 {
		<-told
	}
	w.putStuckPod("cow-1", "")
	w.stuck(cowRef, "ErrImagePull: cow:1 not found")
	if len(told) == 0 {
		t.Error("nobody was told")
	}

	// One that may yet serve is hope.
	w.pod("cow", "cow-2", "10.0.0.2", false)
	w.notStuck(cowRef)
	w.pod("cow", "cow-2", "10.0.0.2", true)
	w.endpoints(cowRef, "10.0.0.2:8080")
	if err := w.cluster.core.CoreV1().Pods(ns).Delete(t.Context(), "cow-2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.stuck(cowRef, "ErrImagePull")

	// The pods of an earlier version tell nothing of the present one.
	if err := w.cluster.Update(t.Context(), cow()); err != nil {
		t.Fatal(err)
	}
	w.condition("cow", "Ready", "True")
	w.notStuck(cowRef)
	w.putStuckPod("cow-3", w.object("cow").Annotations[annotationRollout])
	w.stuck(cowRef, "ErrImagePull")

	// At zero nothing is wanted.
	if err := w.cluster.Scale(t.Context(), cowRef, 0); err != nil {
		t.Fatal(err)
	}
	w.notStuck(cowRef)
}

func TestStuck_BySecret(t *testing.T) {
	w := newWorld(t, nil)
	w.secret("key", "Opaque", map[string][]byte{"key": []byte("k")}, map[string]string{labelManagedBy: managedBy})
	spec := cow()
	spec.Secrets = []string{"key"}
	w.create(spec)
	w.deployment("cow")
	if err := w.cluster.Scale(t.Context(), cowRef, 0); err != nil {
		t.Fatal(err)
	}
	w.eventually("only the record is left", func() string {
		if left := w.left(); len(left) != 1 {
			return fmt.Sprint(left)
		}
		return ""
	})
	if err := w.cluster.DeleteSecret(t.Context(), ns, "key"); err != nil {
		t.Fatal(err)
	}
	w.notStuck(cowRef)
	if err := w.cluster.Scale(t.Context(), cowRef, 1); err != nil {
		t.Fatal(err)
	}
	w.stuck(cowRef, `secret "key" does not exist`)
	if err := w.cluster.CreateSecret(t.Context(), ns, "key", []byte("k")); err != nil {
		t.Fatal(err)
	}
	w.notStuck(cowRef)
	w.deployment("cow")
}

func TestStuck_ByQuota(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	d := w.deployment("cow")
	w.condition("cow", "Ready", "True")
	d.Status.ObservedGeneration = d.Generation
	d.Status.Conditions = []appsv1.DeploymentCondition{{
		Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate",
		Message: `pods "cow-1" is forbidden: exceeded quota: few`,
	}}
	w.api.put(deploymentsPath, ns, jsonOf(t, d))
	w.stuck(cowRef, "exceeded quota: few")
}
