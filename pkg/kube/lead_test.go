package kube

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
)

// A provider that waits to take another's place watches and serves what it sees, and changes nothing until it reconciles;
// then it finds what the other left undone.
func TestReconcile_IsForOneProviderAtATime(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	w.deployment("cow")

	next, err := New(Config{
		REST: w.api.config(), WatchdogImage: "dragonchain/dc-provider:dev", RegistryMirrors: map[string]string{"docker.io": "http://127.0.0.1:1"},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	next.images.down["index.docker.io"] = answer{err: errNoRegistry, expires: time.Now().Add(time.Hour)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- next.Run(ctx) }()
	var reconciling sync.WaitGroup
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		reconciling.Wait()
	}()
	<-next.Synced()
	w.stop()

	before := len(w.api.writes())
	dog := cow()
	dog.Name = "dog"
	if err := next.Create(t.Context(), dog); err != nil {
		t.Fatal(err)
	}
	// Something that takes a while, in which a round would have been made.
	w.pod("cow", "cow-1", "10.0.0.1", true)
	w.eventually("the pod is an endpoint", func() string {
		if len(next.Endpoints(cowRef)) == 1 {
			return ""
		}
		return "it is not"
	})
	if got := w.api.writes()[before:]; len(got) != 1 || !strings.HasPrefix(got[0], "POST") {
		t.Errorf("it wrote %q", got)
	}
	reconciling.Go(func() { next.Reconcile(ctx) })
	w.deployment("dog")
}

// candidate is a provider that wants to lead.
type candidate struct {
	cluster *Cluster
	stop    func()
	// led is told of each beginning, and ended of each end.
	led, ended chan string
}

func (w *world) candidate(name string, lease time.Duration) *candidate {
	w.Helper()
	cluster, err := New(Config{
		REST: w.api.config(), WatchdogImage: "dragonchain/dc-provider:dev", LeaseDuration: lease, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.Fatal(err)
	}
	c := &candidate{cluster: cluster, led: make(chan string, 100), ended: make(chan string, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- cluster.Lead(ctx, "openfaas", name, func(ctx context.Context) error {
			c.led <- name
			<-ctx.Done()
			c.ended <- name
			return nil
		})
	}()
	c.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("Lead: %v", err)
		}
		cluster.end()
		c.stop = func() {}
	}
	w.Cleanup(func() { c.stop() })
	return c
}

func (w *world) hears(what string, c <-chan string) {
	w.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		w.Fatalf("%s: not in half a minute", what)
	}
}

// One leads; when it ends, and gives the lease back, the other does.
func TestLead_OneAtATime(t *testing.T) {
	const lease = 10 * time.Second // more than a busy machine keeps one from renewing it
	w := newWorld(t, nil)
	one := w.candidate("one", lease)
	w.hears("one leads", one.led)
	two := w.candidate("two", lease)
	// Several tries of two later.
	select {
	case <-two.led:
		t.Fatal("two lead")
	case <-time.After(lease / 4):
	}
	one.stop()
	if len(one.ended) != 1 {
		t.Error("Lead returned before what it called")
	}
	w.hears("two leads", two.led)
	two.stop()
	if len(one.led) > 0 {
		t.Error("one led again")
	}
}

// Without the API server the leader stops leading before another can be chosen, and one leads again after.
func TestLead_LostWithTheAPIServer(t *testing.T) {
	w := newWorld(t, nil)
	one := w.candidate("one", time.Second)
	w.hears("one leads", one.led)
	w.api.refuseIf(func(*http.Request) int { return http.StatusServiceUnavailable })
	w.hears("it leads no more", one.ended)
	w.api.refuseIf(nil)
	w.hears("it leads again", one.led)
}

// What changed while nobody reconciled here is found when it is this one's turn again.
func TestReconcile_Again(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	w.deployment("cow")
	w.stop()

	cluster, err := New(Config{REST: w.api.config(), WatchdogImage: "dragonchain/dc-provider:dev", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	cluster.images.down["index.docker.io"] = answer{err: errNoRegistry, expires: time.Now().Add(time.Hour)}
	w.cluster = cluster
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := cluster.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	defer running.Wait()
	defer cancel()
	<-cluster.Synced()
	for _, name := range []string{"ant", "bee", "cat"} {
		term, end := context.WithCancel(ctx)
		var reconciling sync.WaitGroup
		reconciling.Go(func() { cluster.Reconcile(term) })
		spec := cow()
		spec.Name = name
		w.create(spec)
		w.deployment(name)
		end()
		reconciling.Wait()
		// Between two terms.
		spec.Name += "-between"
		w.create(spec)
		if w.api.get(deploymentsPath, ns, spec.Name, new(appsv1.Deployment)) {
			t.Errorf("%s was made while nobody reconciled", spec.Name)
		}
	}
	var reconciling sync.WaitGroup
	reconciling.Go(func() { cluster.Reconcile(ctx) })
	defer reconciling.Wait()
	defer cancel()
	w.deployment("cat-between")
}

func TestSleepAction(t *testing.T) {
	for server, want := range map[string]bool{"v1.29.14": false, "v1.30.0": true, "v1.34.2+k3s1": true, "v1.36.3": true, "main": false} {
		nodes := nodeCache{server: server, asked: time.Now()}
		if got, err := nodes.sleepAction(t.Context()); got != want || err != nil {
			t.Errorf("%s: %t, %v", server, got, err)
		}
	}
}
