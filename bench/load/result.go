package load

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// What the histogram tells apart: a tenth of a microsecond up to ten minutes, to three digits.
const (
	lowest  = int64(100 * time.Nanosecond)
	highest = int64(10 * time.Minute)
	digits  = 3
)

// Result is what one run measured.
type Result struct {
	// Requests is how many were answered as they should, those of the warm-up not counted.
	Requests int64
	// Answered is how many were, the warm-up included.
	Answered int64
	// Elapsed is the time in which they were: Config.Duration, or what Config.Count took.
	Elapsed time.Duration
	// InTime is how many of the answers came within Elapsed. What was in flight as it ended has a latency, and is no throughput.
	InTime int64
	// Bytes is how many body bytes of answers came with Requests.
	Bytes int64
	// Latency has one value for each of Requests, in nanoseconds.
	Latency *hdr.Histogram
	// Errors counts what went wrong, warm-up included, by what it was.
	Errors map[string]int
	// CPU is what this thread used for it.
	CPU time.Duration
}

func newResult() *Result {
	return &Result{Latency: hdr.New(lowest, highest, digits), Errors: map[string]int{}}
}

// Err is nil if every answer was as it should be.
func (r *Result) Err() error {
	if len(r.Errors) == 0 {
		if r.Requests == 0 {
			return errors.New("no request was answered in the time")
		}
		return nil
	}
	var all []error
	for _, what := range slices.Sorted(maps.Keys(r.Errors)) {
		all = append(all, fmt.Errorf("%d × %s", r.Errors[what], what))
	}
	return errors.Join(all...)
}

// Throughput is answers per second.
func (r *Result) Throughput() float64 { return float64(r.InTime) / r.Elapsed.Seconds() }

// Quantile is the latency that the share q of the requests did not exceed, 0 <= q <= 1.
func (r *Result) Quantile(q float64) time.Duration {
	return time.Duration(r.Latency.ValueAtQuantile(q * 100))
}

func (r *Result) record(latency time.Duration, bytes int) {
	r.Requests++
	r.Bytes += int64(bytes)
	// Clamped: more than the highest is a timeout before it is a latency.
	if err := r.Latency.RecordValue(min(max(int64(latency), lowest), highest)); err != nil {
		r.Errors[err.Error()]++
	}
}
