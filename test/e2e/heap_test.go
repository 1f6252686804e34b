package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestHeap_WhatAnAnswerCommits has a contract that answers what it is called with.
func TestHeap_WhatAnAnswerCommits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, answer string
		heap         map[string]string
	}{
		{"each member of an object", `{"a": 1, "b/c": {"d": [1, 2]}, "e": null, "f": "x\ny"}`, map[string]string{
			"a": "1", "b/c": `{"d":[1,2]}`, "e": "null", "f": `"x\ny"`,
		}},
		{"text", "moo", map[string]string{"rawResponse": `"moo"`}},
		{"an array", `[1,2]`, map[string]string{"rawResponse": `"[1,2]"`}},
		{"nothing at all", "", map[string]string{"rawResponse": `""`}},
		{"nothing when told so", `{"a":1,"OUTPUT_TO_HEAP":false}`, nil},
		{"an object when told so by another type", `{"a":1,"OUTPUT_TO_HEAP":"false"}`, map[string]string{"a": "1", "OUTPUT_TO_HEAP": `"false"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := deploy(t, contract(parrot()))
			if a := f.call(t, tt.answer).is(t, "call", http.StatusOK); a.body != tt.answer {
				t.Errorf("the caller got %q, want %q", a.body, tt.answer)
			}
			wantHeap(t, f, tt.heap)
			if keys := f.heapKeys(t, ""); len(keys) != len(tt.heap) {
				t.Errorf("keys %q, want those of %v", keys, tt.heap)
			}
		})
	}
}

func TestHeap_Limits(t *testing.T) {
	t.Parallel()
	f := deploy(t, annotate(contract(parrot()), "com.dragonchain.heap-quota", "64Ki"))
	f.call(t, `{"kept":"yes"}`).is(t, "call", http.StatusOK)
	for name, answer := range map[string]string{
		"key too large":   `{"half":1,"` + strings.Repeat("k", 1025) + `":1}`,
		"value too large": `{"half":1,"v":"` + strings.Repeat("v", 1<<20) + `"}`,
		"quota":           `{"half":1,"v":"` + strings.Repeat("v", 64<<10) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			f.call(t, answer).refused(t, name, http.StatusRequestEntityTooLarge)
			if keys := f.heapKeys(t, ""); !slices.Equal(keys, []string{"kept"}) {
				t.Errorf("keys %q, want the one from before", keys)
			}
		})
	}
}

func TestHeap_ListsPageByPage(t *testing.T) {
	t.Parallel()
	f := deploy(t, contract(parrot()))
	var members, want []string
	for i := range 25 {
		members = append(members, fmt.Sprintf(`"n/%02d":%d`, i, i))
		want = append(want, fmt.Sprintf("n/%02d", i))
	}
	f.call(t, "{"+strings.Join(members, ",")+`,"other":1}`).is(t, "call", http.StatusOK)
	if got := f.heapKeys(t, "n/"); !slices.Equal(got, want) {
		t.Errorf("keys %q, want %q", got, want)
	}
	type page struct {
		Keys []string
		Next string
	}
	var got []string
	for after := ""; ; {
		a := gateway.do(t, "GET", "/heap/"+f.String()+"?prefix=n/&limit=10&after="+after, "").is(t, "page", http.StatusOK)
		p := decode[page](t, a)
		if len(p.Keys) > 10 {
			t.Errorf("%d keys on a page of 10", len(p.Keys))
		}
		got = append(got, p.Keys...)
		if after = p.Next; after == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages hold %q, want %q", got, want)
	}
	gateway.do(t, "GET", f.heapPath("absent"), "").refused(t, "absent key", http.StatusNotFound)
	gateway.do(t, "GET", "/heap/"+f.String()+"?limit=none", "").refused(t, "bad limit", http.StatusBadRequest)
}

// TestHeap_GoesWithItsContract deploys a name again: nothing of the old heap may show.
func TestHeap_GoesWithItsContract(t *testing.T) {
	t.Parallel()
	d := contract(parrot())
	f := deploy(t, d)
	f.call(t, `{"secret":"of the first"}`).is(t, "call", http.StatusOK)
	f.update(t, d)
	wantHeap(t, f, map[string]string{"secret": `"of the first"`})
	f.remove(t)
	gateway.do(t, "GET", f.heapPath("secret"), "").refused(t, "heap of a deleted contract", http.StatusNotFound)
	d.Service = f.name
	deploy(t, d)
	if keys := f.heapKeys(t, ""); len(keys) > 0 {
		t.Errorf("a new contract begins with keys %q", keys)
	}
	f.call(t, `{"mine":1}`).is(t, "call", http.StatusOK)
	if keys := f.heapKeys(t, ""); !slices.Equal(keys, []string{"mine"}) {
		t.Errorf("keys %q", keys)
	}
}
