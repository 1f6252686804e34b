package kube

import (
	"maps"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// starts notes when replicas reached what on their way to serve, for as long as they are there: see function.ColdStart. What
// is reached by a function before it has a replica is noted under an empty name. Kubernetes' own times are of whole seconds;
// these are of when the provider was told. It is safe for concurrent use.
type starts struct {
	mu      sync.Mutex
	reached map[function.Ref]map[string]map[function.Phase]time.Time
}

// mark notes that a replica has reached the end of a phase. Of several times the first counts: who tells late was there too.
func (s *starts) mark(ref function.Ref, replica string, phase function.Phase, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	replicas := s.reached[ref]
	if replicas == nil {
		replicas = make(map[string]map[function.Phase]time.Time)
		s.reached[ref] = replicas
	}
	times := replicas[replica]
	if times == nil {
		times = make(map[function.Phase]time.Time)
		replicas[replica] = times
	}
	if before, ok := times[phase]; !ok || at.Before(before) {
		times[phase] = at
	}
}

// observe marks what the watch shows of a pod. The container of a pod that was claimed has been running before, as a spare:
// of those only their watchdogs know.
func (s *starts) observe(ref function.Ref, replica string, p *pod, now time.Time) {
	s.mu.Lock()
	_, claimed := s.reached[ref][replica][function.PhaseClaim]
	s.mu.Unlock()
	if p.node != "" && !claimed {
		s.mark(ref, replica, function.PhaseSchedule, now)
	}
	if !p.running.IsZero() && !claimed {
		s.mark(ref, replica, function.PhaseContainer, now)
	}
	if p.ready && !claimed {
		s.mark(ref, replica, function.PhaseProcess, now)
	}
}

// pushed marks what a replica's watchdog told of its start, which came at now.
func (s *starts) pushed(ref function.Ref, replica string, told function.Startup, now time.Time) {
	if !told.Container.IsZero() {
		s.mark(ref, replica, function.PhaseContainer, told.Container)
	}
	if told.Process.IsZero() {
		told.Process = now
	}
	s.mark(ref, replica, function.PhaseProcess, told.Process)
}

// forget drops a replica, or all of a function if the name is empty.
func (s *starts) forget(ref function.Ref, replica string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if replica == "" {
		delete(s.reached, ref)
		return
	}
	delete(s.reached[ref], replica)
	if len(s.reached[ref]) == 0 {
		delete(s.reached, ref)
	}
}

// of tells what is known of a replica's start.
func (s *starts) of(ref function.Ref, replica string) function.ColdStart {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.reached[ref][replica])
	if all == nil {
		all = make(map[function.Phase]time.Time)
	}
	maps.Copy(all, s.reached[ref][""])
	return function.NewColdStart(all)
}

// ColdStart tells what is known of how a replica came to serve. Memory only.
func (c *Cluster) ColdStart(ref function.Ref, replica string) function.ColdStart {
	return c.starts.of(ref, replica)
}
