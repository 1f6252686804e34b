// Command heapload has callers commit to a store, each as soon as its last commit is durable, and prints what it saw as JSON.
//
//	heapload -store ours:FILE           the store of contracts' heaps, as an invocation's end goes through it
//	heapload -store bbolt:FILE          bbolt.Batch as it is
//	heapload -store bbolt-full:FILE     bbolt.Batch that does not wait for its timer when all callers are there
//	heapload -store redis:HOST:PORT     MULTI and EXEC
//	heapload -store ours:FILE -drop N   fills a heap with N keys, drops it, and fills another
//
// A commit sets four keys of one of many accounts and, with -recorded, keeps an answer under a call id that is new each time. All
// stores are given the same bytes in the same order of accounts.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/dragonchain/dc-provider/bench/report"
)

const (
	accounts = 10_000
	// lowest and highest are what the histogram tells apart.
	lowest  = int64(time.Microsecond)
	highest = int64(time.Minute)
)

// options are what the command line says.
type options struct {
	store, profile   string
	callers, drop    int
	recorded         bool
	warmup, duration time.Duration
}

// commit is what one caller makes permanent at once.
type commit struct {
	keys   [4]string
	value  []byte
	callID string // empty: nothing is recorded
	answer []byte
}

// store makes commits permanent. commit returns when that is so. It is safe for concurrent use.
type store interface {
	commit(ctx context.Context, c commit) error
	close() error
}

// Result is what heapload prints.
type Result struct {
	Commits int64
	Elapsed time.Duration
	Latency [][2]int64
}

func main() {
	var o options
	flag.StringVar(&o.store, "store", "", "`KIND:PLACE` of the store")
	flag.IntVar(&o.callers, "callers", 64, "`number` of callers")
	flag.BoolVar(&o.recorded, "recorded", false, "keep the answer of each commit under its call id")
	flag.DurationVar(&o.warmup, "warmup", 500*time.Millisecond, "`time` that is not counted")
	flag.DurationVar(&o.duration, "d", 1500*time.Millisecond, "`time` that is")
	flag.IntVar(&o.drop, "drop", 0, "fill and drop a heap of so many `keys` instead")
	flag.StringVar(&o.profile, "profile", "", "`file` for a CPU profile of what is counted")
	flag.Parse()
	if err := run(context.Background(), o, os.Stdout); err != nil {
		log.Fatal("heapload: ", err)
	}
}

func run(ctx context.Context, o options, out *os.File) error {
	kind, place, _ := strings.Cut(o.store, ":")
	var result any
	var err error
	if o.drop > 0 {
		if kind != "ours" {
			return errors.New("-drop is for ours")
		}
		result, err = drop(ctx, place, o.drop)
	} else {
		result, err = commits(ctx, o, kind, place)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}

func open(ctx context.Context, kind, place string, callers int) (store, error) {
	switch kind {
	case "ours":
		return openOurs(ctx, place)
	case "bbolt":
		return openBare(place, 0)
	case "bbolt-full":
		return openBare(place, callers)
	case "redis":
		return openRedis(place, callers)
	}
	return nil, fmt.Errorf("no store is of kind %q", kind)
}

// commits measures one closed loop.
func commits(ctx context.Context, o options, kind, place string) (_ Result, err error) {
	s, err := open(ctx, kind, place, o.callers)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	stopProfile, err := profile(o.profile)
	if err != nil {
		return Result{}, err
	}
	counting := time.Now().Add(o.warmup)
	end := counting.Add(o.duration)
	all := hdr.New(lowest, highest, 3)
	var mu sync.Mutex
	var failed []error
	var callers sync.WaitGroup
	for n := range o.callers {
		callers.Go(func() {
			h, err := call(ctx, s, newCaller(n, o.recorded), counting, end)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, err)
				return
			}
			all.Merge(h)
		})
	}
	callers.Wait()
	return Result{Commits: all.TotalCount(), Elapsed: o.duration, Latency: report.Pairs(all)}, errors.Join(append(failed, stopProfile())...)
}

// call commits until end, and counts what was done between counting and end.
func call(ctx context.Context, s store, c *caller, counting, end time.Time) (*hdr.Histogram, error) {
	h := hdr.New(lowest, highest, 3)
	for {
		begun := time.Now()
		if begun.After(end) {
			return h, nil
		}
		if err := s.commit(ctx, c.next()); err != nil {
			return nil, err
		}
		if done := time.Now(); begun.After(counting) && done.Before(end) {
			if err := h.RecordValue(min(max(int64(done.Sub(begun)), lowest), highest)); err != nil {
				return nil, err
			}
		}
	}
}

// caller makes up commits, the same ones each time.
type caller struct {
	random   *rand.Rand
	recorded bool
}

func newCaller(n int, recorded bool) *caller {
	return &caller{rand.New(rand.NewPCG(uint64(n), 1)), recorded}
}

// What a small contract answers, and one of the values in it.
var (
	someValue  = []byte(`{"balance":1000,"currency":"none"}`)
	someAnswer = []byte(`{"balance":{"balance":1000,"currency":"none"},"last":{"balance":1000,"currency":"none"},"name":{},"nonce":1}`)
)

func (c *caller) next() commit {
	account := c.random.IntN(accounts)
	next := commit{value: someValue}
	for i, what := range [4]string{"balance", "last", "name", "nonce"} {
		next.keys[i] = fmt.Sprintf("account-%05d/%s", account, what)
	}
	if c.recorded {
		next.callID = fmt.Sprintf("%016x-%016x", c.random.Uint64(), c.random.Uint64())
		next.answer = someAnswer
	}
	return next
}
