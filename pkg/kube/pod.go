package kube

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// pod is what is kept of a Pod.
type pod struct {
	uid      types.UID
	function function.Ref
	record   types.UID
	ip       string
	created  time.Time
	// node is empty until it was scheduled.
	node string
	// ready is Kubernetes' own readiness, and unready since when it has not been; ending means that it was told to end, or has.
	ready, ending bool
	unready       time.Time
	// down means that the function's container has ended and was not started again yet.
	down bool
	// leaving means that it is given no work any more, because there are to be fewer replicas.
	leaving bool
	// started means that the container has run, so that there is a log.
	started bool
	// running is since when the container runs; zero when it does not.
	running  time.Time
	restarts int32
	// rollout tells which version of the function it is of.
	rollout string
	// problem says in Kubernetes' words why the pod does not serve, and fault whether it ever will.
	problem string
	fault   fault
	// claim is what is known of a pod that was a spare, or is a lone one; nil for all others.
	claim *claim
}

// claim is what of a claimed pod a Deployment's pods cannot differ in.
type claim struct {
	since time.Time
	// lone means that the pod was made for the function, and never was a spare: see lone.go.
	lone bool
	// inputs is a hash of what the function was when the pod was claimed, and secrets of which versions of its secrets it was given.
	inputs, secrets string
	resources       corev1.ResourceRequirements
	// unresized means that the node cannot give it the function's resources, or not now.
	unresized bool
}

// newClaim takes from a pod what is kept of its having been a spare, or of its being a lone one; nil if it is neither.
func newClaim(o *corev1.Pod) *claim {
	text, lone := o.Annotations[annotationLone]
	if !lone {
		text = o.Annotations[annotationClaimed]
	}
	since, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || len(o.Spec.Containers) == 0 {
		return nil
	}
	c := &claim{
		since: since, lone: lone, inputs: o.Annotations[annotationInputs], secrets: o.Annotations[annotationSecrets],
		resources: o.Spec.Containers[0].Resources,
	}
	for i := range o.Spec.Containers {
		if o.Spec.Containers[i].Name == spareContainer {
			c.resources = o.Spec.Containers[i].Resources
		}
	}
	for _, condition := range o.Status.Conditions {
		c.unresized = c.unresized || condition.Type == corev1.PodResizePending && condition.Status == corev1.ConditionTrue
	}
	return c
}

func newPod(obj any, before *pod) *pod {
	o := obj.(*corev1.Pod)
	p := &pod{
		uid:      o.UID,
		claim:    newClaim(o),
		function: function.Ref{Name: intern(o.Labels[labelFunction]), Namespace: intern(o.Namespace)},
		record:   types.UID(o.Labels[labelRecord]),
		rollout:  intern(o.Labels[labelRollout]),
		ip:       o.Status.PodIP,
		created:  o.CreationTimestamp.Time,
		node:     intern(o.Spec.NodeName),
		ending:   o.DeletionTimestamp != nil || o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed,
	}
	_, p.leaving = o.Annotations[annotationLeaving]
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.PodReady {
			if p.ready = c.Status == corev1.ConditionTrue; !p.ready {
				p.unready = c.LastTransitionTime.Time
			}
		}
	}
	for i := range o.Status.ContainerStatuses {
		s := &o.Status.ContainerStatuses[i]
		if s.Name != p.container() {
			continue
		}
		p.restarts = s.RestartCount
		if p.wasSpare() {
			// The first restart is the claim: before it, what is told is the spare's.
			if p.restarts == 0 {
				p.ready, p.problem = false, containerProblem(s)
				return p
			}
			p.restarts--
		}
		p.down = s.State.Terminated != nil || p.restarts > 0 && s.State.Waiting != nil
		if s.State.Running != nil {
			p.running = s.State.Running.StartedAt.Time
		}
		p.started = s.State.Running != nil || s.State.Terminated != nil || p.restarts > 0 && s.LastTerminationState.Terminated != nil
	}
	if !p.ready && (!p.wasSpare() || p.restarts > 0 || p.down) {
		p.problem = podProblem(o)
		if before == nil {
			before = new(pod)
		}
		p.fault = findFault(o, before.fault, time.Now())
	}
	return p
}

// wasSpare reports whether a pod is of the warm pool.
func (p *pod) wasSpare() bool { return p.claim != nil && !p.claim.lone }

// container names the function's container.
func (p *pod) container() string {
	if p.wasSpare() {
		return spareContainer
	}
	return p.function.Name
}

// slowAfter is how long a container may run without being ready before that is worth telling.
const slowAfter = 10 * time.Second

// trouble is the pod's problem. That a container runs and never gets ready is one which Kubernetes has no word for.
func (p *pod) trouble(now time.Time) string {
	if left, slow := p.untilSlow(now); p.problem == "" && slow && left <= 0 {
		return notListening
	}
	return p.problem
}

var notListening = fmt.Sprintf("NotReady: the container runs, and what it runs does not serve on port %d", port)

// untilSlow tells how long the container may still take to get ready; ok is false if it is ready or does not run.
func (p *pod) untilSlow(now time.Time) (left time.Duration, ok bool) {
	return slowAfter - now.Sub(p.running), !p.ready && !p.running.IsZero()
}

// podProblem finds what keeps a pod from serving: its scheduling first, then its containers, since nothing later can have
// been tried.
func podProblem(o *corev1.Pod) string {
	if o.Status.Phase == corev1.PodFailed && o.Status.Reason != "" {
		return sentence(o.Status.Reason, o.Status.Message)
	}
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return sentence(c.Reason, c.Message)
		}
	}
	for _, containers := range [][]corev1.ContainerStatus{o.Status.InitContainerStatuses, o.Status.ContainerStatuses} {
		for i := range containers {
			if problem := containerProblem(&containers[i]); problem != "" {
				return problem
			}
		}
	}
	return ""
}

func containerProblem(s *corev1.ContainerStatus) string {
	end := s.State.Terminated
	if end == nil {
		end = s.LastTerminationState.Terminated
	}
	switch waiting := s.State.Waiting; {
	case waiting != nil && waiting.Reason == "CrashLoopBackOff" && end != nil:
		return sentence(waiting.Reason, endOf(end))
	case waiting != nil && waiting.Reason != "PodInitializing" && waiting.Reason != "ContainerCreating" && waiting.Reason != "":
		return sentence(waiting.Reason, waiting.Message)
	case s.State.Terminated != nil && (end.ExitCode != 0 || end.Signal != 0):
		return sentence(end.Reason, endOf(end))
	case s.State.Running != nil && s.RestartCount > 0 && end != nil:
		return sentence(end.Reason, fmt.Sprintf("%s, restarted %d times", endOf(end), s.RestartCount))
	}
	return ""
}

func endOf(t *corev1.ContainerStateTerminated) string {
	how := fmt.Sprintf("the container ended with exit code %d", t.ExitCode)
	if t.Reason == "OOMKilled" {
		how = "the container used more memory than its limit"
	}
	if words := lastWords(t.Message); words != "" {
		how += ": " + words
	}
	return how
}

// lastWords are the last lines of what a container has left, as many as a status has room for: the last tells most.
func lastWords(message string) string {
	const most = 200
	var words string
	lines := strings.Split(message, "\n")
	for _, line := range slices.Backward(lines) {
		line = strings.Join(strings.Fields(line), " ")
		switch {
		case line == "":
		case words == "":
			words = line
		case len(line)+len(words) > most:
			return words
		default:
			words = line + "; " + words
		}
	}
	return words
}

// sentence joins a reason and a message to one line of bounded length.
func sentence(reason, message string) string {
	return oneLine(cmp.Or(reason, "Unknown") + ": " + cmp.Or(message, "no more is known"))
}
