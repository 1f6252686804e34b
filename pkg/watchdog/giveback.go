package watchdog

import (
	"context"
	"runtime/debug"
	gometrics "runtime/metrics"
	"time"
)

const (
	// idleMoment is how long nothing must have been in flight before memory is given back: to collect garbage is work, and what is given
	// back has to be had again.
	idleMoment = time.Second
	// worthBytes is how much more memory must be held than after the last time.
	worthBytes = 512 << 10
)

// giveBack gives the memory that invocations have needed back to the system once none is left, until ctx ends. Go would collect what they
// have left behind when it needs the room, or after two minutes, and give it back a while later; most functions are idle most of the time,
// and there are many to a machine. The first time it gives back what the start has needed, too.
func (w *Watchdog) giveBack(ctx context.Context) {
	var held, served uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.inFlight.after(served):
		}
		if served = w.awaitIdle(ctx); ctx.Err() != nil {
			return
		}
		if heldBytes() > held+worthBytes {
			debug.FreeOSMemory() // sync.Pools keep what they have through one collection
			debug.FreeOSMemory()
			held = heldBytes()
		}
	}
}

// awaitIdle returns when nothing was in flight for idleMoment, or ctx has ended. It returns how many invocations there have been.
func (w *Watchdog) awaitIdle(ctx context.Context) (served uint64) {
	look := time.NewTicker(idleMoment)
	defer look.Stop()
	for _, before := w.inFlight.counts(); ; before = served {
		select {
		case <-ctx.Done():
			return 0
		case <-look.C:
		}
		var inFlight int
		if inFlight, served = w.inFlight.counts(); inFlight == 0 && served == before {
			return served
		}
	}
}

// heldBytes is what Go's heap takes of the machine's memory, garbage included.
func heldBytes() (bytes uint64) {
	parts := []gometrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	gometrics.Read(parts)
	for _, part := range parts {
		bytes += part.Value.Uint64()
	}
	return bytes
}
