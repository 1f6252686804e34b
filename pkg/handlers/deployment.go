package handlers

import (
	"net/http"

	"github.com/openfaas/faas-provider/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// deployment reads a Spec from a request. It is not checked: whoever keeps it does that.
func (a *API) deployment(w http.ResponseWriter, r *http.Request) (function.Spec, error) {
	body, err := decode[types.FunctionDeployment](w, r)
	if err != nil {
		return function.Spec{}, err
	}
	namespace, err := a.namespace(r, body.Namespace)
	if err != nil {
		return function.Spec{}, err
	}
	return specOf(body, namespace), nil
}

func specOf(d types.FunctionDeployment, namespace string) function.Spec {
	return function.Spec{
		Ref:          function.Ref{Name: d.Service, Namespace: namespace},
		Image:        d.Image,
		Process:      d.EnvProcess,
		Env:          d.EnvVars,
		Constraints:  d.Constraints,
		Secrets:      d.Secrets,
		Labels:       mapOf(d.Labels),
		Annotations:  withoutStatus(mapOf(d.Annotations)),
		Limits:       resourcesOf(d.Limits),
		Requests:     resourcesOf(d.Requests),
		ReadOnlyRoot: d.ReadOnlyRootFilesystem,
	}
}

// statusOf gives back what was sent, and what was observed. It shares f's maps, which nobody writes to.
func statusOf(f *function.Function, observed function.Status) types.FunctionStatus {
	return types.FunctionStatus{
		Name:                   f.Name,
		Namespace:              f.Namespace,
		Image:                  f.Image,
		EnvProcess:             f.Process,
		EnvVars:                f.Env,
		Constraints:            f.Constraints,
		Secrets:                f.Secrets,
		Labels:                 pointerTo(f.Labels),
		Annotations:            pointerTo(f.Annotations),
		Limits:                 wireResources(f.Limits),
		Requests:               wireResources(f.Requests),
		ReadOnlyRootFilesystem: f.ReadOnlyRoot,
		Replicas:               uint64(max(f.Replicas, 0)),
		AvailableReplicas:      uint64(max(observed.Available, 0)),
		CreatedAt:              f.Created.UTC(),
	}
}

// withoutStatus takes away what an earlier answer of ours added: a client may send back what it read.
func withoutStatus(annotations map[string]string) map[string]string {
	delete(annotations, statusAnnotation)
	return annotations
}

func mapOf(m *map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	return *m
}

func pointerTo(m map[string]string) *map[string]string {
	if m == nil {
		return nil
	}
	return &m
}

func resourcesOf(r *types.FunctionResources) *function.Resources {
	if r == nil {
		return nil
	}
	return &function.Resources{
		Memory: r.Memory, CPU: r.CPU,
		NvidiaGPU: r.NvidiaGPU, AMDGPU: r.AmdGPU, IntelGPU: r.IntelGPU,
	}
}

func wireResources(r *function.Resources) *types.FunctionResources {
	if r == nil {
		return nil
	}
	return &types.FunctionResources{
		Memory: r.Memory, CPU: r.CPU,
		NvidiaGPU: r.NvidiaGPU, AmdGPU: r.AMDGPU, IntelGPU: r.IntelGPU,
	}
}
