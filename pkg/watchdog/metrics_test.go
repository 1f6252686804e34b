package watchdog

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// scrape returns the page, without what belongs to Go and to this process unless all of it is wanted.
func scrape(t testing.TB, url string) string {
	t.Helper()
	res, err := client.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
		t.Fatalf("%v %v %v", res.StatusCode, res.Header, err)
	}
	return string(page)
}

// family is the lines of one metric, its HELP and TYPE among them.
func family(page, name string) string {
	var lines []string
	for line := range strings.Lines(page) {
		words := strings.FieldsFunc(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), func(r rune) bool { return r == ' ' || r == '{' })
		of := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(words[0], "_bucket"), "_sum"), "_count")
		if words[0] == name || of == name {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// serveScrapes serves a watchdog's metrics as Run does, on a free port.
func serveScrapes(t testing.TB, f *fixture) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() { f.metrics.serve(ctx, ln, slog.New(slog.DiscardHandler)) })
	t.Cleanup(func() { end(); served.Wait() })
	return "http://" + ln.Addr().String()
}

// The three names that OpenFaaS dashboards read, byte for byte.
func TestMetrics_Page(t *testing.T) {
	f := prepare(t, "fprocess=cat")
	url := serveScrapes(t, f)
	if page := scrape(t, url); family(page, "http_requests_total")+family(page, "http_request_duration_seconds") != "" {
		t.Errorf("before any request:\n%s", page)
	}
	for _, r := range []struct {
		method string
		status int
		took   time.Duration
	}{
		{"POST", 200, 2 * time.Millisecond}, {"POST", 200, 5 * time.Millisecond}, {"POST", 200, 20 * time.Second},
		{"GET", 429, 0}, {"BREW", 418, 700 * time.Millisecond}, {"GET", 999, 0},
	} {
		f.metrics.begin()
		f.metrics.observe(r.method, r.status, r.took)
	}
	f.metrics.begin()
	page := scrape(t, url)
	if got, want := family(page, "http_requests_total"), `# HELP http_requests_total total HTTP requests processed
# TYPE http_requests_total counter
http_requests_total{code="unknown",method="get"} 1
http_requests_total{code="200",method="post"} 3
http_requests_total{code="418",method="unknown"} 1
http_requests_total{code="429",method="get"} 1
`; got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if got, want := family(page, "http_requests_in_flight"), `# HELP http_requests_in_flight total HTTP requests in-flight
# TYPE http_requests_in_flight gauge
http_requests_in_flight 1
`; got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	const post = `http_request_duration_seconds_bucket{code="200",method="post",le=`
	durations := family(page, "http_request_duration_seconds")
	for _, part := range []string{
		"# HELP http_request_duration_seconds Seconds spent serving HTTP requests.\n# TYPE http_request_duration_seconds histogram\n",
		post + "\"0.005\"} 2\n" + post + "\"0.01\"} 2\n" + post + "\"0.025\"} 2\n" + post + "\"0.05\"} 2\n" + post + "\"0.1\"} 2\n" +
			post + "\"0.25\"} 2\n" + post + "\"0.5\"} 2\n" + post + "\"1\"} 2\n" + post + "\"2.5\"} 2\n" + post + "\"5\"} 2\n" +
			post + "\"10\"} 2\n" + post + "\"+Inf\"} 3\n" +
			"http_request_duration_seconds_sum{code=\"200\",method=\"post\"} 20.007\n" +
			"http_request_duration_seconds_count{code=\"200\",method=\"post\"} 3\n",
		"http_request_duration_seconds_bucket{code=\"418\",method=\"unknown\",le=\"0.5\"} 0\n",
		"http_request_duration_seconds_bucket{code=\"418\",method=\"unknown\",le=\"1\"} 1\n",
	} {
		if !strings.Contains(durations, part) {
			t.Errorf("no\n%s in\n%s", part, durations)
		}
	}
	if !strings.Contains(page, `promhttp_metric_handler_requests_total{code="200"} 1`+"\n") {
		t.Error("the first scrape was not counted")
	}
}

// Every line is one that Prometheus reads, every family is announced once and stands together, and what is told can be true.
func TestMetrics_Format(t *testing.T) {
	f := prepare(t, "fprocess=cat")
	f.metrics.begin()
	f.metrics.observe("GET", 200, time.Second)
	page := scrape(t, serveScrapes(t, f))
	sample := regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="[^"\\]*"(?:,[a-z]+="[^"\\]*")*\})? (\S+)$`)
	seen, current := map[string]bool{}, ""
	values := map[string]float64{}
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		if name, found := strings.CutPrefix(line, "# HELP "); found {
			current, _, _ = strings.Cut(name, " ")
			if seen[current] {
				t.Errorf("%s is there twice", current)
			}
			seen[current] = true
			continue
		}
		if kind, found := strings.CutPrefix(line, "# TYPE "+current+" "); found {
			if !regexp.MustCompile("^(counter|gauge|histogram|summary)$").MatchString(kind) {
				t.Error(line)
			}
			continue
		}
		parts := sample.FindStringSubmatch(line)
		if parts == nil || !strings.HasPrefix(parts[1], current) {
			t.Errorf("%q in %s", line, current)
			continue
		}
		value, err := strconv.ParseFloat(parts[3], 64)
		if err != nil {
			t.Error(line, err)
		}
		values[parts[1]] = value
	}
	for _, name := range []string{"go_goroutines", "go_memstats_alloc_bytes", "go_memstats_sys_bytes", "go_threads", "go_info",
		"process_cpu_seconds_total", "process_max_fds", "process_open_fds", "process_resident_memory_bytes", "process_start_time_seconds"} {
		if values[name] <= 0 {
			t.Errorf("%s is %v", name, values[name])
		}
	}
	if got, want := values["process_open_fds"], float64(countDescriptors(t)); got < want || got > want+8 {
		t.Errorf("%v descriptors open, counted %v", got, want) // the page counts those of the poller too
	}
}

func TestMetrics_CountsInvocations(t *testing.T) {
	f := serve(t, sh(`case $Http_Path in /exit) exit 1;; /slow) echo begun >&2; sleep 100;; esac`), "max_inflight=1", "healthcheck_interval=0")
	url := serveScrapes(t, f)
	f.do("POST", "/", "x")
	f.do("GET", "/", "")
	f.do("GET", "/exit", "")
	f.do("OPTIONS", "/", "")
	f.do("GET", "/_/health", "")
	f.do("GET", "/_/ready", "")
	ctx, leave := context.WithCancel(context.Background())
	left := make(chan answer)
	go func() { left <- f.doCtx(ctx, "DELETE", "/slow", nil) }()
	f.stderr.waitFor(t, "begun")
	if page := scrape(t, url); !strings.Contains(page, "\nhttp_requests_in_flight 1\n") {
		t.Error(family(page, "http_requests_in_flight"))
	}
	if got := f.do("GET", "/", ""); got.status != 429 {
		t.Errorf("%+v", got)
	}
	leave()
	<-left
	f.waitNothingInFlight()
	if err := f.stop(); err != nil { // so that the last has been counted
		t.Fatal(err)
	}
	page := scrape(t, url)
	if got, want := family(page, "http_requests_total"), `# HELP http_requests_total total HTTP requests processed
# TYPE http_requests_total counter
http_requests_total{code="200",method="get"} 1
http_requests_total{code="200",method="post"} 1
http_requests_total{code="405",method="options"} 1
http_requests_total{code="429",method="get"} 1
http_requests_total{code="499",method="delete"} 1
http_requests_total{code="500",method="get"} 1
`; got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if !strings.Contains(page, "\nhttp_requests_in_flight 0\n") {
		t.Error(family(page, "http_requests_in_flight"))
	}
}

func TestMetrics_NothingElseThere(t *testing.T) {
	f := prepare(t, "fprocess=cat")
	url := serveScrapes(t, f)
	res, err := client.Get(url + "/debug/pprof/")
	if err != nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("%v %v", res, err)
	}
	res.Body.Close()
}

// runFixture runs a watchdog on ports of its own, metrics included.
func runFixture(t *testing.T, environ ...string) (f *fixture, metricsPort string) {
	t.Helper()
	port, metricsPort := freePort(t), freePort(t)
	f = prepare(t, append([]string{"port=" + port, "metrics_port=" + metricsPort, "healthcheck_interval=0"}, environ...)...)
	f.url = "http://127.0.0.1:" + port
	ctx, end := context.WithCancel(context.Background())
	f.end = end
	go func() {
		defer close(f.ended)
		f.err = f.Run(ctx)
	}()
	t.Cleanup(func() {
		if err := f.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	f.log.waitFor(t, "msg=serving")
	return f, metricsPort
}

func TestMetrics_Port(t *testing.T) {
	checkLeaks(t)
	_, port := runFixture(t, "fprocess=cat")
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	scrape(t, "http://127.0.0.1:"+port)
}

// A port that is taken costs the metrics alone.
func TestMetrics_PortTaken(t *testing.T) {
	checkLeaks(t)
	taken := freePort(t)
	ln, err := net.Listen("tcp", ":"+taken)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, _ := runFixture(t, "fprocess=cat", "metrics_port="+taken)
	f.log.waitFor(t, "no metrics")
	if got := f.do("POST", "/", "x"); got.status != 200 || got.body != "x" {
		t.Errorf("%+v", got)
	}
}

// A function that serves on the port of the metrics has it: they wait until it listens.
func TestMetrics_PortOfTheFunction(t *testing.T) {
	checkLeaks(t)
	port := freePort(t)
	f, _ := runFixture(t, self(t, "server", "-delay=200ms"), "mode=http", "PORT="+port, "metrics_port="+port)
	f.log.waitFor(t, "no metrics")
	if got := f.do("POST", "/", "x"); got.status != 200 || !strings.Contains(got.body, `"Body":"x"`) {
		t.Errorf("%+v", got)
	}
}

func TestMetrics_SeriesAreSharedByConcurrentRequests(t *testing.T) {
	m := newMetrics()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 1000 {
				m.begin()
				m.observe("GET", 200+i%100, time.Millisecond)
			}
		})
	}
	all.Wait()
	total := uint64(0)
	for _, s := range *m.series.Load() {
		for i := range s.buckets {
			total += s.buckets[i].Load()
		}
	}
	if total != 8000 || len(*m.series.Load()) != 100 || m.inFlight.Load() != 0 {
		t.Errorf("%d counted in %d series, %d in flight", total, len(*m.series.Load()), m.inFlight.Load())
	}
}

func BenchmarkMetrics_Observe(b *testing.B) {
	m := newMetrics()
	b.ReportAllocs()
	for b.Loop() {
		m.begin()
		m.observe("POST", 200, time.Millisecond)
	}
}
