package scaler

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

var published = function.Scale{
	Min: 1, Max: 20, Type: function.ScaleRPS, Target: 50, Proportion: 0.9, DownStep: 1, ZeroAfter: 15 * time.Minute,
}

func withScale(edit func(*function.Scale)) function.Scale {
	s := published
	edit(&s)
	return s
}

// play has a scaler decide once a second on a load, which is in the policy's own unit, and returns the replicas after each
// second. limit is what one replica is given at a time, and inFlight how many calls are there.
type play struct {
	policy   function.Scale
	from     int
	limit    int
	inFlight func(second int) int
	partial  func(second int) bool
	why      []string
}

func (p *play) run(load []float64) []int {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := newIdleClock(now)
	f := &function.Function{ID: "1", Replicas: max(p.from, 1), Policy: function.Policy{Scale: p.policy, MaxInFlight: p.limit}}
	var replicas []int
	var started, callTime float64
	for second := -1; second < len(load); second++ {
		now = now.Add(time.Second)
		cpu := 0.0
		if second >= 0 {
			started, callTime, cpu = started+load[second], callTime+load[second], load[second]
		}
		up := clock.observe(f, now)
		up.measure(now, p.policy, Load{Started: uint64(math.Round(started)), CallTime: time.Duration(callTime * float64(time.Second))}, cpu, true)
		s := situation{policy: p.policy, replicas: f.Replicas, limit: p.limit}
		if p.inFlight != nil {
			s.inFlight = p.inFlight(second)
		}
		if p.partial != nil {
			s.partial = p.partial(second)
		}
		r := up.trace.recommend(now, s)
		if r.replicas != f.Replicas {
			p.why = append(p.why, fmt.Sprintf("%d: %s, %s", second, r.reason, r.why))
		}
		next := *f
		next.Replicas = r.replicas
		f = &next
		if second >= 0 {
			replicas = append(replicas, r.replicas)
		}
	}
	return replicas
}

// changes writes a sequence as SECOND:REPLICAS for each second in which the number changed, from 1.
func changes(replicas []int) string {
	var b strings.Builder
	last := 1
	for second, n := range replicas {
		if n != last {
			fmt.Fprintf(&b, "%d:%d ", second, n)
			last = n
		}
	}
	return strings.TrimSpace(b.String())
}

// constant, ramp and the like are loads for a number of seconds.
func constant(load float64, seconds int) []float64 {
	return slices.Repeat([]float64{load}, seconds)
}

func ramp(from, to float64, seconds int) []float64 {
	var loads []float64
	for i := range seconds {
		loads = append(loads, from+(to-from)*float64(i)/float64(seconds))
	}
	return loads
}

func TestRecommend_Traces(t *testing.T) {
	capacity := withScale(func(s *function.Scale) { s.Type, s.Target, s.Proportion = function.ScaleCapacity, 10, 1 })
	cpu := withScale(func(s *function.Scale) { s.Type, s.Target, s.Proportion = function.ScaleCPU, 500, 1 })
	for _, tt := range []struct {
		name   string
		policy function.Scale
		load   []float64
		want   string
	}{
		{"nothing", published, constant(0, 600), ""},
		{"as much as one bears", published, constant(45, 600), ""},
		{"a burst is met in one step, and goes step by step", published,
			slices.Concat(constant(10, 60), constant(200, 60), constant(0, 120)), "61:5 148:4 153:3 158:2 163:1"},
		{"a burst from nothing", published, constant(900, 100), "1:20"},
		{"one second that stands out is none", published, slices.Concat(constant(10, 60), constant(200, 1), constant(10, 60)), ""},
		{"a growth that is no burst takes the window", published, slices.Concat(constant(40, 60), constant(80, 60)), "63:2"},
		{"a ramp is followed", published, ramp(0, 450, 300), "45:2 75:3 105:4 135:5 165:6 195:7 225:8 255:9 285:10"},
		{"a sawtooth keeps what its teeth need", published, slices.Repeat(slices.Concat(constant(200, 5), constant(0, 15)), 12), "1:5"},
		{"bounded", withScale(func(s *function.Scale) { s.Max = 3 }), constant(1000, 100), "1:3"},
		{"min is max", withScale(func(s *function.Scale) { s.Max = 1 }), constant(1000, 100), ""},
		{"left alone", withScale(func(s *function.Scale) { s.Fixed = true }), constant(1000, 100), ""},
		{"at least the minimum", withScale(func(s *function.Scale) { s.Min = 3 }), constant(1, 100), "0:3"},
		{"capacity is the highest of its window", capacity, slices.Concat(constant(35, 10), constant(1, 100)), "0:4 54:3 59:2 64:1"},
		{"processor time is a mean", cpu, slices.Concat(constant(2000, 120), constant(0, 120)), "15:2 30:3 45:4 178:3 183:2 188:1"},
		{"a larger step", withScale(func(s *function.Scale) { s.DownStep = 2 }),
			slices.Concat(constant(200, 60), constant(0, 120)), "1:5 88:3 93:1"},
		{"a window for going down", withScale(func(s *function.Scale) { s.DownWindow = time.Minute }),
			slices.Concat(constant(200, 60), constant(0, 120)), "1:5 148:4 153:3 158:2 163:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := play{policy: tt.policy}
			if got := changes(p.run(tt.load)); got != tt.want {
				t.Errorf("changes %s\nwant    %s\n%s", got, tt.want, strings.Join(p.why, "\n"))
			}
		})
	}
}

// likeAzure is the load of a function in calls a second, in the shape that Shahrad et al. found in Azure Functions in 2019
// ("Serverless in the Wild", USENIX ATC 2020): a daily rise and fall, timers that fire on the minute, seldom bursts of very
// different heights, and Poisson arrivals. A day is played in an hour.
func likeAzure(random *rand.Rand, mean float64) []float64 {
	const day = 3600
	loads := make([]float64, day)
	burst, left := 0.0, 0
	for i := range loads {
		rate := mean * (1 + 0.8*math.Sin(2*math.Pi*float64(i)/day-math.Pi/2))
		if i%60 == 0 {
			rate += mean / 2 // timers
		}
		if left--; left < 0 && random.Float64() < 1.0/600 {
			burst, left = mean*math.Exp(2*random.NormFloat64()), 5+random.IntN(90)
		}
		if left > 0 {
			rate += burst
		}
		loads[i] = poisson(random, rate)
	}
	return loads
}

// poisson draws by the normal distribution where that is close.
func poisson(random *rand.Rand, mean float64) float64 {
	if mean > 30 {
		return math.Max(0, math.Round(mean+math.Sqrt(mean)*random.NormFloat64()))
	}
	n, p := 0.0, math.Exp(-mean)
	for x := random.Float64(); x > p; x *= random.Float64() {
		n++
	}
	return n
}

// What the replicas do with a day of that: enough of them, not many too many, and no dance.
func TestRecommend_LikeAzureFunctions(t *testing.T) {
	for _, mean := range []float64{0.1, 5, 100, 400} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("mean %g, seed %d", mean, seed), func(t *testing.T) {
				load := likeAzure(rand.New(rand.NewPCG(seed, 1)), mean)
				p := play{policy: published}
				replicas := p.run(load)
				var short, changed int
				var have, needed float64
				for i, n := range replicas {
					// A replica that comes at the end of a second counts from the next; it can bear its target, not more.
					if before := replicas[max(i-1, 0)]; load[i] > float64(before)*published.Target && before < published.Max {
						short++
					}
					if i > 0 && n != replicas[i-1] {
						changed++
					}
					have += float64(n)
					needed += math.Min(math.Max(1, math.Ceil(load[i]/published.PerReplica())), float64(published.Max))
				}
				t.Logf("short for %d s of %d, %.2f replicas for each that was needed, %d changes", short, len(load), have/needed, changed)
				if short > len(load)/25 || have > 1.6*needed || changed > len(load)/15 {
					t.Errorf("short for %d s of %d, %.2f replicas for each that was needed, %d changes", short, len(load), have/needed, changed)
				}
			})
		}
	}
}

// What holds whatever the labels and the load.
func TestRecommend_Properties(t *testing.T) {
	types := []function.ScaleType{function.ScaleRPS, function.ScaleCapacity, function.ScaleCPU}
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 2))
		policy := function.Scale{
			Type: types[random.IntN(len(types))], Target: math.Exp(random.Float64()*6 - 1), Proportion: 0.1 + 0.9*random.Float64(),
			Min: 1 + random.IntN(4), DownStep: 1 + random.IntN(3), DownWindow: time.Duration(random.IntN(90)) * time.Second,
		}
		if policy.Type == function.ScaleRPS {
			policy.Target *= 100 // so that whole calls are no noise of their own
		}
		policy.Max = policy.Min + random.IntN(30)
		per := policy.PerReplica()
		// First anything, then a load that is constant up to its noise.
		wild := make([]float64, random.IntN(200))
		for i := range wild {
			wild[i] = per * 40 * math.Pow(random.Float64(), 4)
		}
		level := per * 40 * math.Pow(random.Float64(), 2)
		steady := make([]float64, 500)
		for i := range steady {
			steady[i] = level
			if policy.Type != function.ScaleCapacity { // whose highest is that of the noise
				steady[i] *= 1 + 0.05*(random.Float64()-0.5)
			}
		}
		inFlight := random.IntN(50)
		p := play{policy: policy, from: 1 + random.IntN(policy.Max), limit: random.IntN(3), inFlight: func(int) int { return inFlight }}
		replicas := p.run(append(wild, steady...))
		fail := func(format string, args ...any) {
			t.Helper()
			t.Errorf("seed %d, %+v, level %g: "+format+"\n%s", append(append([]any{seed, policy, level}, args...), strings.Join(p.why, "\n"))...)
		}
		for i, n := range replicas {
			before := p.from
			if i > 0 {
				before = replicas[i-1]
			}
			switch {
			case n > policy.Max || n < policy.Min && before >= policy.Min:
				fail("%d replicas in second %d", n, i)
			case n < before-policy.DownStep:
				fail("from %d to %d in second %d", before, n, i)
			case n < before && p.limit > 0 && n*p.limit < inFlight:
				fail("%d replicas of %d calls each for %d", n, p.limit, inFlight)
			}
		}
		// It has enough within the window (rps counts whole calls: a little more), and is done with going down after the windows
		// and its steps.
		settled := replicas[len(wild):]
		window := int(windowOf(policy.Type) / time.Second)
		enough := min(policy.Max, ceil(level*0.97/per-0.03/per))
		if n := settled[window+1]; n < enough {
			fail("%d replicas after the window, want %d", n, enough)
		}
		steps := (policy.Max/policy.DownStep + 1) * int(downPause/time.Second)
		done := 2*window + int(policy.DownWindow/time.Second) + steps + 2
		if done >= len(settled) {
			fail("the test is too short")
		}
		// What noise has had come goes when it has not come for a window, and does not come again.
		fell := false
		for i := done + 1; i < len(settled); i++ {
			if fell && settled[i] > settled[i-1] {
				fail("from %d to %d in second %d of a constant load, after fewer", settled[i-1], settled[i], i)
			}
			fell = fell || settled[i] < settled[i-1]
		}
		if first, last := settled[done], settled[len(settled)-1]; last > first+1 || float64(last) < 0.9*float64(first)-1 {
			fail("from %d to %d replicas on a constant load", first, last)
		}
	}
}

// As long as more may be there than was seen, no replica goes.
func TestRecommend_WhatIsNotKnownTakesNoReplica(t *testing.T) {
	p := play{policy: published, partial: func(second int) bool { return second < 200 }}
	if got := changes(p.run(slices.Concat(constant(200, 20), constant(0, 300)))); got != "1:5 200:4 205:3 210:2 215:1" {
		t.Errorf("changes %s", got)
	}
}

// A load just at the border between two numbers, as arrivals in whole calls are, has one replica come and none go.
func TestRecommend_BorderIsNoDance(t *testing.T) {
	load := constant(45, 1200)
	for i := range load {
		load[i] += float64(i%3 - 1)
	}
	p := play{policy: published}
	if got := p.run(load); len(p.why) > 1 {
		t.Errorf("changes %s", changes(got))
	}
}

// TestMeasure_Queue has invocations wait that nobody calls with yet: they count as load, but for the processor.
func TestMeasure_Queue(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for kind, want := range map[function.ScaleType]int{function.ScaleRPS: 10, function.ScaleCapacity: 20, function.ScaleCPU: 1} {
		policy := function.Scale{Min: 1, Max: 20, Type: kind, Target: 10, Proportion: 1, DownStep: 1}
		up := &upTime{since: start}
		var got recommendation
		for second := range 60 {
			now := start.Add(time.Duration(second) * time.Second)
			up.measure(now, policy, Load{Queued: 3000}, 0, true)
			got = up.trace.recommend(now, situation{policy: policy, replicas: max(1, got.replicas)})
		}
		if got.replicas != want {
			t.Errorf("%s: %d replicas for 3000 in the queue, want %d", kind, got.replicas, want)
		}
	}
}
