package e2e

import (
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// readsAndDeletes is a program of a contract that does with its heap what countUp does not.
const readsAndDeletes = `
import json, os, urllib.error, urllib.request

heap = os.environ["Http_X_Heap_Url"] + "/heap"

def ask(path, method="GET", body=None, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(heap + path, body, headers, method=method)) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, None

def keys(query):
    status, answer = ask(query)
    assert status == 200, status
    return answer["keys"], answer.get("next")

assert keys("?prefix=a/") == (["a/1", "a/2"], None), keys("?prefix=a/")
assert ask("/a/1") == (200, 1)
assert ask("/a/1", "DELETE")[0] == 204
assert ask("/a/1")[0] == 404
assert ask("/a/1", "DELETE")[0] == 204
assert ask("/a/3", "PUT", b'{"three": 3}')[0] == 204
assert ask("/a/3") == (200, {"three": 3})
assert ask("/a/3", "PUT", b"no JSON")[0] == 400
assert ask("/a/2", "DELETE", **{"If-Match": '"1234567"'})[0] == 412
first, more = keys("?prefix=a/&limit=1")
assert first == ["a/2"], first
assert keys("?prefix=a/&after=" + more) == (["a/3"], None)
print('{"b": "mine"}')
`

// TestHeapView_ReadsAndDeletes has a contract list and delete keys, and see at once what it has changed.
func TestHeapView_ReadsAndDeletes(t *testing.T) {
	t.Parallel()
	f := deploy(t, contract(python()))
	f.call(t, `print('{"a/1": 1, "a/2": 2, "b": 0}')`).is(t, "call", http.StatusOK)
	f.call(t, readsAndDeletes).is(t, "call", http.StatusOK)
	if keys := f.heapKeys(t, ""); !slices.Equal(keys, []string{"a/2", "a/3", "b"}) {
		t.Errorf("keys %q", keys)
	}
	wantHeap(t, f, map[string]string{"a/3": `{"three":3}`, "b": `"mine"`})
}

// tellsItsURL is a program of a contract that writes, tells the URL of its heap, and waits until it is told to end.
const tellsItsURL = `
import os, sys, urllib.request

url = os.environ["Http_X_Heap_Url"]
urllib.request.urlopen(urllib.request.Request(url + "/heap/mine", b"1", method="PUT")).close()
print("heap at", url, "of", os.environ["HOSTNAME"], file=sys.stderr, flush=True)
` + untilTold

// tries is a program of a contract that asks for a heap at some URLs, and answers with the statuses that it got.
func tries(urls ...string) string {
	return fmt.Sprintf(`
import json, urllib.error, urllib.request

def ask(url, method):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, b"666" if method == "PUT" else None, method=method), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return type(error).__name__

print(json.dumps({"tried": [[url, method, ask(url, method)] for url in %s for method in ("GET", "PUT", "DELETE")], "OUTPUT_TO_HEAP": False}))
`, strings.ReplaceAll(fmt.Sprintf("%q", urls), `" "`, `", "`))
}

// TestHeapView_OfOneContractAlone has a contract try to reach the heap of another, whose call is under way and whose URL it knows; and
// its own, by the URL of a call that has ended.
func TestHeapView_OfOneContractAlone(t *testing.T) {
	t.Parallel()
	victim, thief := deploy(t, contract(python())), deploy(t, contract(python()))
	thief.call(t, `print('{"begun": 1}')`).is(t, "call", http.StatusOK)
	var calling sync.WaitGroup
	calling.Go(func() { victim.call(t, tellsItsURL).is(t, "the victim's call", http.StatusOK) })
	told := regexp.MustCompile(`heap at http://([^/]+)(/\S+) of`)
	var found []string
	eventually(t, "the victim tells its URL", func() (bool, string) {
		lines := readLogs(t, victim, 20, nil)
		for _, line := range lines {
			if found = told.FindStringSubmatch(line.Text); found != nil {
				return true, ""
			}
		}
		return false, fmt.Sprint(lines)
	})
	loopback, sealed := found[1], found[2]
	pods, err := cluster.CoreV1().Pods(victim.inNamespace()).List(t.Context(), metav1.ListOptions{LabelSelector: "faas_function=" + victim.name})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("the victim's pods: %v", err)
	}
	_, port, err := net.SplitHostPort(loopback)
	if err != nil {
		t.Fatal(err)
	}
	var urls []string
	for _, at := range []string{"http://" + loopback, "http://" + net.JoinHostPort(pods.Items[0].Status.PodIP, port)} {
		urls = append(urls, at+sealed+"/heap/mine", at+sealed+"/heap/go")
	}
	urls = append(urls, "http://"+loopback+"/heap/mine", provider.url+"/dc/heap/mine", provider.url+sealed+"/heap/mine",
		gateway.url+"/dc/heap/mine", gateway.url+victim.heapPath("go"), provider.url+victim.heapPath("go"))
	a := thief.call(t, tries(urls...)).is(t, "the thief's call", http.StatusOK)
	tried := decode[struct{ Tried [][3]any }](t, a).Tried
	if len(tried) != 3*len(urls) {
		t.Errorf("tried %v", tried)
	}
	for _, try := range tried {
		if status, answered := try[2].(float64); answered && status < 400 {
			t.Errorf("%v %v was answered %v", try[1], try[0], try[2])
		}
	}
	gateway.do(t, "PUT", victim.heapPath("go"), `"yours"`).is(t, "let it end", http.StatusNoContent)
	calling.Wait()
	wantHeap(t, victim, map[string]string{"mine": "1", "go": `"yours"`, "waited": "1"})
	// The URL of a call that has ended is nobody's any more.
	a = victim.call(t, tries("http://"+loopback+sealed+"/heap/mine")).is(t, "call", http.StatusOK)
	for _, try := range decode[struct{ Tried [][3]any }](t, a).Tried {
		if try[2] != float64(http.StatusGone) {
			t.Errorf("%v of a call that has ended was answered %v", try[1], try[2])
		}
	}
	wantHeap(t, victim, map[string]string{"mine": "1"})
}
