package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/dragonchain/dc-provider/bench/contest"
)

var update = flag.Bool("update", false, "write the golden files")

// example has three rounds of two contestants, and a third that took no part.
func example() *Results {
	sample := func(round int, contestant string, rate, p50 float64) Sample {
		return Sample{
			Round: round, Contestant: contestant, Count: int64(rate),
			Values:  map[string]float64{"req/s": rate, "p50-ns": p50, "ns/op": p50 * 1.5, "rss-bytes": 8.5e6},
			Latency: [][2]int64{{int64(p50), int64(rate) / 2}, {int64(2 * p50), int64(rate) / 2}},
		}
	}
	return &Results{
		Started:   time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Machine:   Machine{OS: "linux", Arch: "amd64", CPU: "a processor", CPUs: 2, Kernel: "6.1", Memory: 4e9, Go: "go1.26", Busy: "0.10 0.20 0.30"},
		Placement: "Everywhere.",
		Tools:     contest.Tools{"nginx": {Version: "nginx/1.22", Bytes: 1_200_000}, "wrk": {Missing: "not installed"}},
		Scenarios: []*Scenario{
			{
				Name: "proxy/c64", About: "Closed loop.", Plot: "req/s", Rounds: 3, Duration: time.Second,
				Absent: map[string]string{"haproxy": "not | installed"},
				Samples: []Sample{
					sample(0, "ours", 1000, 50_000), sample(0, "nginx", 1000, 40_000),
					sample(1, "ours", 500, 100_000), sample(1, "nginx", 400, 90_000),
					sample(2, "ours", 1200, 50_000), sample(2, "nginx", 1000, 45_000),
				},
				Goals: []Goal{
					{Metric: "req/s", Relation: Ratio, Of: "ours", Over: "nginx", AtLeast: 1},
					{Metric: "p50-ns", Relation: Difference, Of: "ours", Over: "nginx", AtMost: 5e3},
					{Metric: "rss-bytes", Relation: Value, Of: "ours", AtMost: 9e6},
					{Metric: "req/s", Relation: Ratio, Of: "ours", Over: "haproxy", AtLeast: 1},
				},
			},
			{Name: "cluster/life", About: "On a cluster.", Skipped: "no cluster", Goals: []Goal{{Metric: "p50-ns", Relation: Value, Of: "ours", AtMost: 1}}},
			{
				Name: "proxy/broken", About: "Breaks.", Plot: "req/s", Rounds: 3, Failed: "status 500",
				Samples: []Sample{sample(0, "ours", 1000, 50_000)},
				Goals:   []Goal{{Metric: "req/s", Relation: Value, Of: "ours", AtLeast: 1}},
			},
		},
	}
}

func TestEvaluate(t *testing.T) {
	s := example().Scenarios[0]
	want := []Outcome{
		{Rounds: []float64{1, 1.25, 1.2}, Median: 1.2, P99: 1.25, Min: 1, Max: 1.25, Met: true},
		{Rounds: []float64{10_000, 10_000, 5_000}, Median: 10_000, P99: 10_000, Min: 5_000, Max: 10_000, Met: false},
		{Rounds: []float64{8.5e6, 8.5e6, 8.5e6}, Median: 8.5e6, P99: 8.5e6, Min: 8.5e6, Max: 8.5e6, Met: true},
		{},
	}
	for i, g := range s.Goals {
		if got := s.Evaluate(g); !reflect.DeepEqual(got, want[i]) {
			t.Errorf("%s: got %+v, want %+v", g.Wanted(), got, want[i])
		}
	}
}

// The 99th percentile of a hundred rounds leaves one of them out, that of fewer none.
func TestEvaluate_P99(t *testing.T) {
	goal := Goal{Metric: "p50-ns", Relation: Value, Of: "ours", AtMost: 99, P99: true}
	var s Scenario
	for round := range 100 {
		s.Samples = append(s.Samples, Sample{Round: round, Contestant: "ours", Values: map[string]float64{"p50-ns": float64(round + 1)}})
	}
	if o := s.Evaluate(goal); o.P99 != 99 || !o.Met {
		t.Errorf("a hundred rounds: %+v", o)
	}
	s.Samples = s.Samples[1:]
	if o := s.Evaluate(goal); o.P99 != 100 || o.Met {
		t.Errorf("ninety-nine rounds: %+v", o)
	}
	if measured, met := s.Told(goal); measured != "0.10 us (0.00 us to 0.10 us)" || met != "NOT MET" || goal.Wanted() != "p99 of p50-ns, ours <= 0.10 us" {
		t.Errorf("%s: %s %s", goal.Wanted(), measured, met)
	}
}

// A relation is taken within a round: a contestant that missed one leaves that round out.
func TestEvaluate_MissingRound(t *testing.T) {
	s := example().Scenarios[0]
	s.Samples = append(s.Samples[:1], s.Samples[2:]...) // nginx of round 0
	if got := s.Evaluate(s.Goals[0]).Rounds; !reflect.DeepEqual(got, []float64{1.25, 1.2}) {
		t.Errorf("got %v", got)
	}
}

// Two contestants may be taken off, in rounds that have all three.
func TestEvaluate_And(t *testing.T) {
	s := example().Scenarios[0]
	s.Samples = append(s.Samples, Sample{Round: 1, Contestant: "disk", Values: map[string]float64{"p50-ns": 4_000}},
		Sample{Round: 2, Contestant: "disk", Values: map[string]float64{"p50-ns": 1_000}})
	g := Goal{Metric: "p50-ns", Relation: Difference, Of: "ours", Over: "nginx", And: "disk", AtMost: 5e3}
	want := Outcome{Rounds: []float64{6_000, 4_000}, Median: 5_000, P99: 6_000, Min: 4_000, Max: 6_000, Met: true}
	if got := s.Evaluate(g); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := g.Wanted(), "p50-ns, ours - nginx - disk <= 5.00 us"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTold(t *testing.T) {
	r := example()
	for i, want := range []string{"met", "NOT MET", "met", "not measured"} {
		if _, got := r.Scenarios[0].Told(r.Scenarios[0].Goals[i]); got != want {
			t.Errorf("goal %d: %s, want %s", i, got, want)
		}
	}
	if _, got := r.Scenarios[2].Told(r.Scenarios[2].Goals[0]); got != "FAILED" {
		t.Errorf("a scenario that failed has a goal %s", got)
	}
}

func TestFormat(t *testing.T) {
	tests := []struct {
		metric string
		value  float64
		want   string
	}{
		{"p50-ns", 1234, "1.23 us"}, {"p50-ns", 60e3, "60 us"}, {"p50-ns", -60e3, "-60 us"}, {"ns/op", 1.5e6, "1.50 ms"},
		{"cpu-ns/op", 2e9, "2.00 s"}, {"rss-bytes", 512, "512 B"}, {"rss-bytes", 9e6, "9.0 MB"}, {"rss-bytes/conn", 65536, "65.5 kB"},
		{"B/s", 2e9, "2000.0 MB/s"}, {"req/s", 12345.6, "12346"}, {"req/s", 1.23456, "1.235"},
	}
	for _, tt := range tests {
		if got := Format(tt.metric, tt.value); got != tt.want {
			t.Errorf("%v %s: got %q, want %q", tt.value, tt.metric, got, tt.want)
		}
	}
}

func TestMiddle(t *testing.T) {
	for want, values := range map[float64][]float64{7: {7}, 2: {3, 1, 2}, 2.5: {4, 1, 3, 2}} {
		if got := middle(values); got != want {
			t.Errorf("%v: got %v", values, got)
		}
	}
}

func TestPairs(t *testing.T) {
	h := hdr.New(100, 1e9, 3)
	for range 3 {
		if err := h.RecordValue(1000); err != nil {
			t.Fatal(err)
		}
	}
	var n, last int64
	for _, p := range Pairs(h) {
		n, last = n+p[1], p[0]
	}
	if n != 3 || last < 1000 || last > 1100 {
		t.Errorf("%d values, the last %d", n, last)
	}
}

func TestSave(t *testing.T) {
	r := example()
	folder, err := r.Save(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(folder) != "20260102T030405Z" {
		t.Errorf("folder %s", folder)
	}
	for _, name := range []string{"report.md", "bench.txt", "proxy-c64.svg", "proxy-c64-latency.svg"} {
		got, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s differs from the golden file; go test -update writes it anew", name)
		}
		if strings.HasSuffix(name, ".svg") {
			wellFormed(t, name, string(got))
		}
	}
	raw, err := os.ReadFile(filepath.Join(folder, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back Results
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&back, r) {
		t.Errorf("read back %+v, kept %+v", back, r)
	}
}

func wellFormed(t *testing.T, name, text string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// A name that comes from elsewhere must not break the image.
func TestPlots_EscapeNames(t *testing.T) {
	r := example()
	for i := range r.Scenarios[0].Samples {
		r.Scenarios[0].Samples[i].Contestant = `<&"`
	}
	for _, p := range r.Scenarios[0].plots() {
		wellFormed(t, p.file, p.svg)
	}
}

func TestGoalTable(t *testing.T) {
	var b strings.Builder
	if err := example().GoalTable(&b); err != nil {
		t.Fatal(err)
	}
	const want = `SCENARIO      GOAL                             OURS    THEIRS  MEASURED                   
proxy/c64     req/s, ours / nginx >= 1.00      1000    1000    1.20 (1.00 to 1.25)        met
proxy/c64     p50-ns, ours - nginx <= 5.00 us  50 us   45 us   10 us (5.00 us to 10 us)   NOT MET
`
	lines := strings.Fields(b.String())
	for _, word := range strings.Fields(want) {
		if len(lines) == 0 || lines[0] != word {
			t.Fatalf("got\n%s\nwant it to begin with\n%s", b.String(), want)
		}
		lines = lines[1:]
	}
}
