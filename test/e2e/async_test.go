package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// later posts body to the function, to be called when it suits.
func (f function) later(t *testing.T, id, body string, header http.Header) answer {
	t.Helper()
	h := header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if id != "" {
		h.Set("X-Call-Id", id)
	}
	return gateway.ask(t, request{method: "POST", path: "/async-function/" + f.String(), body: body, header: h, auth: nobody})
}

// awaitKeys waits until the heap has so many keys, and returns them.
func (f function) awaitKeys(t *testing.T, prefix string, want int) (keys []string) {
	t.Helper()
	eventually(t, fmt.Sprintf("the heap of %s has %d keys", f, want), func() (bool, string) {
		keys = f.heapKeys(t, prefix)
		return len(keys) == want, fmt.Sprintf("%q", keys)
	})
	return keys
}

type deadLetters struct {
	DeadLetters []struct {
		ID, Kind, CallID, Reason string
		Attempts                 int
	}
}

// awaitDead waits until the function has so many dead letters.
func (f function) awaitDead(t *testing.T, want int) (list deadLetters) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has %d dead letters", f, want), func() (bool, string) {
		a := gateway.do(t, "GET", "/system/dead-letters/"+f.name, "").is(t, "dead letters", http.StatusOK)
		list = decode[deadLetters](t, a)
		return len(list.DeadLetters) == want, a.body
	})
	return list
}

// TestAsync_Callback has one contract's answer become another's heap, by way of a callback to the gateway.
func TestAsync_Callback(t *testing.T) {
	t.Parallel()
	f, receiver := deploy(t, contract(scripted())), deploy(t, contract(parrot()))
	to := http.Header{"X-Callback-Url": {"http://gateway." + providerNamespace + ":8080" + receiver.path("")}}
	for range 2 { // the repeat has no other effect
		a := f.later(t, "one", effect("one"), to).is(t, "async call", http.StatusAccepted)
		if a.header.Get("X-Call-Id") != "one" || a.body != "" {
			t.Errorf("answered %q with headers %v", a.body, a.header)
		}
	}
	own := f.awaitKeys(t, "", 1)
	if got := receiver.awaitKeys(t, "", 1); got[0] != own[0] {
		t.Errorf("the callback told of %q, the heap has %q", got, own)
	}
	again := gateway.ask(t, withCallID(f, "one", "", effect("one"))).is(t, "sync repeat", http.StatusOK)
	if again.header.Get("X-Call-Replayed") != "true" || effectKey(again.body) != own[0] {
		t.Errorf("the repeat answers %q with headers %v", again.body, again.header)
	}
	f.awaitKeys(t, "", 1)

	f.later(t, "", "", http.Header{"X-Callback-Url": {"http://127.0.0.1/"}}).refused(t, "callback to this machine", http.StatusBadRequest)
	f.later(t, "", "", http.Header{"X-Callback-Url": {"nonsense"}}).refused(t, "callback to nowhere", http.StatusBadRequest)
	f.later(t, "", strings.Repeat("x", 1<<20+1), nil).refused(t, "large body", http.StatusRequestEntityTooLarge)
	function{name: unique(t, "absent")}.later(t, "", "", nil).refused(t, "absent function", http.StatusNotFound)
}

// TestAsync_CallbackHeaders has callbacks reach a function that shows what it was called with: of a call that is answered, and of one
// that fails for good.
func TestAsync_CallbackHeaders(t *testing.T) {
	t.Parallel()
	d := annotate(scripted(), "com.openfaas.retry.attempts", "1")
	d.EnvVars = map[string]string{"content_type": "application/x-moo"}
	f := deploy(t, d)
	for _, tt := range []struct{ id, script, status, body, contentType string }{
		{"good", "echo moo", "200", "moo\n", "application/x-moo"},
		{"bad", "exit 3", "500", "exit status 3\n", "text/plain; charset=utf-8"},
	} {
		receiver := deploy(t, contract(probe(t)))
		to := http.Header{"X-Callback-Url": {"http://gateway." + providerNamespace + ":8080" + receiver.path("/told?q=1")}}
		f.later(t, tt.id, tt.script, to).is(t, "async call", http.StatusAccepted)
		receiver.awaitKeys(t, "", 5)
		var header http.Header
		if err := json.Unmarshal([]byte(receiver.heap(t, "header")), &header); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"X-Function-Status": tt.status, "X-Function-Name": f.String(), "X-Call-Id": tt.id, "Content-Type": tt.contentType,
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: the callback has %s: %q, want %q", tt.id, name, got, want)
			}
		}
		if took, err := strconv.ParseFloat(header.Get("X-Duration-Seconds"), 64); err != nil || took <= 0 || header.Get("X-Start-Time") == "" {
			t.Errorf("%s: the callback has headers %v", tt.id, header)
		}
		wantHeap(t, receiver, map[string]string{"method": `"POST"`, "uri": `"/told?q=1"`, "body": encode(t, tt.body)})
	}
}

// TestAsync_FromZero wakes what is at zero.
func TestAsync_FromZero(t *testing.T) {
	t.Parallel()
	f := deploy(t, contract(scripted()))
	f.scale(t, 0)
	f.later(t, "one", effect("one"), nil).is(t, "async call", http.StatusAccepted)
	f.awaitKeys(t, "one/", 1)
}

func TestAsync_DeadLetters(t *testing.T) {
	t.Parallel()
	d := annotate(annotate(contract(scripted()), "com.openfaas.retry.attempts", "2"), "com.openfaas.retry.min_wait", "0s")
	d = annotate(d, "com.openfaas.retry.codes", "500")
	d.Service = unique(t, "f")
	f := deploy(t, d)
	// It fails until a file says that it may not.
	script := `[ -e /tmp/mended ] || exit 3; echo '{"done": 1}'`
	f.later(t, "one", script, nil).is(t, "async call", http.StatusAccepted)
	f.later(t, "two", "exit 3", nil).is(t, "async call", http.StatusAccepted)
	dead := f.awaitDead(t, 2).DeadLetters
	ids := map[string]string{}
	for _, l := range dead {
		if l.Attempts != 2 || l.Kind != "invocation" || !strings.Contains(l.Reason, "500") {
			t.Errorf("dead letter %+v", l)
		}
		ids[l.CallID] = "/system/dead-letters/" + f.name + "/" + l.ID
	}
	shown := gateway.do(t, "GET", ids["one"], "").is(t, "show", http.StatusOK)
	var letter struct{ Body []byte }
	if err := json.Unmarshal([]byte(shown.body), &letter); err != nil || string(letter.Body) != script {
		t.Errorf("shown is %s, %v", shown.body, err)
	}
	f.call(t, "touch /tmp/mended; echo '{}'").is(t, "mend", http.StatusOK)
	gateway.do(t, "POST", ids["one"]+"/replay", "").is(t, "replay", http.StatusAccepted)
	f.awaitKeys(t, "done", 1)
	gateway.do(t, "DELETE", ids["two"], "").is(t, "drop", http.StatusAccepted)
	f.awaitDead(t, 0)
	// A function of the same name begins with nothing.
	f.later(t, "three", "exit 3", nil).is(t, "async call", http.StatusAccepted)
	f.awaitDead(t, 1)
	f.remove(t)
	deploy(t, d).awaitDead(t, 0)
}

func TestAsync_SerialOrder(t *testing.T) {
	t.Parallel()
	f := deploy(t, annotate(contract(scripted()), "com.dragonchain.execution-order", "serial"))
	// What two at once, or another order, would get wrong.
	script := func(n int) string {
		return fmt.Sprintf(`n=$(cat /tmp/n 2>/dev/null || echo 0); echo $((n+1)) >/tmp/n; echo "{\"%02d\": $n}"`, n)
	}
	const calls = 24
	for n := range calls {
		if n%4 == 3 {
			f.call(t, script(n)).is(t, "sync call", http.StatusOK)
			continue
		}
		f.later(t, "", script(n), nil).is(t, "async call", http.StatusAccepted)
	}
	f.awaitKeys(t, "", calls)
	for n := range calls {
		if got := f.heap(t, fmt.Sprintf("%02d", n)); got != fmt.Sprint(n) {
			t.Errorf("call %d ran as number %s", n, got)
		}
	}
}

// TestAsync_StuckSerialCall has the first call of a serial contract hang: when its time is over it is a dead letter, and the next goes.
func TestAsync_StuckSerialCall(t *testing.T) {
	t.Parallel()
	d := annotate(contract(scripted()), "com.dragonchain.execution-order", "serial")
	d.EnvVars = map[string]string{"exec_timeout": "2s"}
	f := deploy(t, d)
	f.later(t, "stuck", "sleep 600; echo '{\"stuck\": 1}'", nil).is(t, "async call", http.StatusAccepted)
	f.later(t, "next", `echo '{"next": 1}'`, nil).is(t, "async call", http.StatusAccepted)
	f.call(t, `echo '{"last": 1}'`).is(t, "sync call behind them", http.StatusOK)
	if keys := f.heapKeys(t, ""); !slices.Equal(keys, []string{"last", "next"}) {
		t.Errorf("keys %q, want those of the calls that ended", keys)
	}
	if dead := f.awaitDead(t, 1).DeadLetters; dead[0].CallID != "stuck" {
		t.Errorf("dead letter %+v", dead[0])
	}
}

func TestSchedule_EverySecond(t *testing.T) {
	t.Parallel()
	f := deploy(t, annotate(contract(parrot()), "com.dragonchain.seconds", "1"))
	seen := map[string]bool{}
	eventually(t, "the clock calls the contract", func() (bool, string) {
		a := gateway.do(t, "GET", f.heapPath("header"), "")
		if a.status == http.StatusOK {
			seen[a.body] = true
		}
		return len(seen) >= 3, fmt.Sprint(seen)
	})
	for header := range seen {
		var h struct {
			TxnID     string `json:"txn_id"`
			Timestamp string `json:"timestamp"`
		}
		if err := json.Unmarshal([]byte(header), &h); err != nil || h.TxnID != "cron" || h.Timestamp == "" {
			t.Errorf("called with header %s, %v", header, err)
		}
	}
	s, ok := f.status(t)
	if !ok || s.Annotations == nil {
		t.Fatal("no status")
	}
	if next, err := time.Parse(time.RFC3339, (*s.Annotations)["com.dragonchain.next-tick"]); err != nil || time.Until(next).Abs() > time.Minute {
		t.Errorf("the next tick is %v, %v", next, err)
	}
	bad := annotate(parrot(), "com.dragonchain.cron", "61 * * * *")
	bad.Service = unique(t, "f")
	gateway.do(t, "POST", "/system/functions", encode(t, bad)).refused(t, "a schedule that cannot be read", http.StatusBadRequest)
}

// TestSchedule_Cron has the clock call a contract by Dragonchain's annotation, and one by those of OpenFaaS's cron connector.
func TestSchedule_Cron(t *testing.T) {
	t.Parallel()
	ours := deploy(t, annotate(contract(parrot()), "com.dragonchain.cron", "* * * * *"))
	theirs := deploy(t, annotate(annotate(contract(probe(t)), "topic", "cron-function"), "schedule", "* * * * *"))
	theirs.awaitKeys(t, "", 5)
	var header http.Header
	if err := json.Unmarshal([]byte(theirs.heap(t, "header")), &header); err != nil {
		t.Fatal(err)
	}
	if header.Get("X-Topic") != "cron-function" || header.Get("X-Connector") != "cron-connector" || header.Get("X-Call-Id") == "" {
		t.Errorf("called with headers %v", header)
	}
	wantHeap(t, theirs, map[string]string{"method": `"POST"`, "body": `""`})

	ours.awaitKeys(t, "", 5)
	wantHeap(t, ours, map[string]string{
		"version": `"2"`, "dcrn": `"Transaction::L1::FullTransaction"`, "payload": "{}", "proof": `{"full":null,"stripped":null}`,
	})
	var h struct {
		Type  string `json:"txn_type"`
		TxnID string `json:"txn_id"`
		Time  string `json:"timestamp"`
	}
	if err := json.Unmarshal([]byte(ours.heap(t, "header")), &h); err != nil || h.Type != ours.name || h.TxnID != "cron" {
		t.Errorf("called with header %+v, %v", h, err)
	}
	if seconds, err := strconv.ParseInt(h.Time, 10, 64); err != nil || seconds%60 != 0 {
		t.Errorf("called for the time %q, want a full minute", h.Time)
	}
}

// TestKill_Async ends the provider with SIGKILL while invocations are accepted and run. Each that was accepted takes effect
// once. It runs alone: nobody is served meanwhile.
func TestKill_Async(t *testing.T) {
	const before = 60
	f := deploy(t, contract(scripted()))
	f.call(t, effect("begun")).is(t, "call", http.StatusOK)
	process, ok := providerProcess(t)
	if !ok {
		t.Fatal("the provider's process is not on this machine: run the tests by make test-e2e")
	}
	var accepted []string
	for n := range before + 1 {
		id := fmt.Sprintf("%03d", n)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		a, err := gateway.send(ctx, request{
			method: "POST", path: "/async-function/" + f.String(), body: effect(id), header: http.Header{"X-Call-Id": {id}}, auth: nobody,
		})
		cancel()
		switch {
		case err == nil && a.status == http.StatusAccepted:
			accepted = append(accepted, id)
		default:
			t.Fatalf("call %s: %v %d %q", id, err, a.status, a.body)
		}
		if n == before {
			if err := syscall.Kill(process, syscall.SIGKILL); err != nil {
				t.Fatalf("kill the provider, process %d: %v", process, err)
			}
		}
	}
	awaitProvider(t, process)
	f.later(t, "last", effect("last"), nil).is(t, "async call afterwards", http.StatusAccepted)
	accepted = append(accepted, "last")
	for _, id := range accepted {
		f.awaitKeys(t, id+"/", 1)
	}
	if keys := f.heapKeys(t, ""); len(keys) != len(accepted)+1 {
		t.Errorf("%d effects of %d accepted and one call", len(keys), len(accepted))
	}
	t.Logf("%d accepted", len(accepted))
}
