package kube

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestReplicas_MergesWatchAndPushes(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const record = types.UID("r1")
	up := pod{record: record, ip: "1.1.1.1", ready: true, started: true}
	starting := pod{record: record}
	running := pod{record: record, ip: "1.1.1.1", started: true}
	with := func(p pod, edit func(*pod)) *pod { edit(&p); return &p }
	pushed := push{record: record, ip: "1.1.1.1", at: start}

	for _, test := range []struct {
		name  string
		pod   *pod  // as the watch tells, nil: not yet
		push  *push // nil: none
		after time.Duration
		want  bool
	}{
		{"nothing is known", nil, nil, 0, false},
		{"ready by the watch", &up, nil, 0, true},
		{"not ready by the watch", &running, nil, 0, false},
		{"ready and told to end", with(up, func(p *pod) { p.ending = true }), nil, 0, false},
		{"ready, of an earlier record", with(up, func(p *pod) { p.record = "r0" }), nil, 0, false},
		{"ready without an address", with(up, func(p *pod) { p.ip = "" }), nil, 0, false},

		{"pushed, and gone", nil, &pushed, 0, false},
		{"pushed, and nothing came after", &starting, &pushed, pushLife + 1, false},
		{"pushed, the watch is behind", &starting, &pushed, time.Second, true},
		{"pushed, the kubelet has not probed yet", &running, &pushed, time.Second, true},
		{"pushed, the probes never succeed", &running, &pushed, pushLife + 1, false},
		{"pushed and confirmed", &up, &pushed, time.Second, true},
		{"pushed and told to end", with(running, func(p *pod) { p.ending = true }), &pushed, time.Second, false},
		{"pushed and crashed", with(running, func(p *pod) { p.down = true }), &pushed, time.Second, false},
		{"pushed, crashed and started again", with(running, func(p *pod) { p.restarts = 1 }), &pushed, time.Second, false},
		{"pushed for an earlier record", &running, &push{record: "r0", ip: "1.1.1.1", at: start}, 0, false},
		{"pushed from another address", &running, &push{record: record, ip: "9.9.9.9", at: start}, 0, false},
		{"pushed by the one that was started again", with(running, func(p *pod) { p.restarts = 1 }),
			new(newPush(record, "1.1.1.1", start, with(running, func(p *pod) { p.restarts = 1 }))), 0, true},
		{"pushed by a successor of which the watch does not know", with(running, func(p *pod) { p.down = true }),
			new(newPush(record, "1.1.1.1", start, with(running, func(p *pod) { p.down = true }))), 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := replicas{pods: map[string]*pod{}, pushes: map[string]push{}}
			if test.pod != nil {
				r.pods["p"] = test.pod
			}
			if test.push != nil {
				r.pushes["p"] = *test.push
			}
			got := r.endpoints(record, start.Add(test.after))
			if (len(got) == 1) != test.want || len(got) > 1 {
				t.Errorf("endpoints %v, want one: %v", got, test.want)
			}
		})
	}
}

// Once the watch has seen a pod ready, a push says nothing any more: the watch may contradict at once.
func TestTable_TheWatchContradictsAfterItConfirmed(t *testing.T) {
	table := newTable(nil, func(function.Ref) (types.UID, bool) { return "r1", true })
	running := pod{function: cowRef, record: "r1", ip: "1.1.1.1", started: true}
	ready := running
	ready.ready = true
	table.set(cowRef, "p", &pod{function: cowRef, record: "r1"})
	table.push(cowRef, "r1", "p", "1.1.1.1")
	for i, step := range []struct {
		pod  *pod
		want int
	}{{&running, 1}, {&ready, 1}, {&running, 0}, {nil, 0}} {
		table.set(cowRef, "p", step.pod)
		if got := len(table.endpoints(cowRef)); got != step.want {
			t.Errorf("step %d: %d endpoints, want %d", i, got, step.want)
		}
	}
}

func TestTable_ForgetsWhatIsNoMore(t *testing.T) {
	told := 0
	table := newTable(func(function.Ref, string, []function.Endpoint) { told++ }, func(function.Ref) (types.UID, bool) { return "r1", true })
	for range 3 {
		table.set(cowRef, "p", &pod{function: cowRef, record: "r1"})
		table.push(cowRef, "r1", "p", "1.1.1.1")
		for table.publish() {
		}
		table.expire(time.Now().Add(pushLife + time.Second))
		for table.publish() {
		}
		table.set(cowRef, "p", nil)
		for table.publish() {
		}
	}
	if len(table.functions) != 0 || told != 6 {
		t.Errorf("%d functions remembered, told %d times", len(table.functions), told)
	}
}

// A push that got lost, or came to a provider that was restarted since, costs a second or two: the watch tells as well.
func TestMarkReady_LostPushes(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	w.pod("cow", "cow-1", "10.0.0.1", false)
	w.knows("cow-1")
	fn, _ := w.cluster.Lookup(cowRef)
	w.cluster.MarkReady(cowRef, fn.ID, "cow-1", "10.0.0.1", function.Startup{})
	w.endpoints(cowRef, "10.0.0.1:8080")

	w.stop()
	w.start(nil)
	w.endpoints(cowRef) // the provider has forgotten the push
	w.pod("cow", "cow-1", "10.0.0.1", true)
	w.pod("cow", "cow-2", "10.0.0.2", true) // it never pushed
	w.endpoints(cowRef, "10.0.0.1:8080", "10.0.0.2:8080")
}

// Who has a function's token is no replica of it for that: it has to be a pod of which Kubernetes tells, at that pod's address.
func TestMarkReady_OfNoPodOfTheFunction(t *testing.T) {
	table := newTable(nil, func(function.Ref) (types.UID, bool) { return "r1", true })
	push := func(what, name, ip string, want bool) {
		t.Helper()
		if took := table.push(cowRef, "r1", name, ip); took != want || len(table.endpoints(cowRef)) > 0 != want {
			t.Errorf("%s: taken %t, endpoints %v", what, took, table.endpoints(cowRef))
		}
	}
	push("of a function without pods", "made-up", "6.6.6.6", false)
	if len(table.functions) > 0 {
		t.Error("something is kept of it")
	}
	table.set(cowRef, "p", &pod{function: cowRef, record: "r1", ip: "1.1.1.1", started: true})
	push("of a pod that is not there", "made-up", "6.6.6.6", false)
	push("of a pod that is elsewhere", "p", "6.6.6.6", false)
	push("of the pod", "p", "1.1.1.1", true)
}

// A push that comes again, from wherever it was held up, brings back nothing that has ended.
func TestMarkReady_RepeatedForAPodThatEnds(t *testing.T) {
	table := newTable(nil, func(function.Ref) (types.UID, bool) { return "r1", true })
	running := pod{function: cowRef, record: "r1", ip: "1.1.1.1", started: true}
	table.set(cowRef, "p", &running)
	if !table.push(cowRef, "r1", "p", "1.1.1.1") || len(table.endpoints(cowRef)) != 1 {
		t.Fatal("the push did nothing")
	}
	ending := running
	ending.ending = true
	table.set(cowRef, "p", &ending)
	if table.push(cowRef, "r1", "p", "1.1.1.1") || len(table.endpoints(cowRef)) != 0 {
		t.Error("repeated for a pod that ends")
	}
	table.set(cowRef, "q", &running)
	if table.push(cowRef, "r0", "q", "1.1.1.1") || len(table.endpoints(cowRef)) != 0 {
		t.Error("pushed for an earlier record")
	}
}
