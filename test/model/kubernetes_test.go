package model

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/client-go/kubernetes/scheme"
)

// kubernetes is an API server without controllers: it has what it was given, and never any news.
type kubernetes struct {
	mu      sync.Mutex
	version int
	objects map[string]map[string]any // by collection, as in /api/v1/pods, and there by namespace/name
}

// kinds are those that providers list.
var kinds = map[string]string{
	"functions": "Function", "pods": "Pod", "deployments": "Deployment", "services": "Service", "namespaces": "Namespace", "nodes": "Node",
	"endpointslices": "EndpointSlice", "secrets": "Secret",
}

// location is where in the API an object is.
type location struct{ collection, key string }

// locate takes a path apart; a subresource is its object.
func locate(path string) (l location, namespace string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	group := min(2, len(parts)) // api/v1
	if parts[0] == "apis" {
		group = min(3, len(parts))
	}
	l.collection, parts = "/"+strings.Join(parts[:group], "/"), parts[group:]
	if len(parts) > 2 && parts[0] == "namespaces" {
		namespace, parts = parts[1], parts[2:]
	}
	if len(parts) > 0 {
		l.collection += "/" + parts[0]
	}
	if len(parts) > 1 {
		l.key = namespace + "/" + parts[1]
	}
	return l, namespace
}

func (k *kubernetes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/version" {
		reply(w, http.StatusOK, map[string]any{"gitVersion": "v1.36.3", "major": "1", "minor": "36"})
		return
	}
	if r.URL.Query().Get("watch") == "true" {
		if r.URL.Query().Get("sendInitialEvents") == "true" {
			refuse(w, http.StatusUnprocessableEntity, "Invalid")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // who asked is gone
	}
	at, namespace := locate(r.URL.Path)
	k.mu.Lock()
	defer k.mu.Unlock()
	there, found := k.objects[at.collection][at.key].(map[string]any)
	switch {
	case r.Method == http.MethodGet && at.key == "":
		k.list(w, at.collection)
	case r.Method == http.MethodPost:
		o, err := readObject(body)
		if err != nil {
			refuse(w, http.StatusBadRequest, "BadRequest")
			return
		}
		m := o["metadata"].(map[string]any)
		m["namespace"] = namespace
		at.key = fmt.Sprint(namespace, "/", m["name"])
		if _, exists := k.objects[at.collection][at.key]; exists {
			refuse(w, http.StatusConflict, "AlreadyExists")
			return
		}
		reply(w, http.StatusCreated, k.put(at, o))
	case !found:
		refuse(w, http.StatusNotFound, "NotFound")
	case r.Method == http.MethodPut && strings.HasSuffix(at.collection, "/leases"):
		o, err := readObject(body)
		if err != nil {
			refuse(w, http.StatusBadRequest, "BadRequest")
			return
		}
		if given := o["metadata"].(map[string]any)["resourceVersion"]; given != there["metadata"].(map[string]any)["resourceVersion"] {
			refuse(w, http.StatusConflict, "Conflict") // another provider was faster
			return
		}
		reply(w, http.StatusOK, k.put(at, o))
	default:
		// What the provider says of its functions is of no interest here, and what it wants of them stays as it is.
		reply(w, http.StatusOK, there)
	}
}

func (k *kubernetes) list(w http.ResponseWriter, collection string) {
	items := []any{}
	for _, key := range slices.Sorted(maps.Keys(k.objects[collection])) {
		items = append(items, k.objects[collection][key])
	}
	parts := strings.Split(strings.Trim(collection, "/"), "/")
	kind, known := kinds[parts[len(parts)-1]]
	if !known {
		refuse(w, http.StatusNotFound, "NotFound")
		return
	}
	reply(w, http.StatusOK, map[string]any{
		"kind": kind + "List", "apiVersion": strings.Join(parts[1:len(parts)-1], "/"),
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(k.version)}, "items": items,
	})
}

// put keeps an object.
func (k *kubernetes) put(at location, o map[string]any) map[string]any {
	k.version++
	m := o["metadata"].(map[string]any)
	m["resourceVersion"] = strconv.Itoa(k.version)
	if m["uid"] == nil {
		m["uid"] = fmt.Sprint("uid-", k.version)
	}
	if k.objects == nil {
		k.objects = map[string]map[string]any{}
	}
	if k.objects[at.collection] == nil {
		k.objects[at.collection] = map[string]any{}
	}
	k.objects[at.collection][at.key] = o
	return o
}

// add is put for what is there before a provider is.
func (k *kubernetes) add(path, text string) error {
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	at, _ := locate(path)
	k.put(at, o)
	return nil
}

// readObject reads what a client writes, which is JSON or protobuf.
func readObject(body []byte) (o map[string]any, err error) {
	if typed, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil); err == nil {
		if body, err = json.Marshal(typed); err != nil {
			return nil, err
		}
	}
	if err = json.Unmarshal(body, &o); err == nil && o["metadata"] == nil {
		err = fmt.Errorf("an object without metadata: %.100s", body)
	}
	return o, err
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that was killed needs no answer
}

func refuse(w http.ResponseWriter, status int, reason string) {
	reply(w, status, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason, "message": reason})
}
