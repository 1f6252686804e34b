package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// results are everything that one run of the program measured.
type results struct {
	Started  time.Time     `json:"started"`
	Load     string        `json:"load"`
	Runs     int           `json:"runs"`
	Setting  setting       `json:"setting"`
	Measured []measurement `json:"measured"`
}

type measurement struct {
	Name        string `json:"name"`
	Nanoseconds int64  `json:"nanoseconds"`
}

// String is a result line of Go's benchmark format.
func (m measurement) String() string {
	return fmt.Sprintf("Benchmark%s \t%8d\t%12d ns/op", m.Name, 1, m.Nanoseconds)
}

// save writes r to a file of its own in the folder and returns its path.
func (r results) save(folder string) (string, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("keep results: %w", err)
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", fmt.Errorf("keep results: %w", err)
	}
	path := filepath.Join(folder, r.Started.Format("20060102T150405Z")+".json")
	if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
		return "", fmt.Errorf("keep results: %w", err)
	}
	return path, nil
}

// table writes a line for each thing that was measured.
func (r results) table(w io.Writer, path string) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(columns, "\nmilliseconds\truns\tmin\tp50\tp90\tmax\t\n")
	for _, name := range r.names() {
		d := r.of(name)
		fmt.Fprintf(columns, "%s\t%d\t%d\t%d\t%d\t%d\t\n", name, len(d), d[0], quantile(d, 0.5), quantile(d, 0.9), d[len(d)-1])
	}
	fmt.Fprintf(columns, "\n")
	if err := columns.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s, %d cpus, Kubernetes %s, %s; %s\nraw results: %s\n",
		r.Setting.CPU, r.Setting.CPUs, r.Setting.Kubernetes, r.Setting.Container, r.Load, path)
	return err
}

// names lists what was measured, in the order of first measurement.
func (r results) names() []string {
	var names []string
	for _, m := range r.Measured {
		if !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
	}
	return names
}

// of gives the measurements of one name in whole milliseconds, in rising order.
func (r results) of(name string) []int64 {
	var all []int64
	for _, m := range r.Measured {
		if m.Name == name {
			all = append(all, time.Duration(m.Nanoseconds).Round(time.Millisecond).Milliseconds())
		}
	}
	slices.Sort(all)
	return all
}

// quantile is the smallest of sorted that at least the share q of them does not exceed (the nearest-rank method).
func quantile(sorted []int64, q float64) int64 {
	rank := 1
	for float64(rank) < q*float64(len(sorted)) {
		rank++
	}
	return sorted[rank-1]
}
