package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// placeAt places calls until one is at s, and ends the others. It returns nil if none is.
func (p *plane) placeAt(s *slot) *call {
	for range 100 {
		c := p.place()
		if c.slot == s {
			return c
		}
		c.leave()
		c.end()
	}
	return nil
}

func (p *plane) slots() []*slot {
	p.place().end()
	return p.activity().slots
}

func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, 0, 3, nil)
		bad := p.slots()[1]
		fail := func() {
			t.Helper()
			c := p.placeAt(bad)
			if c == nil {
				t.Fatal("the endpoint gets no calls")
			}
			c.failed()
		}
		answer := func() {
			c := p.placeAt(bad)
			c.answered(200)
			c.end()
		}
		fail()
		fail()
		answer() // so that they are no three in a row
		fail()
		fail()
		for i, ejection := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			fail()
			time.Sleep(ejection*time.Second - 1)
			if p.placeAt(bad) != nil {
				t.Fatalf("ejection %d ended before its time", i+1)
			}
			time.Sleep(time.Nanosecond)
		}
		// Back on trial, it gets one call until that is answered.
		trial := p.placeAt(bad)
		if trial == nil || p.placeAt(bad) != nil {
			t.Fatal("an endpoint on trial does not get exactly one call")
		}
		trial.answered(200)
		trial.end()
		first, second := p.placeAt(bad), p.place()
		if first == nil {
			t.Fatal("an endpoint that answered its trial is not back")
		}
		first.end()
		second.end()
		// It falls back into the same ejection if it fails again soon, and begins anew if it was well for long.
		for _, next := range []struct{ well, ejection time.Duration }{{0, time.Minute}, {2 * time.Minute, time.Second}} {
			time.Sleep(next.well)
			for range ejectAfter {
				fail()
			}
			time.Sleep(next.ejection - 1)
			if p.placeAt(bad) != nil {
				t.Errorf("ejection ended before %v", next.ejection)
			}
			time.Sleep(time.Nanosecond)
			answer()
		}
		p.wantIdle()
	})
}

// A trial whose caller leaves tells nothing, and the next call is the trial.
func TestEjection_TrialThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, 0, 2, nil)
		bad := p.slots()[0]
		for range ejectAfter {
			p.placeAt(bad).failed()
		}
		time.Sleep(firstEjection)
		p.placeAt(bad).end()
		trial := p.placeAt(bad)
		if trial == nil || p.placeAt(bad) != nil {
			t.Fatal("the endpoint is not on trial any more")
		}
		trial.end()
		p.wantIdle()
	})
}

func TestEjection_NeverOfTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, 0, 2, nil)
		slots := p.slots()
		first, last := slots[0], slots[1]
		for range ejectAfter {
			p.placeAt(first).failed()
		}
		for i := range 100 {
			c := p.place()
			if c.slot == nil {
				t.Fatalf("after %d failures the function has no endpoint left", i)
			}
			c.failed()
		}
		// When all fail, none is an outlier.
		p.proxy.SetEndpoints(echo, "1", []function.Endpoint{first.endpoint, last.endpoint})
		for _, s := range slots {
			if !s.ejected {
				s.absolveLocked()
				continue
			}
			// The one that is ejected now is all that is left.
			p.proxy.SetEndpoints(echo, "1", []function.Endpoint{s.endpoint})
			calls := []*call{p.place(), p.place()}
			for _, c := range calls {
				if c.slot != s {
					t.Error("the last endpoint is held to its ejection")
				}
				c.end()
			}
		}
		p.wantIdle()
	})
}

// Those who wait because the sound endpoint is full are given the ejected one when its time is over.
func TestEjection_WaitersNoticeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, 1, 2, nil)
		slots := p.slots()
		for range ejectAfter {
			p.placeAt(slots[0]).failed()
		}
		holder := p.placeAt(slots[1])
		begin := time.Now()
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				c, err := p.acquire(t.Context())
				if err != nil || c.slot != slots[0] || time.Since(begin) != firstEjection {
					t.Errorf("%v at %v after %v", err, c.slot, time.Since(begin))
				}
				if err == nil {
					c.answered(200)
					c.end()
				}
			})
		}
		group.Wait()
		holder.end()
		p.wantIdle()
	})
}

// dropper accepts connections and breaks them off after a request was read.
func dropper(t *testing.T, calls *atomic.Int64) function.Endpoint {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return function.Endpoint{Address: l.Addr().String(), Replica: "dropper"}
}

// Callers one after the other, an endpoint that is well, one that breaks connections off and one that refuses them.
func TestEjection_OverSockets(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	var dropped atomic.Int64
	w.setEndpoints(echo, append(w.list(echo), dropper(t, &dropped), refusing(t))...)
	begin := time.Now()
	broken := int64(0)
	for i := range 300 {
		switch answer, text := w.request("GET", "/function/echo", ""); {
		case answer.StatusCode == 200 && text == "hello":
		case answer.StatusCode == 502:
			broken++
		default:
			t.Fatalf("call %d: status %d, %s", i, answer.StatusCode, text)
		}
	}
	// Three failures eject it, and each trial costs one call more; there is at most one a second.
	trials := int64(time.Since(begin)/firstEjection) + 1
	if broken < ejectAfter || broken > ejectAfter+trials || dropped.Load() != broken {
		t.Errorf("%d of 300 calls were broken off in %v, %d by the endpoint", broken, time.Since(begin), dropped.Load())
	}
	a := w.proxy.activities.find(echo)
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, s := range a.slots {
		if s.ejected != (i > 0) {
			t.Errorf("endpoint %d ejected: %v", i, s.ejected)
		}
	}
}

// A function whose every replica breaks off is called all the same: it may be what it is called with.
func TestEjection_AllFail(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo)
	var dropped atomic.Int64
	var list []function.Endpoint
	for i := range 3 {
		e := dropper(t, &dropped)
		e.Replica = fmt.Sprint("echo-", i)
		list = append(list, e)
	}
	w.setEndpoints(echo, list...)
	for range 50 {
		w.wantStatus("/function/echo", 502)
	}
	if dropped.Load() != 50 {
		t.Errorf("%d calls reached an endpoint, want 50", dropped.Load())
	}
}
