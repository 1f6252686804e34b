package kube

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// service is what is kept of a Service.
type service struct {
	uid, record types.UID
	annotations map[string]string
}

func newService(obj any, before *service) *service {
	o := obj.(*corev1.Service)
	s := &service{uid: o.UID, record: types.UID(o.Labels[labelRecord]), annotations: o.Annotations}
	if before != nil && maps.Equal(before.annotations, s.annotations) {
		s.annotations = before.annotations
	}
	return s
}
