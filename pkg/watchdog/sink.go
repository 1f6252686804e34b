package watchdog

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	sinkBytes    = 1 << 20
	sinkPatience = time.Second
	// sinkPause gathers what is written soon after something else was, so that a busy function costs the log some hundred writes a second,
	// and not one for each of its lines, and a wake of the goroutine that does it. What is more than sinkMuch does not wait.
	sinkPause = 5 * time.Millisecond
	sinkMuch  = 128 << 10
)

// Sink writes to a log that may stop taking anything, without ever stopping who writes to the sink. A line is on its way at once, or
// 5 ms after the one before it. Up to 1 MiB waits in
// memory; when it is full a writer waits for a second, which slows a burst down and loses nothing; if the log has not moved by
// then, what does not fit is dropped and counted until it moves again. It is safe for concurrent use.
type Sink struct {
	w        io.Writer
	maxBytes int
	patience time.Duration
	more     chan struct{} // holds a token when there is something to write, or the end
	hurry    chan struct{} // holds a token when there is no time to gather
	done     chan struct{} // closed when the last byte is written

	mu      sync.Mutex
	waiting []byte
	room    chan struct{} // closed when waiting was emptied
	stuck   bool          // somebody has waited in vain since the log last moved
	dropped int           // writes dropped since the log last moved
	closed  bool
}

// NewSink returns a sink in front of w. Close ends the goroutine that it starts.
func NewSink(w io.Writer) *Sink {
	s := &Sink{
		w: w, maxBytes: sinkBytes, patience: sinkPatience,
		more: make(chan struct{}, 1), hurry: make(chan struct{}, 1), done: make(chan struct{}), room: make(chan struct{}),
	}
	go s.drain()
	return s
}

// Write takes p as a whole or drops it. It never fails: whoever writes a log line can do nothing about it.
func (s *Sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.fitsLocked(p) && !s.stuck && !s.closed {
		s.waitForRoomLocked(p)
	}
	if s.closed || !s.fitsLocked(p) {
		s.dropped++
		return len(p), nil
	}
	s.waiting = append(s.waiting, p...)
	signalOnce(s.more)
	if len(s.waiting) > sinkMuch {
		signalOnce(s.hurry)
	}
	return len(p), nil
}

// fitsLocked lets one write of any size into an empty buffer.
func (s *Sink) fitsLocked(p []byte) bool {
	return len(s.waiting) == 0 || len(s.waiting)+len(p) <= s.maxBytes
}

func (s *Sink) waitForRoomLocked(p []byte) {
	timeout := time.NewTimer(s.patience)
	defer timeout.Stop()
	for !s.fitsLocked(p) && !s.stuck && !s.closed {
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
			s.mu.Lock()
		case <-timeout.C:
			s.mu.Lock()
			s.stuck = true
		}
	}
}

// Close writes what waits and returns, or gives up when the log takes nothing for a second.
func (s *Sink) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	signalOnce(s.more)
	signalOnce(s.hurry)
	select {
	case <-s.done:
	case <-time.After(s.patience):
	}
}

// signalOnce puts a token into a channel for one.
func signalOnce(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is there already
	}
}

func (s *Sink) drain() {
	defer close(s.done)
	var spare []byte
	pause := time.NewTimer(0)
	defer pause.Stop()
	for range s.more {
		batch, last := s.swap(spare)
		if len(batch) > 0 {
			// A log that fails has nowhere to say so; one that blocks holds up this goroutine only.
			_, _ = s.w.Write(batch)
		}
		spare = batch[:0]
		if cap(spare) > sinkBytes/4 {
			spare = nil // a burst is over: give its memory back
		}
		if last {
			return
		}
		pause.Reset(sinkPause)
		select {
		case <-pause.C:
		case <-s.hurry:
		}
	}
}

// swap takes what waits, adds how much was lost, and tells whether nothing will follow.
func (s *Sink) swap(spare []byte) (batch []byte, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch, s.waiting = s.waiting, spare
	if s.dropped > 0 {
		batch = fmt.Appendf(batch, "dc-watchdog: the log did not keep up: %d writes dropped\n", s.dropped)
		s.dropped = 0
	}
	s.stuck = false
	close(s.room)
	s.room = make(chan struct{})
	return batch, s.closed
}
