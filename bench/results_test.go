package main

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	tests := []struct {
		name   string
		sorted []int64
		q      float64
		want   int64
	}{
		{"median of one", []int64{7}, 0.5, 7},
		{"median of an even number is the lower", []int64{1, 2, 3, 4}, 0.5, 2},
		{"median of an odd number", []int64{1, 2, 3}, 0.5, 2},
		{"90th of ten", []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0.9, 9},
		{"90th of two", []int64{1, 2}, 0.9, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := quantile(tt.sorted, tt.q); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func example() results {
	return results{
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Load: "none", Runs: 2,
		Setting: setting{CPU: "a processor", CPUs: 2, Kubernetes: "v1", Container: "c"},
		Measured: []measurement{
			{"Wake/fork", 3_400_000}, {"Delete/fork", 90_000_000}, {"Wake/fork", 1_600_000},
		},
	}
}

func TestResults_Table(t *testing.T) {
	var out bytes.Buffer
	if err := example().table(&out, "file"); err != nil {
		t.Fatal(err)
	}
	const want = `
  milliseconds  runs  min  p50  p90  max
     Wake/fork     2    2    2    3    3
   Delete/fork     1   90   90   90   90

a processor, 2 cpus, Kubernetes v1, c; none
raw results: file
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestResults_KeptAsTheyWere(t *testing.T) {
	r := example()
	path, err := r.save(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back results
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, r) {
		t.Errorf("read back %+v, kept %+v", back, r)
	}
}

func TestMeasurement_IsALineOfTheBenchmarkFormat(t *testing.T) {
	const want = "BenchmarkWake/fork \t       1\t     3400000 ns/op"
	if got := example().Measured[0].String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
