package function

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Labels and annotations with a meaning. All others are the user's own.
const (
	LabelMaxInFlight = "com.openfaas.max_inflight"

	AnnotationMode      = "com.dragonchain.mode"
	AnnotationHeap      = "com.dragonchain.heap"
	AnnotationHeapQuota = "com.dragonchain.heap-quota"
	AnnotationPark      = "com.dragonchain.park"
	AnnotationPrefork   = "com.dragonchain.prefork"
	AnnotationReadyPath = "com.openfaas.ready.http.path"
)

const (
	// maxMaxInFlight is above what any replica can do; a limit beyond it is none.
	maxMaxInFlight = 1_000_000
	// A process that is parked sooner is started for nearly every call. One that may idle for longer need not be parked at all.
	minPark, maxPark = time.Second, 24 * time.Hour
	// maxPrefork bounds how many processes of one replica wait: each takes the memory of a started interpreter.
	maxPrefork = 100
	// watchdogPort is the only one on which replicas are called. Another would never be found ready.
	watchdogPort = "8080"
)

// Policy is what the labels and annotations of a Spec say, parsed once.
type Policy struct {
	Scale Scale
	// MaxInFlight is how many calls one replica is given at a time; 0 is no limit, which is the default: only who made a
	// function knows how many calls it can bear, and streams that stay open all day count too.
	MaxInFlight int
	// Mode is the watchdog mode; empty when neither annotation nor process asks for a watchdog, and the image's own
	// entrypoint serves on port 8080.
	Mode Mode
	// ModeAnnotated says that our annotation chose the mode. Otherwise OpenFaaS's variable did or will: that of the
	// specification, or that of an image made for an OpenFaaS watchdog.
	ModeAnnotated bool
	// Park is how long a process of ModeHTTP or ModeLambda may idle before it is ended until the next call. 0 means for ever.
	Park time.Duration
	// Prefork is how many processes of ModeFork, ModeSerializing or ModeStreaming are started ahead in each replica. 0 means none.
	Prefork int
	// Heap makes the function a contract: its answers are committed to its heap.
	Heap bool
	// HeapQuotaBytes bounds the heap's keys and values together. 0 means the provider's default.
	HeapQuotaBytes int64
	// Serial has the invocations of a contract run one at a time, in the order in which they were accepted.
	Serial bool
	// Chain has the answers of a contract sent to the provider's chain, if it has one.
	Chain bool
	// Retry is about asynchronous invocations, and Schedule about those by the clock.
	Retry    Retry
	Schedule Schedule
	// ReadyPath is an HTTP path that tells readiness; empty asks the watchdog, or a TCP connection where there is none.
	ReadyPath string
}

// Mode is how the watchdog runs a function's process.
type Mode string

// The modes that the watchdog has.
const (
	// ModeFork starts one process per invocation.
	ModeFork Mode = "fork"
	// ModeStreaming starts one process per invocation and passes both bodies on as they come.
	ModeStreaming Mode = "streaming"
	// ModeSerializing starts one process per invocation, by the rules of the OpenFaaS of-watchdog.
	ModeSerializing Mode = "serializing"
	// ModeHTTP keeps one process that serves HTTP and proxies to it.
	ModeHTTP Mode = "http"
	// ModeLambda keeps processes that were made for AWS Lambda, and hands them their events.
	ModeLambda Mode = "lambda"
	// ModeStatic serves files of the image, and starts nothing.
	ModeStatic Mode = "static"
)

var modes = []Mode{ModeFork, ModeStreaming, ModeSerializing, ModeHTTP, ModeLambda, ModeStatic}

// KeepsProcesses reports whether processes outlive an invocation in this mode, and are to be given time to end.
func (m Mode) KeepsProcesses() bool { return m == ModeHTTP || m == ModeLambda }

// Watchdog reports whether the watchdog is put into the function's image.
func (p Policy) Watchdog() bool { return p.Mode != "" }

// salvagePolicy is what can be read of a policy. What cannot has its default, save that whoever wrote something as the
// heap's annotation had a contract in mind: served as a plain function it would lose what its calls commit.
func salvagePolicy(s Spec) Policy {
	var p Policy
	var err error
	if p.Scale, err = parseScale(s.Labels); err != nil {
		p.Scale = defaultScale
		p.Scale.Fixed = true // what it is to follow is not known
	}
	// An unknown limit is none, as it was when the function came to run.
	p.MaxInFlight, _ = parseCount(s.Labels, LabelMaxInFlight, 0, maxMaxInFlight, 0)
	if p.Heap, err = parseFlag(s.Annotations, "annotation", AnnotationHeap); err != nil {
		p.Heap = true
	}
	if n, err := ParseBytes(s.Annotations[AnnotationHeapQuota]); err == nil {
		p.HeapQuotaBytes = n
	}
	// A contract whose order cannot be read is safe in the strict one.
	if p.Serial, err = parseOrder(s, p.Heap); err != nil {
		p.Serial = p.Heap
	}
	p.Chain = p.Heap && s.Annotations[AnnotationChain] == "true"
	if p.Retry, err = parseRetry(s, p.Serial); err != nil {
		p.Retry = defaultRetry(p.Serial)
	}
	if schedule, err := parseSchedule(s); err == nil {
		p.Schedule = schedule
	}
	// An unknown mode is that of no watchdog.
	if mode, annotated, err := parseMode(s); err == nil {
		p.Mode, p.ModeAnnotated = mode, annotated
	}
	// A process that stays serves as well as one that is parked.
	if park, err := parsePark(s, p.Mode); err == nil {
		p.Park = park
	}
	if prefork, err := parsePrefork(s, p.Mode); err == nil {
		p.Prefork = prefork
	}
	// One that cannot keep replicas goes to zero as it did.
	if scaled := p; scaled.parseStandby(s) == nil && scaled.checkScale() == nil {
		p = scaled
	}
	return p
}

func parsePolicy(s Spec) (Policy, error) {
	var p Policy
	var err error
	if p.Scale, err = parseScale(s.Labels); err != nil {
		return Policy{}, err
	}
	if p.MaxInFlight, err = parseCount(s.Labels, LabelMaxInFlight, 0, maxMaxInFlight, 0); err != nil {
		return Policy{}, err
	}
	if p.Mode, p.ModeAnnotated, err = parseMode(s); err != nil {
		return Policy{}, err
	}
	if p.Park, err = parsePark(s, p.Mode); err != nil {
		return Policy{}, err
	}
	if p.Prefork, err = parsePrefork(s, p.Mode); err != nil {
		return Policy{}, err
	}
	if err := p.parseStandby(s); err != nil {
		return Policy{}, err
	}
	if err := p.checkScale(); err != nil {
		return Policy{}, err
	}
	if v := s.Env["port"]; p.Watchdog() && v != "" && v != watchdogPort {
		return Policy{}, Invalidf("environment variable port=%.80q: functions are called on port %s", v, watchdogPort)
	}
	if p.Heap, err = parseFlag(s.Annotations, "annotation", AnnotationHeap); err != nil {
		return Policy{}, err
	}
	if v := s.Annotations[AnnotationHeapQuota]; v != "" {
		if p.HeapQuotaBytes, err = ParseBytes(v); err != nil {
			return Policy{}, Invalidf("annotation %s=%.80q: give bytes, or a number with Ki, Mi or Gi", AnnotationHeapQuota, v)
		}
	}
	if p.Serial, err = parseOrder(s, p.Heap); err != nil {
		return Policy{}, err
	}
	if p.Chain, err = parseFlag(s.Annotations, "annotation", AnnotationChain); err != nil {
		return Policy{}, err
	}
	if p.Chain && !p.Heap {
		return Policy{}, Invalidf("annotation %s=true: only a contract's answers go to the chain: set %s", AnnotationChain, AnnotationHeap)
	}
	if p.Retry, err = parseRetry(s, p.Serial); err != nil {
		return Policy{}, err
	}
	if p.Schedule, err = parseSchedule(s); err != nil {
		return Policy{}, err
	}
	if v := s.Annotations[AnnotationReadyPath]; v != "" {
		// Kubernetes takes any text here, and its probe then fails without end.
		if u, err := url.Parse(v); err != nil || v[0] != '/' || u.Host != "" {
			return Policy{}, Invalidf("annotation %s=%.80q: give the path of a URL, beginning with /", AnnotationReadyPath, v)
		}
		p.ReadyPath = v
	}
	return p, nil
}

func parseMode(s Spec) (mode Mode, annotated bool, err error) {
	mode, where := Mode(s.Annotations[AnnotationMode]), "annotation "+AnnotationMode
	if mode == "" && s.Process == "" {
		return "", false, nil
	}
	annotated = mode != ""
	if v := s.Env["mode"]; v != "" {
		mode, annotated, where = Mode(v), false, "environment variable mode"
	}
	switch {
	case mode == "":
		return ModeFork, false, nil
	case slices.Contains(modes, mode):
		return mode, annotated, nil
	}
	return "", false, Invalidf("%s=%.80q: the modes are %s", where, mode, strings.Trim(fmt.Sprint(modes), "[]"))
}

func parsePark(s Spec, mode Mode) (time.Duration, error) {
	v := s.Annotations[AnnotationPark]
	if v == "" {
		return 0, nil
	}
	d, ok := ParseDuration(v)
	switch {
	case !ok || d < minPark || d > maxPark:
		return 0, Invalidf("annotation %s=%.80q: give a duration from %v to %v, such as 30s", AnnotationPark, v, minPark, maxPark)
	case mode == "":
		return 0, Invalidf("annotation %s=%.80q: the image serves by itself; only the watchdog can park a process: set %s", AnnotationPark, v, AnnotationMode)
	case mode != ModeHTTP && mode != ModeLambda:
		return 0, Invalidf("annotation %s=%.80q: mode %s has no process that could be parked; modes %s and %s have", AnnotationPark, v, mode, ModeHTTP, ModeLambda)
	}
	return d, nil
}

func parsePrefork(s Spec, mode Mode) (int, error) {
	v := s.Annotations[AnnotationPrefork]
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	switch {
	case err != nil || n < 0 || n > maxPrefork:
		return 0, Invalidf("annotation %s=%.80q: give a whole number from 0 to %d", AnnotationPrefork, v, maxPrefork)
	case n == 0:
		return 0, nil
	case mode == "":
		return 0, Invalidf("annotation %s=%.80q: the image serves by itself; only the watchdog can start processes ahead: set %s", AnnotationPrefork, v, AnnotationMode)
	case mode != ModeFork && mode != ModeSerializing && mode != ModeStreaming:
		return 0, Invalidf("annotation %s=%.80q: mode %s starts no process for a call; modes %s, %s and %s do",
			AnnotationPrefork, v, mode, ModeFork, ModeSerializing, ModeStreaming)
	}
	return n, nil
}

func parseFlag(m map[string]string, kind, key string) (bool, error) {
	switch v := m[key]; v {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	default:
		return false, Invalidf("%s %s=%.80q: give true or false", kind, key, v)
	}
}

func parseCount(labels map[string]string, key string, low, high, absent int) (int, error) {
	v, ok := labels[key]
	if !ok {
		return absent, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return 0, Invalidf("label %s=%.80q: give a whole number from %d to %d", key, v, low, high)
	}
	return n, nil
}
