package kube

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
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

func TestSleepAction(t *testing.T) {
	for server, want := range map[string]bool{"v1.29.14": false, "v1.30.0": true, "v1.34.2+k3s1": true, "v1.36.3": true, "main": false} {
		nodes := nodeCache{server: server, asked: time.Now()}
		if got, err := nodes.sleepAction(t.Context()); got != want || err != nil {
			t.Errorf("%s: %t, %v", server, got, err)
		}
	}
}
