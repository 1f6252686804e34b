package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// queued is how many calls of the function are in the queue, as the metric tells.
func (f function) queued(t *testing.T) float64 {
	t.Helper()
	return series(t, scrape(t), "dc_invoke_queued", `function_name="`+f.name+"."+f.inNamespace()+`"`)
}

// fill posts calls to the function, all at once, and returns the ids of those that were accepted and of those for which there was no
// room. Each call waits for a file, and then has its effect.
func (f function) fill(t *testing.T, calls int) (accepted, refused []string) {
	t.Helper()
	var mu sync.Mutex
	var calling sync.WaitGroup
	for n := range calls {
		calling.Go(func() {
			id := fmt.Sprintf("call-%02d", n)
			a := f.later(t, id, "until [ -e /tmp/go ]; do sleep 0.1; done; "+effect(id), nil)
			mu.Lock()
			defer mu.Unlock()
			if a.status == http.StatusAccepted {
				accepted = append(accepted, id)
				return
			}
			refused = append(refused, id)
			a.refused(t, "a call too many", http.StatusTooManyRequests)
			if a.body != "the queue is full\n" || a.header.Get("X-OpenFaaS-Internal") == "" || a.header.Get("X-Call-Id") != id {
				t.Errorf("refused with %q and headers %v", a.body, a.header)
			}
			if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < 1 {
				t.Errorf("refused with Retry-After %q", a.header.Get("Retry-After"))
			}
		})
	}
	calling.Wait()
	return accepted, refused
}

// TestQueue_Full has two functions get more asynchronous calls than may wait of one, and of all. Who is told that there is no room
// has left nothing behind; who was accepted takes effect, once. It runs alone: what others queue would count.
func TestQueue_Full(t *testing.T) {
	limits := map[string]int{}
	for _, argument := range []string{"--async-queue", "--async-queue-total"} {
		n, err := strconv.Atoi(installedWith(t, argument))
		if err != nil {
			t.Fatal(err)
		}
		if n > 100 {
			t.Skipf("%s=%d is too much to be filled: make test-e2e gives less in a pass of its own", argument, n)
		}
		limits[argument] = n
	}
	ofOne, ofAll := limits["--async-queue"], limits["--async-queue-total"]
	const tooMany = 5
	d := label(contract(scripted()), labelMax, "1") // they wait for a file in the one pod
	first, second := deploy(t, d), deploy(t, d)
	for _, f := range []function{first, second} {
		f.call(t, "echo '{}'").is(t, "call", http.StatusOK)
	}
	accepted, refused := map[function][]string{}, map[function][]string{}
	accepted[first], refused[first] = first.fill(t, ofOne+tooMany)
	accepted[second], refused[second] = second.fill(t, ofAll-ofOne+tooMany)
	if len(accepted[first]) != ofOne || len(accepted[second]) != ofAll-ofOne {
		t.Errorf("%d and %d calls were accepted, want %d and %d", len(accepted[first]), len(accepted[second]), ofOne, ofAll-ofOne)
	}
	eventually(t, "the metric tells how many wait", func() (bool, string) {
		one, other := first.queued(t), second.queued(t)
		return one == float64(ofOne) && other == float64(ofAll-ofOne), fmt.Sprint(one, other)
	})
	// One that waits already is no further one, and nobody who waits for his answer stands in this queue.
	again := accepted[first][0]
	first.later(t, again, "until [ -e /tmp/go ]; do sleep 0.1; done; "+effect(again), nil).is(t, "repeat of an accepted call", http.StatusAccepted)
	for _, f := range []function{first, second} {
		f.call(t, "touch /tmp/go; echo '{}'").is(t, "sync call", http.StatusOK)
	}
	for f, ids := range accepted {
		f.awaitKeys(t, "call-", len(ids))
	}
	eventually(t, "nothing waits", func() (bool, string) {
		one, other := first.queued(t), second.queued(t)
		return one <= 0 && other <= 0, fmt.Sprint(one, other)
	})
	for f, ids := range refused {
		for _, id := range ids {
			f.later(t, id, effect(id), nil).is(t, "a refused call, sent again", http.StatusAccepted)
		}
		accepted[f] = append(accepted[f], ids...)
	}
	for f, ids := range accepted {
		f.awaitKeys(t, "call-", len(ids))
		for _, id := range ids {
			if keys := f.heapKeys(t, id+"/"); len(keys) != 1 {
				t.Errorf("call %s of %s has the effects %q", id, f, keys)
			}
		}
		f.awaitDead(t, 0)
	}
}

// untilTold is a program of a contract that waits until its heap has a key, which only an operator writes.
const untilTold = `
import json, os, time, urllib.error, urllib.request

url = os.environ["Http_X_Heap_Url"] + "/heap/"
while True:
    try:
        urllib.request.urlopen(url + "go").close()
        break
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        time.sleep(0.2)
print(json.dumps({"waited": 1}))
`

// TestAsync_StuckSerialCallHoldsOnlyItsOwnLine has the first call of a serial contract hang, with others behind it, until the calls of
// other contracts, serial and parallel, waited for and not, have all taken effect.
func TestAsync_StuckSerialCallHoldsOnlyItsOwnLine(t *testing.T) {
	t.Parallel()
	const calls, behind = 10, 20
	serial := func(d deployment) deployment { return annotate(d, "com.dragonchain.execution-order", "serial") }
	// One that took longer than a call may would be tried again, in its place.
	stuck := deploy(t, annotate(annotate(serial(contract(python())), "com.openfaas.retry.codes", "500,503,504"), "com.openfaas.retry.min_wait", "0s"))
	others := []function{deploy(t, serial(contract(scripted()))), deploy(t, contract(scripted()))}
	for _, f := range append(others, stuck) {
		f.awaitReplicas(t, 1)
	}
	stuck.later(t, "stuck", untilTold, nil).is(t, "async call", http.StatusAccepted)
	for n := range behind {
		stuck.later(t, fmt.Sprint("behind-", n), fmt.Sprintf(`print('{"behind/%02d": 1}')`, n), nil).is(t, "async call", http.StatusAccepted)
	}
	var calling sync.WaitGroup
	for _, f := range others {
		for n := range calls {
			calling.Go(func() {
				f.later(t, "", effect(fmt.Sprintf("later-%02d", n)), nil).is(t, "async call", http.StatusAccepted)
				f.call(t, effect(fmt.Sprintf("call-%02d", n))).is(t, "call", http.StatusOK)
			})
		}
	}
	calling.Wait()
	for _, f := range others {
		f.awaitKeys(t, "", 2*calls)
	}
	if keys := stuck.heapKeys(t, ""); len(keys) > 0 {
		t.Errorf("keys %q of the contract whose first call hangs", keys)
	}
	gateway.do(t, "PUT", stuck.heapPath("go"), "1").is(t, "let it end", http.StatusNoContent)
	stuck.awaitKeys(t, "behind/", behind)
	wantHeap(t, stuck, map[string]string{"waited": "1"})
}

// TestAutoscale_Queue has more asynchronous calls wait than are made at a time: they are load as calls are, and replicas go when they
// are done.
func TestAutoscale_Queue(t *testing.T) {
	t.Parallel()
	// At a time no more than 64 calls of a function are made from the queue, which alone were one replica's.
	const calls = 500
	d := label(label(label(unhurried(probe(t)), labelType, "capacity"), labelTarget, "64"), labelProportion, "1")
	f := deploy(t, label(d, labelMax, "3"))
	f.awaitReplicas(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	for n := range calls {
		a, err := gateway.insist(ctx, request{method: "POST", path: "/async-function/" + f.String() + "/echo?after=3s", body: fmt.Sprint(n), auth: nobody})
		if err != nil || a.status != http.StatusAccepted {
			t.Fatalf("call %d: %d %q, %v", n, a.status, a.body, err)
		}
	}
	f.scaledBy(t, "capacity", 3)
	began := time.Now()
	f.scaledBy(t, "capacity", 1)
	t.Logf("one replica again after %v", time.Since(began).Round(time.Second))
	eventually(t, "each was called once", func() (bool, string) {
		n := f.listed(t).InvocationCount
		return n == calls, fmt.Sprint(n, " calls")
	})
	if left := f.queued(t); left > 0 {
		t.Errorf("%v calls wait still", left)
	}
	f.awaitDead(t, 0)
}
