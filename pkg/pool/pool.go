package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/assignment"
)

const (
	defaultNodeClaims = 8
	// tries is how many spares one claim may use up. More would take longer than to start without.
	tries = 2
	// stepTimeout bounds each step of a claim, which takes some milliseconds.
	stepTimeout = 2 * time.Second
	// startTime is how long a claim counts as starting if nobody says that it serves.
	startTime = 2 * time.Second
	// shunTime is how long a node is avoided one of whose spares did not take its assignment: a node that is lost is known to be
	// so to Kubernetes only after most of a minute.
	shunTime = 30 * time.Second
	// lately is how long a function that had a spare leaves the last one to others.
	lately = 10 * time.Second
	// busyWait is how long a claim waits for a node to have brought up another, and mostWait how many do: beyond it a pod of
	// the function's own is not later. One that is made beside so many claims takes two seconds.
	busyWait = 1500 * time.Millisecond
	mostWait = 8
)

var (
	// ErrNoSpare: there is no spare for this function now.
	ErrNoSpare = errors.New("no spare")
	// ErrNotAssignable is wrapped by an error of Assign that is the function's, and of which the spare has heard nothing.
	ErrNotAssignable = errors.New("not to be assigned to a spare")
)

// Spare is a pod of the pool that has registered.
type Spare struct {
	// ID is the pod's identity, which no later pod of that name shares.
	ID             string
	Namespace, Pod string
	Node           string
	IP             netip.Addr
	// Identity is what assignments to it are sealed for.
	Identity assignment.Spare
	// Taken is when it was claimed; zero while it is free.
	Taken time.Time

	since time.Time // when it was added first
}

// Outcome is how a claim ended. Its values are labels of a metric.
type Outcome string

// The ways that a claim can end.
const (
	Claimed Outcome = "claimed"
	// None: no spare was free.
	None Outcome = "none"
	// Reserved: the last one is left to other functions.
	Reserved Outcome = "reserved"
	// Busy: those that are free are on nodes that start as many as they should, and did so for as long as is worth waiting.
	Busy Outcome = "busy"
	// Failed: the spares that were tried were given up.
	Failed Outcome = "failed"
	// Refused: the function cannot be given to a spare, such as for a secret that is missing.
	Refused Outcome = "refused"
)

// Outcomes are all of them.
var Outcomes = []Outcome{Claimed, None, Reserved, Busy, Failed, Refused}

// Phases are how long the steps of a claim took.
type Phases struct{ Assign, Adopt time.Duration }

// Config joins a Pool to the rest. Assign, Adopt and Discard are needed. None is called with a lock held.
type Config struct {
	// Assign hands a spare what it is to run, and Adopt makes its pod a replica of the function.
	Assign func(context.Context, Spare, *function.Function) error
	Adopt  func(context.Context, Spare, *function.Function) error
	// Discard takes away a spare that is of no use any more. It does not wait.
	Discard func(Spare)
	// NodeClaims is how many claims may be starting on one node. 0 means 8.
	NodeClaims int
	// OnClaim is told how each claim ended. nil tells nobody.
	OnClaim func(*function.Function, Outcome, Phases)
	// Log is told of spares that are given up. nil means none.
	Log *slog.Logger
	// Now tells the time. nil means time.Now.
	Now func() time.Time
}

// Pool knows the spares that may be claimed. It is safe for concurrent use.
type Pool struct {
	cfg Config

	mu sync.Mutex
	// free are the spares that may be claimed, and used the identities of those that may not, or not again, while their pods
	// are there, by identity.
	free map[string]Spare
	used map[string]struct{}
	// starting are the claims that do not serve yet, by the spare's identity.
	starting map[string]start
	// shunned is until when a node's spares are given out only where there are no others.
	shunned map[string]time.Time
	// served is when a function last got a spare, by its record's identity.
	served map[string]time.Time
	// waiting is how many claims wait for a node; ended is closed, and made anew, when a claim ends.
	waiting int
	ended   chan struct{}
}

type start struct {
	node  string
	since time.Time
}

// New returns a Pool without spares.
func New(cfg Config) (*Pool, error) {
	if cfg.Assign == nil || cfg.Adopt == nil || cfg.Discard == nil {
		return nil, errors.New("pool: Assign, Adopt and Discard are needed")
	}
	if cfg.NodeClaims < 0 {
		return nil, fmt.Errorf("pool: %d claims per node", cfg.NodeClaims)
	}
	if cfg.NodeClaims == 0 {
		cfg.NodeClaims = defaultNodeClaims
	}
	if cfg.OnClaim == nil {
		cfg.OnClaim = func(*function.Function, Outcome, Phases) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Pool{
		cfg:      cfg,
		free:     make(map[string]Spare),
		used:     make(map[string]struct{}),
		starting: make(map[string]start),
		shunned:  make(map[string]time.Time),
		served:   make(map[string]time.Time),
		ended:    make(chan struct{}),
	}, nil
}

// Add takes a spare that has registered, in place of what it was known as before, and reports whether it may be claimed: one
// that was claimed, or taken away, may not. One that was assigned a function in a claim that is none of this Pool's, whose
// provider died in the middle of it as a rule, is given up. One that is asked in the middle of a claim has its assignment, too.
func (p *Pool) Add(s Spare) bool {
	assigned := s.Identity.Function != ""
	p.mu.Lock()
	_, used := p.used[s.ID]
	switch {
	case used:
	case assigned:
		delete(p.free, s.ID)
		p.used[s.ID] = struct{}{}
	default:
		s.since = p.cfg.Now()
		if before, there := p.free[s.ID]; there {
			s.since = before.since
		}
		p.free[s.ID] = s
	}
	p.mu.Unlock()
	if assigned && !used {
		p.cfg.Log.Info("spare given up, it was assigned already", "replica", s.Pod, "function", s.Identity.Function)
		p.cfg.Discard(s)
	}
	return !used && !assigned
}

// Remove forgets a spare whose pod is gone.
func (p *Pool) Remove(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.free, id)
	delete(p.used, id)
}

// Retire takes a spare out of the pool for good, and reports false if it is being claimed or was.
func (p *Pool) Retire(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, used := p.used[id]; used {
		return false
	}
	delete(p.free, id)
	p.used[id] = struct{}{}
	return true
}

// Registered reports whether a spare may be claimed.
func (p *Pool) Registered(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.free[id]
	return ok
}

// Serves notes that a claimed pod serves: its node may start another.
func (p *Pool) Serves(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked(id)
}

// endLocked notes that a claim is under way no more.
func (p *Pool) endLocked(id string) {
	delete(p.starting, id)
	close(p.ended)
	p.ended = make(chan struct{})
}

// Starting reports whether a claimed pod is on its way up.
func (p *Pool) Starting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ageLocked(p.cfg.Now())
	return len(p.starting) > 0
}

// Counts tells how many spares of each namespace are free, and how many claims are starting on each node that has or had spares
// lately.
func (p *Pool) Counts() (free, starting map[string]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ageLocked(p.cfg.Now())
	free, starting = make(map[string]int), p.startsLocked()
	for _, s := range p.free {
		free[s.Namespace]++
		starting[s.Node] += 0 // a series that comes and goes is hard to read
	}
	return free, starting
}

// Claim makes a spare a replica of f, none of the nodes to avoid. It returns when Kubernetes has been told; that the function serves is
// told otherwise. An error wraps ErrNoSpare, ErrNotAssignable, ctx's, or what went wrong with the last spare.
func (p *Pool) Claim(ctx context.Context, f *function.Function, avoid ...string) error {
	var failed error
	for range tries {
		s, outcome := p.await(ctx, f, avoid)
		if outcome != Claimed {
			if failed != nil {
				break
			}
			p.cfg.OnClaim(f, outcome, Phases{})
			return fmt.Errorf("claim for %q: %w (%s)", f.Ref, ErrNoSpare, outcome)
		}
		phases, err := p.use(ctx, s, f)
		if err == nil {
			p.mu.Lock()
			p.served[f.ID] = p.cfg.Now()
			p.mu.Unlock()
			p.cfg.OnClaim(f, Claimed, phases)
			return nil
		}
		if errors.Is(err, ErrNotAssignable) {
			p.giveBack(s)
			p.cfg.OnClaim(f, Refused, phases)
			return fmt.Errorf("claim for %q: %w", f.Ref, err)
		}
		p.giveUp(s)
		failed = fmt.Errorf("claim %q for %q: %w", s.Pod, f.Ref, err)
		p.cfg.Log.Warn("spare given up", "function", f.Name, "namespace", f.Namespace, "replica", s.Pod, "err", err)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, context.DeadlineExceeded) {
			avoid = append(slices.Clone(avoid), s.Node) // another of that node would take as long
		}
	}
	p.cfg.OnClaim(f, Failed, Phases{})
	return failed
}

func (p *Pool) use(ctx context.Context, s Spare, f *function.Function) (phases Phases, err error) {
	step := func(what string, do func(context.Context, Spare, *function.Function) error) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(ctx, stepTimeout)
		defer cancel()
		began := p.cfg.Now()
		if err := do(ctx, s, f); err != nil {
			return 0, fmt.Errorf("%s: %w", what, err)
		}
		return p.cfg.Now().Sub(began), nil
	}
	if phases.Assign, err = step("assign", p.cfg.Assign); err != nil {
		if !errors.Is(err, ErrNotAssignable) && ctx.Err() == nil {
			p.Shun(s.Node)
		}
		return phases, err
	}
	phases.Adopt, err = step("adopt", p.cfg.Adopt)
	return phases, err
}

// Shun has a node avoided for half a minute, as far as there are others.
func (p *Pool) Shun(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shunned[node] = p.cfg.Now().Add(shunTime)
}

// Shunned lists the nodes that are avoided now.
func (p *Pool) Shunned() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ageLocked(p.cfg.Now())
	return slices.Sorted(maps.Keys(p.shunned))
}

func (p *Pool) giveUp(s Spare) {
	p.mu.Lock()
	p.endLocked(s.ID)
	p.mu.Unlock()
	p.cfg.Discard(s)
}

// giveBack makes a spare free again that has heard nothing of its claim.
func (p *Pool) giveBack(s Spare) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked(s.ID)
	if _, there := p.used[s.ID]; there {
		delete(p.used, s.ID)
		s.Taken = time.Time{}
		p.free[s.ID] = s
	}
}

// await is take that waits while nodes are busy: a node that brings up all at once has each of them later than one after another.
func (p *Pool) await(ctx context.Context, f *function.Function, avoid []string) (Spare, Outcome) {
	ctx, cancel := context.WithTimeout(ctx, busyWait)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		s, outcome := p.takeLocked(f, avoid)
		if outcome != Busy || p.waiting >= mostWait || ctx.Err() != nil {
			return s, outcome
		}
		ended := p.ended
		p.waiting++
		p.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
		}
		p.mu.Lock()
		p.waiting--
	}
}

// takeLocked makes a free spare f's.
func (p *Pool) takeLocked(f *function.Function, avoid []string) (Spare, Outcome) {
	now := p.cfg.Now()
	p.ageLocked(now)
	var free []Spare
	for _, s := range p.free {
		if s.Namespace == f.Namespace && !slices.Contains(avoid, s.Node) {
			free = append(free, s)
		}
	}
	// The rest of them are not lost, if all nodes are shunned: whatever is wrong is wrong with all.
	if sound := slices.DeleteFunc(slices.Clone(free), func(s Spare) bool { return !p.shunned[s.Node].IsZero() }); len(sound) > 0 {
		free = sound
	}
	_, had := p.served[f.ID]
	s, outcome := choose(free, p.startsLocked(), p.cfg.NodeClaims, had)
	if outcome != Claimed {
		return Spare{}, outcome
	}
	delete(p.free, s.ID)
	p.used[s.ID] = struct{}{}
	p.starting[s.ID] = start{node: s.Node, since: now}
	s.Taken = now
	return s, Claimed
}

// ageLocked forgets what is too long ago to count.
func (p *Pool) ageLocked(now time.Time) {
	for id, s := range p.starting {
		if now.Sub(s.since) >= startTime {
			delete(p.starting, id)
		}
	}
	for node, until := range p.shunned {
		if !now.Before(until) {
			delete(p.shunned, node)
		}
	}
	for id, at := range p.served {
		if now.Sub(at) >= lately {
			delete(p.served, id)
		}
	}
}

func (p *Pool) startsLocked() map[string]int {
	starts := make(map[string]int)
	for _, s := range p.starting {
		starts[s.node]++
	}
	return starts
}

// choose picks the spare whose node starts the fewest claims, and of those the oldest: of a pod that has just come up the kubelet may
// not see the next change for a second. starts is how many each node starts, and most how many it may.
// had says that the function got a spare lately.
func choose(free []Spare, starts map[string]int, most int, had bool) (Spare, Outcome) {
	switch {
	case len(free) == 0:
		return Spare{}, None
	case len(free) == 1 && had:
		return Spare{}, Reserved
	}
	best := slices.MinFunc(free, func(a, b Spare) int {
		if d := starts[a.Node] - starts[b.Node]; d != 0 {
			return d
		}
		return cmp.Or(a.since.Compare(b.since), strings.Compare(a.ID, b.ID))
	})
	if starts[best.Node] >= most {
		return Spare{}, Busy
	}
	return best, Claimed
}
