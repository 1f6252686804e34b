package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLogs_AsDragonchainReadsThem reads the whole body, splits it at newlines, drops empty lines and parses each other one:
// one that is no object with exactly these strings would fail the chain's call.
func TestLogs_AsDragonchainReadsThem(t *testing.T) {
	t.Parallel()
	f := deploy(t, scripted())
	var entries []map[string]string
	// The watchdog writes there too, as when it has told the provider that it is ready.
	eventually(t, "the last lines are the last written", func() (bool, string) {
		f.call(t, "echo first >&2").is(t, "call", http.StatusOK)
		f.call(t, "echo second >&2").is(t, "call", http.StatusOK)
		entries = chainLogs(t, f, "2")
		return len(entries) == 2 && strings.HasSuffix(entries[0]["text"], "first") && strings.HasSuffix(entries[1]["text"], "second"), fmt.Sprint(entries)
	})
	for _, entry := range entries {
		for key := range entry {
			if !slices.Contains([]string{"name", "namespace", "instance", "timestamp", "text"}, key) {
				t.Errorf("entry has a key %q", key)
			}
		}
		if entry["name"] != f.name || entry["instance"] == "" || entry["text"] == "" {
			t.Errorf("entry %v", entry)
		}
		if _, err := time.Parse(time.RFC3339Nano, entry["timestamp"]); err != nil {
			t.Error(err)
		}
	}
	if entries := chainLogs(t, f, "1"); len(entries) != 1 {
		t.Errorf("tail 1 has %d entries", len(entries))
	}
}

func chainLogs(t *testing.T, f function, tail string) []map[string]string {
	t.Helper()
	a := gateway.do(t, "GET", "/system/logs?"+url.Values{"name": {f.name}, "tail": {tail}}.Encode(), "").is(t, "logs", http.StatusOK)
	if got := a.header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("content type %q", got)
	}
	var entries []map[string]string
	for line := range strings.SplitSeq(a.body, "\n") {
		if line == "" {
			continue
		}
		var entry map[string]string
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		entries = append(entries, entry)
	}
	return entries
}

// TestLogs_OfTwoReplicas follows replicas that come later, and picks one out of two.
func TestLogs_OfTwoReplicas(t *testing.T) {
	t.Parallel()
	f := deploy(t, scripted())
	f.awaitReplicas(t, 1)
	res := gateway.stream(t, request{method: "GET", path: "/system/logs?follow=true&name=" + f.name}, nil)
	f.scale(t, 2)
	f.awaitReplicas(t, 2)
	for range 40 {
		f.call(t, "echo said by $(hostname) >&2").is(t, "call", http.StatusOK)
	}
	instances := map[string]bool{}
	for lines := bufio.NewScanner(res.Body); len(instances) < 2 && lines.Scan(); {
		var entry struct{ Instance, Text string }
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			t.Fatalf("line %q: %v", lines.Text(), err)
		}
		if strings.Contains(entry.Text, "said by") {
			if !strings.HasSuffix(entry.Text, entry.Instance) {
				t.Errorf("line %q is said to be of %s", entry.Text, entry.Instance)
			}
			instances[entry.Instance] = true
		}
	}
	if len(instances) != 2 {
		t.Fatalf("followed %v, want two replicas", instances)
	}
	for instance := range instances {
		a := gateway.do(t, "GET", "/system/logs?name="+f.name+"&instance="+instance, "").is(t, "logs of one", http.StatusOK)
		for line := range strings.SplitSeq(strings.TrimSpace(a.body), "\n") {
			if !strings.Contains(line, `"instance":"`+instance+`"`) {
				t.Errorf("asked for %s, got %s", instance, line)
			}
		}
	}
}

func TestLogs_AtZero(t *testing.T) {
	t.Parallel()
	f := deploy(t, parrot())
	f.awaitReplicas(t, 1)
	f.scale(t, 0)
	f.awaitZero(t)
	if a := gateway.do(t, "GET", "/system/logs?name="+f.name, "").is(t, "logs at zero", http.StatusOK); a.body != "" {
		t.Errorf("a function at zero logs %q", a.body)
	}
}
