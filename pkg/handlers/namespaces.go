package handlers

import (
	"maps"
	"net/http"
	"slices"

	"github.com/gorilla/mux"
	"github.com/openfaas/faas-provider/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func (a *API) listNamespaces(w http.ResponseWriter, _ *http.Request) error {
	names := slices.Sorted(slices.Values(append([]string{a.cfg.DefaultNamespace}, a.cfg.Namespaces.Namespaces()...)))
	return answerJSON(w, slices.Compact(names))
}

func (a *API) getNamespace(w http.ResponseWriter, r *http.Request) error {
	name := mux.Vars(r)["name"]
	if function.CheckNamespace(name) != nil {
		return function.NotFoundf("namespace %.80q is not one for functions", name)
	}
	namespace, err := a.cfg.Namespaces.Namespace(r.Context(), name)
	if err != nil {
		return err
	}
	return answerJSON(w, types.FunctionNamespace{Name: namespace.Name, Labels: namespace.Labels, Annotations: namespace.Annotations})
}

func (a *API) createNamespace(w http.ResponseWriter, r *http.Request) error {
	namespace, err := namespaceOf(w, r)
	if err != nil {
		return err
	}
	return answered(w, http.StatusCreated, a.cfg.Namespaces.CreateNamespace(r.Context(), namespace))
}

func (a *API) updateNamespace(w http.ResponseWriter, r *http.Request) error {
	namespace, err := namespaceOf(w, r)
	if err != nil {
		return err
	}
	return answered(w, http.StatusAccepted, a.cfg.Namespaces.UpdateNamespace(r.Context(), namespace))
}

func (a *API) deleteNamespace(w http.ResponseWriter, r *http.Request) error {
	namespace, err := namespaceOf(w, r)
	if err != nil {
		return err
	}
	if namespace.Name == a.cfg.DefaultNamespace {
		return function.Invalidf("namespace %q is the default one and stays", namespace.Name)
	}
	return answered(w, http.StatusAccepted, a.cfg.Namespaces.DeleteNamespace(r.Context(), namespace.Name))
}

// namespaceOf reads a namespace from a request, named by its path or its body, or by both alike, and marks it as
// OpenFaaS's in both of the ways that its components look for.
func namespaceOf(w http.ResponseWriter, r *http.Request) (function.Namespace, error) {
	body, err := decode[types.FunctionNamespace](w, r)
	if err != nil {
		return function.Namespace{}, err
	}
	name := body.Name
	if inPath := mux.Vars(r)["name"]; name == "" {
		name = inPath
	} else if inPath != "" && inPath != name {
		return function.Namespace{}, function.Invalidf("the path names namespace %.80q and the body %.80q: name one", inPath, name)
	}
	if err := function.CheckNamespace(name); err != nil {
		return function.Namespace{}, err
	}
	namespace := function.Namespace{Name: name, Labels: marked(body.Labels), Annotations: marked(body.Annotations)}
	return namespace, function.CheckMetadata(namespace.Labels, namespace.Annotations)
}

func marked(m map[string]string) map[string]string {
	marked := map[string]string{}
	maps.Copy(marked, m)
	marked["openfaas"] = "1"
	return marked
}
