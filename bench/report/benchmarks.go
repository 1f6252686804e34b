package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Benchmarks writes the samples in Go's benchmark format. Those of a scenario that failed are not there. The machine is its
// configuration; what differs from run to run is in lines that benchstat passes over, as it would compare no two runs otherwise.
func (r *Results) Benchmarks() string {
	var b strings.Builder
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: github.com/dragonchain/dc-provider/bench\ncpu: %s\n", r.Machine.OS, r.Machine.Arch, r.Machine.CPU)
	fmt.Fprintf(&b, "# %s\n# %s\n", r.Machine, r.Placement)
	for _, name := range slices.Sorted(maps.Keys(r.Tools)) {
		if tool := r.Tools[name]; tool.Missing == "" {
			fmt.Fprintf(&b, "# %s: %s\n", name, tool.Version)
		}
	}
	for _, s := range r.Scenarios {
		if s.Failed != "" {
			continue
		}
		for _, sample := range s.Samples {
			b.WriteString(sample.line(s.Name) + "\n")
		}
	}
	return b.String()
}

// line is a result line. Of the values ns/op, if there is one, comes first.
func (s Sample) line(scenario string) string {
	line := fmt.Sprintf("Benchmark%s/contestant=%s\t%8d", strings.ToUpper(scenario[:1])+scenario[1:], s.Contestant, s.Count)
	names := slices.Sorted(maps.Keys(s.Values))
	if i := slices.Index(names, "ns/op"); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, "ns/op")
	}
	for _, name := range names {
		line += fmt.Sprintf("\t%12.6g %s", s.Values[name], name)
	}
	return line
}
