package kube

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// The custom resource of records; chart/crds/function.yaml defines it.
const (
	kindFunction      = "Function"
	resourceFunctions = "functions"
)

var groupVersion = schema.GroupVersion{Group: "openfaas.com", Version: "v1"}

// object is a Function as the API server keeps it.
type object struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec   objectSpec   `json:"spec"`
	Status objectStatus `json:"status,omitzero"`
}

// objectSpec has the published shape, and replicas. Labels and annotations that are absent and those that are {} are told
// apart by omitzero, since clients compare what they sent with what they read.
type objectSpec struct {
	Name                   string            `json:"name"`
	Image                  string            `json:"image"`
	Handler                string            `json:"handler,omitempty"`
	Environment            map[string]string `json:"environment,omitempty"`
	Labels                 map[string]string `json:"labels,omitzero"`
	Annotations            map[string]string `json:"annotations,omitzero"`
	Constraints            []string          `json:"constraints,omitempty"`
	Secrets                []string          `json:"secrets,omitempty"`
	Limits                 *objectResources  `json:"limits,omitempty"`
	Requests               *objectResources  `json:"requests,omitempty"`
	ReadOnlyRootFilesystem bool              `json:"readOnlyRootFilesystem,omitempty"`
	// Replicas is how many are wanted: absent means as many as a function has when it is deployed, 0 is at zero.
	Replicas *int32 `json:"replicas,omitempty"`
}

type objectResources struct {
	Memory    string `json:"memory,omitempty"`
	CPU       string `json:"cpu,omitempty"`
	NvidiaGPU string `json:"nvidia.com/gpu,omitempty"`
	AMDGPU    string `json:"amd.com/gpu,omitempty"`
	IntelGPU  string `json:"intel.com/gpu,omitempty"`
}

// objectStatus is written by the reconciler alone, always as a whole.
type objectStatus struct {
	Conditions          []metav1.Condition `json:"conditions"`
	Replicas            int32              `json:"replicas"`
	AvailableReplicas   int32              `json:"availableReplicas"`
	UnavailableReplicas int32              `json:"unavailableReplicas"`
	ObservedGeneration  int64              `json:"observedGeneration"`
	Image               *resolution        `json:"image,omitempty"`
}

type objectList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []object `json:"items"`
}

// DeepCopyObject makes object a runtime.Object.
func (o *object) DeepCopyObject() runtime.Object {
	c := o.deepCopy()
	return &c
}

// DeepCopyObject makes objectList a runtime.Object.
func (l *objectList) DeepCopyObject() runtime.Object {
	c := &objectList{TypeMeta: l.TypeMeta, Items: make([]object, len(l.Items))}
	l.ListMeta.DeepCopyInto(&c.ListMeta)
	for i := range l.Items {
		c.Items[i] = l.Items[i].deepCopy()
	}
	return c
}

func (o *object) deepCopy() object {
	c := *o
	o.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	c.Spec.Environment = maps.Clone(o.Spec.Environment)
	c.Spec.Labels = maps.Clone(o.Spec.Labels)
	c.Spec.Annotations = maps.Clone(o.Spec.Annotations)
	c.Spec.Constraints = slices.Clone(o.Spec.Constraints)
	c.Spec.Secrets = slices.Clone(o.Spec.Secrets)
	c.Spec.Limits = clone(o.Spec.Limits)
	c.Spec.Requests = clone(o.Spec.Requests)
	c.Spec.Replicas = clone(o.Spec.Replicas)
	c.Status.Conditions = slices.Clone(o.Status.Conditions) // a Condition holds no pointers to what can change
	if c.Status.Image = clone(o.Status.Image); c.Status.Image != nil {
		c.Status.Image.Command = slices.Clone(o.Status.Image.Command)
	}
	return c
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// newFunctionClient makes a client of the custom resource alone: its types are in a scheme of their own, so that nothing
// else in the process can see or change how they are read.
func newFunctionClient(cfg *rest.Config) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypeWithName(groupVersion.WithKind(kindFunction), &object{})
	scheme.AddKnownTypeWithName(groupVersion.WithKind(kindFunction+"List"), &objectList{})
	metav1.AddToGroupVersion(scheme, groupVersion)

	c := rest.CopyConfig(cfg)
	c.GroupVersion = &groupVersion
	c.APIPath = "/apis"
	c.ContentType = runtime.ContentTypeJSON // custom resources have no other
	c.AcceptContentTypes = runtime.ContentTypeJSON
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return rest.RESTClientFor(c)
}
