package e2e

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/openfaas/faas-provider/types"
)

const (
	labelMaxInFlight = "com.openfaas.max_inflight"

	// queueDepth is the chart's calls.queueDepth.
	queueDepth = 1024
)

// scrape reads what Prometheus would, from inside the cluster.
func scrape(t *testing.T) string {
	t.Helper()
	metrics := provider
	metrics.url = strings.TrimSuffix(provider.url, ":8081") + ":8082"
	return metrics.ask(t, request{method: "GET", path: "/metrics", auth: nobody}).is(t, "scrape", http.StatusOK).body
}

// series is the value of one series of a scrape; labels are in the order of their names, and may be none.
func series(t *testing.T, scrape, name, labels string) float64 {
	t.Helper()
	if labels != "" {
		labels = "{" + labels + "}"
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name+labels) + ` (\S+)$`).FindStringSubmatch(scrape)
	if m == nil {
		return -1
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// listed is the function's status in the list, which is where clients look for the number of calls.
func (f function) listed(t *testing.T) types.FunctionStatus {
	t.Helper()
	for _, s := range decode[[]types.FunctionStatus](t, gateway.do(t, "GET", "/system/functions?namespace="+f.inNamespace(), "")) {
		if s.Name == f.name {
			return s
		}
	}
	t.Fatalf("%s is not listed", f)
	return types.FunctionStatus{}
}

// More calls come than the replica may have and the queue holds: the rest are told to come again, those who wait are
// answered, and all of it is counted.
func TestLimit_QueuesAndThenRefuses(t *testing.T) {
	t.Parallel()
	const tooMany = 40
	f := deploy(t, label(label(probe(t), labelMaxInFlight, "1"), labelMax, "1"))
	gateway.ask(t, request{method: "GET", path: f.path("/"), auth: nobody}).is(t, "the first call", http.StatusOK)
	holder := gateway.stream(t, request{method: "GET", path: f.path("/events?id=1"), auth: nobody}, nil)
	name := `function_name="` + f.name + "." + functionNamespace + `"`

	var mu sync.Mutex
	statuses := map[int]int{}
	var calls sync.WaitGroup
	for range queueDepth + tooMany {
		calls.Go(func() {
			a, err := gateway.send(t.Context(), request{method: "GET", path: f.path("/"), auth: nobody})
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
			switch {
			case err != nil:
				t.Error(err)
			case a.status == http.StatusTooManyRequests:
				a.refused(t, "a call too many", http.StatusTooManyRequests)
				if a.header.Get("Retry-After") == "" || a.header.Get("X-OpenFaaS-Internal") == "" || a.header.Get("X-Call-Id") == "" {
					t.Errorf("headers of a refusal: %v", a.header)
				}
			case a.status != http.StatusOK:
				t.Errorf("got %d %q", a.status, a.body)
			}
		})
	}
	eventually(t, "the queue is full", func() (bool, string) {
		s := scrape(t)
		return series(t, s, "dc_proxy_waiting", name) == queueDepth && series(t, s, "dc_proxy_rejected_total", name) == tooMany &&
			series(t, s, "dc_proxy_in_flight", name) == 1, regexp.MustCompile(`(?m)^dc_proxy_.*` + name + ".*").FindString(s)
	})
	if err := holder.Body.Close(); err != nil {
		t.Error(err)
	}
	calls.Wait()
	if statuses[http.StatusOK] != queueDepth || statuses[http.StatusTooManyRequests] != tooMany {
		t.Errorf("answers by status: %v", statuses)
	}

	// The first call, the stream, and those who waited. An answer is read a moment before its call is counted.
	eventually(t, "all calls have ended", func() (bool, string) {
		n := f.listed(t).InvocationCount
		return n == 2+queueDepth+tooMany, strconv.FormatFloat(n, 'f', -1, 64) + " calls"
	})
	s := scrape(t)
	for _, want := range []struct {
		name, labels string
		value        float64
	}{
		{"gateway_function_invocation_started", name, 2 + queueDepth + tooMany},
		{"gateway_function_invocation_total", `code="200",` + name, 2 + queueDepth},
		{"gateway_function_invocation_total", `code="429",` + name, tooMany},
		{"gateway_functions_seconds_count", `code="200",` + name, 2 + queueDepth},
		{"gateway_service_count", name, 1},
		{"dc_proxy_phase_seconds_count", name + `,phase="queue"`, queueDepth},
	} {
		if got := series(t, s, want.name, want.labels); got != want.value {
			t.Errorf("%s{%s} is %v, want %v", want.name, want.labels, got, want.value)
		}
	}
	f.remove(t)
	if s := scrape(t); strings.Contains(s, name) {
		t.Errorf("a deleted function has series: %s", regexp.MustCompile(`(?m)^.*`+name+".*").FindString(s))
	}
}

// TestLimit_BodiesOfWaitingCalls has more bodies wait than there is memory for, of two functions: no more is taken, and all are
// answered.
func TestLimit_BodiesOfWaitingCalls(t *testing.T) {
	t.Parallel()
	const (
		callers = 600
		size    = 64 << 10 // the most that is read of a body before there is a replica for its call
		room    = 64 << 20
	)
	rest := strings.Repeat("b", size-len("0000"))
	functions := []function{
		deploy(t, label(label(probe(t), labelMaxInFlight, "1"), labelMax, "1")),
		deploy(t, label(label(probe(t), labelMaxInFlight, "1"), labelMax, "1")),
	}
	for _, f := range functions {
		gateway.ask(t, request{method: "GET", path: f.path("/"), auth: nobody}).is(t, "the first call", http.StatusOK)
	}
	var calls sync.WaitGroup
	var holders []io.Closer
	release := func() {
		for _, h := range holders {
			h.Close() // whatever it says, the call is given up
		}
		calls.Wait()
	}
	defer release()
	for _, f := range functions {
		holders = append(holders, gateway.stream(t, request{method: "GET", path: f.path("/events?id=1"), auth: nobody}, nil).Body)
		for n := range callers {
			calls.Go(func() {
				body := fmt.Sprintf("%04d", n) + rest
				a, err := gateway.send(t.Context(), request{method: "POST", path: f.path("/echo?after=0s"), body: body, auth: nobody})
				if err != nil || a.status != http.StatusOK || a.body != body {
					t.Errorf("call %d of %s: %d %.100q, %v", n, f, a.status, a.body, err)
				}
			})
		}
	}
	eventually(t, "all wait, and the memory for bodies is used up", func() (bool, string) {
		s := scrape(t)
		held := series(t, s, "dc_proxy_waiting_body_bytes", "")
		if held > room {
			t.Fatalf("%v bytes are held, want %d at most", held, room)
		}
		all := true
		for _, f := range functions {
			all = all && series(t, s, "dc_proxy_waiting", `function_name="`+f.name+"."+functionNamespace+`"`) == callers
		}
		return all && held > room-size, fmt.Sprintf("%v bytes, all wait: %v", held, all)
	})
	release()
	eventually(t, "the memory is free again", func() (bool, string) { // others' bodies may be in it still
		held := series(t, scrape(t), "dc_proxy_waiting_body_bytes", "")
		return held < room/2, fmt.Sprint(held, " bytes")
	})
}
