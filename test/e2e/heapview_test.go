package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// countUp is a program of a contract that adds one to a number of its heap, by the heap's view that comes with its call.
const countUp = `
import json, os, sys, urllib.error, urllib.request

url = os.environ["Http_X_Heap_Url"] + "/heap/count"

def count_up():
    try:
        with urllib.request.urlopen(url) as answer:
            count, condition = json.load(answer), {"If-Match": answer.headers["ETag"]}
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        count, condition = 0, {"If-None-Match": "*"}
    write = urllib.request.Request(url, json.dumps(count + 1).encode(), condition, method="PUT")
    try:
        urllib.request.urlopen(write).close()
    except urllib.error.HTTPError as error:
        if error.code != 412: # another call has counted meanwhile
            raise
        count_up()

count_up()
with urllib.request.urlopen(url) as answer:
    print(json.dumps({"seen": json.load(answer)}))
`

// TestHeapView_CompareAndSet has calls beside each other count in their contract's heap: each that is answered counts once.
func TestHeapView_CompareAndSet(t *testing.T) {
	t.Parallel()
	const callers, each = 4, 3
	f := deploy(t, contract(python()))
	f.call(t, countUp).is(t, "the first call", http.StatusOK)
	counted := 1
	var mu sync.Mutex
	var calling sync.WaitGroup
	for range callers {
		calling.Go(func() {
			for range each {
				switch a := f.call(t, countUp); a.status {
				case http.StatusOK:
					mu.Lock()
					counted++
					mu.Unlock()
				case http.StatusConflict: // eight times others were first
				default:
					t.Errorf("a call is answered %v", a)
				}
			}
		})
	}
	calling.Wait()
	if counted < each {
		t.Errorf("of %d calls %d counted", 1+callers*each, counted)
	}
	count := fmt.Sprint(counted)
	wantHeap(t, f, map[string]string{"count": count, "seen": count})
}

// TestHeapView_NothingOfAFailedCall has a contract write, and then fail.
func TestHeapView_NothingOfAFailedCall(t *testing.T) {
	t.Parallel()
	f := deploy(t, contract(python()))
	if a := f.call(t, countUp+"sys.exit(1)\n"); a.status != http.StatusInternalServerError {
		t.Errorf("the call is answered %v, want 500", a)
	}
	if keys := f.heapKeys(t, ""); len(keys) > 0 {
		t.Errorf("keys %q after a call that failed", keys)
	}
}
