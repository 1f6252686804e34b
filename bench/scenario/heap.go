package scenario

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/load"
	"github.com/dragonchain/dc-provider/bench/report"
)

// Names of contestants.
const (
	bbolt     = "bbolt"
	bboltFull = "bbolt-full"
	redis     = "redis"
	noop      = "noop"
	// noopPassed does it behind net/http's server, to which heaps' lists and writes go.
	noopPassed = "noop-passed"
	oneFsync   = "fsync"

	uncommitted = "contract-uncommitted"
)

// heapKey is what noop answers as well: see cmd/ourcontracts.
const heapKey = `{"owner":"somebody","balance":1000,"last":"2026-01-02T03:04:05Z"}`

// Heaps are the scenarios of contracts: their heaps, their answers on record, their queue and their order. Their files are on the
// disk of Options.Dir, and every commit is synced.
func Heaps(tools contest.Tools) []*Scenario {
	return []*Scenario{
		heapCommits(tools, true), heapCommits(tools, false), heapLatency(), heapGet(), heapDrop(), heapAsync(), heapSerial(),
	}
}

// heapCommits is the store's own speed, beside what others do with the same bytes.
func heapCommits(tools contest.Tools, recorded bool) *Scenario {
	const callers = 64
	s := &Scenario{
		Name: "heap/commits",
		About: fmt.Sprintf("Closed loop, %d callers, each commit sets 4 keys of one of 10,000 accounts, and keeps the answer under its call id: on the disk "+
			"before it returns. bbolt is bbolt.Batch as it is, bbolt-full one that does not wait for its timer when all callers are in it; "+
			"redis has appendfsync always, MULTI and a connection for each caller.", callers),
		Plot: "commits/s", Timed: true, Absent: map[string]string{},
	}
	if !recorded {
		s.Name = "heap/commits-unnamed"
		s.About = "As heap/commits, with calls whose id their caller did not choose, so that no answer is kept: 4 keys and no more."
	}
	for _, kind := range []string{ours, bbolt, bboltFull} {
		s.Contestants = append(s.Contestants, Contestant{kind, func(t *Turn) (Measured, error) {
			return t.commits(kind+":"+filepath.Join(t.Dir, "heap.db"), callers, recorded)
		}})
	}
	s.Goals = []report.Goal{
		{Metric: "commits/s", Relation: report.Ratio, Of: ours, Over: bbolt, AtLeast: 0.8},
		{Metric: "commits/s", Relation: report.Ratio, Of: ours, Over: bboltFull, AtLeast: 0.8},
		{Metric: "commits/s", Relation: report.Ratio, Of: ours, Over: redis, AtLeast: 1},
	}
	if why := missing("redis-server", tools); why != "" {
		s.Absent[redis] = why
		return s
	}
	s.Contestants = append(s.Contestants, Contestant{redis, func(t *Turn) (Measured, error) {
		port, err := t.startRedis()
		if err != nil {
			return Measured{}, err
		}
		return t.commits("redis:"+local(port), callers, recorded)
	}})
	return s
}

// startRedis starts a server that has a change on the disk before it answers, and nothing else to do there.
func (t *Turn) startRedis() (int, error) {
	port, err := contest.Port()
	if err != nil {
		return 0, err
	}
	_, _, err = t.Start("redis-server", port, []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", t.Dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always",
		"--auto-aof-rewrite-percentage", "0", "--daemonize", "no",
	}, nil)
	return port, err
}

// commits has cmd/heapload commit to a store.
func (t *Turn) commits(store string, callers int, recorded bool) (Measured, error) {
	var r struct {
		Commits int64
		Elapsed time.Duration
		Latency [][2]int64
	}
	if err := t.heapload(&r, "-store", store, "-callers", strconv.Itoa(callers), "-recorded="+strconv.FormatBool(recorded),
		"-warmup", t.Warmup.String(), "-d", t.Duration.String()); err != nil {
		return Measured{}, err
	}
	h := hdr.New(int64(time.Microsecond), int64(time.Minute), 3)
	for _, pair := range r.Latency {
		if err := h.RecordValues(pair[0], pair[1]); err != nil {
			return Measured{}, err
		}
	}
	if r.Commits == 0 {
		return Measured{}, fmt.Errorf("no commit to %s in %v", store, t.Duration)
	}
	return Measured{Count: r.Commits, Latency: r.Latency, Values: map[string]float64{
		"commits/s": float64(r.Commits) / r.Elapsed.Seconds(),
		"ns/op":     h.Mean(),
		"p50-ns":    float64(h.ValueAtQuantile(50)),
		"p99-ns":    float64(h.ValueAtQuantile(99)),
	}}, nil
}

// heapload runs cmd/heapload and reads what it prints.
func (t *Turn) heapload(result any, args ...string) error {
	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context, t.Tools["heapload"].Path, args...)
	cmd.Dir, cmd.Stderr = t.Dir, &said
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("heapload: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return json.Unmarshal(out, result)
}

// heapLatency is what a commit adds to an invocation: a contract, a function that answers the same, and the disk alone.
func heapLatency() *Scenario {
	s := &Scenario{
		Name: "heap/latency",
		About: "Closed loop, 1 connection, a function that answers four members, behind the watchdog: as a plain function, as a contract that keeps them out of " +
			"its heap and so commits nothing, as one that commits them, and as one whose callers choose call ids, so that the answer is kept as well. " +
			"fsync is a page of a file that is overwritten and synced.",
		Plot: "p50-ns", Timed: true,
		Goals: []report.Goal{
			{Metric: "p50-ns", Relation: report.Difference, Of: "contract", Over: uncommitted, And: oneFsync, AtMost: 0.3e6},
			{Metric: "p50-ns", Relation: report.Difference, Of: "contract-named", Over: uncommitted, And: oneFsync, AtMost: 0.3e6},
			{Metric: "p50-ns", Relation: report.Difference, Of: "contract", Over: "plain", And: oneFsync, AtMost: 0.3e6},
		},
	}
	for _, c := range []struct {
		name, function string
		named          bool
	}{{"plain", "plain", false}, {uncommitted, "contract", false}, {"contract", "contract", false}, {"contract-named", "contract", true}} {
		s.Contestants = append(s.Contestants, Contestant{c.name, func(t *Turn) (Measured, error) {
			p, address, err := t.startContracts()
			if err != nil {
				return Measured{}, err
			}
			cfg := load.Config{Address: address, Requests: []load.Request{membersCall(c.function)}}
			switch {
			case c.name == uncommitted:
				call := load.NewRequest("POST", "bench", "/function/contract/unwritten", []byte(`{}`), "Content-Type: application/json")
				call.Body = []byte(unwritten)
				cfg.Requests = []load.Request{call}
			case c.named:
				cfg.Requests = namedCalls(c.function, "", int((t.Warmup+t.Duration)/(50*time.Microsecond)))
			}
			return t.measure(cfg, p, false)
		}})
	}
	s.Contestants = append(s.Contestants, Contestant{oneFsync, func(t *Turn) (Measured, error) { return t.syncs() }})
	return s
}

// members is what the function of cmd/hello answers at /members.
const members = `{"balance":1000,"last":"2026-01-02T03:04:05Z","name":"somebody","nonce":1}` + "\n"

// unwritten is what it answers at /unwritten.
var unwritten = strings.Replace(members, "{", `{"OUTPUT_TO_HEAP":false,`, 1)

func membersCall(function string, headers ...string) load.Request {
	call := load.NewRequest("POST", "bench", "/function/"+function+"/members", []byte(`{}`), append(headers, "Content-Type: application/json")...)
	call.Body = []byte(members)
	return call
}

// namedCalls are n calls with ids of their own.
func namedCalls(function, prefix string, n int) []load.Request {
	calls := make([]load.Request, n)
	for i := range calls {
		calls[i] = membersCall(function, fmt.Sprintf("X-Call-Id: %s%016d-%016x", prefix, i, uint64(i)*0x9e3779b97f4a7c15))
	}
	return calls
}

// startContracts starts the contracts' data plane, with flags, before a function in mode http behind our watchdog, and waits until a
// contract answers.
func (t *Turn) startContracts(flags ...string) (*contest.Process, string, error) {
	_, upstream, err := t.startHTTP(oursHTTP)
	if err != nil {
		return nil, "", err
	}
	port, err := contest.Port()
	if err != nil {
		return nil, "", err
	}
	args := append([]string{"-addr", local(port), "-endpoint", upstream, "-db", filepath.Join(t.Dir, "heap.db")}, flags...)
	p, _, err := t.Start("ourcontracts", port, args, nil)
	if err != nil {
		return nil, "", err
	}
	return p, local(port), t.await(local(port), membersCall("contract"))
}

// syncs measures the disk alone, for as long as a turn lasts.
func (t *Turn) syncs() (m Measured, err error) {
	const pages = 1024
	file, err := os.Create(filepath.Join(t.Dir, "page"))
	if err != nil {
		return m, err
	}
	defer file.Close()
	page := make([]byte, 4096)
	if _, err := file.Write(make([]byte, pages*len(page))); err != nil {
		return m, err
	}
	if err := file.Sync(); err != nil {
		return m, err
	}
	h := hdr.New(int64(100*time.Nanosecond), int64(time.Minute), 3)
	for n, end := 0, time.Now().Add(t.Duration); time.Now().Before(end) && t.Context.Err() == nil; n++ {
		page[0]++
		begun := time.Now()
		if _, err := file.WriteAt(page, int64(n%pages*len(page))); err != nil {
			return m, err
		}
		if err := file.Sync(); err != nil {
			return m, err
		}
		if err := h.RecordValue(int64(time.Since(begun))); err != nil {
			return m, err
		}
	}
	return Measured{Count: h.TotalCount(), Latency: report.Pairs(h), Values: map[string]float64{
		"ns/op": h.Mean(), "p50-ns": float64(h.ValueAtQuantile(50)), "p99-ns": float64(h.ValueAtQuantile(99)),
	}}, context.Cause(t.Context)
}

// heapGet reads one key through the API, with the operator's password. What does nothing does it on the server that answers ours, and once
// more where that passes on what it does not answer itself.
func heapGet() *Scenario {
	const conns = 64
	s := &Scenario{
		Name: "heap/get",
		About: fmt.Sprintf("Closed loop, %d connections, GET of a key of %d bytes with a password. noop answers the same bytes from a handler on the same server that does nothing "+
			"else; noop-passed from one of net/http's server, which has the connection once the other has passed it on.", conns, len(heapKey)),
		Plot: "req/s", Timed: true,
		Goals: []report.Goal{
			{Metric: "req/s", Relation: report.Ratio, Of: ours, Over: noop, AtLeast: 0.85},
			{Metric: "req/s", Relation: report.Ratio, Of: ours, Over: noopPassed, AtLeast: 0.85},
		},
	}
	authorization := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("admin:bench"))
	for _, c := range [][2]string{{ours, "/heap/contract/account"}, {noop, "/noop"}, {noopPassed, "/noop-passed"}} {
		name, path := c[0], c[1]
		s.Contestants = append(s.Contestants, Contestant{name, func(t *Turn) (Measured, error) {
			p, address, err := t.startContracts()
			if err != nil {
				return Measured{}, err
			}
			put := load.NewRequest("PUT", "bench", "/heap/contract/account", []byte(heapKey), authorization)
			put.Status = 204
			if err := t.await(address, put); err != nil {
				return Measured{}, err
			}
			get := load.NewRequest("GET", "bench", path, nil, authorization)
			get.Body = []byte(heapKey)
			return t.measure(load.Config{Address: address, Requests: []load.Request{get}, Conns: conns}, p, false)
		}})
	}
	return s
}

func heapDrop() *Scenario {
	const keys = 1_000_000
	return &Scenario{
		Name: "heap/drop",
		About: fmt.Sprintf("A heap of %d keys is dropped, as the delete of its contract does it, and another one is filled with as many. "+
			"Growth is what the file has then by what it had when the first was full.", keys),
		Plot: "drop-ns", Rounds: 3,
		Goals: []report.Goal{
			{Metric: "drop-ns", Relation: report.Value, Of: ours, AtMost: 0.5e9},
			{Metric: "growth", Relation: report.Value, Of: ours, AtMost: 1},
		},
		Contestants: []Contestant{{ours, func(t *Turn) (Measured, error) {
			var d struct {
				Drop          time.Duration
				Before, After int64
			}
			err := t.heapload(&d, "-store", "ours:"+filepath.Join(t.Dir, "heap.db"), "-drop", strconv.Itoa(keys))
			if err == nil && (d.Before == 0 || d.Drop == 0) {
				err = fmt.Errorf("heapload said nothing: %+v", d)
			}
			return Measured{Count: 1, Values: map[string]float64{
				"drop-ns": float64(d.Drop), "growth": float64(d.After) / float64(d.Before), "file-bytes": float64(d.Before),
			}}, err
		}}},
	}
}

// heapAsync accepts invocations to be made later. What is accepted is on the disk.
func heapAsync() *Scenario {
	const conns = 64
	s := &Scenario{
		Name: "heap/async",
		About: fmt.Sprintf("Closed loop, %d connections, POST to /async-function/, answered when it is on the disk. Behind ours the queue runs meanwhile, "+
			"of a function in mode http; behind ours-held nothing is taken from it.", conns),
		Plot: "req/s", Timed: true,
		Goals: []report.Goal{
			{Metric: "req/s", Relation: report.Value, Of: ours, AtLeast: 5000},
			{Metric: "req/s", Relation: report.Value, Of: "ours-held", AtLeast: 5000},
		},
	}
	call := load.NewRequest("POST", "bench", "/async-function/plain", []byte(`{"amount":1}`), "Content-Type: application/json")
	call.Status = 202
	for _, name := range []string{ours, "ours-held"} {
		s.Contestants = append(s.Contestants, Contestant{name, func(t *Turn) (Measured, error) {
			p, address, err := t.startContracts("-hold=" + strconv.FormatBool(name != ours))
			if err != nil {
				return Measured{}, err
			}
			return t.measure(load.Config{Address: address, Requests: []load.Request{call}, Conns: conns}, p, false)
		}})
	}
	return s
}

// heapSerial is the rate of a contract whose invocations run one after the other, each when the one before it is on the disk.
func heapSerial() *Scenario {
	const conns = 16
	s := &Scenario{
		Name: "heap/serial",
		About: fmt.Sprintf("Closed loop, %d connections, a serial contract in mode http behind the watchdog. ours answers hello world, which each call "+
			"writes to its heap; ours-nothing does nothing: it answers {}, which writes nothing; ours-named is ours with call ids that callers chose.", conns),
		Plot: "req/s", Timed: true,
	}
	for _, name := range []string{ours, "ours-nothing", "ours-named"} {
		s.Goals = append(s.Goals, report.Goal{Metric: "req/s", Relation: report.Value, Of: name, AtLeast: 1000})
		s.Contestants = append(s.Contestants, Contestant{name, func(t *Turn) (Measured, error) {
			p, address, err := t.startContracts()
			if err != nil {
				return Measured{}, err
			}
			cfg := load.Config{Address: address, Requests: []load.Request{hello("POST", "/function/serial")}, Conns: conns}
			switch name {
			case "ours-nothing":
				nothing := load.NewRequest("POST", "bench", "/function/serial/nothing", []byte("moo"), "Content-Type: text/plain")
				nothing.Body = []byte("{}\n")
				cfg.Requests = []load.Request{nothing}
			case "ours-named":
				cfg.Requests = namedCalls("serial", "s", int((t.Warmup+t.Duration)/(50*time.Microsecond)))
			}
			return t.measure(cfg, p, false)
		}})
	}
	return s
}
