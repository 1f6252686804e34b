package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openfaas/faas-provider/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	annotationPoolSize = "com.dragonchain.pool.size"
	labelSpare         = "dragonchain.com/spare"
	annotationClaimed  = "dragonchain.com/claimed"
)

// newPool is a namespace that has a warm pool of so many spares, whatever the provider's own settings, all of them registered.
func newPool(t *testing.T, size int) (namespace string) {
	t.Helper()
	namespace = newNamespace(t)
	resize(t, namespace, size)
	return namespace
}

func resize(t *testing.T, namespace string, size int) {
	t.Helper()
	body := fmt.Sprintf(`{"name":%q,"annotations":{%q:"%d"}}`, namespace, annotationPoolSize, size)
	gateway.do(t, http.MethodPut, "/system/namespace/"+namespace, body).is(t, "set the pool's size", http.StatusAccepted)
	awaitSpares(t, namespace, size)
}

// TestPool_ShapeByAnnotation has a namespace say what its spares ask for: those that were there give way to others.
func TestPool_ShapeByAnnotation(t *testing.T) {
	t.Parallel()
	namespace := newPool(t, 1)
	body := fmt.Sprintf(`{"name":%q,"annotations":{%q:"1","com.dragonchain.pool.cpu":"7m","com.dragonchain.pool.memory":"19Mi"}}`, namespace, annotationPoolSize)
	gateway.do(t, http.MethodPut, "/system/namespace/"+namespace, body).is(t, "set the pool's shape", http.StatusAccepted)
	eventually(t, "the spare has the shape", func() (bool, string) {
		pods := podsIn(t, namespace, labelSpare)
		if len(pods) != 1 {
			return false, fmt.Sprint(len(pods), " spares")
		}
		asked := pods[0].Spec.Containers[0].Resources.Requests
		return asked.Cpu().String() == "7m" && asked.Memory().String() == "19Mi", fmt.Sprint(asked)
	})
	awaitSpares(t, namespace, 1)
	d := parrot()
	d.Namespace = namespace
	f := deployAtZero(t, d)
	f.wakeByClaim(t, "first")
}

// awaitSpares waits until there are so many spares, no more and no fewer, and as far as can be seen from here can be claimed.
func awaitSpares(t *testing.T, namespace string, size int) {
	t.Helper()
	eventually(t, fmt.Sprint(size, " spares in ", namespace), func() (bool, string) {
		seen, up := 0, 0
		for _, p := range podsIn(t, namespace, labelSpare) {
			seen++
			// The kubelet tells later than the spare does.
			if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
				up++
			}
		}
		return seen == size && up == size, fmt.Sprint(seen, " there, ", up, " up")
	})
}

func podsIn(t *testing.T, namespace, selector string) []corev1.Pod {
	t.Helper()
	list, err := cluster.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// claimed are the function's pods that were spares; the others are its Deployment's.
func (f function) claimed(t *testing.T) (claimed, others []corev1.Pod) {
	t.Helper()
	for _, p := range podsIn(t, f.inNamespace(), "faas_function="+f.name) {
		switch {
		case p.DeletionTimestamp != nil:
		case p.Annotations[annotationClaimed] != "":
			claimed = append(claimed, p)
		default:
			others = append(others, p)
		}
	}
	return claimed, others
}

// deployAtZero deploys d, and has it at zero when it is known to serve.
func deployAtZero(t *testing.T, d deployment) function {
	t.Helper()
	f := deploy(t, d)
	f.awaitReplicas(t, 1)
	f.scale(t, 0)
	f.awaitZero(t)
	return f
}

// wake calls the function and asks how it was woken.
func (f function) wake(t *testing.T, body string) answer {
	t.Helper()
	return gateway.ask(t, f.wakeRequest(body))
}

func (f function) wakeRequest(body string) request {
	return request{method: http.MethodPost, path: f.path("/"), body: body, auth: nobody, header: http.Header{"X-Cold-Start": {"1"}}}
}

// woken is how a call ended that wakes.
type woken struct {
	answer
	err   error
	after time.Duration
}

// wakeBeside calls the function beside what the test does meanwhile.
func (f function) wakeBeside(t *testing.T, body string) <-chan woken {
	ended, began := make(chan woken, 1), time.Now()
	go func() {
		a, err := gateway.send(t.Context(), f.wakeRequest(body))
		ended <- woken{a, err, time.Since(began).Round(time.Millisecond)}
	}()
	return ended
}

// is checks that the answer is body, and tells how long it took.
func (w woken) is(t *testing.T, body string) {
	t.Helper()
	if w.err != nil || w.status != http.StatusOK || w.body != body {
		t.Errorf("call that wakes: %d %q, %v, after %v", w.status, w.body, w.err, w.after)
		return
	}
	t.Logf("woken by %q, answered after %v", w.header.Get("X-Cold-Start"), w.after)
}

// wakeByClaim wakes the function, again if no spare was to be had: one that Kubernetes shows as running may still have to
// register, and other tests keep the node busy.
func (f function) wakeByClaim(t *testing.T, body string) (a answer) {
	t.Helper()
	eventually(t, f.String()+" is woken by a claim", func() (bool, string) {
		a = f.wake(t, body).is(t, "call that wakes", http.StatusOK)
		way := a.header.Get("X-Cold-Start")
		if way != "claim" {
			f.scale(t, 0)
			f.awaitZero(t)
		}
		return way == "claim", way
	})
	return a
}

// TestPool_AnyImage wakes functions that have nothing in common by spares.
func TestPool_AnyImage(t *testing.T) {
	t.Parallel()
	namespace := newPool(t, 6)
	secret := unique(t, "secret")
	makeSecretIn(t, secret, namespace)
	t.Cleanup(func() { removeSecret(t, secret, namespace) })
	for name, test := range map[string]struct {
		d    deployment
		body string
		want string
	}{
		"busybox fork": {d: scripted(), body: `printf "%s %s %s" "$PRICE" "$(cat /var/openfaas/secrets/` + secret + `)" "$(id -u)"`, want: "$(HOME) costs $5 v 1000"},
		"Python fork":  {d: deployment{Image: "dragonchain/example-balance:dev", EnvProcess: "python3 -c print(6*7)"}, want: "42\n"},
		"Go http":      {d: watchedProbe(t)},
		"Go by itself": {d: probe(t)},
		"Lambda Go":    {d: lambdaImage(), body: `{"name":"Ada"}`, want: "Hello, Ada"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := test.d
			d.Namespace, d.Secrets = namespace, []string{secret}
			if d.EnvVars == nil {
				d.EnvVars = map[string]string{"PRICE": "$(HOME) costs $5"}
			}
			f := deployAtZero(t, d)
			a := f.wakeByClaim(t, test.body)
			if !strings.Contains(a.body, test.want) {
				t.Errorf("answer %q, want %q", a.body, test.want)
			}
			f.awaitReplicas(t, 1)
			claimed, others := f.claimed(t)
			if len(claimed) != 1 || len(others) != 0 {
				t.Fatalf("%d claimed pods and %d others", len(claimed), len(others))
			}
			// Environment and secrets were told to the watchdog alone.
			if text, err := json.Marshal(claimed[0]); err != nil || strings.Contains(string(text), "costs") || strings.Contains(string(text), "DC_READY_TOKEN") {
				t.Errorf("who reads pods finds what the function is told: %s, %v", text, err)
			}
			if _, err := cluster.AppsV1().Deployments(namespace).Get(t.Context(), f.name, metav1.GetOptions{}); err == nil {
				t.Error("one call made a Deployment")
			}
			f.call(t, test.body).is(t, "another call", http.StatusOK)
			f.remove(t)
			f.awaitNothing(t)
			eventually(t, "its pod is gone", func() (bool, string) {
				_, err := cluster.CoreV1().Pods(namespace).Get(t.Context(), claimed[0].Name, metav1.GetOptions{})
				return err != nil, "it is there"
			})
		})
	}
}

// TestPool_ClaimedPodIsTheFunctions reads its log, gives it limits, lets it idle, and finds it gone then.
func TestPool_ClaimedPodIsTheFunctions(t *testing.T) {
	t.Parallel()
	d := label(label(scripted(), labelZero, "true"), labelZeroDuration, "20s")
	d.Namespace = newPool(t, 2)
	d.Limits = &types.FunctionResources{Memory: "64Mi", CPU: "200m"}
	f := deployAtZero(t, d)
	f.wakeByClaim(t, "echo heard >&2")
	claimed, _ := f.claimed(t)
	if len(claimed) != 1 {
		t.Fatalf("%d claimed pods", len(claimed))
	}
	eventually(t, "its log has the line", func() (bool, string) {
		text := gateway.do(t, http.MethodGet, "/system/logs?name="+f.name+"&namespace="+f.namespace, "").body
		return strings.Contains(text, "heard"), text
	})
	eventually(t, "it has the function's limits", func() (bool, string) {
		p, err := cluster.CoreV1().Pods(f.namespace).Get(t.Context(), claimed[0].Name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		// What the kubelet says is in force, and not only what it is asked for.
		if len(p.Status.ContainerStatuses) != 1 || p.Status.ContainerStatuses[0].Resources == nil {
			return false, fmt.Sprintf("%+v", p.Status.ContainerStatuses)
		}
		limits := p.Status.ContainerStatuses[0].Resources.Limits
		return limits.Memory().String() == "64Mi" && limits.Cpu().String() == "200m", fmt.Sprint(limits)
	})
	if p, err := cluster.CoreV1().Pods(f.namespace).Get(t.Context(), claimed[0].Name, metav1.GetOptions{}); err != nil || p.Status.ContainerStatuses[0].RestartCount > 1 {
		t.Errorf("its container was started again for that: %+v, %v", p, err)
	}
	f.awaitZero(t)
	eventually(t, "its pod is gone", func() (bool, string) {
		_, err := cluster.CoreV1().Pods(f.namespace).Get(t.Context(), claimed[0].Name, metav1.GetOptions{})
		return err != nil, "it is there"
	})
	awaitSpares(t, f.namespace, 2)
}

// TestPool_GoesWithTheChart finds that spares belong to what goes with the chart; the rest is Kubernetes' garbage collector's.
func TestPool_GoesWithTheChart(t *testing.T) {
	t.Parallel()
	namespace := newPool(t, 1)
	role, err := cluster.RbacV1().ClusterRoles().Get(t.Context(), "dc-provider", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range podsIn(t, namespace, labelSpare) {
		if o := p.OwnerReferences; len(o) != 1 || o[0].Kind != "ClusterRole" || o[0].UID != role.UID {
			t.Errorf("%s belongs to %+v", p.Name, o)
		}
	}
}

// TestPool_OneSpareForTwo wakes two functions at once: both are answered, and one of them by the spare.
func TestPool_OneSpareForTwo(t *testing.T) {
	t.Parallel()
	namespace := newPool(t, 0)
	var functions []function
	for range 2 {
		d := parrot()
		d.Namespace = namespace
		functions = append(functions, deployAtZero(t, d))
	}
	resize(t, namespace, 1)
	var mu sync.Mutex
	var ways []string
	var calls sync.WaitGroup
	for _, f := range functions {
		calls.Go(func() {
			a, err := gateway.send(t.Context(), request{method: http.MethodPost, path: f.path(""), body: f.name, auth: nobody, header: http.Header{"X-Cold-Start": {"1"}}})
			if err != nil || a.status != http.StatusOK || a.body != f.name {
				t.Errorf("%s: %d %q, %v", f, a.status, a.body, err)
			}
			mu.Lock()
			defer mu.Unlock()
			ways = append(ways, a.header.Get("X-Cold-Start"))
		})
	}
	calls.Wait()
	if slices.Sort(ways); slices.Equal(ways, []string{"claim", "claim"}) {
		t.Errorf("one spare woke both")
	}
	awaitSpares(t, namespace, 1)
}

// TestPool_LonePod wakes a function for which there is no spare: in a pod of its own, which is the record's, and with nothing else.
func TestPool_LonePod(t *testing.T) {
	t.Parallel()
	d := label(parrot(), labelZero, "true") // so that it has no Deployment however slow the machine is
	d.Namespace = newPool(t, 0)
	f := deployAtZero(t, d)
	if way := f.wake(t, "first").is(t, "call that wakes", http.StatusOK).header.Get("X-Cold-Start"); way != "pod" {
		t.Errorf("woken by %q", way)
	}
	f.awaitReplicas(t, 1)
	claimed, lone := f.claimed(t)
	if len(claimed) != 0 || len(lone) != 1 {
		t.Fatalf("%d claimed pods and %d others", len(claimed), len(lone))
	}
	if owners := lone[0].OwnerReferences; len(owners) != 1 || owners[0].Kind != "Function" {
		t.Errorf("the pod belongs to %+v", owners)
	}
	if _, err := cluster.AppsV1().Deployments(d.Namespace).Get(t.Context(), f.name, metav1.GetOptions{}); err == nil {
		t.Error("one call made a Deployment")
	}
	f.call(t, "second").is(t, "second", http.StatusOK)
	f.scale(t, 0)
	f.awaitZero(t)
	f.wake(t, "third").is(t, "call that wakes again", http.StatusOK)
	f.scale(t, 2)
	f.awaitReplicas(t, 2)
	f.call(t, "fourth").is(t, "fourth", http.StatusOK)
	f.remove(t)
	f.awaitNothing(t)
}

// TestPool_SteadyDemandMoves calls without a pause, for as long as it takes until the function has a Deployment and the claimed pod is
// gone. No call is lost.
func TestPool_SteadyDemandMoves(t *testing.T) {
	t.Parallel()
	d := label(parrot(), labelFactor, "0")
	d.Namespace = newPool(t, 1)
	f := deployAtZero(t, d)
	f.wakeByClaim(t, "first")
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	defer callers.Wait()
	defer stop()
	for i := range 2 {
		callers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				body := fmt.Sprint(i, ".", n)
				a, err := gateway.send(t.Context(), request{method: http.MethodPost, path: f.path(""), body: body, auth: nobody})
				if err != nil || a.status != http.StatusOK || a.body != body {
					t.Errorf("call %s: %d %q, %v", body, a.status, a.body, err)
					return
				}
				time.Sleep(5 * time.Millisecond) // other tests run beside this one
			}
		})
	}
	eventually(t, "a pod of its own has taken the claimed one's place", func() (bool, string) {
		claimed, others := f.claimed(t)
		return len(claimed) == 0 && len(others) == 1, fmt.Sprint(len(claimed), " claimed, ", len(others), " others")
	})
	f.awaitReplicas(t, 1)
}

func TestPool_UpdateAndTrouble(t *testing.T) {
	t.Parallel()
	d := scripted()
	d.Namespace, d.EnvVars = newPool(t, 1), map[string]string{"VERSION": "one"}
	f := deployAtZero(t, d)
	f.wakeByClaim(t, "true")
	d.EnvVars = map[string]string{"VERSION": "two"}
	f.update(t, d)
	f.says(t, "VERSION", "two")
	eventually(t, "the claimed pod is gone", func() (bool, string) {
		claimed, others := f.claimed(t)
		return len(claimed) == 0 && len(others) == 1, fmt.Sprint(len(claimed), " claimed, ", len(others), " others")
	})

	bound := parrot()
	bound.Namespace, bound.Constraints = d.Namespace, []string{"kubernetes.io/os=linux"}
	b := deployAtZero(t, bound)
	if way := b.wake(t, "x").is(t, "call that wakes", http.StatusOK).header.Get("X-Cold-Start"); way != "pod" {
		t.Errorf("woken by %q", way)
	}
	eventually(t, "its status says why it has no spare", func() (bool, string) {
		text, err := cluster.objects.Resource(functionKind).Namespace(b.namespace).Get(t.Context(), b.name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		status, err := json.Marshal(text.Object["status"])
		return err == nil && strings.Contains(string(status), "constrained to certain nodes"), string(status)
	})
}

// TestPool_FunctionThatNeedsTheWatchdogsPort has a function listen where a claimed pod's probes are answered. Its caller is answered all
// the same, its status tells why it is not given spares, and the next wake tries none.
func TestPool_FunctionThatNeedsTheWatchdogsPort(t *testing.T) {
	t.Parallel()
	d := probe(t)
	d.Namespace, d.EnvVars = newPool(t, 1), map[string]string{"ALSO_PORT": "8079", "write_timeout": "2s"}
	f := deployAtZero(t, d)
	// No spare may be free: then there is nothing to see yet.
	eventually(t, "its status says why it has no spare", func() (bool, string) {
		f.wake(t, "").is(t, "call that wakes", http.StatusOK)
		why := f.claimable(t)
		if !strings.Contains(why, "8079") {
			f.scale(t, 0)
			f.awaitZero(t)
		}
		return strings.Contains(why, "8079") && strings.Contains(why, "address already in use"), why
	})
	eventually(t, "a pod of its own serves", func() (bool, string) {
		claimed, others := f.claimed(t)
		return len(claimed) == 0 && len(others) == 1, fmt.Sprint(len(claimed), " claimed, ", len(others), " others")
	})
	f.scale(t, 0)
	f.awaitZero(t)
	awaitSpares(t, d.Namespace, 1)
	if way := f.wake(t, "").is(t, "the next call that wakes", http.StatusOK).header.Get("X-Cold-Start"); way != "pod" {
		t.Errorf("woken by %q", way)
	}
}

// claimable is what the function's status tells of why it cannot be given a spare.
func (f function) claimable(t *testing.T) string {
	t.Helper()
	o, err := cluster.objects.Resource(functionKind).Namespace(f.inNamespace()).Get(t.Context(), f.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	conditions, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conditions {
		if c := c.(map[string]any); c["type"] == "Claimable" && c["status"] == "False" {
			return c["message"].(string)
		}
	}
	return ""
}

// TestPool_SecretChangedByKubectl changes a secret that a claimed pod holds, without a word to the provider.
func TestPool_SecretChangedByKubectl(t *testing.T) {
	t.Parallel()
	d := scripted()
	d.Namespace = newPool(t, 1)
	secret := unique(t, "secret")
	makeSecretIn(t, secret, d.Namespace)
	t.Cleanup(func() { removeSecret(t, secret, d.Namespace) })
	d.Secrets = []string{secret}
	f := deployAtZero(t, d)
	f.wakeByClaim(t, "true")
	patch := fmt.Appendf(nil, `{"stringData":{%q:"other"}}`, secret)
	if _, err := cluster.CoreV1().Secrets(d.Namespace).Patch(t.Context(), secret, apitypes.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the function sees the change", func() (bool, string) {
		a := f.call(t, "cat /var/openfaas/secrets/"+secret).is(t, "call", http.StatusOK)
		return a.body == "other", a.body
	})
}

// claimSteps are the moments at which TestPoolKill ends the provider: at random, from before the first step of a claim to after the
// last, and at those that Kubernetes shows.
var claimSteps = []struct {
	name string
	// at waits for the moment, if it comes.
	at func(t *testing.T, ctx context.Context, namespace string)
}{
	{"at random", atRandom},
	{"asked for", func(t *testing.T, ctx context.Context, namespace string) {
		records, err := cluster.objects.Resource(functionKind).Namespace(namespace).Watch(ctx, metav1.ListOptions{})
		await(t, records, err, func(o runtime.Object) bool {
			replicas, _, _ := unstructured.NestedInt64(o.(*unstructured.Unstructured).Object, "spec", "replicas")
			return replicas > 0
		})
	}},
	{"adopted", func(t *testing.T, ctx context.Context, namespace string) {
		pods, err := cluster.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{LabelSelector: "faas_function"})
		await(t, pods, err, func(o runtime.Object) bool { return o.(*corev1.Pod).Annotations[annotationClaimed] != "" })
	}},
	{"started", func(t *testing.T, ctx context.Context, namespace string) {
		pods, err := cluster.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{LabelSelector: "faas_function"})
		await(t, pods, err, func(o runtime.Object) bool {
			status := o.(*corev1.Pod).Status.ContainerStatuses
			return len(status) == 1 && status[0].RestartCount > 0
		})
	}},
}

func atRandom(*testing.T, context.Context, string) { time.Sleep(rand.N(60 * time.Millisecond)) }

// await waits for an event of a watch, and no longer than the watch: what was to happen may have failed.
func await(t *testing.T, w watch.Interface, err error, is func(runtime.Object) bool) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e.Type != watch.Error && e.Type != watch.Deleted && is(e.Object) {
			return
		}
	}
}

// TestPoolKill ends the provider with SIGKILL at the steps of claims, and finds that every function answers, and as itself, that
// every pod has its owner and none stays that nobody wants, and that no spare is left which is nobody's.
func TestPoolKill(t *testing.T) {
	const functions = 3
	namespace := newPool(t, functions)
	var all []function
	for range functions {
		d := scripted()
		d.Service, d.Namespace = unique(t, "f"), namespace
		d.EnvVars = map[string]string{"OWN_NAME": d.Service}
		all = append(all, deployAtZero(t, d))
	}
	const who = "sleep 0.2; printf %s $OWN_NAME"
	for _, step := range claimSteps {
		awaitSpares(t, namespace, functions)
		before, ok := providerProcess(t)
		if !ok {
			t.Fatal("the provider's process is not on this machine: run the tests by make test-e2e")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		reached := make(chan struct{})
		go func() {
			defer close(reached)
			step.at(t, ctx, namespace)
		}()
		var calls sync.WaitGroup
		for _, f := range all {
			calls.Go(func() {
				// Whether it is answered depends on how far the provider came.
				_, _ = gateway.send(t.Context(), request{method: http.MethodPost, path: f.path(""), body: who, auth: nobody})
			})
		}
		<-reached
		cancel()
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatalf("kill the provider, process %d: %v", before, err)
		}
		calls.Wait()
		awaitProvider(t, before)
		left := map[string]int{}
		for _, f := range all {
			if a := f.call(t, who).is(t, "call of "+f.String()+" afterwards", http.StatusOK); a.body != f.name {
				t.Errorf("killed when %s: %s answers as %q", step.name, f, a.body)
			}
			claimed, others := f.claimed(t)
			for _, p := range claimed {
				if len(p.OwnerReferences) != 1 || p.OwnerReferences[0].Kind != "Function" || p.OwnerReferences[0].Name != f.name {
					t.Errorf("killed when %s: claimed pod %s of %s is owned by %+v", step.name, p.Name, f, p.OwnerReferences)
				}
			}
			left["claimed"] += len(claimed)
			left["others"] += len(others)
			f.scale(t, 0)
		}
		t.Logf("killed when %s: %d are served by claimed pods, %d have others", step.name, left["claimed"], left["others"])
		for _, f := range all {
			f.awaitZero(t)
			eventually(t, f.String()+" has no pod", func() (bool, string) {
				claimed, others := f.claimed(t)
				return len(claimed)+len(others) == 0, fmt.Sprint(len(claimed), " claimed, ", len(others), " others")
			})
		}
	}
	awaitSpares(t, namespace, functions)
	f := all[0]
	f.wakeByClaim(t, "true")
}

// TestPoolKill_Spare ends a spare's process with SIGKILL while it is claimed: the function answers all the same.
func TestPoolKill_Spare(t *testing.T) {
	t.Parallel()
	d := parrot()
	d.Namespace = newPool(t, 1)
	f := deployAtZero(t, d)
	kills := 0
	for range 4 {
		awaitSpares(t, d.Namespace, 1)
		spares := podsIn(t, d.Namespace, labelSpare)
		if len(spares) != 1 || len(spares[0].Status.ContainerStatuses) != 1 {
			continue // it was replaced a moment ago
		}
		_, id, _ := strings.Cut(spares[0].Status.ContainerStatuses[0].ContainerID, "://")
		pid, ok := processOf(t, id, "/.dc/dc-watchdog")
		if !ok {
			continue // likewise
		}
		answered := f.wakeBeside(t, "still here")
		time.Sleep(rand.N(60 * time.Millisecond)) // from before the first step to after the last
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatalf("kill the spare, process %d: %v", pid, err)
		}
		kills++
		(<-answered).is(t, "still here")
		f.scale(t, 0)
		f.awaitZero(t)
	}
	if kills == 0 {
		t.Error("no spare's process is on this machine: run the tests by make test-e2e")
	}
}
