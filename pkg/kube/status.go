package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// conditionTypes are the published conditions of a Function: Ready when what was asked for has been applied, Healthy when
// a replica serves, Reconciling while replicas are still to come, Stalled when nothing goes on until somebody mends it. And
// two of ours: Claimable when a spare of the warm pool can become a replica, and, where images are pulled ahead, ImagePulled
// when every node that may run it has the image.
var conditionTypes = [...]string{"Ready", "Healthy", "Reconciling", "Stalled", "Claimable", "ImagePulled"}

const (
	ready = iota
	healthy
	reconciling
	stalled
	claimable
	imagePulled
)

// outcome is what one round of reconciling came to.
type outcome struct {
	image *resolution
	// mend is what a user has to mend, and waiting what the next round may well get done; both empty: all is applied.
	mend, waiting string
	// claimed means that claimed pods are all that the function needs.
	claimed bool
	// unclaimable says why no spare can be claimed for it; empty: one can.
	unclaimable string
	// pulled tells which nodes have the image.
	pulled condition
}

// Status tells what is observed of a function. Memory only.
func (c *Cluster) Status(ref function.Ref) function.Status {
	r := c.records.get(ref)
	if r == nil {
		return function.Status{}
	}
	available := len(c.table.endpoints(ref))
	return function.Status{Available: available, Reason: c.reason(ref, r, available)}
}

// reason says in one line why a function does not serve as it should: what is to be mended in its record, then what
// Kubernetes refuses, then what its newest pods say, then what is known of its image.
func (c *Cluster) reason(ref function.Ref, r *record, available int) string {
	if r.problem != "" {
		return r.problem
	}
	if s := r.status.conditions[stalled]; s.is && r.status.observed >= r.generation {
		return s.message
	}
	if r.fn.Replicas == 0 {
		if s := r.status.conditions[imagePulled]; s.reason == "PullFailed" {
			return s.message
		}
		return ""
	}
	d := c.deployments.get(ref)
	if d != nil && d.failure != "" {
		return d.failure
	}
	if problem := newestProblem(c.table.podsOf(ref), r.uid, time.Now()); problem != "" {
		return problem
	}
	if available >= r.fn.Replicas {
		return ""
	}
	if s := r.status.conditions[reconciling]; s.is && s.reason == reasonWaiting {
		return s.message
	}
	if image := r.status.image; image != nil && image.Problem != "" {
		return image.Problem
	}
	if d != nil {
		return d.stuck
	}
	return ""
}

// newestProblem is what the youngest pod of a record that has a problem says.
func newestProblem(pods map[string]*pod, record types.UID, now time.Time) string {
	var newest *pod
	for _, p := range pods {
		if p.record == record && !p.ending && p.trouble(now) != "" && (newest == nil || p.created.After(newest.created)) {
			newest = p
		}
	}
	if newest == nil {
		return ""
	}
	return newest.trouble(now)
}

// nextTrouble is how long it takes until a pod of the record is slow in getting ready; 0 if none can become so.
func nextTrouble(pods map[string]*pod, record types.UID, now time.Time) time.Duration {
	var next time.Duration
	for _, p := range pods {
		left, ok := p.untilSlow(now)
		if ok && left > 0 && p.record == record && !p.ending && (next == 0 || left < next) {
			next = left
		}
	}
	return next
}

// Reasons of conditions; kubectl shows them.
const (
	reasonApplied  = "Applied"
	reasonInvalid  = "Invalid"
	reasonWaiting  = "Waiting"
	reasonReplicas = "ReplicasReady"
	reasonNone     = "NoReplicas"
	reasonRollout  = "RollingOut"
	reasonSettled  = "Settled"
	reasonShape    = "FitsASpare"
	reasonNoShape  = "FitsNoSpare"
)

// judge makes the status of a record after a round.
func (c *Cluster) judge(ref function.Ref, r *record, o outcome) recordStatus {
	pods := c.table.podsOf(ref)
	s := recordStatus{observed: r.generation, image: o.image}
	for _, p := range pods {
		if p.record == r.uid && !p.ending {
			s.replicas++
		}
	}
	s.available = int32(len(c.table.endpoints(ref)))
	s.unavailable = max(0, int32(r.fn.Replicas)-s.available)

	applied := o.mend == "" && o.waiting == ""
	s.conditions[ready] = condition{is: applied, reason: reasonApplied, message: "what was asked for is applied"}
	s.conditions[stalled] = condition{reason: reasonSettled, message: "nothing is to be mended"}
	switch {
	case o.mend != "":
		s.conditions[ready] = condition{reason: reasonInvalid, message: o.mend}
		s.conditions[stalled] = condition{is: true, reason: reasonInvalid, message: o.mend}
	case o.waiting != "":
		s.conditions[ready] = condition{reason: reasonWaiting, message: o.waiting}
	}
	s.conditions[healthy] = condition{is: s.available > 0, reason: reasonNone, message: "no replica may be given work"}
	if s.available > 0 {
		s.conditions[healthy] = condition{is: true, reason: reasonReplicas, message: "replicas may be given work"}
	}
	s.conditions[reconciling] = c.progress(ref, r, s, o, pods)
	s.conditions[claimable] = condition{is: true, reason: reasonShape, message: "a spare of the warm pool can become a replica"}
	if o.unclaimable != "" {
		s.conditions[claimable] = condition{reason: reasonNoShape, message: intern(o.unclaimable)}
	}
	s.conditions[imagePulled] = o.pulled
	return s
}

// progress tells whether replicas are still to come, and what keeps them.
func (c *Cluster) progress(ref function.Ref, r *record, s recordStatus, o outcome, pods map[string]*pod) condition {
	switch d := c.deployments.get(ref); {
	case o.mend != "":
		return condition{reason: reasonSettled, message: "waits for the record to be mended"}
	case o.waiting != "":
		return condition{is: true, reason: reasonWaiting, message: o.waiting}
	case r.fn.Replicas > 0 && (s.unavailable > 0 || d == nil && !o.claimed || d != nil && !d.rolledOut()):
		message := newestProblem(pods, r.uid, time.Now())
		if d != nil && d.failure != "" {
			message = d.failure
		}
		if message == "" {
			message = "replicas are starting"
		}
		return condition{is: true, reason: reasonRollout, message: message}
	}
	return condition{reason: reasonSettled, message: "all replicas are as asked for"}
}

// writeStatus writes the status of a record if it differs from what the record says.
func (c *Cluster) writeStatus(ctx context.Context, ref function.Ref, r *record, s recordStatus) error {
	now := time.Now().Unix()
	for i := range s.conditions {
		before := r.status.conditions[i]
		if s.conditions[i].reason == "" {
			continue // nothing is to be said
		}
		s.conditions[i].since = now
		if before.since != 0 && before.is == s.conditions[i].is {
			s.conditions[i].since = before.since
		}
	}
	if s.equal(r.status) {
		return nil
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": r.uid}, // another record of that name is not meant
		{"op": "add", "path": "/status", "value": s.object()},
	})
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	written := new(object)
	err = c.functions.Patch(types.JSONPatchType).Namespace(ref.Namespace).Resource(resourceFunctions).Name(ref.Name).
		SubResource("status").Body(patch).Do(ctx).Into(written)
	if current := c.records.get(ref); apierrors.IsNotFound(err) || err != nil && (current == nil || current.uid != r.uid) {
		return nil // it has gone meanwhile, and so has what there was to say of it
	}
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return c.records.observe(written)
}

func (s recordStatus) equal(t recordStatus) bool {
	return s.conditions == t.conditions && s.replicas == t.replicas && s.available == t.available &&
		s.unavailable == t.unavailable && s.observed == t.observed && s.image.equal(t.image)
}

func (s recordStatus) object() objectStatus {
	o := objectStatus{
		Replicas:            s.replicas,
		AvailableReplicas:   s.available,
		UnavailableReplicas: s.unavailable,
		ObservedGeneration:  s.observed,
		Image:               s.image,
	}
	for i, c := range s.conditions {
		if c.reason == "" {
			continue
		}
		status := metav1.ConditionFalse
		if c.is {
			status = metav1.ConditionTrue
		}
		o.Conditions = append(o.Conditions, metav1.Condition{
			Type: conditionTypes[i], Status: status, Reason: c.reason, Message: c.message,
			ObservedGeneration: s.observed, LastTransitionTime: metav1.Unix(c.since, 0),
		})
	}
	return o
}

func (r *resolution) equal(s *resolution) bool {
	if r == nil || s == nil {
		return r == s
	}
	sameUser := r.User == s.User || r.User != nil && s.User != nil && *r.User == *s.User
	return r.Reference == s.Reference && r.Rollout == s.Rollout && r.Digest == s.Digest && r.Problem == s.Problem &&
		slices.Equal(r.Command, s.Command) && slices.Equal(r.PullSecrets, s.PullSecrets) && sameUser
}
