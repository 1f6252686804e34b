package handlers

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/mux"
	"github.com/openfaas/faas-provider/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func (a *API) listFunctions(w http.ResponseWriter, r *http.Request) error {
	namespace, err := a.namespace(r, "")
	if err != nil {
		return err
	}
	// Not nil: clients need [] where there is none.
	statuses := []types.FunctionStatus{}
	for _, f := range a.cfg.Functions.List(namespace) {
		statuses = append(statuses, a.statusOf(f, a.cfg.Functions.Status(f.Ref)))
	}
	slices.SortFunc(statuses, func(x, y types.FunctionStatus) int { return cmp.Compare(x.Name, y.Name) })
	return answerJSON(w, statuses)
}

// statusOf is the status of a function with the number of its calls, which a stock gateway in front replaces by its own.
func (a *API) statusOf(f *function.Function, observed function.Status) types.FunctionStatus {
	status := statusOf(f, observed)
	status.InvocationCount = float64(a.cfg.Invocations(f.Ref))
	return status
}

func (a *API) deployFunction(w http.ResponseWriter, r *http.Request) error {
	return a.writeFunction(w, r, a.cfg.Functions.Create)
}

func (a *API) updateFunction(w http.ResponseWriter, r *http.Request) error {
	return a.writeFunction(w, r, a.cfg.Functions.Update)
}

func (a *API) writeFunction(w http.ResponseWriter, r *http.Request, write func(context.Context, function.Spec) error) error {
	spec, err := a.deployment(w, r)
	if err != nil {
		return err
	}
	if err := a.cfg.CheckSpec(spec); err != nil {
		return err
	}
	return answered(w, http.StatusAccepted, write(r.Context(), spec))
}

func (a *API) deleteFunction(w http.ResponseWriter, r *http.Request) error {
	body, err := decode[types.DeleteFunctionRequest](w, r)
	if err != nil {
		return err
	}
	namespace, err := a.namespace(r, body.Namespace)
	if err != nil {
		return err
	}
	if err := function.CheckName(body.FunctionName); err != nil {
		return err
	}
	ref := function.Ref{Name: body.FunctionName, Namespace: namespace}
	return answered(w, http.StatusAccepted, a.cfg.Functions.Delete(r.Context(), ref))
}

// statusAnnotation carries, in the answer for one function, why it has fewer replicas than it wants: the one place where
// faas-cli describe shows free text. Lists are without it, so that faas-cli diff compares what was sent.
const statusAnnotation = "com.dragonchain.status"

// scaledAnnotation carries beside it why the function has as many replicas as it has.
const scaledAnnotation = "com.dragonchain.scaled"

// nextTickAnnotation tells, in the answer for one function, when it is called by the clock next.
const nextTickAnnotation = "com.dragonchain.next-tick"

func (a *API) functionStatus(w http.ResponseWriter, r *http.Request) error {
	f, err := a.lookup(r, "")
	if err != nil {
		return err
	}
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	observed := a.cfg.Functions.Status(f.Ref)
	status := a.statusOf(f, observed)
	if wish := query.last("usage"); wish == "1" || wish == "true" {
		status.Usage = a.usage(r.Context(), f)
	}
	next := ""
	if at, ticks := a.cfg.NextTick(f); ticks {
		next = at.UTC().Format(time.RFC3339)
	}
	if observed.Reason != "" || f.Scaled != "" || next != "" {
		annotations := map[string]string{}
		maps.Copy(annotations, f.Annotations)
		for key, text := range map[string]string{statusAnnotation: observed.Reason, scaledAnnotation: f.Scaled, nextTickAnnotation: next} {
			if text != "" {
				annotations[key] = text
			}
		}
		status.Annotations = &annotations
	}
	return answerJSON(w, status)
}

// usage asks f's replicas: nothing else that reads waits for anybody, and a stock gateway, which reads the status for nearly
// every invocation, says usage=false.
func (a *API) usage(ctx context.Context, f *function.Function) *types.FunctionUsage {
	if a.cfg.Usage == nil {
		return nil
	}
	observed, known := a.cfg.Usage.Usage(ctx, f)
	if !known {
		return nil
	}
	var usage types.FunctionUsage
	if observed.MilliCPU != nil {
		usage.CPU = *observed.MilliCPU
	}
	if observed.MemoryBytes != nil {
		usage.TotalMemoryBytes = float64(*observed.MemoryBytes)
	}
	return &usage
}

// scaleRequest is a types.ScaleServiceRequest that tells no number from zero.
type scaleRequest struct {
	types.ScaleServiceRequest
	Replicas *uint64 `json:"replicas"`
}

func (a *API) scaleFunction(w http.ResponseWriter, r *http.Request) error {
	body, err := decode[scaleRequest](w, r)
	if err != nil {
		return err
	}
	if body.Replicas == nil {
		return function.Invalidf("field \"replicas\" is missing: say how many, 0 for none")
	}
	f, err := a.lookup(r, body.Namespace)
	if err != nil {
		return err
	}
	// More than the policy allows is brought down to it, so any number that an int cannot hold is as good as the largest.
	replicas := f.Policy.Scale.Clamp(int(min(*body.Replicas, 1<<30)))
	return answered(w, http.StatusAccepted, a.cfg.Functions.Scale(r.Context(), f.Ref, replicas))
}

// lookup finds the function that the path names. The name is taken literally: a dot in it parts no namespace.
func (a *API) lookup(r *http.Request, namespaceInBody string) (*function.Function, error) {
	namespace, err := a.namespace(r, namespaceInBody)
	if err != nil {
		return nil, err
	}
	return a.find(function.Ref{Name: mux.Vars(r)["name"], Namespace: namespace})
}

func (a *API) find(ref function.Ref) (*function.Function, error) {
	f, found := a.cfg.Functions.Lookup(ref)
	if !found {
		return nil, function.NotFoundf("function %.80q is not in namespace %q", ref.Name, ref.Namespace)
	}
	return f, nil
}
