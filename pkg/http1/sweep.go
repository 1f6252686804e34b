package http1

import "time"

const (
	sweepPause  = 50 * time.Millisecond
	drowsyPause = time.Second
)

// sweep looks at all connections at intervals: for clients that went away, and for deadlines. So no exchange needs a timer, or a
// goroutine that reads while its handler runs. It returns when the server is closed and no connection is left.
func (s *Server) sweep() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	var conns []*conn
	for {
		s.mu.Lock()
		over := s.closed && len(s.conns) == 0
		s.mu.Unlock()
		if over {
			return
		}
		conns = s.snapshot(conns)
		now := int64(time.Since(s.epoch))
		next, busy := now+int64(drowsyPause), false
		for _, c := range conns {
			if at, isBusy := c.look(now); isBusy {
				busy, next = true, min(next, at)
			}
		}
		if busy {
			s.drowsy.Store(false)
		} else if !s.drowsy.Swap(true) {
			continue // an exchange that began as we looked has not seen that it must wake us
		}
		clear(conns)
		wait := time.Duration(next - now)
		if len(conns) == 0 {
			wait = time.Hour // nothing can happen before a connection comes, which wakes us
		}
		pause.Reset(wait)
		select {
		case <-pause.C:
		case <-s.kick:
		}
	}
}

// wake makes the sweeper look now if it looks seldom.
func (s *Server) wake() {
	if s.drowsy.Load() && s.drowsy.CompareAndSwap(true, false) {
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
}

// look is one look at a connection. It returns when an exchange wants the next one, and whether there is one. now is in
// nanoseconds since the server was made.
func (c *conn) look(now int64) (next int64, busy bool) {
	word := c.word.Load()
	if word != c.swept {
		c.swept, c.since = word, now
	}
	lasted := time.Duration(now - c.since)
	cfg := &c.srv.cfg
	switch phaseOf(word) {
	case phaseNew, phaseHead:
		limit := cfg.HeadTimeout
		if limit > 0 && lasted >= limit {
			c.expire(word)
		}
	case phaseIdle:
		if cfg.IdleTimeout > 0 && lasted >= cfg.IdleTimeout {
			c.expire(word)
		}
	case phaseBusy:
		next = now + int64(sweepPause)
		if causeOf(word) != alive {
			return next, true
		}
		deadline := c.deadline.Load()
		switch {
		case deadline > 0 && now >= deadline:
			c.cancel(word, expired)
		case lasted >= sweepPause && c.gone():
			c.cancel(word, gone)
		}
		if deadline > now {
			next = min(next, deadline)
		}
		return next, true
	}
	return 0, false
}
