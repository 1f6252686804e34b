package proxy

import (
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestPick_TheBusiestOfAllGetsNothing(t *testing.T) {
	list := []function.Endpoint{{Address: "a"}, {Address: "b"}, {Address: "c"}}
	inFlight := map[string]int{"a": 3, "b": 1, "c": 1}
	got := map[string]int{}
	for range 1000 {
		got[pick(list, inFlight).Address]++
	}
	if got["a"] != 0 || got["b"] < 300 || got["c"] < 300 {
		t.Errorf("picks %v", got)
	}
}

func TestPick_SpreadsEvenlyWhenAllAreIdle(t *testing.T) {
	list := []function.Endpoint{{Address: "a"}, {Address: "b"}}
	got := map[string]int{}
	for range 1000 {
		got[pick(list, nil).Address]++
	}
	if got["a"] < 400 || got["b"] < 400 {
		t.Errorf("picks %v", got)
	}
}
