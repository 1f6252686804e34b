package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/pool"
)

// wire is all that a provider changes the world by: requests to the API server that write, and assignments to spares. It is
// cut at one of them, for good, as by the end of the process: nothing that comes later is heard or answered.
type wire struct {
	api http.Handler

	mu sync.Mutex
	// at is the step to be cut at, counted from 1; 0 is none. carried says that this step is carried out and not answered,
	// otherwise it is not even heard.
	at      int
	carried bool
	steps   []string
	dead    chan struct{}
}

var errCut = errors.New("the wire is cut")

// pass does a step, unless the wire is or gets cut.
func (w *wire) pass(what string, do func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isDead() {
		return errCut
	}
	w.steps = append(w.steps, what)
	if len(w.steps) != w.at {
		do()
		return nil
	}
	if w.carried {
		do()
	}
	close(w.dead)
	return errCut
}

func (w *wire) isDead() bool {
	select {
	case <-w.dead:
		return true
	default:
		return false
	}
}

// arm has the wire cut at a step from here.
func (w *wire) arm(at int, carried bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at, w.carried, w.steps, w.dead = at, carried, nil, make(chan struct{})
}

func (w *wire) taken() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.steps)
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	dead := w.dead
	w.mu.Unlock()
	if r.Method == http.MethodGet {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		go func() {
			select {
			case <-dead:
				cancel()
			case <-ctx.Done():
			}
		}()
		w.api.ServeHTTP(rw, r.WithContext(ctx))
		return
	}
	answer := httptest.NewRecorder()
	if w.pass(r.Method+" "+r.URL.Path, func() { w.api.ServeHTTP(answer, r) }) != nil {
		panic(http.ErrAbortHandler) // closes the connection
	}
	for key, values := range answer.Header() {
		rw.Header()[key] = values
	}
	rw.WriteHeader(answer.Code)
	_, _ = rw.Write(answer.Body.Bytes()) // the client may have left
}

// cutWorld is a world whose provider, with a pool of its own, can be cut off and followed by another.
type cutWorld struct {
	*poolWorld
	wire *wire
	pool *pool.Pool
	// assigned are the functions that spares' watchdogs have been handed, by the pods' identities: they outlive providers.
	assignedTo map[string]string
}

const cutSpares = 2

func newCutWorld(t *testing.T) *cutWorld {
	t.Helper()
	c := &cutWorld{wire: &wire{}, assignedTo: make(map[string]string)}
	c.wire.arm(0, false)
	c.poolWorld = &poolWorld{registered: make(map[string]bool)}
	api := newAPIServer(t)
	api.put(namespacesPath, "", `{"metadata":{"name":"openfaas-fn","labels":{"openfaas":"1"}}}`)
	api.put(nodesPath, "", `{"metadata":{"name":"n"},"status":{"nodeInfo":{"kubeletVersion":"v1.36.3","containerRuntimeVersion":"containerd://2.2.1","architecture":"amd64"}}}`)
	c.wire.api = api
	c.world = &world{T: t, api: api}
	server := httptest.NewServer(c.wire)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	c.next(server.URL)
	return c
}

// next starts a provider that knows nothing.
func (c *cutWorld) next(url string) {
	c.Helper()
	var err error
	if c.pool, err = pool.New(pool.Config{
		Assign: c.assign,
		Adopt: func(ctx context.Context, s pool.Spare, f *function.Function) error {
			return c.cluster.Adopt(ctx, s.Pod, s.ID, s.Taken, f)
		},
		Discard: func(s pool.Spare) { c.cluster.Discard(s.ID) }, Log: slog.New(slog.NewTextHandler(c.Output(), nil)),
	}); err != nil {
		c.Fatal(err)
	}
	p := c.pool
	c.start(func(cfg *Config) {
		c.config(cutSpares)(cfg)
		cfg.REST.Host = url
		cfg.Pool.Claim, cfg.Pool.Registered, cfg.Pool.Retire = p.Claim, p.Registered, p.Retire
		cfg.Pool.Gone, cfg.Pool.Serves, cfg.Pool.Starting = p.Remove, p.Serves, p.Starting
	})
}

// assign is the way to a spare's watchdog, which keeps the first assignment that it gets.
func (c *cutWorld) assign(ctx context.Context, s pool.Spare, f *function.Function) error {
	a, err := c.cluster.Assignment(ctx, f)
	if err != nil {
		return fmt.Errorf("%w: %w", pool.ErrNotAssignable, err)
	}
	return c.wire.pass("assign", func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if before := c.assignedTo[s.ID]; before != "" {
			c.Errorf("spare %s was assigned %s, and is handed out for %s", s.Pod, before, a.Function)
			return
		}
		c.assignedTo[s.ID] = a.Function
	})
}

func (c *cutWorld) assignment(p *corev1.Pod) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.assignedTo[string(p.UID)]
}

// register plays the watchdogs of spares, which register with whoever keeps the pool, and say what they were assigned.
func (c *cutWorld) register() (free int) {
	for _, s := range c.spares() {
		of := pool.Spare{ID: string(s.UID), Namespace: s.Namespace, Pod: s.Name, Node: "n"}
		of.Identity.Function = c.assignment(s)
		if c.pool.Registered(of.ID) || c.pool.Add(of) {
			free++
		}
	}
	c.cluster.SpareRegistered()
	return free
}

// kubelets plays the kubelet and the controllers: what there is to run runs.
func (c *cutWorld) kubelets(names ...string) {
	for _, p := range c.podsThat(func(p *corev1.Pod) bool { return p.Annotations[annotationClaimed] != "" }) {
		if len(p.Status.ContainerStatuses) == 0 {
			c.starts(p, true)
		}
	}
	for _, name := range names {
		d := new(appsv1.Deployment)
		if c.api.get(deploymentsPath, ns, name, d) && d.Status.AvailableReplicas == 0 {
			c.pod(name, name+"-1", "10.0.1.1", true)
			d.Status = appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1, ObservedGeneration: d.Generation}
			c.api.put(deploymentsPath, ns, jsonOf(c.T, d))
		}
	}
}

func (c *cutWorld) endpoint(ref function.Ref) string {
	for _, e := range c.cluster.Endpoints(ref) {
		return e.Replica
	}
	return ""
}

// wake asks for a replica and lets the world go on until the function is served and all is as it should be, or the wire is cut.
func (c *cutWorld) wake(ref function.Ref) {
	c.Helper()
	if err := c.cluster.Scale(c.Context(), ref, 1); err != nil && !c.wire.isDead() {
		c.Fatal(err)
	}
	c.eventually(ref.Name+" is woken, or the provider cut off", func() string {
		if c.wire.isDead() {
			return ""
		}
		c.kubelets(ref.Name)
		free, o := c.register(), new(object)
		c.api.get(functionsPath, ns, ref.Name, o)
		if e := c.endpoint(ref); e == "" || free != cutSpares || o.Status.AvailableReplicas != 1 {
			return fmt.Sprintf("endpoint %q, %d spares, status %+v", e, free, o.Status)
		}
		return ""
	})
}

func describe(pods []*corev1.Pod) (list []string) {
	for _, p := range pods {
		list = append(list, fmt.Sprint(p.Name, p.Labels, p.Annotations))
	}
	return list
}

// A provider that is cut off at any step of a wake by claim leaves nothing that the next one does not put right: both functions
// are served, no spare has been handed out twice, every pod has its owner, and in the end nothing is left.
func TestClaim_CutOffAtAnyStep(t *testing.T) {
	run := func(t *testing.T, at int, carried bool) (steps []string) {
		c := newCutWorld(t)
		dog := cow()
		dog.Name = "dog"
		full := func(what string) {
			t.Helper()
			c.eventually(what, func() string {
				c.kubelets("cow", "dog")
				if free := c.register(); free != cutSpares || len(c.spares()) != cutSpares {
					return fmt.Sprintf("%d registered of %d", free, len(c.spares()))
				}
				return ""
			})
		}
		full("the pool is full")
		c.atZero(cow())
		c.atZero(dog)
		c.wire.arm(at, carried)
		c.wake(cowRef)
		steps = c.wire.taken()
		c.stop() // what it would do yet comes to nothing: the wire is cut
		c.wire.arm(0, false)
		c.next(c.cluster.cfg.REST.Host)

		for _, ref := range []function.Ref{cowRef, dog.Ref} {
			c.wake(ref)
			name := c.endpoint(ref)
			p := new(corev1.Pod)
			if !c.api.get(podsPath, ns, name, p) {
				t.Fatalf("%s is served by %q, which is no pod", ref.Name, name)
			}
			if is := c.assignment(p); p.Annotations[annotationClaimed] != "" && is != ref.String() {
				t.Errorf("%s is served by a pod that was assigned %q", ref.Name, is)
			}
		}
		for _, p := range c.podsThat(func(p *corev1.Pod) bool { return p.Annotations[annotationClaimed] != "" }) {
			record := c.object(p.Labels[labelFunction])
			if len(p.OwnerReferences) != 1 || p.OwnerReferences[0].UID != record.UID {
				t.Errorf("claimed pod of %s is owned by %+v", record.Name, p.OwnerReferences)
			}
		}
		c.scale(cowRef, 0)
		c.scale(dog.Ref, 0)
		c.eventually("only records and spares are left", func() string {
			c.register()
			pods := c.podsThat(func(p *corev1.Pod) bool { return p.Labels[labelSpare] == "" || c.assignment(p) != "" })
			left := append(c.api.names(deploymentsPath), c.api.names(servicesPath)...)
			if len(pods) > 0 || len(left) > 0 {
				return fmt.Sprintf("%v and %v", describe(pods), left)
			}
			return ""
		})
		full("the pool is full again")
		return steps
	}
	steps := run(t, 0, false)
	for _, want := range []string{"PATCH " + functionsPath[:len("/apis/openfaas.com/v1")] + "/namespaces/" + ns + "/functions/cow", "assign", "/pods/"} {
		if !slices.ContainsFunc(steps, func(s string) bool { return strings.Contains(s, want) }) {
			t.Fatalf("a wake has the steps %q, and none is %q", steps, want)
		}
	}
	for i, step := range steps {
		for _, carried := range []bool{false, true} {
			how := "before"
			if carried {
				how = "after"
			}
			t.Run(fmt.Sprint(how, " ", i+1, " ", step), func(t *testing.T) {
				t.Parallel()
				run(t, i+1, carried)
			})
		}
	}
}
