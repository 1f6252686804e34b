package lambda

import (
	"log/slog"
	"testing"
	"time"
)

func (f *fakeProcess) waitExit() {
	f.t.Helper()
	select {
	case <-f.exited:
	case <-time.After(patience):
		f.t.Fatal("the process was not ended")
	}
}

// waitParked waits until the pool is parked.
func (w *world) waitParked() {
	w.t.Helper()
	w.waitFor("rest", func(p *Pool) bool { return p.rest.hasBegun() })
}

func TestPark_EndsAndStartsOneAfterAnother(t *testing.T) {
	w := start(t, Config{Processes: 2, Park: short})
	first := w.process()
	first.poll()
	second := w.process()
	second.poll()
	first.waitExit()
	second.waitExit()
	if able, _ := w.pool.Serving(); !able {
		t.Error("a parked pool is not able")
	}
	one, two := w.invoke("/", `1`), w.invoke("/", `2`)
	f := w.process()
	select {
	case <-w.procs:
		t.Fatal("the second was started before the first was ready")
	default:
	}
	id, a := f.next()
	f.respond(id, a.body)
	g := w.process()
	id, a = g.next()
	g.respond(id, a.body)
	if x, y := get(t, one), get(t, two); x.status != 200 || y.status != 200 {
		t.Errorf("%+v, %+v", x, y)
	}
}

func TestPark_NotWhileBusy(t *testing.T) {
	w := start(t, Config{Park: short})
	f := w.process()
	answer := w.invoke("/", `1`)
	id, _ := f.next()
	<-time.After(3 * short) // longer than a process that has nothing to do gets
	select {
	case <-f.exited:
		t.Fatal("parked with an invocation in flight")
	default:
	}
	f.respond(id, `1`)
	get(t, answer).is(t, 200, `1`)
	f.poll()
	f.waitExit()
}

// A process that is still starting when the pool is parked ends as the others do, and is given nothing.
func TestPark_DuringInit(t *testing.T) {
	w := start(t, Config{Park: short})
	f := w.process()
	answer := w.invoke("/", `1`)
	id, _ := f.next()
	f.respond(id, `1`)
	get(t, answer).is(t, 200, `1`)
	f.exit("exit status 0")
	starting := w.process()
	w.waitParked()
	starting.poll() // in vain
	starting.waitExit()
	answer = w.invoke("/", `2`)
	f = w.process()
	id, _ = f.next()
	f.respond(id, `2`)
	get(t, answer).is(t, 200, `2`)
}

func TestPark_WokenProcessFails(t *testing.T) {
	w := start(t, Config{Park: short})
	f := w.process()
	f.poll()
	f.waitExit()
	answer := w.invoke("/", `1`)
	w.process().exit("exit status 3")
	if a := get(t, answer); a.status != 502 {
		t.Errorf("%+v", a)
	}
	f = w.process() // it goes on trying
	answer = w.invoke("/", `2`)
	id, _ := f.next()
	f.respond(id, `2`)
	get(t, answer).is(t, 200, `2`)
}

func TestPark_NotWhileUnable(t *testing.T) {
	p, err := New(Config{Park: time.Second}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p.used = time.Unix(100, 0)
	if again := p.park(p.used.Add(time.Hour)); again != time.Second || p.rest.hasBegun() {
		t.Errorf("again after %v, parked is %v", again, p.rest.hasBegun())
	}
	p.able = true
	if again := p.park(p.used.Add(400 * time.Millisecond)); again != 600*time.Millisecond || p.rest.hasBegun() {
		t.Errorf("again after %v, parked is %v", again, p.rest.hasBegun())
	}
	if p.park(p.used.Add(time.Second)); !p.rest.hasBegun() {
		t.Error("not parked")
	}
}

func TestPark_ShutdownWhileParked(t *testing.T) {
	w := start(t, Config{Processes: 2, Park: short})
	for range 2 {
		w.process().poll()
	}
	w.waitParked()
	w.stop()
}
