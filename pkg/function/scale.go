package function

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Labels and annotations that say how many replicas a function has.
const (
	LabelScaleMin          = "com.openfaas.scale.min"
	LabelScaleMax          = "com.openfaas.scale.max"
	LabelScaleFactor       = "com.openfaas.scale.factor"
	LabelScaleType         = "com.openfaas.scale.type"
	LabelScaleTarget       = "com.openfaas.scale.target"
	LabelScaleProportion   = "com.openfaas.scale.target-proportion"
	LabelScaleDownWindow   = "com.openfaas.scale.down.window"
	LabelScaleZero         = "com.openfaas.scale.zero"
	LabelScaleZeroDuration = "com.openfaas.scale.zero-duration"

	AnnotationStandby = "com.dragonchain.standby"
)

const (
	// maxScale bounds what a label may ask for: a typing error must not ask a cluster for a million pods.
	maxScale = 1000
	// minTarget and maxTarget bound the load of one replica: below, any load asks for all replicas; above, none for a second.
	minTarget, maxTarget = 0.001, 1_000_000
	// minProportion is a hundredth of the target: below, nobody means it.
	minProportion = 0.01
	// maxDownWindow is OpenFaaS's.
	maxDownWindow = 5 * time.Minute
)

// defaultScale has the defaults that OpenFaaS publishes for its labels.
var defaultScale = Scale{
	Min: 1, Max: 20, Type: ScaleRPS, Target: 50, Proportion: 0.9, DownStep: 1, ZeroAfter: 15 * time.Minute,
}

// ScaleType says which load decides on the number of replicas.
type ScaleType string

// The types of load.
const (
	// ScaleRPS is calls that come, each second.
	ScaleRPS ScaleType = "rps"
	// ScaleCapacity is calls that are there at a time.
	ScaleCapacity ScaleType = "capacity"
	// ScaleCPU is processor time, in thousandths of a processor. Only the watchdog can tell it.
	ScaleCPU ScaleType = "cpu"
)

var scaleTypes = []ScaleType{ScaleRPS, ScaleCapacity, ScaleCPU}

// Scale says how many replicas a function is to have.
type Scale struct {
	// Min and Max bound a function that is not at zero; 1 <= Min <= Max.
	Min, Max int
	// Type is the load that decides between the two, and Target*Proportion how much of it one replica is to have.
	Type               ScaleType
	Target, Proportion float64
	// Fixed leaves the number of replicas alone, save for going to zero and waking.
	Fixed bool
	// DownStep is how many replicas go at a time when there are more than needed, at least one.
	DownStep int
	// DownWindow is for how long no more may have been needed before one goes. 0 adds nothing to what the load is measured over.
	DownWindow time.Duration
	// Zero lets the function go to zero after ZeroAfter without a call.
	Zero      bool
	ZeroAfter time.Duration
	// Standby is how many replicas stay, parked, where the function would go to zero. 0 means none.
	Standby int
}

// Initial is how many replicas a function has when it is deployed or woken.
func (s Scale) Initial() int { return s.Least() }

// Least is how many replicas a function has at least that is called.
func (s Scale) Least() int { return max(s.Min, s.Standby) }

// Clamp brings a wanted number of replicas into the bounds; 0 stays 0, since going to zero is always allowed, and so do those
// that stay instead.
func (s Scale) Clamp(replicas int) int {
	switch {
	case replicas <= 0:
		return 0
	case replicas == s.Standby:
		return replicas
	}
	return min(max(replicas, s.Min), s.Max)
}

// PerReplica is how much load one replica is to have.
func (s Scale) PerReplica() float64 { return s.Target * s.Proportion }

func parseScale(labels map[string]string) (Scale, error) {
	s := defaultScale
	var err error
	if s.Min, err = parseCount(labels, LabelScaleMin, 0, maxScale, s.Min); err != nil {
		return Scale{}, err
	}
	// OpenFaaS treats a minimum of 0 as 1: going to zero has a label of its own.
	s.Min = max(s.Min, 1)
	// Only a maximum that was given can contradict the minimum; the default one gives way.
	if s.Max, err = parseCount(labels, LabelScaleMax, 1, maxScale, max(s.Max, s.Min)); err != nil {
		return Scale{}, err
	}
	if s.Min > s.Max {
		return Scale{}, Invalidf("label %s=%d is above %s=%d", LabelScaleMin, s.Min, LabelScaleMax, s.Max)
	}
	if err := s.parseLoad(labels); err != nil {
		return Scale{}, err
	}
	if err := s.parseDown(labels); err != nil {
		return Scale{}, err
	}
	if s.Zero, err = parseFlag(labels, "label", LabelScaleZero); err != nil {
		return Scale{}, err
	}
	if v, ok := labels[LabelScaleZeroDuration]; ok {
		d, ok := ParseDuration(v)
		if !ok || d <= 0 {
			return Scale{}, Invalidf("label %s=%.80q: give a duration above zero, such as 15m", LabelScaleZeroDuration, v)
		}
		s.ZeroAfter = d
	}
	return s, nil
}

// parseLoad reads which load decides.
func (s *Scale) parseLoad(labels map[string]string) error {
	if v, ok := labels[LabelScaleType]; ok {
		if s.Type = ScaleType(v); !slices.Contains(scaleTypes, s.Type) {
			return Invalidf("label %s=%.80q: the types are %s, %s and %s", LabelScaleType, v, ScaleRPS, ScaleCapacity, ScaleCPU)
		}
	}
	var err error
	if s.Target, err = parseNumber(labels, LabelScaleTarget, minTarget, maxTarget, s.Target); err != nil {
		return err
	}
	s.Proportion, err = parseNumber(labels, LabelScaleProportion, minProportion, 1, s.Proportion)
	return err
}

// parseDown reads how replicas go again.
func (s *Scale) parseDown(labels map[string]string) error {
	factor, err := parseCount(labels, LabelScaleFactor, 0, 100, -1)
	switch {
	case err != nil:
		return err
	case factor == 0: // as OpenFaaS's documentation has it
		s.Fixed = true
	case factor > 0:
		s.DownStep = (s.Max*factor + 99) / 100
	}
	if v, ok := labels[LabelScaleDownWindow]; ok {
		d, ok := ParseDuration(v)
		if !ok || d < 0 || d > maxDownWindow {
			return Invalidf("label %s=%.80q: give a duration from 0s to %v", LabelScaleDownWindow, v, maxDownWindow)
		}
		s.DownWindow = d
	}
	return nil
}

// parseStandby reads how many replicas stay parked instead of going to zero, and how soon they park if nothing else says so.
func (p *Policy) parseStandby(s Spec) error {
	v := s.Annotations[AnnotationStandby]
	if v == "" {
		return nil
	}
	n, err := strconv.Atoi(v)
	switch {
	case err != nil || n < 0 || n > p.Scale.Max:
		return Invalidf("annotation %s=%.80q: give a whole number from 0 to the most replicas, %d", AnnotationStandby, v, p.Scale.Max)
	case n == 0:
		return nil
	case !p.Scale.Zero:
		return Invalidf("annotation %s=%.80q: it is what stays instead of going to zero: set label %s=true", AnnotationStandby, v, LabelScaleZero)
	case p.Mode == "":
		return Invalidf("annotation %s=%.80q: the image serves by itself; only the watchdog can park a process: set %s", AnnotationStandby, v, AnnotationMode)
	case !p.Mode.KeepsProcesses():
		return Invalidf("annotation %s=%.80q: mode %s has no process that could be parked; modes %s and %s have", AnnotationStandby, v, p.Mode, ModeHTTP, ModeLambda)
	}
	p.Scale.Standby = n
	if p.Park == 0 {
		p.Park = min(max(p.Scale.ZeroAfter, minPark), maxPark)
	}
	return nil
}

// checkScale refuses a load that nobody can measure.
func (p *Policy) checkScale() error {
	if p.Scale.Type == ScaleCPU && !p.Watchdog() {
		return Invalidf("label %s=%s: the image serves by itself; only the watchdog tells what processor time a function takes: set %s",
			LabelScaleType, ScaleCPU, AnnotationMode)
	}
	return nil
}

func parseNumber(labels map[string]string, key string, low, high, absent float64) (float64, error) {
	v, ok := labels[key]
	if !ok {
		return absent, nil
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
	if err != nil || math.IsNaN(n) || n < low || n > high {
		return 0, Invalidf("label %s=%.80q: give a number from %g to %g", key, v, low, high)
	}
	return n, nil
}
