package model

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	randv2 "math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Variables of the process that runs the contracts: their addresses, by name, and where providers serve their heaps.
const (
	contractsVariable = "MODEL_CONTRACTS"
	providersVariable = "MODEL_PROVIDERS"
	user, password    = "admin", "model"
)

// parallelKeys are what a parallel contract writes with one value, below the call's id.
var parallelKeys = []string{"a", "b", "c", "d"}

// runContracts serves all contracts until the process is killed. A contract is serial if its name begins with an s.
func runContracts() error {
	var at map[string]string
	if err := json.Unmarshal([]byte(os.Getenv(contractsVariable)), &at); err != nil {
		return err
	}
	heaps := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	failed := make(chan error)
	for name, address := range at {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		handler := http.HandlerFunc(parallel)
		if strings.HasPrefix(name, "s") {
			handler = func(w http.ResponseWriter, r *http.Request) { serial(w, r, heaps, name) }
		}
		go func() { failed <- http.Serve(listener, handler) }()
	}
	fmt.Println("ready")
	return <-failed
}

// busy answers, now and then, that the contract cannot work at the moment. Nobody's invocation has taken effect then.
func busy(w http.ResponseWriter) bool {
	if randv2.IntN(50) > 0 {
		return false
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	return true
}

// parallel answers with a number that no other run has.
func parallel(w http.ResponseWriter, r *http.Request) {
	if busy(w) {
		return
	}
	id, run := r.Header.Get("X-Call-Id"), rand.Text()
	members := map[string]string{}
	for _, key := range parallelKeys {
		members[id+"/"+key] = run
	}
	w.Header().Set("X-Run", run)
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(members) // the provider may be dead
}

// serial appends the call's id to the log: the heap has its length under "n".
func serial(w http.ResponseWriter, r *http.Request, heaps *http.Client, name string) {
	if busy(w) {
		return
	}
	n, err := length(r, heaps, name)
	if err != nil {
		// The provider, which it was read from, is dying, or new and not ready.
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("X-Run", rand.Text())
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"n": n + 1, logKey(n + 1): r.Header.Get("X-Call-Id")}) // the provider may be dead
}

// length is how many entries the log has, by the first provider that says so.
func length(r *http.Request, heaps *http.Client, name string) (n int, err error) {
	for provider := range strings.SplitSeq(os.Getenv(providersVariable), ",") {
		if n, err = lengthBy(r, heaps, provider, name); err == nil {
			break
		}
	}
	return n, err
}

func lengthBy(r *http.Request, heaps *http.Client, provider, name string) (n int, err error) {
	status, _, body, err := get(r, heaps, "http://"+provider+"/heap/"+name+"/n")
	switch {
	case err != nil:
		return 0, err
	case status == http.StatusNotFound && strings.Contains(body, "no such key"):
		return 0, nil
	case status != http.StatusOK:
		return 0, fmt.Errorf("status %d: %s", status, body)
	}
	return n, json.Unmarshal([]byte(body), &n)
}

func get(r *http.Request, client *http.Client, url string) (status int, header http.Header, body string, err error) {
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, "", err
	}
	request.SetBasicAuth(user, password)
	answer, err := client.Do(request)
	if err != nil {
		return 0, nil, "", err
	}
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header, string(text), errors.Join(err, answer.Body.Close())
}

// logKey sorts as its number does.
func logKey(n int) string { return fmt.Sprintf("log/%08d", n) }
