package model

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// settlePatience is how long all that was accepted may take: a lease of a killed provider ends by itself.
const settlePatience = 3 * time.Minute

// settle asks for every call in doubt until it is answered, and waits for what was accepted.
func (w *world) settle(h *history) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), settlePatience)
	defer cancel()
	for _, host := range w.hosts {
		if err := w.awaitProvider(ctx, host); err != nil {
			w.t.Fatal(err)
		}
	}
	for c := h.pick(); c != nil; c = h.pick() {
		for !w.send(ctx, h, c) {
			if pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
				w.t.Fatalf("call %s was not answered: %v; other statuses: %v", c.id, ctx.Err(), h.refused)
			}
		}
	}
	for {
		open := w.open(h)
		if open == "" {
			return
		}
		if pause(ctx, 100*time.Millisecond); ctx.Err() != nil {
			w.t.Fatalf("%s: %v", open, ctx.Err())
		}
	}
}

// open tells what is still to come, nothing if all has come.
func (w *world) open(h *history) string {
	heaps := w.heaps()
	for name, heap := range heaps {
		if sent := distinct(w.chain.of(name)); strings.HasPrefix(name, "s") && sent < heap.length() {
			return fmt.Sprintf("the chain has %d of %d transactions of %s", sent, heap.length(), name)
		}
	}
	for _, c := range h.calls {
		if heap := heaps[c.contract]; c.done != 0 && !heap.has(c.id) {
			return fmt.Sprintf("call %s has no effect yet", c.id)
		}
	}
	return ""
}

func distinct(all []transaction) int {
	ids := map[string]bool{}
	for _, t := range all {
		ids[t.Header.TxnID] = true
	}
	return len(ids)
}

// contents are a heap's values as text, and who wrote them, by key.
type contents struct {
	values, writers map[string]string
	// logged is how often a call id is in the log.
	logged map[string]int
}

func (c contents) length() int { n, _ := strconv.Atoi(c.values["n"]); return n } // none is 0, and compared with the log

// has reports whether a call has any effect.
func (c contents) has(id string) bool {
	return c.logged[id] > 0 || c.values[id+"/"+parallelKeys[0]] != ""
}

// heaps exports all heaps.
func (w *world) heaps() map[string]contents {
	w.t.Helper()
	all := map[string]contents{}
	for _, name := range w.contracts {
		status, _, body, err := w.ask(w.t.Context(), http.MethodGet, "/heap/"+name+"?view=export", nil, "")
		if err != nil || status != http.StatusOK {
			w.t.Fatalf("export %s: %d %s, %v", name, status, body, err)
		}
		c := contents{values: map[string]string{}, writers: map[string]string{}, logged: map[string]int{}}
		for line := range strings.Lines(body) {
			var entry struct {
				Key    string          `json:"key"`
				Value  json.RawMessage `json:"value"`
				CallID string          `json:"call_id"`
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				w.t.Fatalf("export %s: %q: %v", name, line, err)
			}
			text := string(entry.Value)
			if unquoted, err := strconv.Unquote(text); err == nil {
				text = unquoted
			}
			c.values[entry.Key], c.writers[entry.Key] = text, entry.CallID
			if strings.HasPrefix(entry.Key, "log/") {
				c.logged[text]++
			}
		}
		all[name] = c
	}
	return all
}

// check compares what is there at the end with what clients have seen.
func (w *world) check(h *history, final map[string]contents) {
	for name, heap := range final {
		status, _, body, err := w.ask(w.t.Context(), http.MethodGet, "/system/dead-letters/"+name, nil, "")
		if err != nil || status != http.StatusOK || !strings.Contains(body, `"deadLetters":[]`) {
			w.t.Errorf("dead letters of %s: %d %s, %v", name, status, body, err)
		}
		if strings.HasPrefix(name, "s") {
			w.checkLog(h, name, heap)
			w.checkOrder(h, name, heap)
			w.checkChain(name, heap)
		} else {
			w.checkParallel(h, name, heap)
		}
	}
}

// checkLog wants a log without gaps, of calls that were made, each once, and every answer's number its place.
func (w *world) checkLog(h *history, name string, heap contents) {
	for n := range heap.length() {
		key := logKey(n + 1)
		id := heap.values[key]
		if c := h.calls[id]; c == nil || c.contract != name || heap.logged[id] != 1 {
			w.t.Errorf("%s of %s is %q, which is there %d times", key, name, id, heap.logged[id])
		} else if want := fmt.Sprintf(`{%q:%q,"n":%d}`, key, id, n+1); !c.async && c.done != 0 && strings.TrimSpace(c.answer.body) != want {
			w.t.Errorf("call %s was answered %s and has the effect %s", id, c.answer.body, want)
		}
		if heap.writers[key] != id {
			w.t.Errorf("%s of %s was written by call %q, not %q", key, name, heap.writers[key], id)
		}
	}
	if entries := len(heap.values); heap.length() > 0 && entries != heap.length()+1 {
		w.t.Errorf("%s has %d keys, and %d entries by its own count", name, entries, heap.length())
	}
	for _, c := range h.calls {
		if c.contract == name && c.done != 0 && heap.logged[c.id] != 1 {
			w.t.Errorf("call %s was acknowledged and is in the log %d times", c.id, heap.logged[c.id])
		}
	}
}

// step is an append, which makes a log n long, or a read of n.
type step struct {
	read bool
	n    int
}

var logModel = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(length, input, _ any) (bool, any) {
		s := input.(step)
		if s.read {
			return length == s.n, length
		}
		return length == s.n-1, s.n
	},
}

// checkOrder wants an order of effects in which each takes place between its caller's asking and his answer, and one of
// acceptances in which each takes place between the asking and being told, which are both the log's.
func (w *world) checkOrder(h *history, name string, heap contents) {
	var effects, acceptances []porcupine.Operation
	for n := range heap.length() {
		c := h.calls[heap.values[logKey(n+1)]]
		if c == nil {
			return // told by checkLog
		}
		effect := porcupine.Operation{Input: step{n: n + 1}, Call: int64(c.begun), Return: int64(c.done)}
		if c.done == 0 {
			effect.Return = math.MaxInt64
		}
		acceptances = append(acceptances, effect)
		if c.async {
			effect.Return = math.MaxInt64
		}
		effects = append(effects, effect)
	}
	for _, r := range h.reads {
		if r.contract == name {
			effects = append(effects, porcupine.Operation{Input: step{true, r.n}, Call: int64(r.begun), Return: int64(r.done)})
		}
	}
	for what, operations := range map[string][]porcupine.Operation{"effects": effects, "acceptances": acceptances} {
		if got := porcupine.CheckOperationsTimeout(logModel, operations, time.Minute); got != porcupine.Ok {
			w.t.Errorf("%d %s of %s in the order of its log: %s", len(operations), what, name, got)
		}
	}
}

// checkParallel wants all keys of a call with one value, which is that of its answer, or none.
func (w *world) checkParallel(h *history, name string, heap contents) {
	keys := 0
	for _, c := range h.calls {
		if c.contract != name {
			continue
		}
		var runs []string
		for _, key := range parallelKeys {
			key = c.id + "/" + key
			if run, there := heap.values[key]; there {
				runs = append(runs, run)
				if heap.writers[key] != c.id {
					w.t.Errorf("%s of %s was written by call %q", key, name, heap.writers[key])
				}
			}
		}
		keys += len(runs)
		switch same := slices.Compact(slices.Clone(runs)); {
		case len(same) > 1 || len(runs) != 0 && len(runs) != len(parallelKeys):
			w.t.Errorf("torn: call %s has written %q", c.id, runs)
		case c.done != 0 && len(runs) == 0:
			w.t.Errorf("lost: call %s was acknowledged", c.id)
		case c.done != 0 && !c.async && same[0] != c.answer.run:
			w.t.Errorf("twice: call %s was answered by run %s and written by run %s", c.id, c.answer.run, same[0])
		}
	}
	if keys != len(heap.values) {
		w.t.Errorf("%s has %d keys, of which %d are of calls that were made", name, len(heap.values), keys)
	}
}

// checkChain wants every entry of the log, and the first of each in the log's order.
func (w *world) checkChain(name string, heap contents) {
	ids := map[int]string{}
	last := 0
	for _, t := range w.chain.of(name) {
		var payload struct {
			N int `json:"n"`
		}
		if err := json.Unmarshal([]byte(t.Payload), &payload); err != nil || heap.values[logKey(payload.N)] != t.Header.Invoker {
			w.t.Errorf("transaction %+v of %s, whose entry is of call %q: %v", t, name, heap.values[logKey(payload.N)], err)
		}
		switch id, seen := ids[payload.N]; {
		case seen && id != t.Header.TxnID:
			w.t.Errorf("entry %d of %s is on the chain as %s and as %s", payload.N, name, id, t.Header.TxnID)
		case !seen && payload.N != last+1:
			w.t.Errorf("entry %d of %s came to the chain after %d", payload.N, name, last)
		}
		ids[payload.N] = t.Header.TxnID
		last = max(last, payload.N)
	}
	if len(ids) != heap.length() {
		w.t.Errorf("the chain has %d of %d entries of %s", len(ids), heap.length(), name)
	}
}
