package kube

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// How long a problem of a kind may last before those who wait are told of it. Each is as long as that kind is known to mend
// itself in.
const (
	// nodePatience is what the scheduler gets: pods that are about to go make room, a new node takes longer than anybody waits.
	nodePatience = 10 * time.Second
	// quotaPatience is for pods that are about to go, which a quota counts until they have gone.
	quotaPatience = 3 * time.Second
	// pullPatience has room for the kubelet's second try.
	pullPatience = 15 * time.Second
	// createPatience is for a container runtime that is busy.
	createPatience = 5 * time.Second
	// listenPatience is what a function gets from when its container runs until it serves, and from when it has ceased to: a pod whose
	// node is lost is replaced in less.
	listenPatience = 30 * time.Second
	// longLife is how long a container has to have run for its end to be no failure to start.
	longLife = time.Minute
)

// Stuck says in one line why a function that has no endpoint will not get one by itself, and how long that has to last still
// before it is worth telling: 0 when it is so for good until somebody mends it. It says nothing of a function that may well
// be about to serve. Memory only.
func (c *Cluster) Stuck(ref function.Ref) (why string, in time.Duration) {
	r := c.records.get(ref)
	if r == nil || r.deleting || r.fn.Replicas == 0 || len(c.table.endpoints(ref)) > 0 {
		return "", 0
	}
	if r.problem != "" {
		return r.problem, 0
	}
	if r.status.observed < r.generation {
		return "", 0 // what is known may be of what was asked for before
	}
	if s := r.status.conditions[stalled]; s.is {
		return s.message, 0
	}
	now := time.Now()
	if why, in, any := stuckPods(c.table.podsOf(ref), r, now); any {
		return why, in
	}
	if d := c.deployments.get(ref); d != nil && d.record == r.uid && d.failure != "" && d.observed >= d.generation {
		return d.failure, max(0, quotaPatience-now.Sub(d.failing))
	}
	return "", 0
}

// stuckPods tells of a record's present pods, if there are any: what the newest says, once all are stuck. Claimed pods do not count:
// one that does not serve is followed by a pod of the function's own, which may, or which tells more.
func stuckPods(pods map[string]*pod, r *record, now time.Time) (why string, in time.Duration, any bool) {
	var newest *pod
	for _, p := range pods {
		if p.record != r.uid || p.ending || p.rollout != r.rollout || p.wasSpare() {
			continue
		}
		left, stuck := p.untilStuck(now)
		if !stuck {
			return "", 0, true
		}
		in = max(in, left)
		if newest == nil || p.created.After(newest.created) {
			newest = p
		}
	}
	if newest == nil {
		return "", 0, false
	}
	if why = newest.trouble(now); why == "" {
		why = notListening
	}
	return why, in, true
}

// untilStuck tells how long a pod's problem has to last still until the pod counts as stuck; stuck is false if it has none,
// or one that is not worth waiting for.
func (p *pod) untilStuck(now time.Time) (left time.Duration, stuck bool) {
	switch {
	case p.ready:
		return 0, false
	case p.fault.is:
		return max(0, p.fault.patience-now.Sub(p.fault.since)), true
	case !p.running.IsZero() && !p.down:
		return max(0, listenPatience-min(now.Sub(p.running), now.Sub(p.unready))), true
	}
	return 0, false
}

// fault is a problem that keeps a pod from ever serving, if it lasts for as long as patience.
type fault struct {
	is       bool
	patience time.Duration
	// since is when a problem of the same patience was first seen.
	since time.Time
}

// findFault looks at a pod that is not ready. before is what was found when the pod was last seen.
func findFault(o *corev1.Pod, before fault, now time.Time) fault {
	patience, is := podPatience(o)
	f := fault{is: is, patience: patience, since: now}
	if is && before.is && before.patience == patience {
		f.since = before.since
	}
	return f
}

func podPatience(o *corev1.Pod) (patience time.Duration, is bool) {
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return nodePatience, true
		}
	}
	for _, containers := range [][]corev1.ContainerStatus{o.Status.InitContainerStatuses, o.Status.ContainerStatuses} {
		for i := range containers {
			if patience, is := containerPatience(&containers[i]); is {
				return patience, true
			}
		}
	}
	return 0, false
}

func containerPatience(s *corev1.ContainerStatus) (patience time.Duration, is bool) {
	if w := s.State.Waiting; w != nil {
		switch w.Reason {
		case "", "PodInitializing", "ContainerCreating":
			return 0, false
		case "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CrashLoopBackOff":
			return 0, true
		case "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError", "SignatureValidationFailed":
			if refusedForGood(w.Message) {
				return 0, true
			}
			return pullPatience, true
		}
		return createPatience, true
	}
	// The kubelet starts a container again at once when it has ended for the first time.
	if t := s.State.Terminated; t != nil && s.RestartCount > 0 && t.FinishedAt.Sub(t.StartedAt.Time) < longLife {
		return 0, true
	}
	return 0, false
}

// refusedForGood tells whether a registry's words mean that it will say the same next time.
func refusedForGood(words string) bool {
	words = strings.ToLower(words)
	for _, final := range []string{
		"not found", "manifest unknown", "name unknown", "does not exist", "unauthorized", "authorization failed", "authentication required",
		"access denied", "denied:", "403 forbidden", "insufficient_scope", "no basic auth credentials", "no match for platform",
		"invalid reference format",
	} {
		if strings.Contains(words, final) {
			return true
		}
	}
	return false
}
