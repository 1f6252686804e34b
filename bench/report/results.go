package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/dragonchain/dc-provider/bench/contest"
)

// Results are everything that one run of the program measured.
type Results struct {
	Started   time.Time     `json:"started"`
	Machine   Machine       `json:"machine"`
	Placement string        `json:"placement"`
	Tools     contest.Tools `json:"tools"`
	Scenarios []*Scenario   `json:"scenarios"`
}

// Scenario is what was measured of one.
type Scenario struct {
	Name string `json:"name"`
	// About is the load model and what else has to be known, in a sentence or two.
	About string `json:"about"`
	// Plot names the value that is plotted by contestant.
	Plot     string        `json:"plot"`
	Rounds   int           `json:"rounds"`
	Duration time.Duration `json:"durationNanoseconds"`
	// Absent says for contestants that did not take part why.
	Absent map[string]string `json:"absent,omitempty"`
	// Failed says why there is no result, whatever samples there are. Skipped says why nothing was tried.
	Failed  string   `json:"failed,omitempty"`
	Skipped string   `json:"skipped,omitempty"`
	Samples []Sample `json:"samples"`
	Goals   []Goal   `json:"goals"`
}

// Sample is one turn of one contestant.
type Sample struct {
	Round      int    `json:"round"`
	Contestant string `json:"contestant"`
	// Count is how many operations the values are of.
	Count  int64              `json:"count"`
	Values map[string]float64 `json:"values"`
	// Latency has [nanoseconds, count] of what was seen.
	Latency [][2]int64 `json:"latency,omitempty"`
}

// Pairs makes of a histogram what a Sample keeps.
func Pairs(h *hdr.Histogram) (pairs [][2]int64) {
	for _, bar := range h.Distribution() {
		if bar.Count > 0 {
			pairs = append(pairs, [2]int64{bar.To, bar.Count})
		}
	}
	return pairs
}

// Contestants lists those that have samples, in order of their first turn.
func (s *Scenario) Contestants() []string {
	var names []string
	for _, sample := range s.Samples {
		if !slices.Contains(names, sample.Contestant) {
			names = append(names, sample.Contestant)
		}
	}
	return names
}

// Values lists the names of what was measured, in order of the alphabet.
func (s *Scenario) Values() []string {
	var names []string
	for _, sample := range s.Samples {
		for name := range sample.Values {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// of gives a contestant's values of one name, by round.
func (s *Scenario) of(contestant, value string) map[int]float64 {
	values := map[int]float64{}
	for _, sample := range s.Samples {
		if v, ok := sample.Values[value]; ok && sample.Contestant == contestant {
			values[sample.Round] = v
		}
	}
	return values
}

// Save writes all files into a folder of their own in dir and returns its path.
func (r *Results) Save(dir string) (string, error) {
	folder := filepath.Join(dir, r.Started.UTC().Format("20060102T150405Z"))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("keep results: %w", err)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("keep results: %w", err)
	}
	files := map[string][]byte{
		"results.json": append(raw, '\n'),
		"bench.txt":    []byte(r.Benchmarks()),
		"report.md":    []byte(r.Markdown()),
	}
	for _, s := range r.Scenarios {
		for _, p := range s.plots() {
			files[p.file] = []byte(p.svg)
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return "", fmt.Errorf("keep results: %w", err)
		}
	}
	return folder, nil
}
