package function

import (
	"strconv"
	"strings"
	"time"
)

// Annotations about how a function is called when nobody waits for it.
const (
	AnnotationOrder = "com.dragonchain.execution-order"
	// AnnotationChain has a contract's answers put on the chain.
	AnnotationChain = "com.dragonchain.chain"
	// AnnotationCron and AnnotationSeconds call a function by the clock as Dragonchain does, AnnotationSchedule with AnnotationTopic
	// as OpenFaaS's cron connector does.
	AnnotationCron     = "com.dragonchain.cron"
	AnnotationSeconds  = "com.dragonchain.seconds"
	AnnotationTopic    = "topic"
	AnnotationSchedule = "schedule"

	AnnotationRetryAttempts = "com.openfaas.retry.attempts"
	AnnotationRetryCodes    = "com.openfaas.retry.codes"
	AnnotationRetryMinWait  = "com.openfaas.retry.min_wait"
	AnnotationRetryMaxWait  = "com.openfaas.retry.max_wait"
)

// CronTopic is the topic that OpenFaaS's cron connector serves.
const CronTopic = "cron-function"

const (
	// The defaults that OpenFaaS publishes for its retries.
	defaultRetryAttempts = 10
	defaultRetryMinWait  = 10 * time.Second
	defaultRetryMaxWait  = 2 * time.Minute
	maxRetryAttempts     = 1000
	maxRetryWait         = 24 * time.Hour
	maxScheduleSeconds   = 24 * 60 * 60
)

// Retry says when an asynchronous invocation is tried again.
type Retry struct {
	// Attempts is how often it is tried in all, at least once.
	Attempts int
	// MinWait is before the second attempt; every further wait is twice as long, up to MaxWait.
	MinWait, MaxWait time.Duration
	// Codes are the statuses after which it is tried again.
	Codes StatusSet
}

// Wait is how long to wait after so many attempts, at least one, have failed.
func (r Retry) Wait(failed int) time.Duration {
	wait := r.MinWait
	for ; failed > 1 && wait < r.MaxWait; failed-- {
		wait *= 2
	}
	return min(wait, r.MaxWait)
}

// StatusSet is a set of HTTP statuses from 400 to 599.
type StatusSet [4]uint64

// Has reports whether a status is in the set.
func (s StatusSet) Has(status int) bool {
	n := status - 400
	return n >= 0 && n < 200 && s[n/64]&(1<<(n%64)) != 0
}

func statuses(list ...int) (s StatusSet) {
	for _, status := range list {
		s[(status-400)/64] |= 1 << ((status - 400) % 64)
	}
	return s
}

var (
	// Those that OpenFaaS publishes, and the one that says that there is no replica.
	defaultRetryCodes = statuses(408, 429, 500, 502, 503, 504)
	// Those after which a serial contract has surely not begun. After any other the next in line goes.
	serialRetryCodes = statuses(429, 503)
)

// Schedule is when a function is called by the clock. The zero Schedule is never.
type Schedule struct {
	// Cron is an expression that is yet to be parsed; Every is a period. One of them at most is set.
	Cron  string
	Every time.Duration
	// Connector says that the call is as OpenFaaS's cron connector makes it, and not as Dragonchain does.
	Connector bool
}

func parseOrder(s Spec, heap bool) (serial bool, err error) {
	switch v := s.Annotations[AnnotationOrder]; {
	case v == "" || v == "parallel":
		return false, nil
	case v != "serial":
		return false, Invalidf("annotation %s=%.80q: give serial or parallel", AnnotationOrder, v)
	case !heap:
		return false, Invalidf("annotation %s=serial: the order is that of a contract: set %s", AnnotationOrder, AnnotationHeap)
	}
	return true, nil
}

func defaultRetry(serial bool) Retry {
	r := Retry{Attempts: defaultRetryAttempts, MinWait: defaultRetryMinWait, MaxWait: defaultRetryMaxWait, Codes: defaultRetryCodes}
	if serial {
		r.Codes = serialRetryCodes
	}
	return r
}

func parseRetry(s Spec, serial bool) (Retry, error) {
	r := defaultRetry(serial)
	if v := s.Annotations[AnnotationRetryAttempts]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxRetryAttempts {
			return Retry{}, Invalidf("annotation %s=%.80q: give a whole number from 1 to %d", AnnotationRetryAttempts, v, maxRetryAttempts)
		}
		r.Attempts = n
	}
	if v := s.Annotations[AnnotationRetryCodes]; v != "" {
		var list []int
		for code := range strings.SplitSeq(v, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(code))
			if err != nil || n < 400 || n > 599 {
				return Retry{}, Invalidf("annotation %s=%.80q: give statuses from 400 to 599 with commas between, such as 429,502", AnnotationRetryCodes, v)
			}
			list = append(list, n)
		}
		r.Codes = statuses(list...)
	}
	for _, wait := range []struct {
		key string
		to  *time.Duration
	}{{AnnotationRetryMinWait, &r.MinWait}, {AnnotationRetryMaxWait, &r.MaxWait}} {
		if v := s.Annotations[wait.key]; v != "" {
			d, ok := ParseDuration(v)
			if !ok || d < 0 || d > maxRetryWait {
				return Retry{}, Invalidf("annotation %s=%.80q: give a duration up to %v, such as 10s", wait.key, v, maxRetryWait)
			}
			*wait.to = d
		}
	}
	// Only a longest wait that was given can contradict the shortest; the default one gives way.
	if s.Annotations[AnnotationRetryMaxWait] == "" {
		r.MaxWait = max(r.MaxWait, r.MinWait)
	}
	if s.Annotations[AnnotationRetryMinWait] == "" {
		r.MinWait = min(r.MinWait, r.MaxWait)
	}
	if r.MinWait > r.MaxWait {
		return Retry{}, Invalidf("annotation %s=%v is above %s=%v", AnnotationRetryMinWait, r.MinWait, AnnotationRetryMaxWait, r.MaxWait)
	}
	return r, nil
}

// parseSchedule leaves it to others whether an expression can be read.
func parseSchedule(s Spec) (Schedule, error) {
	var found []string
	var schedule Schedule
	if v := s.Annotations[AnnotationCron]; v != "" {
		found, schedule.Cron = append(found, AnnotationCron), v
	}
	if v := s.Annotations[AnnotationSeconds]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxScheduleSeconds {
			return Schedule{}, Invalidf("annotation %s=%.80q: give a whole number from 1 to %d", AnnotationSeconds, v, maxScheduleSeconds)
		}
		found, schedule.Every = append(found, AnnotationSeconds), time.Duration(n)*time.Second
	}
	// The topic may be one of several; a schedule of another topic's connector is none of ours.
	for topic := range strings.SplitSeq(s.Annotations[AnnotationTopic], ",") {
		if strings.TrimSpace(topic) != CronTopic {
			continue
		}
		v := s.Annotations[AnnotationSchedule]
		if v == "" {
			return Schedule{}, Invalidf("annotation %s=%s needs the annotation %s, such as */5 * * * *", AnnotationTopic, CronTopic, AnnotationSchedule)
		}
		found, schedule.Cron, schedule.Connector = append(found, AnnotationSchedule), v, true
		break
	}
	if len(found) > 1 {
		return Schedule{}, Invalidf("annotations %s: give one schedule", strings.Join(found, " and "))
	}
	return schedule, nil
}
