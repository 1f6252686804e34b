package watchdog

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// metricsTimeout bounds one scrape, each way.
const metricsTimeout = 5 * time.Second

// metrics counts the invocations under the names that both OpenFaaS watchdogs gave them, in Prometheus' text format. It is written by
// hand, for the library is larger than all the rest of this program. It is safe for concurrent use.
type metrics struct {
	started  time.Time
	inFlight atomic.Int64
	series   atomic.Pointer[map[seriesKey]*series] // never changed, only replaced by one with more in it
	mu       sync.Mutex                            // held to replace series

	scraping atomic.Int64
	scrapes  atomic.Uint64
}

// seriesKey is the two labels. Both are of few values, whatever a caller or a function may think of.
type seriesKey struct {
	code   int // 0 is what is no status of HTTP
	method string
}

func keyOf(method string, status int) seriesKey {
	if status < 100 || status > 599 {
		status = 0
	}
	return seriesKey{status, methodLabel(method)}
}

func (k seriesKey) labels() string {
	code := "unknown"
	if k.code != 0 {
		code = strconv.Itoa(k.code)
	}
	return `code="` + code + `",method="` + k.method + `"`
}

// series is one histogram. The counter of requests is its count.
type series struct {
	buckets [len(bucketEdges) + 1]atomic.Uint64 // each on its own; the last has no edge
	sum     atomic.Int64                        // nanoseconds
}

// bucketEdges are Prometheus' defaults, in seconds.
var bucketEdges = [...]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

func newMetrics() *metrics {
	m := &metrics{started: time.Now()}
	m.series.Store(&map[seriesKey]*series{})
	return m
}

// begin counts an invocation in flight. One call of observe must follow.
func (m *metrics) begin() { m.inFlight.Add(1) }

// observe counts an invocation that has ended, by the method and the status of its answer.
func (m *metrics) observe(method string, status int, took time.Duration) {
	m.inFlight.Add(-1)
	key := keyOf(method, status)
	s := (*m.series.Load())[key]
	if s == nil {
		s = m.add(key)
	}
	at, _ := slices.BinarySearch(bucketEdges[:], took.Seconds())
	s.buckets[at].Add(1)
	s.sum.Add(int64(took))
}

func (m *metrics) add(key seriesKey) *series {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := *m.series.Load()
	if s := known[key]; s != nil {
		return s
	}
	more := maps.Clone(known)
	more[key] = &series{}
	m.series.Store(&more)
	return more[key]
}

// methodLabel is in lower case, as Prometheus' library has it, and one word for whatever it does not know.
func methodLabel(method string) string {
	switch method {
	case "GET":
		return "get"
	case "PUT":
		return "put"
	case "HEAD":
		return "head"
	case "POST":
		return "post"
	case "DELETE":
		return "delete"
	case "CONNECT":
		return "connect"
	case "OPTIONS":
		return "options"
	case "NOTIFY":
		return "notify"
	case "TRACE":
		return "trace"
	case "PATCH":
		return "patch"
	}
	return "unknown"
}

// run serves the metrics on a port until ctx ends, from the moment when the function can serve: a program that wants the port for
// itself has taken it by then. A port that is taken costs the metrics and nothing else.
func (m *metrics) run(ctx context.Context, port int, serving func() (bool, <-chan struct{}), log *slog.Logger) {
	for {
		able, changed := serving()
		if able {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
	ln, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		log.Warn("no metrics: the port cannot be had", "port", port, "err", err)
		return
	}
	m.serve(ctx, ln, log)
}

// serve serves the metrics until ctx ends.
func (m *metrics) serve(ctx context.Context, ln net.Listener, log *slog.Logger) {
	srv := &http.Server{
		Handler: m, ReadTimeout: metricsTimeout, WriteTimeout: metricsTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		// A scrape that is cut off has lost its target anyway.
		_ = srv.Close()
	})
	defer stop()
	if err := srv.Serve(ln); ctx.Err() == nil {
		log.Warn("no metrics any more", "err", err)
	}
}

func (m *metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/metrics" {
		http.NotFound(w, r)
		return
	}
	m.scraping.Add(1)
	defer m.scraping.Add(-1)
	var page metricsPage
	m.writeGo(&page)
	m.writeHTTP(&page)
	m.writeProcess(&page)
	m.writeScrapes(&page)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(page.Len()))
	if _, err := w.Write(page.Bytes()); err == nil {
		m.scrapes.Add(1)
	}
}

// metricsPage is an answer in the making.
type metricsPage struct{ bytes.Buffer }

func (p *metricsPage) family(name, kind, help string) {
	fmt.Fprintf(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// value writes a family of one value.
func (p *metricsPage) value(name, kind, help string, value float64) {
	p.family(name, kind, help)
	p.sample(name, "", value)
}

func (p *metricsPage) sample(name, labels string, value float64) {
	p.WriteString(name)
	if labels != "" {
		p.WriteString("{" + labels + "}")
	}
	p.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

// writeHTTP writes what dashboards of OpenFaaS read: names, labels, edges and texts are the watchdogs', byte for byte.
func (m *metrics) writeHTTP(p *metricsPage) {
	known := *m.series.Load()
	keys := slices.SortedFunc(maps.Keys(known), func(a, b seriesKey) int {
		return cmp.Or(cmp.Compare(a.code, b.code), cmp.Compare(a.method, b.method))
	})
	counts := make([]uint64, len(keys))
	if len(keys) > 0 {
		p.family("http_request_duration_seconds", "histogram", "Seconds spent serving HTTP requests.")
	}
	for i, key := range keys {
		counts[i] = known[key].write(p, key.labels())
	}
	p.value("http_requests_in_flight", "gauge", "total HTTP requests in-flight", float64(m.inFlight.Load()))
	if len(keys) > 0 {
		p.family("http_requests_total", "counter", "total HTTP requests processed")
	}
	for i, key := range keys {
		p.sample("http_requests_total", key.labels(), float64(counts[i]))
	}
}

// write returns how many requests there were.
func (s *series) write(p *metricsPage, labels string) (count uint64) {
	const name = "http_request_duration_seconds"
	for i := range s.buckets {
		count += s.buckets[i].Load()
		edge := "+Inf"
		if i < len(bucketEdges) {
			edge = strconv.FormatFloat(bucketEdges[i], 'g', -1, 64)
		}
		p.sample(name+"_bucket", labels+`,le="`+edge+`"`, float64(count))
	}
	p.sample(name+"_sum", labels, time.Duration(s.sum.Load()).Seconds())
	p.sample(name+"_count", labels, float64(count))
	return count
}

func (m *metrics) writeScrapes(p *metricsPage) {
	p.value("promhttp_metric_handler_requests_in_flight", "gauge", "Scrapes being served.", float64(m.scraping.Load()))
	const total = "promhttp_metric_handler_requests_total"
	p.family(total, "counter", "Scrapes served, by status.")
	p.sample(total, `code="200"`, float64(m.scrapes.Load()))
	p.sample(total, `code="500"`, 0) // a page that is made in memory cannot fail
	p.sample(total, `code="503"`, 0)
}

// writeGo writes what Prometheus' library tells of a Go program.
func (m *metrics) writeGo(p *metricsPage) {
	gc := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)}
	debug.ReadGCStats(&gc)
	p.family("go_gc_duration_seconds", "summary", "Pauses of the garbage collector.")
	for i, pause := range gc.PauseQuantiles {
		quantile := strconv.FormatFloat(float64(i)/4, 'g', -1, 64)
		p.sample("go_gc_duration_seconds", `quantile="`+quantile+`"`, pause.Seconds())
	}
	p.sample("go_gc_duration_seconds_sum", "", gc.PauseTotal.Seconds())
	p.sample("go_gc_duration_seconds_count", "", float64(gc.NumGC))
	p.value("go_goroutines", "gauge", "Goroutines that exist.", float64(runtime.NumGoroutine()))
	p.family("go_info", "gauge", "The Go that this program was built with.")
	p.sample("go_info", `version="`+runtime.Version()+`"`, 1)

	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	for _, v := range []struct {
		name, kind, help string
		value            uint64
	}{
		{"alloc_bytes", "gauge", "Bytes allocated and in use.", s.Alloc},
		{"alloc_bytes_total", "counter", "Bytes allocated so far.", s.TotalAlloc},
		{"buck_hash_sys_bytes", "gauge", "Bytes of the profiler's table.", s.BuckHashSys},
		{"frees_total", "counter", "Heap objects freed so far.", s.Frees},
		{"gc_sys_bytes", "gauge", "Bytes of the collector's own data.", s.GCSys},
		{"heap_alloc_bytes", "gauge", "Heap bytes allocated and in use.", s.HeapAlloc},
		{"heap_idle_bytes", "gauge", "Heap bytes waiting to be used.", s.HeapIdle},
		{"heap_inuse_bytes", "gauge", "Heap bytes in use.", s.HeapInuse},
		{"heap_objects", "gauge", "Objects on the heap.", s.HeapObjects},
		{"heap_released_bytes", "gauge", "Heap bytes given back to the system.", s.HeapReleased},
		{"heap_sys_bytes", "gauge", "Heap bytes had from the system.", s.HeapSys},
		{"last_gc_time_seconds", "gauge", "When the last collection ended, since 1970.", s.LastGC / uint64(time.Second)},
		{"mallocs_total", "counter", "Heap objects allocated so far.", s.Mallocs},
		{"mcache_inuse_bytes", "gauge", "Bytes of mcache structures in use.", s.MCacheInuse},
		{"mcache_sys_bytes", "gauge", "Bytes for mcache structures had from the system.", s.MCacheSys},
		{"mspan_inuse_bytes", "gauge", "Bytes of mspan structures in use.", s.MSpanInuse},
		{"mspan_sys_bytes", "gauge", "Bytes for mspan structures had from the system.", s.MSpanSys},
		{"next_gc_bytes", "gauge", "Heap bytes at which the next collection begins.", s.NextGC},
		{"other_sys_bytes", "gauge", "Other bytes had from the system.", s.OtherSys},
		{"stack_inuse_bytes", "gauge", "Stack bytes in use.", s.StackInuse},
		{"stack_sys_bytes", "gauge", "Stack bytes had from the system.", s.StackSys},
		{"sys_bytes", "gauge", "All bytes had from the system.", s.Sys},
	} {
		p.value("go_memstats_"+v.name, v.kind, v.help, float64(v.value))
	}
	threads, _ := runtime.ThreadCreateProfile(nil)
	p.value("go_threads", "gauge", "System threads created.", float64(threads))
}

// writeProcess writes what Prometheus' library tells of a process, as far as this container has a /proc to see it in.
func (m *metrics) writeProcess(p *metricsPage) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err == nil {
		cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
		p.value("process_cpu_seconds_total", "counter", "CPU time of the watchdog itself.", cpu.Seconds())
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		p.value("process_max_fds", "gauge", "How many descriptors may be open.", float64(limit.Cur))
	}
	if names, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.value("process_open_fds", "gauge", "How many descriptors are open.", float64(len(names)-1)) // without the one that reads this
	}
	var virtual, resident float64
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if _, err := fmt.Sscan(string(text), &virtual, &resident); err == nil {
			page := float64(os.Getpagesize())
			p.value("process_resident_memory_bytes", "gauge", "Memory of the watchdog itself.", resident*page)
			p.value("process_virtual_memory_bytes", "gauge", "Addresses of the watchdog itself.", virtual*page)
		}
	}
	p.value("process_start_time_seconds", "gauge", "When the watchdog started, since 1970.", float64(m.started.UnixMilli())/1000)
	if err := syscall.Getrlimit(syscall.RLIMIT_AS, &limit); err == nil {
		p.value("process_virtual_memory_max_bytes", "gauge", "How many addresses there may be.", float64(limit.Cur))
	}
}
