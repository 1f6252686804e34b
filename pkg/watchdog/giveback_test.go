package watchdog

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiter_After(t *testing.T) {
	l := newLimiter(0)
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	first := l.after(0)
	if closed(first) {
		t.Error("begun, and there was none")
	}
	l.enter()
	if !closed(first) || !closed(l.after(0)) {
		t.Error("the first is not told")
	}
	l.leave()
	if !closed(l.after(0)) {
		t.Error("one that is over is not told")
	}
	second := l.after(1)
	if closed(second) {
		t.Error("the first is told as the second")
	}
	l.enter()
	if !closed(second) {
		t.Error("the second is not told")
	}
	l.leave()
}

// Memory is no business of a function that is busy, with one long invocation or with many short ones.
func TestWatchdog_AwaitIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &Watchdog{inFlight: newLimiter(0)}
		begun := time.Now()
		w.inFlight.enter()
		idle := make(chan uint64)
		go func() { idle <- w.awaitIdle(context.Background()) }()
		time.Sleep(10 * idleMoment)
		w.inFlight.leave()
		for range 20 {
			time.Sleep(idleMoment / 2)
			w.inFlight.enter()
			w.inFlight.leave()
		}
		if served := <-idle; served != 21 {
			t.Errorf("idle after %d invocations", served)
		}
		if took := time.Since(begun); took < 21*idleMoment || took > 23*idleMoment {
			t.Errorf("idle after %v", took)
		}

		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w.awaitIdle(ctx) // returns
	})
}

// What invocations have needed is given back once none is left: as garbage it would stay for two minutes.
func TestWatchdog_GiveBack(t *testing.T) {
	w := &Watchdog{inFlight: newLimiter(0)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.giveBack(ctx)
	}()
	w.inFlight.enter()
	const size = 64 << 20
	body := make([]byte, size)
	body[0] = 1
	held := heldBytes()
	if held < size {
		t.Errorf("%d bytes held, of %d that are in use", held, size)
	}
	runtime.KeepAlive(body)
	w.inFlight.leave()
	for deadline := time.Now().Add(patience); heldBytes() > held-size; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes held when idle, %d before", heldBytes(), held)
		}
	}
	cancel()
	<-done
}
