package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/rest"
)

// apiServer is a small API server over HTTP: objects with versions, generations, finalizers, patches and watches, of any
// kind, and no controllers. Tests play the controllers' and the kubelet's part, and make it fail on demand.
type apiServer struct {
	*httptest.Server

	mu sync.Mutex
	// refuse, if set, is asked before every request; an answer other than 0 is the status to fail with.
	refuse func(r *http.Request) int
	// review tells whose a token is.
	review func(review map[string]any) map[string]any
	// logs writes the log of a pod.
	logs func(ctx context.Context, w io.Writer, pod string, query url.Values)

	version  int
	objects  map[string]map[string]any // by collection path, then by namespace/name
	history  []event
	news     chan struct{} // closed and made anew at each event
	requests []string
}

type event struct {
	collection string
	kind       string
	object     map[string]any
	before     map[string]any
	version    int
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{objects: make(map[string]map[string]any), news: make(chan struct{}), version: 100}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *apiServer) config() *rest.Config {
	return &rest.Config{Host: s.URL, ContentConfig: rest.ContentConfig{
		ContentType: "application/json", AcceptContentTypes: "application/json", // clients prefer protobuf
	}}
}

// apiPath is a request's path taken apart: /api/v1/namespaces/NS/pods/NAME/log is collection /api/v1/pods.
type apiPath struct{ collection, namespace, name, sub string }

func parsePath(p string) apiPath {
	parts := strings.Split(strings.Trim(p, "/"), "/")
	prefix := 2 // api/v1
	if parts[0] == "apis" {
		prefix = 3
	}
	group, rest := "/"+strings.Join(parts[:prefix], "/"), parts[prefix:]
	var out apiPath
	if len(rest) > 2 && rest[0] == "namespaces" {
		out.namespace, rest = rest[1], rest[2:]
	}
	out.collection = group + "/" + rest[0]
	if len(rest) > 1 {
		out.name = rest[1]
	}
	if len(rest) > 2 {
		out.sub = rest[2]
	}
	return out
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	refuse, logs, review := s.refuse, s.logs, s.review
	s.mu.Unlock()
	if refuse != nil {
		if status := refuse(r); status != 0 {
			fail(w, status, "refused by the test")
			return
		}
	}
	if r.URL.Path == "/version" {
		reply(w, 200, map[string]any{"gitVersion": "v1.36.3", "major": "1", "minor": "36"})
		return
	}
	p, query := parsePath(r.URL.Path), r.URL.Query()
	if query.Get("watch") == "true" {
		s.watch(w, r, p, query)
		return
	}
	if p.sub == "log" {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		logs(r.Context(), w, p.name, query)
		return
	}
	body, _ := io.ReadAll(r.Body)
	if strings.HasSuffix(p.collection, "/tokenreviews") {
		reply(w, 201, review(decode(body)))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method != http.MethodGet {
		s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	}
	switch {
	case r.Method == http.MethodGet && p.name == "":
		s.list(w, p, query)
	case r.Method == http.MethodPost:
		s.create(w, p, body)
	default:
		s.one(w, r, p, body)
	}
}

func (s *apiServer) one(w http.ResponseWriter, r *http.Request, p apiPath, body []byte) {
	old, _ := s.objects[p.collection][p.namespace+"/"+p.name].(map[string]any)
	if old == nil {
		fail(w, http.StatusNotFound, p.name+" not found")
		return
	}
	switch r.Method {
	case http.MethodGet:
		reply(w, 200, old)
	case http.MethodPut:
		s.replace(w, p, old, decode(body))
	case http.MethodPatch:
		next, err := patched(r.Header.Get("Content-Type"), old, body)
		if err != nil {
			fail(w, http.StatusUnprocessableEntity, err.Error())
			return
		}
		s.replace(w, p, old, next)
	case http.MethodDelete:
		s.remove(w, p, old, decode(body))
	}
}

func patched(kind string, old map[string]any, patch []byte) (map[string]any, error) {
	before, _ := json.Marshal(old)
	if kind == "application/merge-patch+json" {
		after, err := jsonpatch.MergePatch(before, patch)
		return decode(after), err
	}
	if kind == "application/strategic-merge-patch+json" { // only pods are patched so
		after, err := strategicpatch.StrategicMergePatch(before, patch, corev1.Pod{})
		return decode(after), err
	}
	p, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, err
	}
	after, err := p.Apply(before)
	return decode(after), err
}

func (s *apiServer) list(w http.ResponseWriter, p apiPath, query url.Values) {
	items := []any{}
	objects := s.objects[p.collection]
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		o := objects[key].(map[string]any)
		if (p.namespace == "" || metadata(o)["namespace"] == p.namespace) && selected(o, query) {
			items = append(items, o)
		}
	}
	reply(w, 200, map[string]any{
		"kind": listKind(p.collection), "apiVersion": apiVersion(p.collection),
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}, "items": items,
	})
}

func (s *apiServer) create(w http.ResponseWriter, p apiPath, body []byte) {
	o := decode(body)
	m := metadata(o)
	if p.namespace != "" {
		m["namespace"] = p.namespace
	}
	if prefix, ok := m["generateName"].(string); ok {
		m["name"] = fmt.Sprint(prefix, s.version)
	}
	key := p.namespace + "/" + m["name"].(string)
	if s.objects[p.collection][key] != nil {
		fail(w, http.StatusConflict, "already exists")
		return
	}
	o["apiVersion"], o["kind"] = apiVersion(p.collection), strings.TrimSuffix(listKind(p.collection), "List")
	m["uid"] = fmt.Sprintf("uid-%d", s.version)
	m["generation"] = float64(1)
	m["creationTimestamp"] = time.Now().UTC().Format(time.RFC3339)
	s.record("ADDED", p.collection, key, o)
	reply(w, 201, o)
}

func (s *apiServer) replace(w http.ResponseWriter, p apiPath, old, next map[string]any) {
	if next["metadata"] == nil {
		next["metadata"] = map[string]any{}
	}
	m, was := metadata(next), metadata(old)
	for _, field := range []string{"uid", "resourceVersion"} {
		if v := m[field]; v != nil && v != "" && v != was[field] {
			fail(w, http.StatusConflict, field+" differs")
			return
		}
	}
	for _, field := range []string{"uid", "creationTimestamp", "generation", "deletionTimestamp", "name", "namespace"} {
		m[field] = was[field]
		if was[field] == nil {
			delete(m, field)
		}
	}
	next["apiVersion"], next["kind"] = old["apiVersion"], old["kind"]
	if p.sub == "status" {
		next["spec"], next["metadata"] = old["spec"], maps.Clone(was)
	} else {
		next["status"] = old["status"]
		if fmt.Sprint(next["spec"]) != fmt.Sprint(old["spec"]) {
			m["generation"] = was["generation"].(float64) + 1
		}
	}
	key := p.namespace + "/" + p.name
	if list, _ := m["finalizers"].([]any); m["deletionTimestamp"] != nil && len(list) == 0 {
		s.record("DELETED", p.collection, key, next)
	} else {
		s.record("MODIFIED", p.collection, key, next)
	}
	reply(w, 200, next)
}

func (s *apiServer) remove(w http.ResponseWriter, p apiPath, old, options map[string]any) {
	m := metadata(old)
	pre, _ := options["preconditions"].(map[string]any)
	for _, field := range []string{"uid", "resourceVersion"} {
		if pre[field] != nil && pre[field] != m[field] {
			fail(w, http.StatusConflict, field+" differs")
			return
		}
	}
	if list, _ := m["finalizers"].([]any); len(list) > 0 {
		next := deepCopy(old)
		if metadata(next)["deletionTimestamp"] == nil {
			metadata(next)["deletionTimestamp"] = time.Now().UTC().Format(time.RFC3339)
			s.record("MODIFIED", p.collection, p.namespace+"/"+p.name, next)
		}
		reply(w, 200, next)
		return
	}
	s.record("DELETED", p.collection, p.namespace+"/"+p.name, deepCopy(old))
	reply(w, 200, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Success"})
}

// record notes a change, as an event too.
func (s *apiServer) record(kind, collection, key string, o map[string]any) {
	s.version++
	metadata(o)["resourceVersion"] = strconv.Itoa(s.version)
	if s.objects[collection] == nil {
		s.objects[collection] = make(map[string]any)
	}
	before, _ := s.objects[collection][key].(map[string]any)
	if kind == "DELETED" {
		delete(s.objects[collection], key)
	} else {
		s.objects[collection][key] = o
	}
	s.history = append(s.history, event{collection, kind, deepCopy(o), before, s.version})
	close(s.news)
	s.news = make(chan struct{})
}

func (s *apiServer) watch(w http.ResponseWriter, r *http.Request, p apiPath, query url.Values) {
	if query.Get("sendInitialEvents") == "true" {
		fail(w, http.StatusUnprocessableEntity, "list first")
		return
	}
	since, _ := strconv.Atoi(query.Get("resourceVersion"))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	encoder := json.NewEncoder(w)
	for seen := 0; ; {
		s.mu.Lock()
		events, news := s.history[seen:], s.news
		seen = len(s.history)
		s.mu.Unlock()
		for _, e := range events {
			if e.collection != p.collection || e.version <= since {
				continue
			}
			switch is, was := selected(e.object, query), e.before != nil && selected(e.before, query); {
			case !is && !was:
				continue
			case !is:
				e.kind = "DELETED" // to who watches by this selector
			case !was && e.kind == "MODIFIED":
				e.kind = "ADDED"
			}
			if encoder.Encode(map[string]any{"type": e.kind, "object": e.object}) != nil {
				return
			}
		}
		w.(http.Flusher).Flush()
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

// refuseIf has requests fail with the status that refuse gives, unless it is 0.
func (s *apiServer) refuseIf(refuse func(*http.Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

// logsBy has the logs of pods written by write.
func (s *apiServer) logsBy(write func(ctx context.Context, w io.Writer, pod string, query url.Values)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = write
}

// put makes or replaces an object, as kubectl, a controller or the kubelet would: status and all.
func (s *apiServer) put(collection, namespace, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := decode([]byte(text))
	m := metadata(o)
	key := "/" + m["name"].(string)
	if namespace != "" {
		m["namespace"], key = namespace, namespace+key
	}
	o["apiVersion"], o["kind"] = apiVersion(collection), strings.TrimSuffix(listKind(collection), "List")
	old, _ := s.objects[collection][key].(map[string]any)
	if old == nil {
		if m["uid"] == nil {
			m["uid"] = fmt.Sprintf("uid-%d", s.version)
		}
		m["generation"] = float64(1)
		m["creationTimestamp"] = "2026-01-01T00:00:00Z"
		s.record("ADDED", collection, key, o)
		return
	}
	for _, field := range []string{"uid", "generation", "creationTimestamp", "finalizers"} {
		m[field] = metadata(old)[field]
	}
	if fmt.Sprint(o["spec"]) != fmt.Sprint(old["spec"]) {
		m["generation"] = m["generation"].(float64) + 1
	}
	if o["status"] == nil {
		o["status"] = old["status"]
	}
	s.record("MODIFIED", collection, key, o)
}

// get returns an object into v, and whether it exists.
func (s *apiServer) get(collection, namespace, name string, v any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[collection][namespace+"/"+name]
	if o == nil {
		return false
	}
	text, _ := json.Marshal(o)
	if err := json.Unmarshal(text, v); err != nil {
		panic(err)
	}
	return true
}

// names lists what there is of a collection.
func (s *apiServer) names(collection string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects[collection]))
}

// changed returns a channel that is closed at the next change of anything.
func (s *apiServer) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.news
}

// writes returns the requests so far that change something.
func (s *apiServer) writes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func metadata(o map[string]any) map[string]any { return o["metadata"].(map[string]any) }

func selected(o map[string]any, query url.Values) bool {
	selector, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		return false
	}
	set := labels.Set{}
	values, _ := metadata(o)["labels"].(map[string]any)
	for key, value := range values {
		set[key] = value.(string)
	}
	return selector.Matches(set)
}

func apiVersion(collection string) string {
	parts := strings.Split(strings.Trim(collection, "/"), "/")
	return strings.Join(parts[1:len(parts)-1], "/")
}

func listKind(collection string) string {
	kinds := map[string]string{
		"functions": "Function", "pods": "Pod", "services": "Service", "deployments": "Deployment",
		"replicasets": "ReplicaSet", "secrets": "Secret", "namespaces": "Namespace", "nodes": "Node",
		"endpointslices": "EndpointSlice",
	}
	return kinds[collection[strings.LastIndexByte(collection, '/')+1:]] + "List"
}

func decode(text []byte) map[string]any {
	o := map[string]any{}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &o); err != nil {
			panic(err)
		}
	}
	return o
}

func deepCopy(o map[string]any) map[string]any {
	text, _ := json.Marshal(o)
	return decode(text)
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that went away is no concern of the test
}

func fail(w http.ResponseWriter, status int, message string) {
	reasons := map[int]string{404: "NotFound", 409: "Conflict", 422: "Invalid", 403: "Forbidden", 500: "InternalError"}
	reason := reasons[status]
	if message == "already exists" {
		reason = "AlreadyExists"
	}
	reply(w, status, map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason, "message": message,
	})
}
