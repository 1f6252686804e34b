package invoke

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// tickEvery is how often the clock is looked at.
const tickEvery = 200 * time.Millisecond

// CheckSchedule reports a schedule that cannot be read, as an error that wraps function.ErrInvalid.
func CheckSchedule(s function.Schedule) error {
	_, err := parseSchedule(s)
	return err
}

// timetable tells when a schedule comes next.
type timetable struct {
	cron  cron.Schedule
	every time.Duration
}

// parseSchedule reads a schedule; it has none if that is zero.
func parseSchedule(s function.Schedule) (t timetable, err error) {
	if s.Cron == "" {
		return timetable{every: s.Every}, nil
	}
	key := function.AnnotationCron
	if s.Connector {
		key = function.AnnotationSchedule
	}
	if strings.Contains(s.Cron, "=") {
		// The parser's own zones; it panics over half of one.
		return t, function.Invalidf("annotation %s=%.80q: schedules are in UTC, without a time zone", key, s.Cron)
	}
	if t.cron, err = cron.ParseStandard(s.Cron); err != nil {
		return t, function.Invalidf("annotation %s=%.80q: give minute, hour, day of month, month and day of week, such as */5 * * * *, or @hourly: %v", key, s.Cron, err)
	}
	if t.cron.Next(time.Now()).IsZero() {
		return t, function.Invalidf("annotation %s=%.80q: there is no such day", key, s.Cron)
	}
	if fixed, ok := t.cron.(cron.ConstantDelaySchedule); ok { // @every
		t = timetable{every: fixed.Delay}
	}
	return t, nil
}

// next is the first time behind last.
func (t timetable) next(last time.Time) time.Time {
	if t.cron != nil {
		return t.cron.Next(last.UTC())
	}
	return last.Add(t.every)
}

// latest is the last time behind last and not behind now, zero if there is none: of what was missed one run remains.
func (t timetable) latest(last, now time.Time) (at time.Time) {
	if t.cron == nil {
		if n := now.Sub(last) / t.every; n > 0 {
			at = last.Add(n * t.every)
		}
		return at
	}
	// Not every minute of a year that the provider was down is looked at.
	for _, back := range []time.Duration{time.Hour, 24 * time.Hour, 31 * 24 * time.Hour, 366 * 24 * time.Hour} {
		if from := now.Add(-back); from.After(last) && !t.next(from).After(now) {
			last = from
			break
		}
	}
	for next := t.next(last); !next.IsZero() && !next.After(now); next = t.next(next) {
		at = next
	}
	return at
}

// clock is what is known of the schedules.
type clock struct {
	// outages are of the functions whose ticks cannot be queued. They belong to Schedule.
	outages map[function.Heap]outage

	mu sync.Mutex
	of map[function.Heap]*appointment
}

// appointment is a function's next tick.
type appointment struct {
	schedule function.Schedule
	table    timetable
	last     time.Time
	next     time.Time
}

// Schedule ticks until ctx ends: what is due by the clock is queued as an invocation. Any number of providers may do so.
func (i *Invoker) Schedule(ctx context.Context) error {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			i.tick(ctx, now)
		}
	}
}

// tick queues what is due at a time.
func (i *Invoker) tick(ctx context.Context, now time.Time) {
	there := map[function.Heap]bool{}
	for _, f := range i.cfg.Scheduled() {
		if f.Policy.Schedule == (function.Schedule{}) {
			continue // since it was listed
		}
		there[f.Heap()] = true
		err := i.tickFunction(ctx, f, now)
		if ctx.Err() != nil {
			return
		}
		o := i.clock.outages[f.Heap()]
		o.note(i.cfg.Log.With("function", f.Name, "namespace", f.Namespace), err, "tick not queued; it is tried until it is", "ticks are queued again")
		i.clock.outages[f.Heap()] = o
	}
	maps.DeleteFunc(i.clock.outages, func(h function.Heap, _ outage) bool { return !there[h] })
	i.clock.mu.Lock()
	defer i.clock.mu.Unlock()
	for h := range i.clock.of {
		if !there[h] {
			delete(i.clock.of, h)
		}
	}
}

func (i *Invoker) tickFunction(ctx context.Context, f *function.Function, now time.Time) error {
	a, err := i.appointment(ctx, f, now)
	if err != nil || a.next.After(now) {
		return err
	}
	at := a.table.latest(a.last, now)
	item, err := tickItem(f, at)
	if err != nil {
		return err
	}
	err = i.cfg.Queue.Tick(ctx, item, at)
	if errors.Is(err, function.ErrExists) {
		// Another provider had it, or the last one is not done yet, and this one is left out.
		err = nil
	}
	if err == nil {
		i.note(f, a.schedule, a.table, at)
	}
	return err
}

// appointment returns what is known of a function's schedule, from the store if it is seen for the first time. The first tick is
// a period after that.
func (i *Invoker) appointment(ctx context.Context, f *function.Function, now time.Time) (appointment, error) {
	i.clock.mu.Lock()
	known := i.clock.of[f.Heap()]
	i.clock.mu.Unlock()
	if known != nil && known.schedule == f.Policy.Schedule {
		return *known, nil
	}
	table, err := parseSchedule(f.Policy.Schedule)
	if err != nil {
		// It was refused when it was deployed; one that came by kubectl says so in its status.
		return appointment{next: now.Add(time.Hour)}, nil
	}
	last := now
	if known == nil {
		if last, err = i.cfg.Queue.LastTick(ctx, f.Heap()); err != nil {
			return appointment{}, err
		}
	}
	if last.IsZero() {
		// Whole seconds, so that the ticks of every N seconds are at whole seconds too.
		last = now.Truncate(time.Second)
		if err := i.cfg.Queue.Tick(ctx, function.Item{Function: f.Heap()}, last); errors.Is(err, function.ErrExists) {
			last, err = i.cfg.Queue.LastTick(ctx, f.Heap())
			if err != nil {
				return appointment{}, err
			}
		} else if err != nil {
			return appointment{}, err
		}
	}
	return i.note(f, f.Policy.Schedule, table, last), nil
}

func (i *Invoker) note(f *function.Function, s function.Schedule, table timetable, last time.Time) appointment {
	a := &appointment{schedule: s, table: table, last: last, next: table.next(last)}
	i.clock.mu.Lock()
	defer i.clock.mu.Unlock()
	i.clock.of[f.Heap()] = a
	return *a
}

// NextTick is when a function is called by the clock next, as far as this provider knows.
func (i *Invoker) NextTick(h function.Heap) (at time.Time, known bool) {
	i.clock.mu.Lock()
	defer i.clock.mu.Unlock()
	a := i.clock.of[h]
	if a == nil {
		return at, false
	}
	return a.next, true
}

// transaction is what Dragonchain calls a contract with.
type transaction struct {
	Version string            `json:"version"`
	DCRN    string            `json:"dcrn"`
	Header  transactionHeader `json:"header"`
	Payload struct{}          `json:"payload"`
	Proof   struct {
		Full     *string `json:"full"`
		Stripped *string `json:"stripped"`
	} `json:"proof"`
}

type transactionHeader struct {
	TxnType   string  `json:"txn_type"`
	DCID      string  `json:"dc_id"`
	TxnID     string  `json:"txn_id"`
	BlockID   *string `json:"block_id"`
	Timestamp string  `json:"timestamp"`
	Tag       string  `json:"tag"`
	Invoker   string  `json:"invoker"`
}

// tickCall is what a function is called with by the clock: Dragonchain's transaction of a scheduled run, or nothing, as by
// OpenFaaS's connector.
func tickCall(f *function.Function, at time.Time) (QueuedCall, error) {
	c := QueuedCall{Method: http.MethodPost, Path: "/", Host: f.Ref.String(), Name: f.Ref.String(), Header: http.Header{
		"X-Start-Time": {strconv.FormatInt(at.UnixNano(), 10)},
	}}
	if f.Policy.Schedule.Connector {
		c.Header.Set("X-Topic", function.CronTopic)
		c.Header.Set("X-Connector", "cron-connector")
		return c, nil
	}
	t := transaction{Version: "2", DCRN: "Transaction::L1::FullTransaction", Header: transactionHeader{
		TxnType: orDefault(f.Env["SMART_CONTRACT_NAME"], f.Name), DCID: f.Env["DRAGONCHAIN_ID"], TxnID: "cron", Timestamp: strconv.FormatInt(at.Unix(), 10),
	}}
	c.Header.Set("Content-Type", "application/json")
	var err error
	c.Body, err = json.Marshal(t)
	return c, err
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// tickItem is a tick as it is queued. Its call id is made of the function's record and the time, so that of any number of
// providers that queue it, and runs of it, one takes effect.
func tickItem(f *function.Function, at time.Time) (function.Item, error) {
	call, err := tickCall(f, at)
	if err != nil {
		return function.Item{}, err
	}
	item, err := call.item(f, fmt.Sprintf("tick-%s-%d", f.ID, at.Unix()))
	item.Accepted = time.Now()
	item.Due = item.Accepted
	return item, err
}
