package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Labels and annotations on what the provider makes.
const (
	// labelFunction is OpenFaaS's own; users select by it.
	labelFunction = "faas_function"
	// labelRollout is OpenFaaS's own too: another value after every update.
	labelRollout = "uid"
	// labelRecord holds the identity of the record, which a function deployed again under the same name does not share.
	labelRecord = function.ReservedPrefix + "record"
	// annotationInputs is a hash of what was asked for. Only when it differs is a Deployment written anew: a newer
	// provider that would render the same function differently restarts nothing by being installed.
	annotationInputs = function.ReservedPrefix + "inputs"
	annotationScrape = "prometheus.io.scrape"
)

// deployment is what is kept of a Deployment.
type deployment struct {
	uid, record types.UID
	inputs      string
	// replicas is how many are wanted; total, updated and available are how many there are of any version, of the
	// newest, and ready.
	replicas, total, updated, available int32
	generation, observed                int64
	// failure says why no pod can be made, such as a quota; stuck that a roll-out takes longer than it may.
	failure, stuck string
	// failing is when a failure was first seen.
	failing time.Time
}

func newDeployment(obj any, before *deployment) *deployment {
	o := obj.(*appsv1.Deployment)
	d := &deployment{
		uid:        o.UID,
		record:     types.UID(o.Labels[labelRecord]),
		inputs:     o.Annotations[annotationInputs],
		replicas:   1, // what Kubernetes takes an absent number for
		total:      o.Status.Replicas,
		updated:    o.Status.UpdatedReplicas,
		available:  o.Status.AvailableReplicas,
		generation: o.Generation,
		observed:   o.Status.ObservedGeneration,
	}
	if o.Spec.Replicas != nil {
		d.replicas = *o.Spec.Replicas
	}
	for _, c := range o.Status.Conditions {
		switch {
		case c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue:
			d.failure, d.failing = sentence(c.Reason, c.Message), time.Now()
			if before != nil && before.failure != "" {
				d.failing = before.failing
			}
		case c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse:
			d.stuck = sentence(c.Reason, c.Message)
		}
	}
	return d
}

// rolledOut reports whether all replicas run what was last asked for.
func (d *deployment) rolledOut() bool {
	return d.observed >= d.generation && d.updated >= d.replicas && d.total <= d.updated && d.available >= d.replicas
}

// plan is all that a function's Deployment and Service are rendered from.
type plan struct {
	fn      *function.Function
	rollout string
	inputs  string
	image   *resolution
	// mounted and pull are the function's secrets: files for it, and credentials for its image.
	mounted, pull []string

	watchdog WatchdogMethod
	// sleepAction tells that the cluster knows pre-stop hooks that sleep, and callTimeout how long a call may take, or 0.
	sleepAction   bool
	callTimeout   time.Duration
	watchdogImage string
	readyURL      string
	readyKey      []byte
}

// inputsOf hashes what a record asks for, its number of replicas excepted.
func inputsOf(fn *function.Function, rollout string, image *resolution) string {
	text, err := json.Marshal(struct {
		Spec    objectSpec
		Rollout string
		Digest  string
		Command []string
		User    *int64
	}{objectOf(fn.Spec).Spec, rollout, image.Digest, image.Command, image.User})
	if err != nil {
		panic(fmt.Sprintf("a function's specification is always JSON: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// deployment renders the Deployment.
func (p *plan) deployment() *appsv1.Deployment {
	replicas := int32(p.fn.Replicas)
	none, one := intstr.FromInt32(0), intstr.FromInt32(1)
	var history int32
	deadline := int32((5 * time.Minute).Seconds())
	meta := p.meta()
	meta.Annotations[annotationInputs] = p.inputs
	return &appsv1.Deployment{
		ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{labelFunction: p.fn.Name}},
			// The old version serves until the new one is ready, and for ever if it never is.
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none, MaxSurge: &one},
			},
			// The record is the history: going back is deploying the former specification.
			RevisionHistoryLimit:    &history,
			ProgressDeadlineSeconds: &deadline,
			Template:                p.podTemplate(),
		},
	}
}

// service renders the Service.
func (p *plan) service() *corev1.Service {
	meta := p.meta()
	return &corev1.Service{
		ObjectMeta: meta,
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeClusterIP,
			Selector: map[string]string{labelFunction: p.fn.Name},
			Ports: []corev1.ServicePort{{
				Name: "http", Protocol: corev1.ProtocolTCP, Port: port, TargetPort: intstr.FromInt32(port),
			}},
		},
	}
}

func (p *plan) meta() metav1.ObjectMeta {
	controller := true
	return metav1.ObjectMeta{
		Name:        p.fn.Name,
		Namespace:   p.fn.Namespace,
		Labels:      map[string]string{labelFunction: p.fn.Name, labelRecord: p.fn.ID},
		Annotations: p.annotations(),
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: groupVersion.String(), Kind: kindFunction, Name: p.fn.Name, UID: types.UID(p.fn.ID),
			Controller: &controller,
		}},
	}
}

func (p *plan) annotations() map[string]string {
	a := map[string]string{annotationScrape: "false"}
	maps.Copy(a, p.fn.Annotations)
	return a
}

func (p *plan) labels() map[string]string {
	l := make(map[string]string, len(p.fn.Labels)+3)
	maps.Copy(l, p.fn.Labels)
	l[labelFunction] = p.fn.Name
	l[labelRecord] = p.fn.ID
	if p.rollout != "" {
		l[labelRollout] = p.rollout
	}
	return l
}
