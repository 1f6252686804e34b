package handlers

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

// handler answers a request or returns why it cannot; then it has written nothing.
type handler func(w http.ResponseWriter, r *http.Request) error

// route is one method on one path, or all methods if it names none.
type route struct {
	method, path string
	serve        handler
	// open asks for no credentials.
	open bool
	// signed asks for a signature of Dragonchain's, or for credentials.
	signed bool
	// prefix makes path a prefix.
	prefix bool
	// forms are the statuses whose body is not a line of text.
	forms forms
}

// rawPrefixes are where a path is data: a function's own path, a heap's key. There // and .. are the caller's, so that
// the router's redirect to a cleaned path would lose something.
var rawPrefixes = append([]string{callPrefix, chainPrefix}, straightPrefixes...)

// straightPrefixes are those of them below which there is nothing to choose but the method. The router would take a good part of
// the time in which a key of a heap is read: see heap/get in bench.
var straightPrefixes = []string{asyncPrefix, heapPrefix, readypush.HeapPath}

const callPrefix = "/function/"

// router answers the routes, and /function/ by invoke.
func (a *API) router(routes []route, invoke http.Handler) http.Handler {
	clean, unclean := mux.NewRouter(), mux.NewRouter().SkipClean(true)
	straight := map[string]byMethod{}
	calls := a.guardStream(invoke)
	for _, rt := range routes {
		var handler http.Handler = a.guard(rt)
		if rt.signed {
			handler = a.metrics.measured(rt, a.signed(rt, handler))
		} else if !rt.open {
			handler = a.metrics.measured(rt, a.authenticate(handler))
		}
		if slices.Contains(straightPrefixes, rt.path) {
			if straight[rt.path] == nil {
				straight[rt.path] = byMethod{}
			}
			straight[rt.path][rt.method] = handler
			continue
		}
		router := clean
		if isRaw(rt.path) {
			router = unclean
		}
		to := router.NewRoute()
		// The path before the method: a method that does not fit is told only of a path that does.
		if rt.prefix {
			to.PathPrefix(rt.path).Handler(handler)
		} else {
			to.Path(rt.path).Handler(handler)
		}
		if rt.method != "" {
			to.Methods(rt.method)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, callPrefix) {
			calls.ServeHTTP(w, r)
			return
		}
		for _, prefix := range straightPrefixes {
			if strings.HasPrefix(r.URL.Path, prefix) {
				straight[prefix].ServeHTTP(w, r)
				return
			}
		}
		if isRaw(r.URL.Path) {
			unclean.ServeHTTP(w, r)
			return
		}
		clean.ServeHTTP(w, r)
	})
}

// byMethod are the handlers of one prefix; nil is that of a prefix which this listener does not have.
type byMethod map[string]http.Handler

func (m byMethod) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch handler := m[r.Method]; {
	case handler != nil:
		handler.ServeHTTP(w, r)
	case m == nil:
		http.NotFound(w, r)
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func isRaw(path string) bool {
	return slices.ContainsFunc(rawPrefixes, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

// guard runs a route's handler, answers for the error it returns, and turns a panic into a 500: a defect in one request
// is no reason to drop its connection without a word.
func (a *API) guard(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tracked, measured := w.(*trackedWriter)
		if !measured {
			tracked = &trackedWriter{ResponseWriter: w}
		}
		defer func() {
			switch cause := recover(); {
			case cause == nil:
			case cause == http.ErrAbortHandler || tracked.status != 0:
				a.abort(r, cause)
			default:
				a.fail(w, r, fmt.Errorf("panic: %v: %s", cause, debug.Stack()), rt.forms)
			}
		}()
		if err := rt.serve(tracked, r); err != nil {
			a.fail(w, r, err, rt.forms)
		}
	})
}

// guardStream is guard for the data plane, whose writer must stay what the server gave: upgrades and zero-copy depend on
// it. What was answered before a panic is not known then.
func (a *API) guardStream(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if cause := recover(); cause != nil {
				a.abort(r, cause)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// abort drops the connection, so that half an answer is not taken for a whole one, and logs why, unless a handler asked
// for it.
func (a *API) abort(r *http.Request, cause any) {
	if cause != http.ErrAbortHandler {
		a.cfg.Log.Error("answer aborted", "method", r.Method, "path", r.URL.Path, "err", fmt.Sprintf("panic: %v: %s", cause, debug.Stack()))
	}
	panic(http.ErrAbortHandler)
}

// trackedWriter remembers the status of an answer, which is 0 until it is begun. Optional interfaces are reached by
// http.ResponseController.
type trackedWriter struct {
	http.ResponseWriter
	status int
}

func (w *trackedWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *trackedWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

func (w *trackedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
