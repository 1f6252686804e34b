package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openfaas/faas-provider/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// tenure is who leads, by the name of its pod, since when, and when that was last confirmed.
type tenure struct {
	leader            string
	acquired, renewed time.Time
}

// lease reads the tenure that is or was. There is none before anybody has led, and nobody leads once it was given back.
func lease(t *testing.T) (now tenure) {
	t.Helper()
	l, err := cluster.CoordinationV1().Leases(providerNamespace).Get(t.Context(), "dc-provider", metav1.GetOptions{})
	if err != nil || l.Spec.HolderIdentity == nil || l.Spec.AcquireTime == nil || l.Spec.RenewTime == nil {
		return tenure{}
	}
	return tenure{*l.Spec.HolderIdentity, l.Spec.AcquireTime.Time, l.Spec.RenewTime.Time}
}

// led waits until there are two providers, both ready, and one of them leads.
func led(t *testing.T) (leader, other corev1.Pod) {
	t.Helper()
	eventually(t, "two providers are ready, and one leads", func() (bool, string) {
		pods, now := providerPods(t), lease(t)
		if len(pods) == 2 && podReady(pods[0]) && podReady(pods[1]) {
			for i, p := range pods {
				if p.Name == now.leader {
					leader, other = p, pods[1-i]
				}
			}
		}
		return leader.Name != "", fmt.Sprintf("%d providers, %q leads", len(pods), now.leader)
	})
	return leader, other
}

// kill ends a provider without a word: its process gets no signal that it could see, and its pod is not started again.
func kill(t *testing.T, p corev1.Pod) {
	t.Helper()
	_, id, _ := strings.Cut(p.Status.ContainerStatuses[0].ContainerID, "://")
	pid, ok := processOf(t, id, "/dc-provider")
	if !ok {
		t.Fatalf("the process of %s is not on this machine: run the tests by make test-e2e", p.Name)
	}
	if err := cluster.CoreV1().Pods(p.Namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %s, process %d: %v", p.Name, pid, err)
	}
}

// through calls functions at one provider, whatever Service leads to whichever.
type through struct{ listener }

func at(p corev1.Pod) through {
	l := gateway
	l.url = fmt.Sprintf("http://%s:8080", p.Status.PodIP)
	return through{l}
}

// answers calls f and compares the answer.
func (p through) answers(ctx context.Context, f function, body, want string) error {
	a, err := p.send(ctx, request{method: http.MethodPost, path: f.path(""), body: body, auth: nobody})
	if err == nil && (a.status != http.StatusOK || a.body != want) {
		err = fmt.Errorf("status %d, %q, want %q", a.status, a.body, want)
	}
	return err
}

func skipUnlessTwo(t *testing.T) {
	t.Helper()
	installed, err := cluster.AppsV1().Deployments(providerNamespace).Get(t.Context(), "dc-provider", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := *installed.Spec.Replicas; n != 2 {
		t.Skipf("%d providers are installed: make test-e2e installs two in a pass of its own", n)
	}
}

// TestProviders_TwoWithOneLeader has functions served by the provider that does not lead, which is no reason to take them to
// zero. Then the leader dies without a word: the other loses no call, wakes, and leads.
func TestProviders_TwoWithOneLeader(t *testing.T) {
	skipUnlessTwo(t)
	first, second := led(t)
	zeroed := func(d deployment) deployment { return label(label(d, labelZero, "true"), labelZeroDuration, "3s") }
	hot := deploy(t, zeroed(loaded(scripted())))
	tally := deploy(t, zeroed(loaded(contract(parrot()))))
	idle := deploy(t, zeroed(parrot()))
	var committed string
	calls := map[string]func(ctx context.Context, n int) error{
		"hot": func(ctx context.Context, n int) error {
			return at(second).answers(ctx, hot, fmt.Sprintf("echo %d", n), fmt.Sprintln(n))
		},
		"contract": func(ctx context.Context, n int) error {
			body := fmt.Sprintf(`{"n":%d}`, n)
			err := at(second).answers(ctx, tally, body, body)
			if err == nil {
				committed = fmt.Sprint(n)
			}
			return err
		},
	}
	l, ctx := startLoad(t)
	for kind, call := range calls {
		if err := call(within(t, callTimeout), 0); err != nil { // waits for the first replica
			t.Fatalf("%s: %v", kind, err)
		}
		l.again(ctx, kind, call)
	}
	hot.awaitReplicas(t, 1)
	tally.awaitReplicas(t, 1)
	pods := [][]string{hot.pods(t), tally.pods(t)}
	idle.awaitZero(t)
	if err := at(second).answers(within(t, callTimeout), idle, "moo", "moo"); err != nil {
		t.Fatal(err)
	}
	idle.awaitZero(t) // by now the others would be, too, if nobody called them

	last := lease(t)
	began := time.Now()
	kill(t, first)
	if err := at(second).answers(within(t, callTimeout), idle, "moo", "moo"); err != nil {
		t.Fatalf("wake after the leader's end: %v", err)
	}
	woken := time.Since(began)
	var now tenure
	eventually(t, "another leads", func() (bool, string) {
		if now = lease(t); now.leader == first.Name {
			last = now
		}
		return now.leader != "" && now.leader != first.Name, now.leader
	})
	t.Logf("after the leader's end a function was woken in %v; another led after %v, %v after the last word",
		woken.Round(time.Millisecond), now.acquired.Sub(began).Round(time.Millisecond), now.acquired.Sub(last.renewed).Round(time.Millisecond))
	for i, f := range []function{hot, tally} {
		if now := f.pods(t); !slices.Equal(now, pods[i]) {
			t.Errorf("%s has the pods %v, and had %v: it was called all the time", f, now, pods[i])
		}
	}
	hot.scale(t, 2)
	hot.awaitReplicas(t, 2)
	led(t)
	idle.awaitZero(t)
	l.report(t)
	wantHeap(t, tally, map[string]string{"n": committed})
}

// TestProviders_ReadyPushIsRelayed has a caller wait at the provider that does not lead, to which no push comes but by the other, and
// which hears nothing of the API server from when the pod is made. The caller is answered all the same.
func TestProviders_ReadyPushIsRelayed(t *testing.T) {
	skipUnlessTwo(t)
	leader, other := led(t)
	onlyHere(t, leader, other)
	d := parrot()
	d.Namespace = newPool(t, 0)
	f := deployAtZero(t, d)
	eventually(t, "the other provider knows that it is at zero", func() (bool, string) {
		a, err := at(other).send(within(t, callTimeout), request{method: http.MethodGet, path: "/system/function/" + f.name + "?namespace=" + f.namespace})
		var s types.FunctionStatus
		if err == nil && a.status == http.StatusOK {
			err = json.Unmarshal([]byte(a.body), &s)
		}
		return err == nil && a.status == http.StatusOK && s.Replicas == 0 && s.AvailableReplicas == 0, fmt.Sprint(a.status, a.body, err)
	})
	pushes := forbid(t, "forward", fmt.Sprintf("ip saddr != %s ip daddr %s tcp dport %d", leader.Status.PodIP, other.Status.PodIP, pushPort), "reject with tcp reset")
	pods, err := cluster.CoreV1().Pods(f.namespace).Watch(within(t, callTimeout), metav1.ListOptions{LabelSelector: "faas_function=" + f.name})
	if err != nil {
		t.Fatal(err)
	}
	defer pods.Stop()
	answered := make(chan error, 1)
	began := time.Now()
	go func() { answered <- at(other).answers(t.Context(), f, "moo", "moo") }()
	for event := range pods.ResultChan() {
		if p, is := event.Object.(*corev1.Pod); is && event.Type == watch.Added && p.DeletionTimestamp == nil {
			break
		}
	}
	// It has its answer to the wake by now, which is why there is a pod.
	deaf := forbid(t, "output", fmt.Sprintf("ip daddr %s tcp sport 6443", other.Status.PodIP), "drop")
	select {
	case err := <-answered:
		if err != nil {
			t.Error(err)
		}
		t.Logf("answered after %v; %d packets of pushes to the other provider were refused, %d of the API server lost",
			time.Since(began).Round(time.Millisecond), pushes.packets(t), deaf.packets(t))
	case <-time.After(30 * time.Second):
		t.Error("not answered: the push was not relayed")
		defer func() { <-answered }()
	}
	deaf.lift(t)
	pushes.lift(t)
	led(t)
}

// enter is a program of a serial contract that appends a call's id to a log in its heap.
func enter(id string) string {
	return fmt.Sprintf(`
import json, os, urllib.error, urllib.request
try:
    with urllib.request.urlopen(os.environ["Http_X_Heap_Url"] + "/heap/n") as answer:
        n = json.load(answer) + 1
except urllib.error.HTTPError as error:
    if error.code != 404:
        raise
    n = 1
print(json.dumps({"n": n, "log/%%06d" %% n: %q}))
`, id)
}

// insists calls f again and again, each call at one provider, and at the other until it is answered if the first does not answer.
// Nobody waits for the effect of every other call. done is to be asked when the load has ended.
func (l *load) insists(ctx context.Context, kind string, f function, script func(id string) string, first, other corev1.Pod) (done func() (ids []string)) {
	var ids []string
	p, patience := first, 10*time.Second // an address that nobody has answers nothing at all
	l.again(ctx, kind, func(ctx context.Context, n int) error {
		id := fmt.Sprintf("%s-%04d", kind, n)
		q, want := withCallID(f, id, "", script(id)), http.StatusOK
		if n%2 == 1 {
			q.path, want = "/async-function/"+f.String(), http.StatusAccepted
		}
		deadline := time.Now().Add(2 * time.Minute)
		for {
			tried, cancel := context.WithTimeout(ctx, patience)
			a, err := at(p).send(tried, q)
			cancel()
			if err == nil && a.status == want {
				ids = append(ids, id)
				return nil
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s: status %d, %q, %v", id, a.status, a.body, err)
			}
			p, patience = other, callTimeout
			<-time.After(pace)
		}
	})
	return func() []string { return ids }
}

// TestProviders_NothingLostNothingTwice calls contracts at two providers, with and without waiting, and one of them dies in the
// middle. Whoever got no answer asks the other. Each call has its effect once, and those of a serial contract are in the order in
// which they were accepted.
func TestProviders_NothingLostNothingTwice(t *testing.T) {
	skipUnlessTwo(t)
	victim, survivor := led(t)
	serial := deploy(t, loaded(annotate(contract(python()), "com.dragonchain.execution-order", "serial")))
	parallel := deploy(t, loaded(contract(scripted())))
	for f, script := range map[function]string{serial: enter("begun"), parallel: effect("begun")} {
		f.call(t, script).is(t, "the first call", http.StatusOK)
	}
	l, ctx := startLoad(t)
	clients := map[string]func() []string{}
	for i, p := range []corev1.Pod{victim, survivor} {
		for f, script := range map[function]func(string) string{serial: enter, parallel: effect} {
			kind := fmt.Sprintf("parallel%d", i)
			if f == serial {
				kind = fmt.Sprintf("serial%d", i)
			}
			clients[kind] = l.insists(ctx, kind, f, script, p, survivor)
		}
	}
	<-time.After(3 * time.Second) // under load
	kill(t, victim)
	<-time.After(3 * time.Second) // of the survivor's load
	l.report(t)

	done, all := map[string][]string{}, map[bool]int{}
	for kind, ids := range clients {
		done[kind] = ids()
		if len(done[kind]) < 3 {
			t.Errorf("%s: %d calls are too few", kind, len(done[kind]))
		}
		all[strings.HasPrefix(kind, "serial")] += len(done[kind])
	}
	serial.awaitKeys(t, "log/", all[true]+1)
	places := map[string]int{}
	for n, key := range serial.heapKeys(t, "log/") {
		id := strings.Trim(serial.heap(t, key), `"`)
		if before, twice := places[id]; twice {
			t.Errorf("call %s is in the log at %d and at %d", id, before, n)
		}
		places[id] = n
	}
	for kind, ids := range done {
		last := 0
		for _, id := range ids {
			if !strings.HasPrefix(kind, "serial") {
				parallel.awaitKeys(t, id+"/", 1)
				continue
			}
			place, there := places[id]
			if !there {
				t.Errorf("call %s was acknowledged and is not in the log", id)
			} else if place <= last {
				t.Errorf("call %s took effect before one that was accepted before it", id)
			}
			last = place
		}
	}
	if keys := parallel.heapKeys(t, ""); len(keys) != all[false]+1 {
		t.Errorf("%d effects of %d calls", len(keys), all[false]+1)
	}
	t.Logf("%d serial and %d parallel calls", all[true], all[false])
}
