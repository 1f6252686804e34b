package handlers_test

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openfaas/faas-provider/types"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
	"github.com/dragonchain/dc-provider/test/leaktest"
)

func TestMain(m *testing.M) {
	if os.Getenv(contractVariable) != "" {
		runContract()
		return
	}
	leaktest.VerifyTestMain(m)
}

const (
	user     = "admin"
	password = "s3cret: ü"
)

var created = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// world keeps functions, secrets and namespaces in memory, and obeys the rules that the API's interfaces state.
type world struct {
	mu         sync.Mutex
	functions  map[function.Ref]*function.Function
	statuses   map[function.Ref]function.Status
	secrets    map[string]map[string]string
	namespaces map[string]function.Namespace
	records    int
	lines      chan function.LogLine
	query      function.LogQuery
	// reading is told the context of a log that is read, if it is not nil.
	reading func(context.Context)
	// broken is what every change and log ends with, if it is not nil.
	broken error
	// unhealthy is what the health check tells.
	unhealthy error
}

func newWorld() *world {
	w := &world{
		functions:  map[function.Ref]*function.Function{},
		statuses:   map[function.Ref]function.Status{},
		secrets:    map[string]map[string]string{"fns": {"old": "1"}, "dev": {}},
		namespaces: map[string]function.Namespace{},
	}
	for _, name := range []string{"fns", "dev"} {
		w.namespaces[name] = function.Namespace{Name: name, Annotations: map[string]string{"openfaas": "1"}}
	}
	return w
}

// put deploys a function before the test begins.
func (w *world) put(t testing.TB, spec function.Spec, status function.Status) *function.Function {
	t.Helper()
	if err := w.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	w.statuses[spec.Ref] = status
	return w.functions[spec.Ref]
}

func (w *world) Lookup(ref function.Ref) (*function.Function, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, ok := w.functions[ref]
	return f, ok
}

func (w *world) List(namespace string) []*function.Function {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []*function.Function
	for ref, f := range w.functions {
		if ref.Namespace == namespace {
			list = append(list, f)
		}
	}
	return list
}

func (w *world) Status(ref function.Ref) function.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.statuses[ref]
}

func (w *world) Create(_ context.Context, spec function.Spec) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	if w.functions[spec.Ref] != nil {
		return function.Existsf("function %q is there already", spec.Ref)
	}
	return w.storeLocked(spec)
}

func (w *world) Update(_ context.Context, spec function.Spec) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	if w.functions[spec.Ref] == nil {
		return function.NotFoundf("function %q is not there", spec.Ref)
	}
	return w.storeLocked(spec)
}

func (w *world) storeLocked(spec function.Spec) error {
	for _, name := range spec.Secrets {
		if _, ok := w.secrets[spec.Namespace][name]; !ok {
			return function.Invalidf("secret %q is not in namespace %q", name, spec.Namespace)
		}
	}
	f, err := function.New(spec)
	if err != nil {
		return err
	}
	w.records++
	f.ID, f.Created = strconv.Itoa(w.records), created
	w.functions[spec.Ref] = f
	return nil
}

func (w *world) Delete(_ context.Context, ref function.Ref) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	if w.functions[ref] == nil {
		return function.NotFoundf("function %q is not there", ref)
	}
	delete(w.functions, ref)
	return nil
}

func (w *world) Scale(_ context.Context, ref function.Ref, replicas int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	changed := *w.functions[ref]
	changed.Replicas = replicas
	w.functions[ref] = &changed
	return nil
}

func (w *world) ListSecrets(_ context.Context, namespace string) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.secrets[namespace])), w.broken
}

func (w *world) CreateSecret(_ context.Context, namespace, name string, value []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	if _, taken := w.secrets[namespace][name]; taken {
		return function.Existsf("secret %q is there already", name)
	}
	w.secrets[namespace][name] = string(value)
	return nil
}

func (w *world) UpdateSecret(_ context.Context, namespace, name string, value []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, there := w.secrets[namespace][name]; !there {
		return function.NotFoundf("secret %q is not there", name)
	}
	w.secrets[namespace][name] = string(value)
	return nil
}

func (w *world) DeleteSecret(_ context.Context, namespace, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, there := w.secrets[namespace][name]; !there {
		return function.NotFoundf("secret %q is not there", name)
	}
	delete(w.secrets[namespace], name)
	return nil
}

func (w *world) Namespaces() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.namespaces))
}

func (w *world) Managed(namespace string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.namespaces[namespace]
	return ok
}

func (w *world) Namespace(_ context.Context, name string) (function.Namespace, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ns, ok := w.namespaces[name]; ok {
		return ns, nil
	}
	return function.Namespace{}, function.NotFoundf("namespace %q is not there", name)
}

func (w *world) CreateNamespace(_ context.Context, namespace function.Namespace) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, taken := w.namespaces[namespace.Name]; taken || namespace.Name == "taken" {
		return function.Existsf("namespace %q is there already", namespace.Name)
	}
	w.namespaces[namespace.Name] = namespace
	return nil
}

func (w *world) UpdateNamespace(_ context.Context, namespace function.Namespace) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, there := w.namespaces[namespace.Name]; !there {
		return function.NotFoundf("namespace %q is not there", namespace.Name)
	}
	w.namespaces[namespace.Name] = namespace
	return nil
}

func (w *world) DeleteNamespace(_ context.Context, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, there := w.namespaces[name]; !there {
		return function.NotFoundf("namespace %q is not there", name)
	}
	delete(w.namespaces, name)
	return nil
}

// Logs gives what the test puts in lines; without lines the log is empty.
func (w *world) Logs(ctx context.Context, query function.LogQuery) (<-chan function.LogLine, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return nil, w.broken
	}
	w.query = query
	if w.reading != nil {
		w.reading(ctx)
	}
	if w.lines != nil {
		return w.lines, nil
	}
	none := make(chan function.LogLine)
	close(none)
	return none, nil
}

// invoked answers with the path that the data plane was given.
func invoked(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/function/panics" {
		panic("a defect")
	}
	_, _ = w.Write([]byte("invoked " + r.URL.EscapedPath()))
}

// openStore opens a real store.
func openStore(t testing.TB) *bolt.Store {
	t.Helper()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "heap.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func (w *world) config(t testing.TB) handlers.Config {
	return handlers.Config{
		Functions: w, Secrets: w, Namespaces: w, Logs: w,
		Heaps:            openStore(t),
		Invoke:           http.HandlerFunc(invoked),
		Credentials:      func() (string, string) { return user, password },
		Healthy:          func(context.Context) error { return w.unhealthy },
		DefaultNamespace: "fns",
		Version:          types.VersionInfo{SHA: "abc", Release: "1.2.3"},
		Log:              slog.New(slog.DiscardHandler),
	}
}

func newAPI(t testing.TB, cfg handlers.Config) *handlers.API {
	t.Helper()
	api, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// listeners are both of them, by name.
func listeners(api *handlers.API) map[string]http.Handler {
	return map[string]http.Handler{"gateway": api.Gateway(), "provider": api.Provider()}
}

// call makes one request with credentials.
func call(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.SetBasicAuth(user, password)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// wantLine wants the form of the API's errors: one line of plain text.
func wantLine(t testing.TB, w *httptest.ResponseRecorder, status int, tells string) {
	t.Helper()
	body := w.Body.String()
	if w.Code != status || strings.Count(body, "\n") != 1 || !strings.HasSuffix(body, "\n") || len(body) > 1100 {
		t.Errorf("status %d, body %q; want %d and one line", w.Code, body, status)
	}
	if !strings.Contains(body, tells) {
		t.Errorf("body %q does not tell %q", body, tells)
	}
	h := w.Header()
	if h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", h)
	}
}

// wantEmpty wants a status and nothing else.
func wantEmpty(t testing.TB, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	if w.Code != status || w.Body.Len() != 0 {
		t.Errorf("status %d, body %q; want %d and no body", w.Code, w.Body, status)
	}
}

// wantJSON wants exactly this body.
func wantJSON(t testing.TB, w *httptest.ResponseRecorder, body string) {
	t.Helper()
	if w.Code != http.StatusOK || w.Body.String() != body || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d, %s, body\n%s\nwant\n%s", w.Code, w.Header().Get("Content-Type"), w.Body, body)
	}
}
