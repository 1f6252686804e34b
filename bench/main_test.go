package main

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/bench/contest"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-n", "7", "-with", "a=b=c"}, io.Discard)
	if err != nil || o.rounds != 7 || o.duration != 1500*time.Millisecond || o.with["a"] != "b=c" {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = parse([]string{"-full", "-d", "1s"}, io.Discard); err != nil || o.rounds != 0 || o.usual != 10 || o.duration != time.Second {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{{"x"}, {"-n", "-1"}, {"-with", "x"}, {"-d", "-1s"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Setenv("OPENFAAS_URL", "")
	scenarios, err := all(t.Context(), contest.Tools{}, "")
	if err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string][]string{
		"watchdog/fork.*":               {"watchdog/fork-c16", "watchdog/fork-c1"},
		"watchdog/http-c1|cluster/life": {"watchdog/http-c1", "cluster/life"},
		"heap/.*":                       {"heap/commits", "heap/commits-unnamed", "heap/latency", "heap/get", "heap/drop", "heap/async", "heap/serial"},
		"cluster/wake":                  {"cluster/wake/one", "cluster/wake/many", "cluster/wake/idle"},
	} {
		chosen, err := choose(scenarios, pattern)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range chosen {
			names = append(names, s.Name)
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s: %v", pattern, names)
		}
	}
	for _, pattern := range []string{"fork", "("} {
		if _, err := choose(scenarios, pattern); err == nil {
			t.Errorf("%s: no error", pattern)
		}
	}
	var b bytes.Buffer
	if err := list(scenarios, &b); err != nil || !bytes.Contains(b.Bytes(), []byte("skipped here")) {
		t.Errorf("%v: %s", err, b.String())
	}
}

func TestRun_NeedsPrepare(t *testing.T) {
	if err := run(t.Context(), []string{"-out", t.TempDir()}, io.Discard, io.Discard); err == nil {
		t.Error("no error")
	}
}
