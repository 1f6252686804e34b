package kube

import (
	"slices"
	"strings"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// finalizer keeps a record until everything that belongs to the function is gone.
	finalizer = function.ReservedPrefix + "cleanup"
	// annotationRollout has another value after every update, so that every update starts the pods anew.
	annotationRollout = "com.openfaas.uid"
	// annotationScaled says why the provider has set the number of replicas.
	annotationScaled = function.ReservedPrefix + "scaled"
)

// record is what is kept of a Function object: little, for there are many more records than functions that run.
type record struct {
	// fn is the function: of an object that is not valid its last valid version.
	fn *function.Function
	// problem says what is to be mended in the object; empty when it is valid.
	problem string
	// salvaged means that no valid version was ever seen, as after a restart, and that fn is what can be read of the object.
	salvaged   bool
	uid        types.UID
	version    string
	generation int64
	// woken is the generation in which the function was wanted again after it had been at zero; 0 if nobody saw that. It is part of the
	// record so that nobody sees the one without the other.
	woken      int64
	rollout    string
	finalizers []string
	deleting   bool
	status     recordStatus
}

// recordStatus is the object's status without what can be made up again.
type recordStatus struct {
	conditions                       [len(conditionTypes)]condition
	replicas, available, unavailable int32
	observed                         int64
	image                            *resolution
}

// condition is a metav1.Condition; its time is in Unix seconds, 0 when it was never written.
type condition struct {
	is      bool
	since   int64
	reason  string
	message string
}

// resolution is what was found out about an image when it was deployed. It is kept with the record, so that a replica
// started later runs the same bytes in the same way, registry or not.
type resolution struct {
	// Reference and Rollout tell which deployment this was found out for.
	Reference string `json:"reference"`
	Rollout   string `json:"rollout,omitempty"`
	// Digest is empty when no registry could tell.
	Digest string `json:"digest,omitempty"`
	// Command is the image's ENTRYPOINT and CMD; nil when its configuration could not be read, or was not needed.
	Command []string `json:"command,omitempty"`
	// User is the image's own user, if it is one that a pod may run as.
	User *int64 `json:"user,omitempty"`
	// PullSecrets are those of the function's secrets that the image is pulled with.
	PullSecrets []string `json:"pullSecrets,omitempty"`
	// Problem says why something of the above is missing.
	Problem string `json:"problem,omitempty"`
}

// newRecord takes from an object what is kept of it.
func newRecord(o *object, before *record) *record {
	r := &record{
		uid:        o.UID,
		version:    o.ResourceVersion,
		generation: o.Generation,
		rollout:    o.Annotations[annotationRollout],
		deleting:   o.DeletionTimestamp != nil,
		status:     newRecordStatus(o.Status),
	}
	if before != nil && before.deleting {
		// A deletion cannot be undone; an object that does not know of it was written before it and is only heard of now.
		r.deleting = true
	}
	for _, f := range o.Finalizers {
		r.finalizers = append(r.finalizers, intern(f))
	}
	fn, err := functionOf(o)
	switch {
	case err == nil:
		r.fn = fn
	case before != nil && !before.salvaged:
		r.fn, r.problem = before.fn, err.Error()
	default:
		r.fn, r.problem, r.salvaged = identified(function.Salvage(specOf(o)), o), err.Error(), true
	}
	if before != nil {
		r.woken = before.woken
		if before.fn.Replicas == 0 && r.fn.Replicas > 0 {
			r.woken = r.generation
		}
	}
	return r
}

// functionOf checks an object and makes a function of it.
func functionOf(o *object) (*function.Function, error) {
	if o.Spec.Name != o.Name {
		return nil, function.Invalidf("spec.name %q differs from metadata.name %q", o.Spec.Name, o.Name)
	}
	fn, err := function.New(specOf(o))
	if err != nil {
		return nil, err
	}
	return identified(fn, o), nil
}

// identified completes a function with what the object says beside its specification.
func identified(fn *function.Function, o *object) *function.Function {
	fn.ID = string(o.UID)
	fn.Created = o.CreationTimestamp.Time
	fn.Scaled = intern(o.Annotations[annotationScaled])
	if o.Spec.Replicas != nil {
		fn.Replicas = fn.Policy.Scale.Clamp(int(*o.Spec.Replicas))
	}
	return fn
}

func specOf(o *object) function.Spec {
	s := &o.Spec
	return function.Spec{
		Ref:          function.Ref{Name: o.Name, Namespace: intern(o.Namespace)},
		Image:        s.Image,
		Process:      s.Handler,
		Env:          s.Environment,
		Constraints:  s.Constraints,
		Secrets:      s.Secrets,
		Labels:       s.Labels,
		Annotations:  s.Annotations,
		Limits:       (*function.Resources)(s.Limits),
		Requests:     (*function.Resources)(s.Requests),
		ReadOnlyRoot: s.ReadOnlyRootFilesystem,
	}
}

// objectOf is the inverse of specOf.
func objectOf(s function.Spec) *object {
	return &object{
		TypeMeta:   metav1.TypeMeta{APIVersion: groupVersion.String(), Kind: kindFunction},
		ObjectMeta: metav1.ObjectMeta{Name: s.Name, Namespace: s.Namespace},
		Spec: objectSpec{
			Name:                   s.Name,
			Image:                  s.Image,
			Handler:                s.Process,
			Environment:            s.Env,
			Labels:                 s.Labels,
			Annotations:            s.Annotations,
			Constraints:            s.Constraints,
			Secrets:                s.Secrets,
			Limits:                 (*objectResources)(s.Limits),
			Requests:               (*objectResources)(s.Requests),
			ReadOnlyRootFilesystem: s.ReadOnlyRoot,
		},
	}
}

func newRecordStatus(s objectStatus) recordStatus {
	r := recordStatus{
		replicas:    s.Replicas,
		available:   s.AvailableReplicas,
		unavailable: s.UnavailableReplicas,
		observed:    s.ObservedGeneration,
		image:       s.Image,
	}
	for _, c := range s.Conditions {
		if i := slices.Index(conditionTypes[:], c.Type); i >= 0 {
			r.conditions[i] = condition{
				is:      c.Status == metav1.ConditionTrue,
				since:   c.LastTransitionTime.Unix(),
				reason:  intern(c.Reason),
				message: intern(c.Message),
			}
		}
	}
	return r
}

// resolved returns what was found out about the image that the record now asks for, or nil.
func (r *record) resolved() *resolution {
	image := r.status.image
	if image == nil || image.Reference != r.fn.Image || image.Rollout != r.rollout {
		return nil
	}
	if needsCommand(r.fn) && len(image.Command) == 0 {
		return nil // the same image, asked for in another mode
	}
	return image
}

// needsCommand reports whether the function is run by a command that only its image can tell. OpenFaaS's own name of the
// process, as an environment variable, counts as given: faas-cli generate writes it so. Mode static runs none.
func needsCommand(fn *function.Function) bool {
	return fn.Policy.Watchdog() && fn.Policy.Mode != function.ModeStatic && fn.Process == "" && fn.Env["fprocess"] == ""
}

// intern makes equal strings share their bytes: most records say the same in the same words.
func intern(s string) string { return unique.Make(strings.Clone(s)).Value() }
