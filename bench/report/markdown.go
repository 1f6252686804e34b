package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Markdown writes the report for people.
func (r *Results) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmark of %s\n\n%s.\n\n%s\n\n", r.Started.UTC().Format(time.DateTime+" UTC"), r.Machine, r.Placement)
	b.WriteString("| tool | version | size |\n| --- | --- | ---: |\n")
	for _, name := range slices.Sorted(maps.Keys(r.Tools)) {
		tool := r.Tools[name]
		if tool.Missing != "" {
			fmt.Fprintf(&b, "| %s | not there: %s | |\n", name, cell(tool.Missing))
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, cell(tool.Version), Format("bytes", float64(tool.Bytes)))
	}
	b.WriteString("\n## Goals\n\nMedian over the rounds (least to most); a relation is taken within each round.\n\n")
	b.WriteString("| scenario | goal | ours | theirs | measured | |\n| --- | --- | ---: | ---: | --- | --- |\n")
	for _, s := range r.Scenarios {
		for _, g := range s.Goals {
			measured, met := s.Told(g)
			of, over := s.Sides(g)
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", s.Name, g.Wanted(), of, over, measured, met)
		}
	}
	for _, s := range r.Scenarios {
		s.markdown(&b)
	}
	return b.String()
}

func (s *Scenario) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n%s", s.Name, s.About)
	if s.Skipped != "" {
		fmt.Fprintf(b, "\n\nSkipped: %s.\n", s.Skipped)
		return
	}
	fmt.Fprintf(b, " %d rounds", s.Rounds)
	if s.Duration > 0 {
		fmt.Fprintf(b, " of %v", s.Duration)
	}
	b.WriteString(".\n\n")
	if s.Failed != "" {
		fmt.Fprintf(b, "FAILED: %s. What follows is no result.\n\n", s.Failed)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Absent)) {
		fmt.Fprintf(b, "* %s took no part: %s\n", name, cell(s.Absent[name]))
	}
	if len(s.Samples) == 0 {
		return
	}
	values := s.Values()
	fmt.Fprintf(b, "\n| contestant | %s |\n| --- |%s\n", strings.Join(values, " | "), strings.Repeat(" ---: |", len(values)))
	for _, contestant := range s.Contestants() {
		fmt.Fprintf(b, "| %s |", contestant)
		for _, value := range values {
			fmt.Fprintf(b, " %s |", s.spread(contestant, value))
		}
		b.WriteString("\n")
	}
	for _, p := range s.plots() {
		fmt.Fprintf(b, "\n![%s](%s)\n", p.title, p.file)
	}
}

// spread is the median of a value with its extremes.
func (s *Scenario) spread(contestant, value string) string {
	all := slices.Collect(maps.Values(s.of(contestant, value)))
	switch len(all) {
	case 0:
		return "-"
	case 1:
		return Format(value, all[0])
	}
	return fmt.Sprintf("%s (%s to %s)", Format(value, middle(all)), Format(value, slices.Min(all)), Format(value, slices.Max(all)))
}

func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "/")
}

// GoalTable writes a line for each goal, for a terminal.
func (r *Results) GoalTable(w io.Writer) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, "SCENARIO\tGOAL\tOURS\tTHEIRS\tMEASURED\t")
	for _, s := range r.Scenarios {
		for _, g := range s.Goals {
			measured, met := s.Told(g)
			of, over := s.Sides(g)
			fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, g.Wanted(), of, over, measured, met)
		}
	}
	return columns.Flush()
}

// Table writes a line for each contestant of s, for a terminal: the medians.
func (s *Scenario) Table(w io.Writer) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	values := s.Values()
	fmt.Fprintf(columns, "  contestant\t%s\t\n", strings.Join(values, "\t"))
	for _, contestant := range s.Contestants() {
		fmt.Fprintf(columns, "  %s\t", contestant)
		for _, value := range values {
			median := "-"
			if all := slices.Collect(maps.Values(s.of(contestant, value))); len(all) > 0 {
				median = Format(value, middle(all))
			}
			fmt.Fprintf(columns, "%s\t", median)
		}
		fmt.Fprintln(columns)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Absent)) {
		fmt.Fprintf(columns, "  %s took no part: %s\n", name, s.Absent[name])
	}
	return columns.Flush()
}
