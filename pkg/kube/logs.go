package kube

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// logWindow is how far back a log goes when neither a number of lines nor a time was asked for.
	logWindow = 5 * time.Minute
	// logRetry is how long a follower waits before it asks for the log of a pod again whose stream broke off.
	logRetry = time.Second
)

// Logs reads the log of a function's replicas: what was written so far, merged by time, and, when following, what is
// written from then on, by replicas that come later too. Tail counts over all replicas. The channel is closed at the end,
// or soon after ctx has ended; the caller must read it until then or end ctx. The error is ErrNotFound if there is no such
// function; a function at zero has an empty log.
func (c *Cluster) Logs(ctx context.Context, query function.LogQuery) (<-chan function.LogLine, error) {
	if _, ok := c.Lookup(query.Ref); !ok {
		return nil, notFound(query.Ref)
	}
	if query.Since == nil && query.Tail <= 0 {
		since := time.Now().Add(-logWindow)
		query.Since = &since
	}
	l := &logReader{cluster: c, query: query, positions: make(map[string]position)}
	changes, stop := c.table.follow(query.Ref) // before the first look, so that no pod comes unnoticed in between
	history, err := l.open(ctx)
	if err != nil {
		stop()
		return nil, err
	}
	lines := make(chan function.LogLine)
	go func() {
		defer close(lines)
		defer stop()
		if l.tell(ctx, history, lines) && query.Follow {
			l.follow(ctx, changes, lines)
		}
	}()
	return lines, nil
}

// logReader reads the log of one query.
type logReader struct {
	cluster   *Cluster
	query     function.LogQuery
	positions map[string]position
}

// position is how far a replica's log was read: the time of the last line, and how many lines of that time there were.
type position struct {
	at   time.Time
	same int
}

// after reports whether a line comes after the position, as a stream is read again from its time on: seen counts the
// lines of that time in the stream.
func (p position) after(at time.Time, seen *int) bool {
	if at.Equal(p.at) {
		*seen++
		return *seen > p.same
	}
	return at.After(p.at)
}

func (p *position) advance(at time.Time) {
	if !at.Equal(p.at) {
		p.at, p.same = at, 0
	}
	p.same++
}

// replicas names the function's pods that have a log, those of an earlier record excepted.
func (l *logReader) replicas() []string {
	uid, _ := l.cluster.current(l.query.Ref)
	pods := l.cluster.table.podsOf(l.query.Ref)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(pods)), func(name string) bool {
		p := pods[name]
		return p.record != uid || !p.started || l.query.Instance != "" && name != l.query.Instance
	})
}

// open opens what every replica has written so far. It fails only if none can be read.
func (l *logReader) open(ctx context.Context) ([]*logStream, error) {
	var streams []*logStream
	var failed error
	for _, name := range l.replicas() {
		s, err := l.cluster.openLog(ctx, l.query.Ref, name, logOptions{tail: l.query.Tail, since: l.query.Since})
		if err != nil {
			failed = err // a pod may have gone meanwhile
			continue
		}
		streams = append(streams, s)
	}
	if len(streams) == 0 {
		return nil, failed
	}
	return streams, nil
}

// tell sends the last lines of the streams, in the order of their times, and reports whether the reader is still there.
func (l *logReader) tell(ctx context.Context, streams []*logStream, lines chan<- function.LogLine) bool {
	defer func() {
		for _, s := range streams {
			s.close()
		}
	}()
	send := func(line function.LogLine) bool {
		select {
		case lines <- line:
			return true
		case <-ctx.Done():
			return false
		}
	}
	last := newLastLines(l.query.Tail, len(streams))
	for line, ok := nextOf(streams); ok; line, ok = nextOf(streams) {
		p := l.positions[line.Instance]
		p.advance(line.Time)
		l.positions[line.Instance] = p
		if tooOld(l.query, line) {
			continue
		}
		if line, ok = last.push(line); ok && !send(line) {
			return false
		}
	}
	for _, line := range last.rest() {
		if !send(line) {
			return false
		}
	}
	return ctx.Err() == nil
}

// tooOld reports whether a line is from before the time that was asked for: Kubernetes counts in whole seconds.
func tooOld(query function.LogQuery, line function.LogLine) bool {
	return query.Since != nil && line.Time.Before(*query.Since)
}

// follow sends what is written from now on, until ctx ends: one goroutine per replica, and this one, which starts them
// as replicas come.
func (l *logReader) follow(ctx context.Context, changes <-chan struct{}, lines chan<- function.LogLine) {
	type end struct {
		name string
		at   position
	}
	ended := make(chan end)
	running := make(map[string]bool)
	var readers sync.WaitGroup
	defer readers.Wait()
	pause := time.NewTicker(logRetry)
	defer pause.Stop()
	for {
		for _, name := range l.replicas() {
			if running[name] {
				continue
			}
			running[name] = true
			from := l.positions[name]
			readers.Go(func() {
				e := end{name, l.cluster.followLog(ctx, l.query, name, from, lines)}
				select {
				case ended <- e:
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case e := <-ended:
			l.positions[e.name] = e.at
			// The container has ended, or the stream broke off. Not again at once: its successor takes a moment.
			select {
			case <-ctx.Done():
				return
			case <-pause.C:
			}
			delete(running, e.name)
		}
	}
}

// lastLines passes lines on, or, where Kubernetes' own count of the last lines is not the one asked for, because there are
// several replicas, holds them back until all are known.
type lastLines struct {
	most int // 0: all are passed on
	ring []function.LogLine
	next int
}

func newLastLines(tail, streams int) *lastLines {
	if tail <= 0 || streams <= 1 {
		return &lastLines{}
	}
	return &lastLines{most: tail}
}

// push takes a line and returns it if it is to be passed on now.
func (l *lastLines) push(line function.LogLine) (function.LogLine, bool) {
	switch {
	case l.most == 0:
		return line, true
	case len(l.ring) < l.most:
		l.ring = append(l.ring, line)
	default:
		l.ring[l.next] = line
		l.next = (l.next + 1) % l.most
	}
	return function.LogLine{}, false
}

// rest returns the lines that were held back, in order.
func (l *lastLines) rest() []function.LogLine {
	return slices.Concat(l.ring[l.next:], l.ring[:l.next])
}
