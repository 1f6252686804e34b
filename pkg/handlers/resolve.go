package handlers

import (
	"net/http"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// openfaasNamespace is where OpenFaaS keeps functions; faas-cli invoke and the SDKs name it when the user names none.
const openfaasNamespace = "openfaas-fn"

// namespace finds out which namespace a request is about: the one that the body names, else the query's, else the
// default one. Clients differ in where they put it; taking only one of the two for a delete would delete another
// namespace's function.
func (a *API) namespace(r *http.Request, inBody string) (string, error) {
	query, err := parseQuery(r)
	if err != nil {
		return "", err
	}
	body, inQuery := a.alias(inBody), a.alias(query.last("namespace"))
	switch {
	case body == "":
		return a.managed(inQuery)
	case inQuery != "" && inQuery != body:
		return "", function.Invalidf("the body names namespace %.80q and the query %.80q: name one", body, inQuery)
	default:
		return a.managed(body)
	}
}

// alias lets openfaas-fn mean the default namespace, unless there is one of that name.
func (a *API) alias(name string) string {
	if name == openfaasNamespace && !a.cfg.Namespaces.Managed(name) {
		return a.cfg.DefaultNamespace
	}
	return name
}

// managed refuses namespaces that are not for functions.
func (a *API) managed(name string) (string, error) {
	if name == "" || name == a.cfg.DefaultNamespace {
		return a.cfg.DefaultNamespace, nil
	}
	if err := function.CheckNamespace(name); err != nil {
		return "", err
	}
	if !a.cfg.Namespaces.Managed(name) {
		return "", function.Invalidf(`namespace %q is not one for functions: create it here, or annotate it with openfaas: "1"`, name)
	}
	return name, nil
}
