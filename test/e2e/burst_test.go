package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// TestAutoscale_BurstAndBack has five times the calls of a replica come at once: there are three at the next step, and none goes while
// the burst is in the window. Then the one with the fewest calls goes, and a step later that of the two others with fewer. No call is
// lost.
func TestAutoscale_BurstAndBack(t *testing.T) {
	t.Parallel()
	const perReplica = 4 // calls each second
	d := label(label(label(probe(t), labelTarget, fmt.Sprint(perReplica)), labelProportion, "1"), labelMax, "3")
	// A burst is one in two rounds of a second. On a machine that is so busy that these calls do not come in time it is none: the calls
	// of a longer time ask for replicas then, one after another.
	var f function
	var l *load
	var seen *course
	endBurst := func() {}
	for try := 1; seen == nil || !slices.Equal(seen.wanted(), []int64{3}); try++ {
		if try > 3 {
			t.Fatalf("no burst was met in one step; wanted were %v replicas", seen.wanted())
		}
		if l != nil {
			l.end()
		}
		f = deploy(t, d)
		f.awaitReplicas(t, 1)
		seen = f.watchCourse(t)
		var ctx, burst context.Context
		l, ctx = startLoad(t)
		burst, endBurst = context.WithCancel(ctx)
		l.atRate(burst, "burst", 5*perReplica, probeTarget(f))
		l.atRate(ctx, "steady", perReplica/2, probeTarget(f))
		f.awaitReplicas(t, 3)
	}
	if n := series(t, scrape(t), "dc_scaler_changes_total", `function_name="`+f.name+"."+functionNamespace+`",reason="burst"`); n != 1 {
		t.Errorf("%v changes for a burst", n)
	}

	held := f.holdUnevenly(t)
	endBurst()
	emptier := slices.SortedFunc(maps.Keys(held), func(a, b string) int { return len(held[a]) - len(held[b]) })
	eventually(t, "two have gone", func() (bool, string) {
		gone := seen.left()
		return len(gone) >= 2, fmt.Sprint(gone, " have gone")
	})
	for _, replica := range emptier {
		for _, call := range held[replica] {
			echoes(t, call)
			call.Close() // it has shown what it was to show
		}
	}
	f.awaitReplicas(t, 1)
	l.report(t)
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if want := []int64{3, 2, 1}; !slices.Equal(seen.steps, want) {
		t.Fatalf("wanted replicas: %v, want %v", seen.steps, want)
	}
	if want := emptier[:2]; !slices.Equal(seen.gone, want) {
		t.Errorf("%v went, want %v, in the order of the calls that they had", seen.gone, want)
	}
	if stayed := seen.at[1].Sub(seen.at[0]); stayed < rpsWindow/2 { // they are all seen a little later than they are
		t.Errorf("the first went %v after the last had come, within the window of %v", stayed, rpsWindow)
	}
	for _, cost := range seen.costs {
		if cost != "-2147483648" {
			t.Errorf("one went with a pod-deletion-cost of %q", cost)
		}
	}
}

// rpsWindow is the time over which calls are counted.
const rpsWindow = 30 * time.Second

// atRate calls so many times each second, whether former calls have been answered or not, until ctx ends. Calls go on to their end then.
func (l *load) atRate(ctx context.Context, kind string, perSecond int, f target) {
	l.clients.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			l.clients.Go(func() {
				began := time.Now()
				l.note(kind, began, f.callBy(context.WithoutCancel(ctx), httpClient, fmt.Sprint(n), 0))
			})
		}
	})
}

// course is what becomes of a function's replicas.
type course struct {
	mu sync.Mutex
	// steps are the numbers of replicas that were wanted one after the other, and at when each was seen.
	steps []int64
	at    []time.Time
	// gone are the pods that ended, in order, and costs their annotations for Kubernetes.
	gone, costs []string
}

// watchCourse begins with what there is, of which nothing is told. It ends with the test.
func (f function) watchCourse(t *testing.T) *course {
	t.Helper()
	records, err := cluster.objects.Resource(functionKind).Namespace(f.inNamespace()).Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + f.name})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := cluster.CoreV1().Pods(f.inNamespace()).Watch(t.Context(), metav1.ListOptions{LabelSelector: "faas_function=" + f.name})
	if err != nil {
		t.Fatal(err)
	}
	c := &course{}
	var watching sync.WaitGroup
	watching.Go(func() { c.follow(records) })
	watching.Go(func() { c.follow(pods) })
	t.Cleanup(func() {
		records.Stop()
		pods.Stop()
		watching.Wait()
	})
	return c
}

func (c *course) follow(w watch.Interface) {
	last := int64(-1)
	for e := range w.ResultChan() {
		c.mu.Lock()
		switch o := e.Object.(type) {
		case *unstructured.Unstructured:
			replicas, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
			if last >= 0 && replicas != last {
				c.steps, c.at = append(c.steps, replicas), append(c.at, time.Now())
			}
			last = replicas
		case *corev1.Pod:
			if o.DeletionTimestamp != nil && !slices.Contains(c.gone, o.Name) {
				c.gone, c.costs = append(c.gone, o.Name), append(c.costs, o.Annotations[corev1.PodDeletionCost])
			}
		}
		c.mu.Unlock()
	}
}

func (c *course) wanted() []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.steps)
}

func (c *course) left() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.gone)
}

// holdUnevenly has one of three replicas have two calls that go on, another one, and the third none. Which get them is the balancer's to
// choose: there are more at first.
func (f function) holdUnevenly(t *testing.T) map[string][]*websocket.Conn {
	t.Helper()
	held := map[string][]*websocket.Conn{}
	most := 0
	for range 100 {
		replica, call := f.hold(t)
		held[replica] = append(held[replica], call)
		if most = max(most, len(held[replica])); most > 1 && len(held) == 3 {
			break
		}
	}
	if most < 2 || len(held) != 3 {
		t.Fatalf("calls by replica: %v", held)
	}
	for i, replica := range slices.SortedFunc(maps.Keys(held), func(a, b string) int { return len(held[b]) - len(held[a]) }) {
		keep := 2 - i
		for _, call := range held[replica][keep:] {
			call.Close() // nothing was asked of it
		}
		held[replica] = held[replica][:keep]
	}
	return held
}

// hold opens a websocket, and tells which replica has it. It ends with the test.
func (f function) hold(t *testing.T) (replica string, call *websocket.Conn) {
	t.Helper()
	u, err := url.Parse(gateway.url + f.path("/ws/named"))
	if err != nil {
		t.Fatal(err)
	}
	u.Scheme = "ws"
	if call, err = websocket.Dial(u.String(), "", gateway.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { call.Close() })
	if err := call.SetDeadline(time.Now().Add(settleLimit)); err != nil {
		t.Fatal(err)
	}
	if err := websocket.Message.Receive(call, &replica); err != nil || replica == "" {
		t.Fatalf("name of a replica: %q, %v", replica, err)
	}
	return replica, call
}

// echoes checks that a websocket goes on.
func echoes(t *testing.T, call *websocket.Conn) {
	t.Helper()
	const sent = "are you there"
	if err := websocket.Message.Send(call, sent); err != nil {
		t.Errorf("a call that a replica had when it was to go: %v", err)
		return
	}
	var got string
	if err := websocket.Message.Receive(call, &got); err != nil || got != sent {
		t.Errorf("a call that a replica had when it was to go: %q, %v", got, err)
	}
}
