package function_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func withLabels(pairs ...string) function.Spec {
	s := smallest()
	s.Labels = mapOf(pairs)
	return s
}

func withAnnotations(pairs ...string) function.Spec {
	s := smallest()
	s.Annotations = mapOf(pairs)
	return s
}

func mapOf(pairs []string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func TestCheck_Scale(t *testing.T) {
	defaults := function.Scale{Min: 1, Max: 20, Type: function.ScaleRPS, Target: 50, Proportion: 0.9, DownStep: 1, ZeroAfter: 15 * time.Minute}
	scale := func(edit func(*function.Scale)) function.Scale {
		s := defaults
		edit(&s)
		return s
	}
	for name, c := range map[string]struct {
		labels []string
		want   function.Scale
	}{
		"published defaults":                  {nil, defaults},
		"min and max":                         {[]string{"com.openfaas.scale.min", "2", "com.openfaas.scale.max", "3"}, scale(func(s *function.Scale) { s.Min, s.Max = 2, 3 })},
		"min of zero is one":                  {[]string{"com.openfaas.scale.min", "0"}, defaults},
		"min above the default max":           {[]string{"com.openfaas.scale.min", "25"}, scale(func(s *function.Scale) { s.Min, s.Max = 25, 25 })},
		"to zero":                             {[]string{"com.openfaas.scale.zero", "true"}, scale(func(s *function.Scale) { s.Zero = true })},
		"not to zero":                         {[]string{"com.openfaas.scale.zero", "false"}, defaults},
		"zero-duration":                       {[]string{"com.openfaas.scale.zero-duration", "5m"}, scale(func(s *function.Scale) { s.ZeroAfter = 5 * time.Minute })},
		"zero-duration in seconds":            {[]string{"com.openfaas.scale.zero-duration", "90"}, scale(func(s *function.Scale) { s.ZeroAfter = 90 * time.Second })},
		"factor of zero disables scaling":     {[]string{"com.openfaas.scale.factor", "0"}, scale(func(s *function.Scale) { s.Fixed = true })},
		"factor is a share of max":            {[]string{"com.openfaas.scale.factor", "10", "com.openfaas.scale.max", "25"}, scale(func(s *function.Scale) { s.Max, s.DownStep = 25, 3 })},
		"capacity":                            {[]string{"com.openfaas.scale.type", "capacity", "com.openfaas.scale.target", "2.5"}, scale(func(s *function.Scale) { s.Type, s.Target = function.ScaleCapacity, 2.5 })},
		"rps":                                 {[]string{"com.openfaas.scale.type", "rps"}, defaults},
		"target-proportion":                   {[]string{"com.openfaas.scale.target-proportion", "1"}, scale(func(s *function.Scale) { s.Proportion = 1 })},
		"down window":                         {[]string{"com.openfaas.scale.down.window", "2m"}, scale(func(s *function.Scale) { s.DownWindow = 2 * time.Minute })},
		"label of somebody else means naught": {[]string{"com.example.scale.min", "x"}, defaults},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := function.Check(withLabels(c.labels...))
			if err != nil || p.Scale != c.want {
				t.Errorf("scale %+v, %v; want %+v", p.Scale, err, c.want)
			}
		})
	}
}

func TestCheck_PolicyOfAnnotations(t *testing.T) {
	process := smallest()
	process.Process = "cat"
	processHTTP := process
	processHTTP.Env = map[string]string{"mode": "http"}
	entrypointHTTP := smallest()
	entrypointHTTP.Env = map[string]string{"mode": "http"}
	ownPort := smallest()
	ownPort.Env = map[string]string{"port": "9999"}
	both := withAnnotations("com.dragonchain.mode", "http")
	both.Env = map[string]string{"mode": "fork"}
	for name, c := range map[string]struct {
		spec function.Spec
		want function.Policy
	}{
		"nothing said, no watchdog":              {smallest(), function.Policy{}},
		"a process is forked":                    {process, function.Policy{Mode: function.ModeFork}},
		"mode in the environment":                {processHTTP, function.Policy{Mode: function.ModeHTTP}},
		"the environment of an image of its own": {entrypointHTTP, function.Policy{}},
		"a port for an image of its own":         {ownPort, function.Policy{}},
		"mode in an annotation":                  {withAnnotations("com.dragonchain.mode", "fork"), function.Policy{Mode: function.ModeFork, ModeAnnotated: true}},
		"mode streaming":                         {withAnnotations("com.dragonchain.mode", "streaming"), function.Policy{Mode: function.ModeStreaming, ModeAnnotated: true}},
		"mode serializing":                       {withAnnotations("com.dragonchain.mode", "serializing"), function.Policy{Mode: function.ModeSerializing, ModeAnnotated: true}},
		"mode static":                            {withAnnotations("com.dragonchain.mode", "static"), function.Policy{Mode: function.ModeStatic, ModeAnnotated: true}},
		"mode lambda":                            {withAnnotations("com.dragonchain.mode", "lambda"), function.Policy{Mode: function.ModeLambda, ModeAnnotated: true}},
		"the environment wins":                   {both, function.Policy{Mode: function.ModeFork}},
		"contract":                               {withAnnotations("com.dragonchain.heap", "true"), function.Policy{Heap: true}},
		"quota":                                  {withAnnotations("com.dragonchain.heap-quota", "1Mi"), function.Policy{HeapQuotaBytes: 1 << 20}},
		"limit":                                  {withLabels("com.openfaas.max_inflight", "4"), function.Policy{MaxInFlight: 4}},
		"no limit":                               {withLabels("com.openfaas.max_inflight", "0"), function.Policy{}},
		"parked":                                 {withAnnotations("com.dragonchain.mode", "http", "com.dragonchain.park", "90"), function.Policy{Mode: function.ModeHTTP, ModeAnnotated: true, Park: 90 * time.Second}},
		"parked lambda":                          {withAnnotations("com.dragonchain.mode", "lambda", "com.dragonchain.park", "1m30s"), function.Policy{Mode: function.ModeLambda, ModeAnnotated: true, Park: 90 * time.Second}},
		"prefork":                                {withAnnotations("com.dragonchain.mode", "fork", "com.dragonchain.prefork", "4"), function.Policy{Mode: function.ModeFork, ModeAnnotated: true, Prefork: 4}},
		"prefork of none":                        {withAnnotations("com.dragonchain.prefork", "0"), function.Policy{}},
		"not parked":                             {withAnnotations("com.dragonchain.park", ""), function.Policy{}},
		"ready path":                             {withAnnotations("com.openfaas.ready.http.path", "/r?x=1"), function.Policy{ReadyPath: "/r?x=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := function.Check(c.spec)
			if err != nil {
				t.Fatal(err)
			}
			c.want.Scale, c.want.Retry = got.Scale, got.Retry
			if got != c.want {
				t.Errorf("policy %+v, want %+v", got, c.want)
			}
			if got.Watchdog() != (c.want.Mode != "") {
				t.Errorf("watchdog %v in mode %q", got.Watchdog(), got.Mode)
			}
		})
	}
}

func TestCheck_PolicyRefused(t *testing.T) {
	badMode := smallest()
	badMode.Process, badMode.Env = "cat", map[string]string{"mode": "turbo"}
	badPort := smallest()
	badPort.Process, badPort.Env = "cat", map[string]string{"port": "9999"}
	for name, spec := range map[string]function.Spec{
		"com.openfaas.scale.min=two":                                                      withLabels("com.openfaas.scale.min", "two"),
		"com.openfaas.scale.min=-1":                                                       withLabels("com.openfaas.scale.min", "-1"),
		"com.openfaas.scale.max=0":                                                        withLabels("com.openfaas.scale.max", "0"),
		"com.openfaas.scale.max=1001":                                                     withLabels("com.openfaas.scale.max", "1001"),
		"com.openfaas.scale.min=3 is above":                                               withLabels("com.openfaas.scale.min", "3", "com.openfaas.scale.max", "2"),
		"com.openfaas.scale.factor=101":                                                   withLabels("com.openfaas.scale.factor", "101"),
		"com.openfaas.scale.zero=yes":                                                     withLabels("com.openfaas.scale.zero", "yes"),
		"com.openfaas.scale.zero-duration=0":                                              withLabels("com.openfaas.scale.zero-duration", "0"),
		"com.openfaas.scale.zero-duration=1d":                                             withLabels("com.openfaas.scale.zero-duration", "1d"),
		"com.openfaas.scale.type=queue: the types are rps, capacity and cpu":              withLabels("com.openfaas.scale.type", "queue"),
		"com.openfaas.scale.type=: the types":                                             withLabels("com.openfaas.scale.type", ""),
		"com.openfaas.scale.type=cpu: the image serves by itself":                         withLabels("com.openfaas.scale.type", "cpu"),
		"com.openfaas.scale.target=0":                                                     withLabels("com.openfaas.scale.target", "0"),
		"com.openfaas.scale.target=-5":                                                    withLabels("com.openfaas.scale.target", "-5"),
		"com.openfaas.scale.target=NaN":                                                   withLabels("com.openfaas.scale.target", "NaN"),
		"com.openfaas.scale.target=many":                                                  withLabels("com.openfaas.scale.target", "many"),
		"com.openfaas.scale.target-proportion=1.1":                                        withLabels("com.openfaas.scale.target-proportion", "1.1"),
		"com.openfaas.scale.target-proportion=0":                                          withLabels("com.openfaas.scale.target-proportion", "0"),
		"com.openfaas.scale.factor=-1":                                                    withLabels("com.openfaas.scale.factor", "-1"),
		"com.openfaas.scale.down.window=6m":                                               withLabels("com.openfaas.scale.down.window", "6m"),
		"com.openfaas.scale.down.window=off":                                              withLabels("com.openfaas.scale.down.window", "off"),
		"com.dragonchain.standby=some":                                                    standby("http", "some"),
		"com.dragonchain.standby=-1":                                                      standby("http", "-1"),
		"com.dragonchain.standby=21: give a whole number from 0 to the most replicas, 20": standby("http", "21"),
		"com.dragonchain.standby=1: mode fork has no process":                             standby("fork", "1"),
		"com.dragonchain.standby=1: mode static has no process":                           standby("static", "1"),
		"com.dragonchain.standby=1: the image serves by itself":                           standby("", "1"),
		"com.dragonchain.standby=1: it is what stays instead of going to zero":            withAnnotations("com.dragonchain.mode", "http", "com.dragonchain.standby", "1"),
		"com.openfaas.max_inflight=-1":                                                    withLabels("com.openfaas.max_inflight", "-1"),
		"com.openfaas.max_inflight=many":                                                  withLabels("com.openfaas.max_inflight", "many"),
		"com.openfaas.max_inflight=1000001":                                               withLabels("com.openfaas.max_inflight", "1000001"),
		"com.dragonchain.mode=turbo":                                                      withAnnotations("com.dragonchain.mode", "turbo"),
		"variable mode=turbo":                                                             badMode,
		"variable port=9999":                                                              badPort,
		"com.dragonchain.heap=1":                                                          withAnnotations("com.dragonchain.heap", "1"),
		"com.dragonchain.heap-quota=0":                                                    withAnnotations("com.dragonchain.heap-quota", "0"),
		"com.dragonchain.prefork=many":                                                    withAnnotations("com.dragonchain.mode", "fork", "com.dragonchain.prefork", "many"),
		"com.dragonchain.prefork=-1":                                                      withAnnotations("com.dragonchain.mode", "fork", "com.dragonchain.prefork", "-1"),
		"com.dragonchain.prefork=1.5":                                                     withAnnotations("com.dragonchain.mode", "fork", "com.dragonchain.prefork", "1.5"),
		"com.dragonchain.prefork=101":                                                     withAnnotations("com.dragonchain.mode", "fork", "com.dragonchain.prefork", "101"),
		"com.dragonchain.prefork=1: mode http":                                            withAnnotations("com.dragonchain.mode", "http", "com.dragonchain.prefork", "1"),
		"com.dragonchain.prefork=1: the image":                                            withAnnotations("com.dragonchain.prefork", "1"),
		"com.dragonchain.park=soon":                                                       withAnnotations("com.dragonchain.mode", "http", "com.dragonchain.park", "soon"),
		"com.dragonchain.park=0":                                                          withAnnotations("com.dragonchain.mode", "http", "com.dragonchain.park", "0"),
		"com.dragonchain.park=-30s":                                                       withAnnotations("com.dragonchain.mode", "http", "com.dragonchain.park", "-30s"),
		"com.dragonchain.park=1ms":                                                        withAnnotations("com.dragonchain.mode", "http", "com.dragonchain.park", "1ms"),
		"com.dragonchain.park=1000h":                                                      withAnnotations("com.dragonchain.mode", "http", "com.dragonchain.park", "1000h"),
		"com.dragonchain.park=30s: mode fork":                                             withAnnotations("com.dragonchain.mode", "fork", "com.dragonchain.park", "30s"),
		"com.dragonchain.park=30s: the image":                                             withAnnotations("com.dragonchain.park", "30s"),
		"com.openfaas.ready.http.path=ready":                                              withAnnotations("com.openfaas.ready.http.path", "ready"),
		"com.openfaas.ready.http.path=//h/x":                                              withAnnotations("com.openfaas.ready.http.path", "//h/x"),
		"com.openfaas.ready.http.path=/%zz":                                               withAnnotations("com.openfaas.ready.http.path", "/%zz"),
		`com.openfaas.ready.http.path=/a\x00b`:                                            withAnnotations("com.openfaas.ready.http.path", "/a\x00b"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := function.Check(spec)
			wantInvalid(t, err)
			if err != nil && !strings.Contains(strings.ReplaceAll(err.Error(), `"`, ""), name) {
				t.Errorf("%q does not tell %q", err, name)
			}
		})
	}
}

// standby is a function that goes to zero, in a mode, with replicas that are to stay.
func standby(mode, replicas string) function.Spec {
	s := withAnnotations("com.dragonchain.standby", replicas)
	if mode != "" {
		s.Annotations["com.dragonchain.mode"] = mode
	}
	s.Labels = map[string]string{"com.openfaas.scale.zero": "true", "com.openfaas.scale.zero-duration": "2m"}
	return s
}

func TestCheck_Standby(t *testing.T) {
	for name, c := range map[string]struct {
		spec    function.Spec
		standby int
		park    time.Duration
	}{
		"parks when it would go to zero": {standby("http", "2"), 2, 2 * time.Minute},
		"lambda":                         {standby("lambda", "1"), 1, 2 * time.Minute},
		"none":                           {standby("http", "0"), 0, 0},
		"none of a mode that cannot":     {standby("fork", "0"), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := function.Check(c.spec)
			if err != nil || p.Scale.Standby != c.standby || p.Park != c.park {
				t.Errorf("%d in standby, park %v, %v; want %d, %v", p.Scale.Standby, p.Park, err, c.standby, c.park)
			}
		})
	}
	own := standby("http", "1")
	own.Annotations["com.dragonchain.park"] = "30s"
	if p, err := function.Check(own); err != nil || p.Park != 30*time.Second {
		t.Errorf("park %v, %v; want its own", p.Park, err)
	}
}

// A replica that stays is not below the bounds.
func TestScale_ClampKeepsStandby(t *testing.T) {
	s := function.Scale{Min: 3, Max: 5, Standby: 1}
	for in, want := range map[int]int{0: 0, 1: 1, 2: 3, 5: 5, 6: 5} {
		if got := s.Clamp(in); got != want {
			t.Errorf("Clamp(%d) = %d, want %d", in, got, want)
		}
	}
	if s.Initial() != 3 {
		t.Errorf("begins with %d", s.Initial())
	}
}

func TestSalvage_KeepsWhatCanBeRead(t *testing.T) {
	defaults := function.Scale{Min: 1, Max: 20, Type: function.ScaleRPS, Target: 50, Proportion: 0.9, DownStep: 1, ZeroAfter: 15 * time.Minute}
	s := withAnnotations("com.dragonchain.heap", "yes", "com.dragonchain.heap-quota", "1Mi", "com.dragonchain.mode", "turbo", "com.dragonchain.park", "30s")
	s.Labels = map[string]string{"com.openfaas.scale.min": "3", "com.openfaas.scale.max": "2", "uid": "mine"}
	defaults.Fixed = true
	want := function.Policy{Scale: defaults, Heap: true, HeapQuotaBytes: 1 << 20}
	want.Retry = function.Salvage(function.Spec{}).Policy.Retry
	if got := function.Salvage(s); got.Policy != want || got.Replicas != 1 || got.Image != s.Image {
		t.Errorf("got %+v, want policy %+v", got, want)
	}
	s = withLabels("com.openfaas.scale.min", "3", "uid", "mine")
	if got := function.Salvage(s); got.Policy.Scale.Min != 3 || got.Replicas != 3 || got.Policy.Heap {
		t.Errorf("got %+v", got)
	}
}

func TestScale_Clamp(t *testing.T) {
	s := function.Scale{Min: 2, Max: 5}
	for in, want := range map[int]int{-1: 0, 0: 0, 1: 2, 2: 2, 4: 4, 5: 5, 6: 5, 1 << 30: 5} {
		if got := s.Clamp(in); got != want {
			t.Errorf("Clamp(%d) = %d, want %d", in, got, want)
		}
	}
}

func TestCheck_InvocationsOfAnnotations(t *testing.T) {
	const heap = "com.dragonchain.heap"
	for name, c := range map[string]struct {
		annotations []string
		good        func(function.Policy) bool
	}{
		"defaults": {nil, func(p function.Policy) bool {
			return !p.Serial && p.Schedule == function.Schedule{} && p.Retry.Attempts == 10 && p.Retry.MinWait == 10*time.Second && p.Retry.MaxWait == 2*time.Minute &&
				p.Retry.Codes.Has(502) && p.Retry.Codes.Has(429) && !p.Retry.Codes.Has(404) && !p.Retry.Codes.Has(200) && !p.Retry.Codes.Has(600)
		}},
		"parallel": {[]string{heap, "true", "com.dragonchain.execution-order", "parallel"}, func(p function.Policy) bool { return !p.Serial }},
		"serial": {[]string{heap, "true", "com.dragonchain.execution-order", "serial"}, func(p function.Policy) bool {
			return p.Serial && p.Retry.Codes.Has(429) && !p.Retry.Codes.Has(504) && !p.Retry.Codes.Has(500)
		}},
		"retries": {[]string{"com.openfaas.retry.attempts", "3", "com.openfaas.retry.codes", "500, 404", "com.openfaas.retry.min_wait", "1s", "com.openfaas.retry.max_wait", "5s"},
			func(p function.Policy) bool {
				return p.Retry.Attempts == 3 && p.Retry.Codes.Has(500) && p.Retry.Codes.Has(404) && !p.Retry.Codes.Has(502) &&
					p.Retry.Wait(1) == time.Second && p.Retry.Wait(2) == 2*time.Second && p.Retry.Wait(3) == 4*time.Second && p.Retry.Wait(4) == 5*time.Second && p.Retry.Wait(1000) == 5*time.Second
			}},
		"a shorter longest wait": {[]string{"com.openfaas.retry.max_wait", "2s"}, func(p function.Policy) bool { return p.Retry.Wait(1) == 2*time.Second }},
		"no wait":                {[]string{"com.openfaas.retry.min_wait", "0s"}, func(p function.Policy) bool { return p.Retry.Wait(5) == 0 }},
		"cron": {[]string{"com.dragonchain.cron", "*/5 * * * *"}, func(p function.Policy) bool {
			return p.Schedule == function.Schedule{Cron: "*/5 * * * *"}
		}},
		"seconds": {[]string{"com.dragonchain.seconds", "7"}, func(p function.Policy) bool { return p.Schedule == function.Schedule{Every: 7 * time.Second} }},
		"connector": {[]string{"topic", "mine, cron-function", "schedule", "@hourly"}, func(p function.Policy) bool {
			return p.Schedule == function.Schedule{Cron: "@hourly", Connector: true}
		}},
		"another connector's": {[]string{"topic", "mine", "schedule", "@hourly"}, func(p function.Policy) bool { return p.Schedule == function.Schedule{} }},
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := function.Check(withAnnotations(c.annotations...)); err != nil || !c.good(p) {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
	for _, bad := range [][]string{
		{heap, "true", "com.dragonchain.execution-order", "sideways"},
		{"com.dragonchain.execution-order", "serial"},
		{"com.openfaas.retry.attempts", "0"},
		{"com.openfaas.retry.attempts", "x"},
		{"com.openfaas.retry.codes", "500,x"},
		{"com.openfaas.retry.codes", "200"},
		{"com.openfaas.retry.min_wait", "soon"},
		{"com.openfaas.retry.min_wait", "10s", "com.openfaas.retry.max_wait", "5s"},
		{"com.dragonchain.seconds", "0"},
		{"com.dragonchain.seconds", "1.5"},
		{"com.dragonchain.seconds", "5", "com.dragonchain.cron", "* * * * *"},
		{"com.dragonchain.seconds", "5", "topic", "cron-function", "schedule", "* * * * *"},
		{"topic", "cron-function"},
	} {
		if _, err := function.Check(withAnnotations(bad...)); !errors.Is(err, function.ErrInvalid) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want ErrInvalid in one line", bad, err)
		}
	}
	// A contract whose order cannot be read keeps the strict one.
	if p := function.Salvage(withAnnotations(heap, "true", "com.dragonchain.execution-order", "sideways", "com.openfaas.retry.attempts", "x")).Policy; !p.Serial || p.Retry.Attempts != 10 {
		t.Errorf("salvaged %+v", p)
	}
}
