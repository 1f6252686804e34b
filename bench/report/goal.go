package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Relation is what of a contestant's value a goal is about.
type Relation string

const (
	Value      Relation = "value"      // Of alone
	Ratio      Relation = "ratio"      // Of divided by Over
	Difference Relation = "difference" // Of less Over, and less And if there is one
)

// Goal is what should be so. Exactly one of AtLeast and AtMost is not zero. It is about the median over the rounds, or about the
// 99th percentile.
type Goal struct {
	// Metric names the value.
	Metric   string   `json:"metric"`
	Relation Relation `json:"relation"`
	// Of and Over are contestants.
	Of      string  `json:"of"`
	Over    string  `json:"over,omitempty"`
	And     string  `json:"and,omitempty"`
	AtLeast float64 `json:"atLeast,omitempty"`
	AtMost  float64 `json:"atMost,omitempty"`
	// P99 tells that the 99th percentile is meant: with less than a hundred rounds the highest value.
	P99 bool `json:"p99,omitempty"`
}

// Outcome is what became of a goal.
type Outcome struct {
	// Rounds has the relation for each round in which it could be taken.
	Rounds                []float64
	Median, P99, Min, Max float64
	Met                   bool
}

// Measured tells whether there is any round.
func (o Outcome) Measured() bool { return len(o.Rounds) > 0 }

// Evaluate compares what was measured with the goal.
func (s *Scenario) Evaluate(g Goal) Outcome {
	of, over, and := s.of(g.Of, g.Metric), s.of(g.Over, g.Metric), s.of(g.And, g.Metric)
	var o Outcome
	for _, round := range slices.Sorted(maps.Keys(of)) {
		other, ok := over[round]
		if g.And != "" {
			more, there := and[round]
			other, ok = other+more, ok && there
		}
		switch {
		case g.Relation == Value:
			o.Rounds = append(o.Rounds, of[round])
		case g.Relation == Difference && ok:
			o.Rounds = append(o.Rounds, of[round]-other)
		case g.Relation == Ratio && ok && other != 0:
			o.Rounds = append(o.Rounds, of[round]/other)
		}
	}
	if !o.Measured() {
		return o
	}
	o.Min, o.Max, o.Median = slices.Min(o.Rounds), slices.Max(o.Rounds), middle(o.Rounds)
	o.P99 = quantile(o.Rounds, 0.99)
	compared := o.Median
	if g.P99 {
		compared = o.P99
	}
	o.Met = (g.AtLeast == 0 || compared >= g.AtLeast) && (g.AtMost == 0 || compared <= g.AtMost)
	return o
}

// Wanted is the goal in words.
func (g Goal) Wanted() string {
	bound, sign := g.AtLeast, ">="
	if g.AtMost != 0 {
		bound, sign = g.AtMost, "<="
	}
	what := g.Of
	switch g.Relation {
	case Ratio:
		what += " / " + g.Over
	case Difference:
		what += " - " + g.Over
		if g.And != "" {
			what += " - " + g.And
		}
	}
	metric := g.Metric
	if g.P99 {
		metric = "p99 of " + metric
	}
	return fmt.Sprintf("%s, %s %s %s", metric, what, sign, g.format(bound))
}

// format writes a relation of this goal.
func (g Goal) format(v float64) string {
	if g.Relation == Ratio {
		return fmt.Sprintf("%.2f", v)
	}
	return Format(g.Metric, v)
}

// Told is the outcome of g in words.
func (s *Scenario) Told(g Goal) (measured, met string) {
	o := s.Evaluate(g)
	switch {
	case s.Failed != "":
		return "-", "FAILED"
	case !o.Measured():
		return "-", "not measured"
	}
	measured = g.format(o.Median)
	if g.P99 {
		measured = g.format(o.P99)
	}
	if len(o.Rounds) > 1 {
		measured += fmt.Sprintf(" (%s to %s)", g.format(o.Min), g.format(o.Max))
	}
	if o.Met {
		return measured, "met"
	}
	return measured, "NOT MET"
}

// Sides are the medians of both sides of a goal, each over its own rounds; "-" where there is none.
func (s *Scenario) Sides(g Goal) (of, over string) {
	median := func(contestant string) string {
		if all := slices.Collect(maps.Values(s.of(contestant, g.Metric))); len(all) > 0 {
			return Format(g.Metric, middle(all))
		}
		return "-"
	}
	return median(g.Of), median(g.Over)
}

// Format writes a value in a unit that suits it; metric says what it is of.
func Format(metric string, v float64) string {
	switch {
	case strings.HasSuffix(metric, "-ns") || strings.HasPrefix(metric, "ns/") || strings.Contains(metric, "-ns/"):
		d := time.Duration(math.Round(v))
		switch {
		case d.Abs() < 10*time.Microsecond:
			return fmt.Sprintf("%.2f us", v/1e3)
		case d.Abs() < time.Millisecond:
			return fmt.Sprintf("%.0f us", v/1e3)
		case d.Abs() < time.Second:
			return fmt.Sprintf("%.2f ms", v/1e6)
		}
		return fmt.Sprintf("%.2f s", v/1e9)
	case strings.Contains(metric, "bytes") || metric == "B/s":
		per := ""
		if metric == "B/s" {
			per = "/s"
		}
		switch abs := math.Abs(v); {
		case abs < 1e3:
			return fmt.Sprintf("%.0f B%s", v, per)
		case abs < 1e6:
			return fmt.Sprintf("%.1f kB%s", v/1e3, per)
		}
		return fmt.Sprintf("%.1f MB%s", v/1e6, per)
	case math.Abs(v) >= 1000:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.4g", v)
}

// middle is the median of at least one value; of an even number the mean of the middle two.
func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// quantile is the smallest of at least one value that a share q of them does not exceed.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(int(math.Ceil(q*float64(len(sorted)))), 1)-1]
}
