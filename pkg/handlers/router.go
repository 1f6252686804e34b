package handlers

import (
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/gorilla/mux"
)

// handler answers a request or returns why it cannot; then it has written nothing.
type handler func(w http.ResponseWriter, r *http.Request) error

// route is one method on one path.
type route struct {
	method, path string
	serve        handler
	// auth asks for the credentials first.
	auth bool
	// prefix makes path a prefix.
	prefix bool
	// forms are the statuses whose body is not a line of text.
	forms forms
}

// rawPrefixes are where a path is data: a function's own path, a heap's key. There // and .. are the caller's, so that
// the router's redirect to a cleaned path would lose something.
var rawPrefixes = []string{"/function/", "/heap/"}

// router answers the routes and /function/.
func (a *API) router(routes []route) http.Handler {
	clean, unclean := mux.NewRouter(), mux.NewRouter().SkipClean(true)
	unclean.PathPrefix("/function/").Handler(a.guardStream(a.Invoke))
	for _, rt := range routes {
		var handler http.Handler = a.guard(rt)
		if rt.auth {
			handler = a.authenticate(handler)
		}
		if rt.prefix {
			unclean.PathPrefix(rt.path).Methods(rt.method).Handler(handler)
		} else {
			clean.Path(rt.path).Methods(rt.method).Handler(handler)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, prefix := range rawPrefixes {
			if strings.HasPrefix(r.URL.Path, prefix) {
				unclean.ServeHTTP(w, r)
				return
			}
		}
		clean.ServeHTTP(w, r)
	})
}

// guard runs a route's handler, answers for the error it returns, and turns a panic into a 500: a defect in one request
// is no reason to drop its connection without a word.
func (a *API) guard(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tracked := &trackedWriter{ResponseWriter: w}
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			a.logPanic(r, cause)
			if cause == http.ErrAbortHandler || tracked.wrote {
				panic(http.ErrAbortHandler)
			}
			a.fail(w, r, errInternal, rt.forms)
		}()
		if err := rt.serve(tracked, r); err != nil {
			a.fail(w, r, err, rt.forms)
		}
	})
}

// guardStream is guard for the data plane, whose writer must stay what the server gave: upgrades and zero-copy depend on
// it. What was answered before a panic is not known then, so the connection is dropped.
func (a *API) guardStream(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if cause := recover(); cause != nil {
				a.logPanic(r, cause)
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// logPanic tells of a panic, except the one by which a handler asks the server to drop the connection.
func (a *API) logPanic(r *http.Request, cause any) {
	if cause != http.ErrAbortHandler {
		a.Log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "err", cause, "stack", string(debug.Stack()))
	}
}

// trackedWriter remembers whether an answer was begun. Optional interfaces are reached by http.ResponseController.
type trackedWriter struct {
	http.ResponseWriter
	wrote bool
}

func (w *trackedWriter) WriteHeader(status int) {
	w.wrote = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *trackedWriter) Write(p []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(p)
}

func (w *trackedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
