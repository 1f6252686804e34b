package kube

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	functionsPath   = "/apis/openfaas.com/v1/functions"
	deploymentsPath = "/apis/apps/v1/deployments"
	replicaSetsPath = "/apis/apps/v1/replicasets"
	servicesPath    = "/api/v1/services"
	podsPath        = "/api/v1/pods"
	secretsPathAPI  = "/api/v1/secrets"
	namespacesPath  = "/api/v1/namespaces"
	nodesPath       = "/api/v1/nodes"

	ns = "openfaas-fn"
)

var cowRef = function.Ref{Name: "cow", Namespace: ns}

// world is a Cluster that runs against an apiServer.
type world struct {
	*testing.T
	api     *apiServer
	cluster *Cluster
	stop    func()
}

// newWorld starts one. edit may change the configuration.
func newWorld(t *testing.T, edit func(*Config)) *world {
	t.Helper()
	api := newAPIServer(t)
	api.put(namespacesPath, "", `{"metadata":{"name":"openfaas-fn","labels":{"openfaas":"1"}}}`)
	api.put(nodesPath, "", `{"metadata":{"name":"n"},"status":{"nodeInfo":{"kubeletVersion":"v1.36.3","containerRuntimeVersion":"containerd://2.2.1","architecture":"amd64"}}}`)
	w := &world{T: t, api: api}
	w.start(edit)
	return w
}

func (w *world) start(edit func(*Config)) {
	w.Helper()
	// No test asks a registry unless it brings one: this one refuses connections at once.
	cfg := Config{
		REST: w.api.config(), WatchdogImage: "dragonchain/dc-provider:dev",
		RegistryMirrors: map[string]string{"docker.io": "http://127.0.0.1:1"},
		Log:             slog.New(slog.DiscardHandler),
	}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if w.cluster, err = New(cfg); err != nil {
		w.Fatal(err)
	}
	w.cluster.images.down["index.docker.io"] = answer{err: errNoRegistry, expires: time.Now().Add(time.Hour)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.cluster.Run(ctx) }()
	var reconciling sync.WaitGroup
	reconciling.Go(func() { w.cluster.Reconcile(ctx) })
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("Run: %v", err)
		}
		reconciling.Wait()
		w.stop = func() {}
	}
	w.Cleanup(func() { w.stop() })
	<-w.cluster.Synced()
}

var errNoRegistry = fmt.Errorf("no registry in this test")

// eventually waits until check returns nothing, looking again whenever something in the cluster changed.
func (w *world) eventually(what string, check func() string) {
	w.Helper()
	deadline := time.After(20 * time.Second)
	again := time.NewTicker(10 * time.Millisecond) // what only our own memory shows has no event
	defer again.Stop()
	for {
		changed := w.api.changed()
		problem := check()
		if problem == "" {
			return
		}
		select {
		case <-changed:
		case <-again.C:
		case <-deadline:
			w.Fatalf("%s: %s", what, problem)
		}
	}
}

func (w *world) create(spec function.Spec) {
	w.Helper()
	if err := w.cluster.Create(w.Context(), spec); err != nil {
		w.Fatalf("create %s: %v", spec.Name, err)
	}
}

// deployment waits for the Deployment of a function.
func (w *world) deployment(name string) *appsv1.Deployment {
	w.Helper()
	var d *appsv1.Deployment
	w.eventually("Deployment "+name, func() string {
		d = new(appsv1.Deployment)
		if !w.api.get(deploymentsPath, ns, name, d) {
			return "there is none"
		}
		return ""
	})
	return d
}

func (w *world) object(name string) *object {
	w.Helper()
	o := new(object)
	if !w.api.get(functionsPath, ns, name, o) {
		w.Fatalf("no record %s", name)
	}
	return o
}

// condition waits for a condition of a record to have a status, and returns its message.
func (w *world) condition(name, kind, status string) (message string) {
	w.Helper()
	w.eventually("condition "+kind, func() string {
		o := new(object)
		w.api.get(functionsPath, ns, name, o)
		for _, c := range o.Status.Conditions {
			if c.Type == kind && string(c.Status) == status && o.Status.ObservedGeneration == o.Generation {
				message = c.Message
				return ""
			}
		}
		return fmt.Sprintf("%+v, generation %d", o.Status, o.Generation)
	})
	return message
}

// pod plays controllers and kubelet: it puts a pod of a function's present Deployment.
func (w *world) pod(function, name, ip string, ready bool) {
	w.Helper()
	d := w.deployment(function)
	w.putPod(function, name, d.Labels[labelRecord], ip, ready)
}

func (w *world) putPod(function, name, record, ip string, ready bool) {
	status := "False"
	if ready {
		status = "True"
	}
	w.api.put(podsPath, ns, fmt.Sprintf(`{
		"metadata":{"name":%q,"labels":{"faas_function":%q,"dragonchain.com/record":%q}},
		"spec":{},
		"status":{"phase":"Running","podIP":%q,"conditions":[{"type":"Ready","status":%q}],
			"containerStatuses":[{"name":%q,"state":{"running":{}}}]}}`, name, function, record, ip, status, function))
}

func (w *world) secret(name, kind string, data map[string][]byte, labels map[string]string) {
	w.Helper()
	w.api.put(secretsPathAPI, ns, jsonOf(w.T, corev1.Secret{
		ObjectMeta: metaOf(name, labels), Type: corev1.SecretType(kind), Data: data,
	}))
}

// knows waits until the watch has told of a pod.
func (w *world) knows(name string) {
	w.Helper()
	w.eventually("the watch shows the pod", func() string {
		if w.cluster.table.podsOf(cowRef)[name] == nil {
			return "no " + name
		}
		return ""
	})
}

// endpoints waits for a function to have these addresses.
func (w *world) endpoints(ref function.Ref, want ...string) {
	w.Helper()
	w.eventually("endpoints", func() string {
		var got []string
		for _, e := range w.cluster.Endpoints(ref) {
			got = append(got, e.Address)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Sprintf("%v, want %v", got, want)
		}
		return ""
	})
}

// left lists all that a function made and that still is there.
func (w *world) left() []string {
	var left []string
	for _, collection := range []string{functionsPath, deploymentsPath, replicaSetsPath, servicesPath, podsPath} {
		left = append(left, w.api.names(collection)...)
	}
	return left
}
