package handlers

import (
	"net/http"

	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

// Gateway answers clients as the OpenFaaS gateway does.
func (a *API) Gateway() http.Handler {
	routes := append(a.management(), a.heapRoutes()...)
	routes = append(routes, a.asyncRoutes()...)
	routes = append(routes, a.chainRoutes()...)
	routes = append(routes,
		route{method: "GET", path: "/system/info", serve: a.gatewayInfo},
		route{method: "GET", path: "/healthz", serve: a.health, open: true},
	)
	return a.router(routes, named(a.cfg.Invoke))
}

// named answers a call that names no function as the stock gateway's router does, where a provider says 400.
func named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/function/" {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Provider answers a stock OpenFaaS gateway as an OpenFaaS provider does, and the watchdogs.
func (a *API) Provider() http.Handler {
	routes := append(a.management(),
		route{method: "GET", path: "/system/info", serve: a.providerInfo},
		route{method: "GET", path: "/healthz", serve: a.health, open: true},
		route{method: "HEAD", path: "/healthz", serve: a.health, open: true},
	)
	if a.cfg.Peers != nil {
		serve := func(w http.ResponseWriter, r *http.Request) error {
			a.cfg.Peers.ServeHTTP(w, r)
			return nil
		}
		routes = append(routes, route{method: "GET", path: a.cfg.PeersPath, serve: serve, open: true})
	}
	if a.cfg.Ready != nil {
		routes = append(routes, a.fromPods("/dc/ready", readypush.MaxMessageBytes, a.cfg.Ready.serve))
	}
	if a.cfg.Spare != nil {
		routes = append(routes, a.fromPods(assignment.CallPath, assignment.MaxCallBytes, a.spareCalls))
	}
	if a.cfg.ContractHeap != nil {
		routes = append(routes, a.cfg.ContractHeap.routes()...)
	}
	return a.router(routes, a.cfg.Invoke)
}

// management are the routes that both listeners have.
func (a *API) management() []route {
	const (
		functions = "/system/functions"
		status    = "/system/function/{name:[-a-zA-Z_0-9.]+}"
		scale     = "/system/scale-function/{name:[-a-zA-Z_0-9.]+}"
		secrets   = "/system/secrets"
		// Clients create namespaces at this path without a name.
		namespace = "/system/namespace/{name:[-a-zA-Z_0-9.]*}"
	)
	absent := forms{http.StatusNotFound: empty}
	deleted := forms{http.StatusNotFound: raw, http.StatusInternalServerError: raw}
	secret := forms{http.StatusNotFound: empty, http.StatusConflict: empty, http.StatusInternalServerError: empty}
	return []route{
		{method: "GET", path: functions, serve: a.listFunctions},
		{method: "POST", path: functions, serve: a.deployFunction},
		{method: "PUT", path: functions, serve: a.updateFunction},
		{method: "DELETE", path: functions, serve: a.deleteFunction, forms: deleted},
		{method: "GET", path: status, serve: a.functionStatus, forms: absent},
		{method: "POST", path: scale, serve: a.scaleFunction},
		{method: "GET", path: secrets, serve: a.listSecrets, forms: secret},
		{method: "POST", path: secrets, serve: a.createSecret, forms: secret},
		{method: "PUT", path: secrets, serve: a.updateSecret, forms: secret},
		{method: "DELETE", path: secrets, serve: a.deleteSecret, forms: secret},
		{method: "GET", path: "/system/logs", serve: a.logs},
		{method: "GET", path: "/system/namespaces", serve: a.listNamespaces},
		{method: "GET", path: namespace, serve: a.getNamespace},
		{method: "POST", path: namespace, serve: a.createNamespace},
		{method: "PUT", path: namespace, serve: a.updateNamespace},
		{method: "DELETE", path: namespace, serve: a.deleteNamespace},
	}
}
