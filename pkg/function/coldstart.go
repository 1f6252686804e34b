package function

import (
	"slices"
	"time"
)

// Phase is a part of a cold start, named by what it ends with.
type Phase string

// The phases of a cold start, in their order. A replica that is made goes through the first row and those that follow, one
// that is claimed from the warm pool through the second.
const (
	PhaseRecord   Phase = "record"   // the record asks for a replica
	PhaseSchedule Phase = "schedule" // its pod was made and has a node

	PhaseClaim  Phase = "claim"  // a spare was taken
	PhaseAssign Phase = "assign" // the spare was told what it is to run, and its pod is the function's

	PhaseContainer Phase = "container"  // the first program of the container runs
	PhaseProcess   Phase = "process"    // the function can serve
	PhaseFirstByte Phase = "first_byte" // its answer has begun
)

var (
	madePhases    = []Phase{PhaseRecord, PhaseSchedule, PhaseContainer, PhaseProcess}
	claimedPhases = []Phase{PhaseClaim, PhaseAssign, PhaseContainer, PhaseProcess}
)

// StartKind is how a replica came to be.
type StartKind string

// The kinds of cold starts.
const (
	StartMade    StartKind = "pod"   // a pod was made
	StartClaimed StartKind = "claim" // a spare of the warm pool was claimed
)

// ColdStart tells when a replica reached what, by the clock of whoever observed it. The zero value knows nothing.
type ColdStart struct {
	reached map[Phase]time.Time
}

// Startup is what a replica itself tells of its start, by the provider's clock. A zero time is not known.
type Startup struct {
	// Container is when the first program of the container began, Process when the function could serve.
	Container, Process time.Time
}

// PhaseTime is how long something was in a phase.
type PhaseTime struct {
	Phase Phase
	Time  time.Duration
}

// NewColdStart makes a ColdStart of the times at which phases ended, which it keeps.
func NewColdStart(reached map[Phase]time.Time) ColdStart { return ColdStart{reached} }

// Kind tells how the replica came to be.
func (s ColdStart) Kind() StartKind {
	if _, claimed := s.reached[PhaseClaim]; claimed {
		return StartClaimed
	}
	return StartMade
}

// Split divides the time of a call, from when it came to the first byte of its answer, among the phases in which the
// replica was meanwhile. The sum is the whole time: a phase of which the end was not seen is part of the one that follows,
// and one that was over when the call came has none.
func (s ColdStart) Split(came, firstByte time.Time) []PhaseTime {
	phases := madePhases
	if s.Kind() == StartClaimed {
		phases = claimedPhases
	}
	times := make([]PhaseTime, 0, len(phases)+1)
	for _, phase := range phases {
		end, seen := s.reached[phase]
		if !seen {
			continue
		}
		if end.After(firstByte) {
			end = firstByte
		}
		spent := max(0, end.Sub(came))
		times = append(times, PhaseTime{phase, spent})
		came = came.Add(spent)
	}
	return append(slices.Clip(times), PhaseTime{PhaseFirstByte, max(0, firstByte.Sub(came))})
}
