package watchdog

import (
	"testing"
	"time"
)

// TestLife has every event in every state. What is not in legal is an error and changes nothing.
func TestLife(t *testing.T) {
	events := map[string]func(*life) error{
		"heard": (*life).heard, "refused": (*life).refused, "idle": (*life).idle, "stopped": (*life).stopped,
		"wanted": (*life).wanted, "started": (*life).started, "exited": (*life).exited,
	}
	legal := map[string]map[lifeState]lifeState{
		"heard":   {booting: listening, waking: listening},
		"refused": {listening: booting},
		"idle":    {listening: parking},
		"stopped": {parking: parked, called: parked},
		"wanted":  {parked: called},
		"started": {called: waking},
		"exited":  {booting: ended, listening: ended, waking: parking},
	}
	for name, event := range events {
		for from := booting; from <= ended; from++ {
			l := life{from}
			err := event(&l)
			to, allowed := legal[name][from]
			switch {
			case allowed && (err != nil || l.state != to):
				t.Errorf("%s while %v: %v, %v, want %v", name, from, l.state, err, to)
			case !allowed && (err == nil || l.state != from):
				t.Errorf("%s while %v: %v, %v, want an error", name, from, l.state, err)
			case !allowed && err.Error() != name+" while "+from.String():
				t.Errorf("error %q", err)
			}
		}
	}
	for from := booting; from <= ended; from++ {
		l := life{from}
		l.over()
		if l.state != ended {
			t.Errorf("over while %v: %v", from, l.state)
		}
	}
}

func TestBackoff(t *testing.T) {
	last := time.Duration(0)
	for failures := range 100 {
		d := backoff(failures)
		if d < last || d < firstPause || d > lastPause {
			t.Fatalf("after %d failures %v, before it %v", failures, d, last)
		}
		last = d
	}
	if last != lastPause {
		t.Errorf("at last %v", last)
	}
}
