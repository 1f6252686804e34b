package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const namespace = "openfaas-fn"

// world is all that outlives a provider.
type world struct {
	t      *testing.T
	folder string
	// net is the part of 127.0.0.0/8 that this test has: every process has an address of its own, and the ports that it always has.
	net       string
	contracts []string
	// hosts are the last parts of the providers' addresses.
	hosts  []string
	chain  *chain
	store  string
	client *http.Client
}

// newWorld starts the contracts and all that the provider needs beside them, until the test ends.
func newWorld(t *testing.T, store string, providers int, contracts []string) *world {
	w := &world{
		t: t, folder: t.TempDir(), net: fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(255)), contracts: contracts, store: store, hosts: []string{"1", "4"}[:providers],
		chain: &chain{}, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	t.Cleanup(w.client.CloseIdleConnections)
	if w.store == "" {
		w.store = "bolt:" + filepath.Join(w.folder, "heap.db")
	}
	api := &kubernetes{}
	at := map[string]string{}
	for n, name := range contracts {
		address := fmt.Sprint(w.net, 10+n)
		at[name] = address + ":8080"
		w.add(api, "/apis/openfaas.com/v1/namespaces/"+namespace+"/functions/"+name, record(name))
		w.add(api, "/api/v1/namespaces/"+namespace+"/pods/"+name, pod(name, address))
	}
	w.add(api, "/api/v1/namespaces/"+namespace, fmt.Sprintf(`{"metadata": {"name": %q}}`, namespace))
	w.serve("2:6443", api)
	w.serve("3:8080", w.chain)
	w.runContracts(at)
	w.write("basic-auth-user", user)
	w.write("basic-auth-password", password)
	w.write("ready-key", strings.Repeat("k", 32))
	w.write("kubeconfig", fmt.Sprintf(`{"kind": "Config", "apiVersion": "v1", "current-context": "model",
		"clusters": [{"name": "model", "cluster": {"server": "http://%s2:6443"}}],
		"contexts": [{"name": "model", "context": {"cluster": "model"}}]}`, w.net))
	return w
}

func record(name string) string {
	annotations := map[string]string{
		"com.dragonchain.heap": "true", "com.openfaas.retry.attempts": "1000", "com.openfaas.retry.min_wait": "10ms",
		"com.openfaas.retry.max_wait": "100ms", "com.openfaas.retry.codes": "500,502,503",
	}
	if strings.HasPrefix(name, "s") {
		annotations["com.dragonchain.execution-order"], annotations["com.dragonchain.chain"] = "serial", "true"
	}
	text, err := json.Marshal(annotations)
	if err != nil {
		panic(err) // a map of strings is always JSON
	}
	return fmt.Sprintf(`{
		"apiVersion": "openfaas.com/v1", "kind": "Function",
		"metadata": {"name": %[1]q, "namespace": %[2]q, "uid": "record-%[1]s", "generation": 1, "finalizers": ["dragonchain.com/cleanup"]},
		"spec": {"name": %[1]q, "image": "contract:1", "handler": "contract", "replicas": 1, "annotations": %[3]s,
			"labels": {"com.openfaas.scale.min": "1", "com.openfaas.scale.max": "1"}},
		"status": {"image": {"reference": "contract:1"}}}`, name, namespace, text)
}

func pod(name, address string) string {
	return fmt.Sprintf(`{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": {"name": %[1]q, "namespace": %[2]q, "uid": "pod-%[1]s", "labels": {"faas_function": %[1]q, "dragonchain.com/record": "record-%[1]s"}},
		"spec": {"nodeName": "node"},
		"status": {"phase": "Running", "podIP": %[3]q, "conditions": [{"type": "Ready", "status": "True"}]}}`, name, namespace, address)
}

func (w *world) add(api *kubernetes, path, text string) {
	w.t.Helper()
	if err := api.add(path, text); err != nil {
		w.t.Fatal(err)
	}
}

// serve answers by handler at an address of the world until the test ends.
func (w *world) serve(host string, handler http.Handler) {
	w.t.Helper()
	listener, err := net.Listen("tcp", w.net+host)
	if err != nil {
		w.t.Fatal(err)
	}
	s := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	s.Start()
	w.t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.folder, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// runContracts starts the process of the contracts, which is this program again.
func (w *world) runContracts(at map[string]string) {
	w.t.Helper()
	text, err := json.Marshal(at)
	if err != nil {
		w.t.Fatal(err)
	}
	var providers []string
	for _, host := range w.hosts {
		providers = append(providers, w.gateway(host))
	}
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), contractsVariable+"="+string(text), providersVariable+"="+strings.Join(providers, ","))
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	stop := w.start(process)
	w.t.Cleanup(stop)
	if said, err := out.Read(make([]byte, 100)); said == 0 {
		w.t.Fatalf("the contracts do not serve: %v", err)
	}
}

// start starts a process that does not outlive this one. stop kills it, unless it has ended, and waits for its end.
func (w *world) start(process *exec.Cmd) (stop func()) {
	w.t.Helper()
	if err := process.Start(); err != nil {
		w.t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			w.t.Error(err)
		}
		_ = process.Wait() // says that it was killed
		if status, _ := process.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
			w.t.Errorf("%s was not killed, but ended: %v", filepath.Base(process.Path), process.ProcessState)
		}
	})
}

func (w *world) gateway(host string) string { return w.net + host + ":8080" }

// provide starts a provider on the store. What it logs is shown if the test fails.
func (w *world) provide(host string) (kill func()) {
	w.t.Helper()
	at := w.net + host + ":"
	process := exec.Command(provider, "--listen", at+"8080", "--provider-listen", at+"8081", "--metrics-listen", at+"8082",
		"--kubeconfig", filepath.Join(w.folder, "kubeconfig"), "--basic-auth-dir", w.folder, "--ready-key-file", filepath.Join(w.folder, "ready-key"),
		"--pre-pull=false", "--watchdog", "init-container", "--log-level", "warn", "--pod", "provider-"+host,
		"--chain-url", "http://"+w.net+"3:8080/transactions", "--chain-id", "chain")
	process.Env = append(os.Environ(), "DC_CHAIN_KEY_ID=id", "DC_CHAIN_KEY=key", "DC_STORE="+w.store)
	log, err := os.OpenFile(filepath.Join(w.folder, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close() // the process has its own
	process.Stdout, process.Stderr = log, log
	return w.start(process)
}

// awaitProvider waits until a provider answers as one that knows the cluster.
func (w *world) awaitProvider(ctx context.Context, host string) error {
	for {
		if status, _, _, err := w.askAt(ctx, host, http.MethodGet, "/healthz", nil, ""); err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the provider does not serve: %w", ctx.Err())
		}
	}
}

// awaitHeaps waits until every contract has its heap, which is made before its first replica, where there is more to Kubernetes.
func (w *world) awaitHeaps() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for _, name := range w.contracts {
		for {
			_, _, body, err := w.ask(ctx, http.MethodGet, "/heap/"+name+"/n", nil, "")
			if err == nil && strings.Contains(body, "no such key") {
				break
			}
			if pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
				w.t.Fatalf("%s has no heap: %q, %v", name, body, err)
			}
		}
	}
}

// showLog has a failed test tell what its providers said last.
func (w *world) showLog() {
	text, err := os.ReadFile(filepath.Join(w.folder, "log"))
	if err == nil && w.t.Failed() {
		w.t.Logf("the providers' log ends with:\n%s", text[max(0, len(text)-8000):])
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "Error initially creating lease lock") {
			continue // of two providers that begin at once one makes it, and the other tries again
		}
		if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") || strings.Contains(line, `"level":"ERROR"`) {
			w.t.Errorf("a provider says %s", line)
		}
	}
}
