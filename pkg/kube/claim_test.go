package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	registryv1 "github.com/google/go-containerregistry/pkg/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/assignment"
)

// poolWorld is a world with a warm pool, whose spares the test registers and hands out.
type poolWorld struct {
	*world
	mu         sync.Mutex
	registered map[string]bool // by identity
	serving    []string
	asked      []string
	assigned   []assignment.Assignment
	// fail, if set, is what becomes of a claim after its first step.
	fail error
	// unanswered has the next claim give a spare up though it became the function's, and take another.
	unanswered bool
	adopted    int
	shunned    []string
}

// newPoolWorld starts one with so many spares, and takes the part of their watchdogs: each registers.
func newPoolWorld(t *testing.T, size int) *poolWorld {
	t.Helper()
	w := &poolWorld{registered: make(map[string]bool)}
	w.world = newWorld(t, w.config(size))
	return w
}

func (w *poolWorld) config(size int) func(*Config) {
	return func(cfg *Config) {
		cfg.ReadyURL, cfg.ReadyKey = "http://provider/dc/ready", []byte("0123456789abcdef")
		cfg.Pool = &Pool{
			Size: size, Owner: "dc-provider", Requests: &function.Resources{CPU: "10m", Memory: "16Mi"}, URL: "http://provider/dc/spare", Key: "ab",
			Claim: w.claim,
			Registered: func(id string) bool {
				w.mu.Lock()
				defer w.mu.Unlock()
				return w.registered[id]
			},
			Retire: func(id string) bool {
				w.mu.Lock()
				defer w.mu.Unlock()
				delete(w.registered, id)
				return true
			},
			Gone: func(string) {},
			Serves: func(id string) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.serving = append(w.serving, id)
			},
			Starting: func() bool { return false },
			Shun: func(node string) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.shunned = append(w.shunned, node)
			},
			Shunned: func() []string {
				w.mu.Lock()
				defer w.mu.Unlock()
				return slices.Clone(w.shunned)
			},
			Ask: func(_ context.Context, pod string, ip netip.Addr) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.asked = append(w.asked, pod+" at "+ip.String())
			},
		}
	}
}

// claim takes any registered spare.
func (w *poolWorld) claim(ctx context.Context, f *function.Function, _ ...string) error {
	var taken *corev1.Pod
	for _, s := range w.spares() {
		w.mu.Lock()
		if id := string(s.UID); w.registered[id] && s.Namespace == f.Namespace {
			delete(w.registered, id)
			taken = s
		}
		w.mu.Unlock()
		if taken != nil {
			break
		}
	}
	if taken == nil {
		return errors.New("no spare")
	}
	a, err := w.cluster.Assignment(ctx, f)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.assigned = append(w.assigned, a)
	fail, unanswered := w.fail, w.unanswered
	w.unanswered = false
	w.mu.Unlock()
	if fail != nil {
		w.cluster.Discard(string(taken.UID))
		return fail
	}
	err = w.cluster.Adopt(ctx, taken.Name, string(taken.UID), time.Now(), f)
	if err == nil {
		w.mu.Lock()
		w.adopted++
		w.mu.Unlock()
	}
	if err != nil || !unanswered {
		return err
	}
	w.cluster.Discard(string(taken.UID))
	return w.claim(ctx, f)
}

// pods gives the pods that match.
func (w *poolWorld) podsThat(match func(*corev1.Pod) bool) []*corev1.Pod {
	var list []*corev1.Pod
	for _, key := range w.api.names(podsPath) {
		namespace, name, _ := strings.Cut(key, "/")
		p := new(corev1.Pod)
		if w.api.get(podsPath, namespace, name, p) && match(p) {
			list = append(list, p)
		}
	}
	return list
}

func (w *poolWorld) spares() []*corev1.Pod {
	return w.podsThat(func(p *corev1.Pod) bool { return p.Labels[labelSpare] != "" })
}

// fill waits until there are so many spares, and registers all of them.
func (w *poolWorld) fill(want int) {
	w.Helper()
	w.eventually(fmt.Sprint(want, " spares"), func() string {
		spares := w.spares()
		for _, s := range spares {
			w.mu.Lock()
			w.registered[string(s.UID)] = true
			w.mu.Unlock()
		}
		w.cluster.SpareRegistered()
		if len(spares) != want {
			return fmt.Sprint(len(spares))
		}
		return ""
	})
}

// claimed waits for a function to have one claimed pod.
func (w *poolWorld) claimed(name string) *corev1.Pod {
	w.Helper()
	var list []*corev1.Pod
	w.eventually("a claimed pod of "+name, func() string {
		list = w.podsThat(func(p *corev1.Pod) bool {
			return p.Labels[labelFunction] == name && p.Annotations[annotationClaimed] != ""
		})
		if known := w.cluster.Claimed(); len(list) != 1 || len(known) != 1 {
			return fmt.Sprintf("%d, and %d are known", len(list), len(known))
		}
		return ""
	})
	return list[0]
}

// atZero makes a function that has been resolved and is at zero.
func (w *poolWorld) atZero(spec function.Spec) {
	w.Helper()
	w.create(spec)
	w.condition(spec.Name, "Claimable", "True")
	w.deployment(spec.Name) // or the reconciler could miss that there were none asked for
	w.eventually("the cluster knows of its Deployment", func() string {
		// Or it could hear of it after the function is at zero: see below.
		if w.cluster.deployments.get(spec.Ref) == nil {
			return "it does not"
		}
		return ""
	})
	w.scale(spec.Ref, 0)
	w.eventually("the function is at zero", func() string {
		// The cluster has to know it, too: a wake that meets a Deployment needs no spare.
		if w.api.get(deploymentsPath, ns, spec.Name, new(corev1.Pod)) || w.cluster.deployments.get(spec.Ref) != nil {
			return "it has a Deployment"
		}
		return ""
	})
}

func (w *poolWorld) scale(ref function.Ref, replicas int) {
	w.Helper()
	if err := w.cluster.Scale(w.Context(), ref, replicas); err != nil {
		w.Fatal(err)
	}
}

// starts plays the kubelet: the function's container runs in a claimed pod.
func (w *poolWorld) starts(p *corev1.Pod, ready bool) {
	w.Helper()
	now := new(corev1.Pod)
	w.api.get(podsPath, p.Namespace, p.Name, now)
	now.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.0.0.9",
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: spareContainer, RestartCount: 1, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}},
	}
	now.Status.ContainerStatuses[0].State.Running.StartedAt.Time = time.Now()
	if ready {
		now.Status.Conditions[0].Status = corev1.ConditionTrue
	}
	w.api.put(podsPath, now.Namespace, jsonOf(w.T, now))
}

func TestPool_KeepsAsManyAsAsked(t *testing.T) {
	w := newPoolWorld(t, 2)
	w.fill(2)
	for _, s := range w.spares() {
		if s.Labels[labelFunction] != "" || s.Spec.AutomountServiceAccountToken == nil || *s.Spec.AutomountServiceAccountToken {
			t.Errorf("%+v", s)
		}
	}
	set := func(annotations string) {
		w.api.put(namespacesPath, "", `{"metadata":{"name":"openfaas-fn","labels":{"openfaas":"1"},"annotations":{`+annotations+`}}}`)
	}
	set(`"com.dragonchain.pool.size":"7"`)
	w.fill(7) // more than come at a time: the others follow as these register
	set(`"com.dragonchain.pool.size":"1"`)
	w.fill(1)
	before := w.spares()[0].Name
	set(`"com.dragonchain.pool.size":"1","com.dragonchain.pool.memory":"32Mi"`)
	w.eventually("a spare of the new shape", func() string {
		s := w.spares()
		if len(s) != 1 || s[0].Name == before || s[0].Spec.Containers[0].Resources.Requests.Memory().String() != "32Mi" {
			return fmt.Sprint(len(s))
		}
		return ""
	})
	set(`"com.dragonchain.pool.size":"many"`) // cannot be read: the provider's own number counts
	w.fill(2)
	set(`"com.dragonchain.pool.size":"0"`)
	w.fill(0)
}

func TestPool_ReplacesWhatIsOfNoUse(t *testing.T) {
	w := newPoolWorld(t, 2)
	w.fill(2)
	old := w.spares()
	old[0].Status.ContainerStatuses = []corev1.ContainerStatus{{Name: spareContainer, RestartCount: 1}}
	w.api.put(podsPath, ns, jsonOf(t, old[0]))
	w.cluster.Discard(string(old[1].UID))
	w.eventually("two others", func() string {
		for _, s := range w.spares() {
			if s.Name == old[0].Name || s.Name == old[1].Name {
				return s.Name + " is still there"
			}
		}
		return ""
	})
	w.fill(2)
}

// A claim that was given up, because its answer was lost, may have taken effect by the time that the spare is deleted: the pod has a
// function's calls then.
func TestPool_DeletesNoPodThatWasClaimed(t *testing.T) {
	w := newPoolWorld(t, 1)
	w.fill(1)
	w.create(cow())
	w.deployment("cow")
	s := w.spares()[0]
	var late sync.Once
	w.api.refuseIf(func(r *http.Request) int {
		if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/"+s.Name) {
			late.Do(func() {
				s.Labels = map[string]string{labelFunction: "cow", labelRecord: string(w.object("cow").UID)}
				s.Annotations = map[string]string{annotationClaimed: time.Now().UTC().Format(time.RFC3339Nano)}
				w.api.put(podsPath, ns, jsonOf(t, s))
			})
		}
		return 0
	})
	w.cluster.Discard(string(s.UID))
	w.eventually("another spare in its place", func() string {
		if spares := w.spares(); len(spares) != 1 || spares[0].UID == s.UID {
			return fmt.Sprint(len(spares))
		}
		return ""
	})
	if now := new(corev1.Pod); !w.api.get(podsPath, ns, s.Name, now) || now.UID != s.UID {
		t.Error("the claimed pod was deleted")
	}
}

// A quota that has no room for spares is no reason to ask for them without end, and keeps no function from running.
func TestPool_NoRoom(t *testing.T) {
	w := newPoolWorld(t, 0)
	var refused sync.WaitGroup
	refused.Add(1)
	var once sync.Once
	w.api.refuseIf(func(r *http.Request) int {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/pods") {
			once.Do(refused.Done)
			return http.StatusForbidden
		}
		return 0
	})
	w.api.put(namespacesPath, "", `{"metadata":{"name":"openfaas-fn","labels":{"openfaas":"1"},"annotations":{"com.dragonchain.pool.size":"1"}}}`)
	refused.Wait()
	w.atZero(cow())
	w.scale(cowRef, 1)
	w.deployment("cow")
}

func TestClaim_WakesWithoutDeployment(t *testing.T) {
	w := newPoolWorld(t, 1)
	w.fill(1)
	w.secret("token", "Opaque", map[string][]byte{"token": []byte("hush")}, nil)
	spec := cow()
	spec.Env = map[string]string{"PRICE": "$(HOME) costs $5"}
	spec.Labels = map[string]string{"team": "red"}
	spec.Secrets = []string{"token"}
	w.atZero(spec)
	w.scale(cowRef, 1)
	p := w.claimed("cow")

	record := w.object("cow")
	a := w.assigned[0]
	if a.Function != "cow.openfaas-fn" || a.Record != string(record.UID) || a.Env["PRICE"] != "$(HOME) costs $5" || a.Env["fprocess"] != spec.Process ||
		a.Env["DC_READY_TOKEN"] == "" || *a.User != defaultUser || string(a.Secrets["token"]) != "hush" || a.Env["DC_POD"] != "" {
		t.Errorf("assigned %+v", a)
	}
	if p.Labels["team"] != "red" || p.Labels[labelRecord] != string(record.UID) || p.Labels[labelSpare] != "" || p.Spec.Containers[0].Image != spec.Image {
		t.Errorf("adopted as %+v", p)
	}
	if len(p.OwnerReferences) != 1 || p.OwnerReferences[0].UID != record.UID || !*p.OwnerReferences[0].Controller {
		t.Errorf("owners %+v: a ReplicaSet could adopt it", p.OwnerReferences)
	}
	w.starts(p, false)
	w.knows(p.Name)
	w.cluster.MarkReady(cowRef, string(record.UID), p.Name, "10.0.0.9", function.Startup{})
	w.endpoints(cowRef, "10.0.0.9:8080")
	w.condition("cow", "Healthy", "True")
	w.condition("cow", "Reconciling", "False")
	if s := w.object("cow").Status; s.Replicas != 1 || s.AvailableReplicas != 1 || s.UnavailableReplicas != 0 {
		t.Errorf("status %+v", s)
	}
	if !slices.Contains(w.serving, string(p.UID)) {
		t.Errorf("the pool was not told that it serves: %v", w.serving)
	}
	if got := w.api.names(deploymentsPath); len(got) > 0 {
		t.Errorf("Deployments %v", got)
	}
	w.fill(1) // another takes its place
	if got := w.cluster.Claimed(); len(got) != 1 || got[0].Ref != cowRef || got[0].ID != string(record.UID) {
		t.Errorf("claimed: %+v", got)
	}

	w.scale(cowRef, 0)
	w.eventually("the pod is gone", func() string {
		if w.api.get(podsPath, ns, p.Name, new(corev1.Pod)) {
			return "it is there"
		}
		return ""
	})
	w.endpoints(cowRef)
	w.fill(1) // nothing of it comes back
}

// An image that serves by itself runs in a spare too: the watchdog beside it is told what the image would run, and how long
// to hold its end back.
func TestClaim_ImageThatServesByItself(t *testing.T) {
	w := newPoolWorld(t, 1)
	w.fill(1)
	spec := cow()
	spec.Process, spec.Annotations = "", map[string]string{function.AnnotationReadyPath: "/healthy"}
	registry := newTestRegistry(t, "", "")
	registry.push(t, "cow:1", registryv1.Config{Entrypoint: []string{"/serve"}, Cmd: []string{"--all"}}, authn.Anonymous)
	spec.Image = registry.host + "/cow:1"
	w.atZero(spec)
	w.scale(cowRef, 1)
	p := w.claimed("cow")
	env := w.assigned[0].Env
	for name, want := range map[string]string{
		"DC_COMMAND": `["/serve","--all"]`, "DC_BESIDE": "8080", "DC_READY_PATH": "/healthy", "DC_HOLD": "30s",
		"DC_FUNCTION": "cow.openfaas-fn", "DC_READY_URL": "http://provider/dc/ready", "mode": "", "DC_DIALECT": "", "ready_path": "",
	} {
		if env[name] != want {
			t.Errorf("%s=%q, want %q", name, env[name], want)
		}
	}
	if env["DC_READY_TOKEN"] == "" {
		t.Error("no token")
	}
	for what, probe := range map[string]*corev1.Probe{"readiness": p.Spec.Containers[0].ReadinessProbe, "liveness": p.Spec.Containers[0].LivenessProbe} {
		if probe.HTTPGet.Port.StrVal != probesPort {
			t.Errorf("%s is asked of %s, where the function is", what, probe.HTTPGet.Port.String())
		}
	}
}

// A change of a pod may take effect though its answer is lost. The function has one pod in the end, and goes without a Deployment.
func TestClaim_TookEffectUnanswered(t *testing.T) {
	w := newPoolWorld(t, 2)
	w.fill(2)
	w.atZero(cow())
	w.mu.Lock()
	w.unanswered = true
	w.mu.Unlock()
	w.scale(cowRef, 1)
	w.eventually("two spares have become the function's", func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.adopted != 2 {
			return fmt.Sprint(w.adopted)
		}
		return ""
	})
	p := w.claimed("cow")
	w.starts(p, true)
	w.endpoints(cowRef, "10.0.0.9:8080")
	if got := w.claimed("cow"); got.Name != p.Name {
		t.Errorf("%s is left, and %s was", got.Name, p.Name)
	}
	if got := w.api.names(deploymentsPath); len(got) > 0 {
		t.Errorf("Deployments %v", got)
	}
}

// Spares go with the chart. One that was claimed belongs to its function, and to nobody else.
func TestPool_GoesWithItsOwner(t *testing.T) {
	w := newPoolWorld(t, 0)
	w.api.put("/apis/rbac.authorization.k8s.io/v1/clusterroles", "", `{"metadata":{"name":"dc-provider"}}`)
	w.api.put(namespacesPath, "", `{"metadata":{"name":"openfaas-fn","labels":{"openfaas":"1"},"annotations":{"com.dragonchain.pool.size":"1"}}}`)
	w.fill(1)
	if owners := w.spares()[0].OwnerReferences; len(owners) != 1 || owners[0].Kind != "ClusterRole" || owners[0].Name != "dc-provider" || owners[0].UID == "" {
		t.Errorf("owners %+v", owners)
	}
	w.atZero(cow())
	w.scale(cowRef, 1)
	if owners := w.claimed("cow").OwnerReferences; len(owners) != 1 || owners[0].UID != w.object("cow").UID {
		t.Errorf("owners of a claimed pod %+v", owners)
	}
}

// A claim that fails, and a pool that has no spare, leave the function its Deployment.
func TestClaim_FailsOver(t *testing.T) {
	for name, test := range map[string]struct {
		spares int
		fail   error
	}{
		"no spare":           {spares: 0},
		"cut off in between": {spares: 1, fail: errors.New("cut off")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newPoolWorld(t, test.spares)
			w.fill(test.spares)
			w.fail = test.fail
			w.atZero(cow())
			given := w.spares()
			w.scale(cowRef, 1)
			w.lone("cow")
			for _, s := range given {
				w.eventually("the spare is given up", func() string {
					if w.api.get(podsPath, ns, s.Name, new(corev1.Pod)) {
						return "it is there"
					}
					return ""
				})
			}
		})
	}
}

// A deploy, and a function that cannot be given a spare, take none.
func TestClaim_OnlyAtAWake(t *testing.T) {
	w := newPoolWorld(t, 1)
	w.fill(1)
	w.create(cow())
	w.deployment("cow")
	bound := cow()
	bound.Name, bound.Constraints = "bound", []string{"disk=ssd"}
	w.create(bound)
	if why := w.condition("bound", "Claimable", "False"); !strings.Contains(why, "certain nodes") {
		t.Errorf("says %q", why)
	}
	w.deployment("bound") // or the reconciler could miss that there were none asked for
	w.scale(bound.Ref, 0)
	w.eventually("at zero", func() string {
		if w.api.get(deploymentsPath, ns, "bound", new(corev1.Pod)) || w.cluster.deployments.get(bound.Ref) != nil {
			return "not yet"
		}
		return ""
	})
	w.scale(bound.Ref, 1)
	w.lone("bound")
	if len(w.assigned) > 0 || len(w.spares()) != 1 {
		t.Errorf("%d assigned, %d spares left", len(w.assigned), len(w.spares()))
	}
}

// Whatever asks for it, the function gets its Deployment beside the claimed pod, which goes when the Deployment serves.
func TestClaim_MovesToTheDeployment(t *testing.T) {
	for name, move := range map[string]func(*poolWorld, *corev1.Pod){
		"steady demand": func(w *poolWorld, p *corev1.Pod) { w.cluster.Steady(cowRef, p.Labels[labelRecord]) },
		"more replicas": func(w *poolWorld, _ *corev1.Pod) { w.scale(cowRef, 2) },
		"an update": func(w *poolWorld, _ *corev1.Pod) {
			if err := w.cluster.Update(w.Context(), cow()); err != nil {
				w.Fatal(err)
			}
		},
		"a secret of it": func(w *poolWorld, _ *corev1.Pod) {
			if err := w.cluster.UpdateSecret(w.Context(), ns, "token", []byte("other")); err != nil {
				w.Fatal(err)
			}
		},
		"a secret of it, by kubectl": func(w *poolWorld, p *corev1.Pod) {
			w.secret("token", "Opaque", map[string][]byte{"token": []byte("other")}, map[string]string{labelManagedBy: managedBy})
			w.age(p)
		},
		"it crashed": func(w *poolWorld, p *corev1.Pod) {
			now := new(corev1.Pod)
			w.api.get(podsPath, ns, p.Name, now)
			now.Status.ContainerStatuses[0].RestartCount = 2
			w.api.put(podsPath, ns, jsonOf(w.T, now))
		},
		"its image cannot be pulled": func(w *poolWorld, p *corev1.Pod) {
			now := new(corev1.Pod)
			w.api.get(podsPath, ns, p.Name, now)
			now.Status.ContainerStatuses[0] = corev1.ContainerStatus{Name: spareContainer, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}}
			w.api.put(podsPath, ns, jsonOf(w.T, now))
		},
		"the node has no room for it": func(w *poolWorld, p *corev1.Pod) {
			now := new(corev1.Pod)
			w.api.get(podsPath, ns, p.Name, now)
			now.Status.Conditions = append(now.Status.Conditions, corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue})
			w.api.put(podsPath, ns, jsonOf(w.T, now))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newPoolWorld(t, 1)
			w.fill(1)
			if err := w.cluster.CreateSecret(t.Context(), ns, "token", []byte("hush")); err != nil {
				t.Fatal(err)
			}
			spec := cow()
			spec.Secrets = []string{"token"}
			w.atZero(spec)
			w.scale(cowRef, 1)
			p := w.claimed("cow")
			w.starts(p, true)
			w.endpoints(cowRef, "10.0.0.9:8080")
			move(w, p)
			d := w.deployment("cow")
			if !w.api.get(podsPath, ns, p.Name, new(corev1.Pod)) {
				t.Fatal("the claimed pod went before the Deployment served")
			}
			w.pod("cow", "cow-1", "10.0.0.1", true)
			w.api.get(deploymentsPath, ns, "cow", d)
			d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas, d.Status.ObservedGeneration = 1, 1, 1, d.Generation
			w.api.put(deploymentsPath, ns, jsonOf(t, d))
			w.eventually("the claimed pod is gone", func() string {
				if w.api.get(podsPath, ns, p.Name, new(corev1.Pod)) {
					return "it is there"
				}
				return ""
			})
			w.endpoints(cowRef, "10.0.0.1:8080")
			if err := w.cluster.Delete(t.Context(), cowRef); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A function that needs what the watchdog has in a spare, such as its port, ends there as soon as it begins. It gets its Deployment, its
// callers wait for that, its status says why, and the next wake takes no spare; the next version may.
func TestClaim_EndsInASpare(t *testing.T) {
	w := newPoolWorld(t, 1)
	w.fill(1)
	w.atZero(cow())
	w.scale(cowRef, 1)
	p := w.claimed("cow")
	now := new(corev1.Pod)
	w.api.get(podsPath, ns, p.Name, now)
	now.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.9", ContainerStatuses: []corev1.ContainerStatus{{
		Name: spareContainer, RestartCount: 1, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 1, Reason: "Error", Message: "listen tcp :8079: bind: address already in use",
		}},
	}}}
	w.api.put(podsPath, ns, jsonOf(t, now))
	w.deployment("cow")
	w.notStuck(cowRef)
	if why := w.condition("cow", "Claimable", "False"); !strings.Contains(why, "ended as soon as it began in a spare") || !strings.Contains(why, "address already in use") {
		t.Errorf("says %q", why)
	}
	w.scale(cowRef, 0)
	w.eventually("the function is at zero", func() string {
		if w.api.get(deploymentsPath, ns, "cow", new(corev1.Pod)) {
			return "it has a Deployment"
		}
		return ""
	})
	w.fill(1)
	w.scale(cowRef, 1)
	w.deployment("cow")
	w.mu.Lock()
	if len(w.assigned) != 1 {
		t.Errorf("%d spares were assigned", len(w.assigned))
	}
	w.mu.Unlock()
	spec := cow()
	spec.Env = map[string]string{"PORT": "3000"}
	if err := w.cluster.Update(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	w.condition("cow", "Claimable", "True")
}

// age has a claimed pod be claimed an hour ago.
func (w *poolWorld) age(p *corev1.Pod) {
	w.Helper()
	now := new(corev1.Pod)
	w.api.get(podsPath, p.Namespace, p.Name, now)
	now.Annotations[annotationClaimed] = time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano)
	w.api.put(podsPath, p.Namespace, jsonOf(w.T, now))
	w.eventually("the claim is old", func() string {
		for _, known := range w.cluster.Claimed() {
			if time.Since(known.Since) < time.Hour {
				return known.Since.String()
			}
		}
		return ""
	})
}

// Only a change of what a claimed pod was given is a reason to replace it: not that a secret is gone, nor that it cannot be seen.
func TestClaim_SecretsThatAreWhatTheyWere(t *testing.T) {
	w := newPoolWorld(t, 1)
	w.fill(1)
	if err := w.cluster.CreateSecret(t.Context(), ns, "token", []byte("hush")); err != nil {
		t.Fatal(err)
	}
	spec := cow()
	spec.Secrets = []string{"token"}
	w.atZero(spec)
	w.scale(cowRef, 1)
	p := w.claimed("cow")
	w.starts(p, true)
	w.endpoints(cowRef, "10.0.0.9:8080")
	w.age(p)
	changed := func() bool {
		r := w.cluster.records.get(cowRef)
		return w.cluster.secretsChanged(t.Context(), cowRef, r, w.cluster.claims(cowRef, r.uid))
	}
	if changed() {
		t.Error("nothing has changed")
	}
	if err := w.cluster.DeleteSecret(t.Context(), ns, "token"); err != nil {
		t.Fatal(err)
	}
	if changed() {
		t.Error("a secret that is gone is kept by other pods too")
	}
	if err := w.cluster.CreateSecret(t.Context(), ns, "token", []byte("other")); err != nil {
		t.Fatal(err)
	}
	w.deployment("cow")
}

// A function whose only replica is on a node that answers nothing gets a spare beside it, which stays until there is a new replica.
func TestRescue(t *testing.T) {
	if !anyReached(t.Context(), []function.Endpoint{{Address: "127.0.0.1:1"}}) {
		t.Error("an address where nobody listens is on a node that is there")
	}
	const nowhere = "10.0.0.1"
	w := newPoolWorld(t, 1)
	w.cluster.reached = func(context.Context, []function.Endpoint) bool { return false }
	w.fill(1)
	w.create(cow())
	w.condition("cow", "Claimable", "True")
	w.pod("cow", "cow-1", nowhere, true)
	serves := func() {
		d := w.deployment("cow")
		d.Status = appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1, ObservedGeneration: d.Generation}
		w.api.put(deploymentsPath, ns, jsonOf(t, d))
	}
	serves()
	w.endpoints(cowRef, nowhere+":8080")
	id := string(w.object("cow").UID)
	if w.cluster.IsUnreached(cowRef) {
		t.Error("nobody told that it is not reached, and others hear so")
	}
	w.cluster.Unreached(cowRef, id)
	if !w.cluster.IsUnreached(cowRef) {
		t.Error("the other providers do not hear that it is not reached")
	}
	var p *corev1.Pod
	w.eventually("a spare is claimed", func() string {
		list := w.podsThat(func(p *corev1.Pod) bool { return p.Annotations[annotationClaimed] != "" })
		if len(list) != 1 {
			return fmt.Sprint(len(list))
		}
		p = list[0]
		return ""
	})
	w.starts(p, true)
	w.endpoints(cowRef, nowhere+":8080", "10.0.0.9:8080")
	w.fill(1)
	for range 3 { // however often it is told, and the Deployment says that it serves
		w.cluster.Unreached(cowRef, id)
		serves()
	}
	w.condition("cow", "Healthy", "True")
	if list := w.podsThat(func(p *corev1.Pod) bool { return p.Annotations[annotationClaimed] != "" }); len(list) != 1 {
		t.Errorf("%d claimed pods", len(list))
	}
	made := new(corev1.Pod)
	w.api.get(podsPath, ns, "cow-1", made)
	made.Name, made.UID, made.Status.PodIP = "cow-2", "", "10.0.1.1"
	w.api.mu.Lock()
	w.api.create(httptest.NewRecorder(), apiPath{collection: podsPath, namespace: ns}, []byte(jsonOf(t, made)))
	w.api.mu.Unlock()
	w.eventually("the claimed pod is gone", func() string {
		if w.api.get(podsPath, ns, p.Name, new(corev1.Pod)) {
			return "it is there"
		}
		return ""
	})
}

// Where no spare of another node is free, such a function gets a pod of its own, which Kubernetes must not send to the lost node: it does
// not know of that yet. Spares that are made meanwhile are kept away from it, too.
func TestRescue_WithoutASpare(t *testing.T) {
	w := newPoolWorld(t, 1)
	w.cluster.reached = func(context.Context, []function.Endpoint) bool { return false }
	w.fill(1)
	w.create(cow())
	w.condition("cow", "Claimable", "True")
	w.pod("cow", "cow-1", "10.0.0.1", true)
	on := new(corev1.Pod)
	w.api.get(podsPath, ns, "cow-1", on)
	on.Spec.NodeName = "lost"
	w.api.put(podsPath, ns, jsonOf(t, on))
	w.endpoints(cowRef, "10.0.0.1:8080")
	w.eventually("its node is known", func() string {
		if p := w.cluster.table.podsOf(cowRef)["cow-1"]; p == nil || p.node != "lost" {
			return "it is not"
		}
		return ""
	})
	w.putNode("lost", "", "")
	w.putNode("other", "", "")
	w.mu.Lock()
	w.fail = errors.New("no spare of another node")
	w.mu.Unlock()
	w.cluster.Unreached(cowRef, string(w.object("cow").UID))
	away := func(p *corev1.Pod) {
		t.Helper()
		if a := p.Spec.Affinity; a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
			t.Fatalf("%s may run anywhere", p.Name)
		}
		terms := p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
		want := []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpNotIn, Values: []string{"lost"}}}
		if len(terms) != 1 || !equality.Semantic.DeepEqual(terms[0].MatchFields, want) {
			t.Errorf("%s: %+v", p.Name, terms)
		}
	}
	lone := w.lone("cow")
	away(lone)
	w.eventually("another spare is made", func() string {
		list := w.spares()
		if len(list) != 1 || list[0].Spec.Affinity == nil {
			return fmt.Sprint(len(list), " spares")
		}
		away(list[0])
		return ""
	})
	w.runs(lone, "cow", 0)
	w.knows(lone.Name)
	w.cluster.MarkReady(cowRef, lone.Labels[labelRecord], lone.Name, "10.0.0.9", function.Startup{})
	w.endpoints(cowRef, "10.0.0.1:8080", "10.0.0.9:8080")
}

// Pods are kept away from no node where that would leave them none.
func TestKeepAway_OnlyWhereThereAreOthers(t *testing.T) {
	w := newPoolWorld(t, 0)
	w.putNode("lost", "", "")
	w.putNode("n", `"unschedulable":true`, "")
	var spec corev1.PodSpec
	if w.cluster.keepAway(t.Context(), &spec); spec.Affinity != nil {
		t.Error("nothing is known of any node")
	}
	w.cluster.cfg.Pool.Shun("lost")
	if w.cluster.keepAway(t.Context(), &spec); spec.Affinity != nil {
		t.Error("no other node is open")
	}
	w.putNode("other", "", "")
	spec.NodeSelector = map[string]string{"name": "lost"}
	if w.cluster.keepAway(t.Context(), &spec); spec.Affinity != nil {
		t.Error("it is to run there and nowhere else")
	}
	spec.NodeSelector = nil
	if w.cluster.keepAway(t.Context(), &spec); spec.Affinity == nil {
		t.Error("it may run on another node, and is not kept away")
	}
}

// A claimed pod that cannot be deleted now takes no calls meanwhile, and is deleted later.
func TestClaim_DrainIsTriedAgain(t *testing.T) {
	w := newPoolWorld(t, 1)
	w.fill(1)
	w.atZero(cow())
	w.scale(cowRef, 1)
	p := w.claimed("cow")
	w.starts(p, true)
	w.endpoints(cowRef, "10.0.0.9:8080")
	w.cluster.Steady(cowRef, p.Labels[labelRecord])
	d := w.deployment("cow")
	var mu sync.Mutex
	left := 2
	w.api.refuseIf(func(r *http.Request) int {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, p.Name) && left > 0 {
			left--
			return http.StatusInternalServerError
		}
		return 0
	})
	d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas, d.Status.ObservedGeneration = 1, 1, 1, d.Generation
	w.api.put(deploymentsPath, ns, jsonOf(t, d))
	w.eventually("the claimed pod is gone", func() string {
		if w.api.get(podsPath, ns, p.Name, new(corev1.Pod)) {
			return "it is there"
		}
		return ""
	})
}

// What another provider left in the middle of a claim: a pod that serves goes on serving, one that nobody wants goes, and so
// does one whose record is gone.
func TestClaim_TakenOverFromAnotherProvider(t *testing.T) {
	w := newPoolWorld(t, 1)
	w.fill(1)
	w.atZero(cow())
	w.scale(cowRef, 1)
	p := w.claimed("cow")
	w.starts(p, true)
	w.stop()
	w.mu.Lock()
	clear(w.registered)
	w.mu.Unlock()

	left := new(corev1.Pod)
	w.api.get(podsPath, ns, p.Name, left)
	left.Name, left.UID = "left", ""
	left.Labels = maps.Clone(left.Labels)
	left.Labels[labelFunction], left.Labels[labelRecord] = "gone", "a record that is gone"
	w.api.put(podsPath, ns, jsonOf(t, left))
	w.start(w.config(1))
	w.endpoints(cowRef, "10.0.0.9:8080")
	w.eventually("the pod of no record is gone", func() string {
		if w.api.get(podsPath, ns, "left", new(corev1.Pod)) {
			return "it is there"
		}
		return ""
	})
	w.condition("cow", "Reconciling", "False")
	if got := w.api.names(deploymentsPath); len(got) > 0 {
		t.Errorf("Deployments %v", got)
	}
	w.stop()

	// The record was written to zero, and the pods were not deleted.
	o := w.object("cow")
	o.Spec.Replicas = new(int32)
	w.api.put(functionsPath, ns, jsonOf(t, o))
	w.start(w.config(1))
	w.eventually("the pod that nobody wants is gone", func() string {
		if w.api.get(podsPath, ns, p.Name, new(corev1.Pod)) {
			return "it is there"
		}
		return ""
	})
}

// A spare that has an address and does not register is asked.
func TestPool_AsksSpares(t *testing.T) {
	w := newPoolWorld(t, 1)
	w.eventually("a spare", func() string {
		if len(w.spares()) != 1 {
			return "none"
		}
		return ""
	})
	s := w.spares()[0]
	s.Status.PodIP = "10.0.0.7"
	s.CreationTimestamp.Time = time.Now().Add(-time.Minute / 2)
	w.api.put(podsPath, ns, jsonOf(t, s))
	w.eventually("it is asked", func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !slices.Contains(w.asked, s.Name+" at 10.0.0.7") {
			return fmt.Sprint(w.asked)
		}
		return ""
	})
	if !w.cluster.HasSpare(s.Name, netip.MustParseAddr("::ffff:10.0.0.7")) || w.cluster.HasSpare(s.Name, netip.MustParseAddr("10.0.0.8")) ||
		w.cluster.HasSpare("other", netip.MustParseAddr("10.0.0.7")) {
		t.Error("spares are not told by name and address")
	}
}

func TestConfirmSpare(t *testing.T) {
	w := newPoolWorld(t, 1)
	w.fill(1)
	s := w.spares()[0]
	good := func(review map[string]any) map[string]any {
		token := review["spec"].(map[string]any)["token"]
		review["status"] = map[string]any{
			"authenticated": token == "good", "audiences": []string{assignment.Audience},
			"user": map[string]any{"username": "system:serviceaccount:" + ns + ":default", "extra": map[string]any{
				tokenPodName: []string{s.Name}, tokenPodUID: []string{string(s.UID)},
			}},
		}
		return review
	}
	with := func(change func(status map[string]any)) func(map[string]any) map[string]any {
		return func(review map[string]any) map[string]any {
			review = good(review)
			change(review["status"].(map[string]any))
			return review
		}
	}
	user := func(status map[string]any) map[string]any { return status["user"].(map[string]any) }
	confirm := func(review func(map[string]any) map[string]any, name, uid, token string) (string, bool, error) {
		w.api.mu.Lock()
		w.api.review = review
		w.api.mu.Unlock()
		namespace, _, is, err := w.cluster.ConfirmSpare(t.Context(), name, uid, token)
		return namespace, is, err
	}
	if namespace, is, err := confirm(good, s.Name, string(s.UID), "good"); namespace != ns || !is || err != nil {
		t.Fatalf("%q, %t, %v", namespace, is, err)
	}
	for name, test := range map[string]struct {
		review          func(map[string]any) map[string]any
		pod, uid, token string
	}{
		"token unknown":        {good, s.Name, string(s.UID), "bad"},
		"other audience":       {with(func(s map[string]any) { s["audiences"] = []string{"https://kubernetes"} }), s.Name, string(s.UID), "good"},
		"of another pod":       {good, "other", string(s.UID), "good"},
		"of an earlier pod":    {good, s.Name, "other", "good"},
		"of no pod":            {with(func(s map[string]any) { delete(user(s), "extra") }), s.Name, string(s.UID), "good"},
		"of a user":            {with(func(s map[string]any) { user(s)["username"] = "admin" }), s.Name, string(s.UID), "good"},
		"of another namespace": {with(func(s map[string]any) { user(s)["username"] = "system:serviceaccount:other:default" }), s.Name, string(s.UID), "good"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, is, err := confirm(test.review, test.pod, test.uid, cmp.Or(test.token, "good")); is || err == nil {
				t.Errorf("%t, %v", is, err)
			}
		})
	}
	t.Run("Kubernetes does not answer", func(t *testing.T) {
		w.api.refuseIf(func(r *http.Request) int {
			if strings.HasSuffix(r.URL.Path, "/tokenreviews") {
				return http.StatusInternalServerError
			}
			return 0
		})
		defer w.api.refuseIf(nil)
		if _, is, err := confirm(good, s.Name, string(s.UID), "good"); !is || err == nil {
			t.Errorf("%t, %v: that is no reason to give it up", is, err)
		}
	})
	t.Run("claimed since", func(t *testing.T) {
		w.atZero(cow())
		w.scale(cowRef, 1)
		w.claimed("cow")
		if _, is, err := confirm(good, s.Name, string(s.UID), "good"); is || err == nil {
			t.Errorf("%t, %v: its function could be given others' secrets", is, err)
		}
	})
}

func TestUnclaimable(t *testing.T) {
	other, same := int64(65532), int64(defaultUser)
	for name, test := range map[string]struct {
		edit   func(*function.Spec)
		image  *resolution
		limits *function.Resources
		want   string // a part of it; "" is claimable
	}{
		"plain":                 {image: &resolution{User: &same}},
		"serves by itself":      {edit: func(s *function.Spec) { s.Process = "" }, image: &resolution{Command: []string{"/serve"}}},
		"by what is not known":  {edit: func(s *function.Spec) { s.Process = "" }, image: &resolution{Problem: "no registry in reach"}, want: "not known: no registry in reach"},
		"constraint":            {edit: func(s *function.Spec) { s.Constraints = []string{"a=b"} }, image: &resolution{}, want: "certain nodes"},
		"read-only root":        {edit: func(s *function.Spec) { s.ReadOnlyRoot = true }, image: &resolution{}, want: "read-only"},
		"GPU":                   {edit: func(s *function.Spec) { s.Limits = &function.Resources{AMDGPU: "1"} }, image: &resolution{}, want: "amd.com/gpu"},
		"not resolved":          {want: "not resolved"},
		"another user":          {image: &resolution{User: &other}, want: "user 65532"},
		"pull secret":           {image: &resolution{PullSecrets: []string{"registry"}}, want: `"registry"`},
		"no limit of its own":   {image: &resolution{}, limits: &function.Resources{Memory: "64Mi"}, want: "no limit of memory"},
		"a limit of its own":    {edit: func(s *function.Spec) { s.Limits = &function.Resources{Memory: "1Gi"} }, image: &resolution{}, limits: &function.Resources{Memory: "64Mi"}},
		"no limit of processor": {image: &resolution{}, limits: &function.Resources{CPU: "1"}, want: "no limit of CPU"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := cow()
			if test.edit != nil {
				test.edit(&spec)
			}
			fn, err := function.New(spec)
			if err != nil {
				t.Fatal(err)
			}
			got := unclaimable(fn, test.image, test.limits)
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestCannotResize(t *testing.T) {
	has := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourceCPU: resource.MustParse("2")}
	for name, test := range map[string]struct {
		server string
		limits *function.Resources
		want   string
	}{
		"nothing to change":     {server: "v1.30.0"},
		"it fits":               {server: "v1.33.0", limits: &function.Resources{Memory: "4Gi", CPU: "2"}},
		"too old":               {server: "v1.32.9", limits: &function.Resources{Memory: "1Gi"}, want: "cannot change"},
		"too much memory":       {server: "v1.36.3", limits: &function.Resources{Memory: "5Gi"}, want: "no node has 5Gi of memory"},
		"too much of processor": {server: "v1.36.3", limits: &function.Resources{CPU: "3"}, want: "no node has 3 of cpu"},
	} {
		t.Run(name, func(t *testing.T) {
			c := nodeCache{server: test.server, asked: time.Now(), nodes: []node{{allocatable: has}}}
			got := c.cannotResize(t.Context(), &function.Function{Spec: function.Spec{Limits: test.limits}})
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestResized(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		l, err := quantities("", &function.Resources{CPU: cpu, Memory: memory})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	spare := corev1.ResourceRequirements{Requests: list("10m", "16Mi")}
	for name, test := range map[string]struct {
		limits, requests *function.Resources
		want             corev1.ResourceRequirements
	}{
		"nothing asked for": {want: spare},
		"requests":          {requests: &function.Resources{CPU: "100m", Memory: "64Mi"}, want: corev1.ResourceRequirements{Requests: list("100m", "64Mi")}},
		"a limit is a request": {limits: &function.Resources{Memory: "64Mi"},
			want: corev1.ResourceRequirements{Requests: list("10m", "64Mi"), Limits: list("", "64Mi")}},
		"both": {requests: &function.Resources{CPU: "50m", Memory: "32Mi"}, limits: &function.Resources{CPU: "100m", Memory: "64Mi"},
			want: corev1.ResourceRequirements{Requests: list("50m", "32Mi"), Limits: list("100m", "64Mi")}},
		"a limit below what the spare has": {limits: &function.Resources{Memory: "8Mi"},
			want: corev1.ResourceRequirements{Requests: list("10m", "8Mi"), Limits: list("", "8Mi")}},
		"all that it asks for is guaranteed": {limits: &function.Resources{CPU: "100m", Memory: "64Mi"},
			want: corev1.ResourceRequirements{Requests: list("99m", "64Mi"), Limits: list("100m", "64Mi")}},
	} {
		t.Run(name, func(t *testing.T) {
			got := resized(spare, &function.Function{Spec: function.Spec{Limits: test.limits, Requests: test.requests}})
			if !equality.Semantic.DeepEqual(got, test.want) {
				t.Errorf("%+v, want %+v", got, test.want)
			}
			again := resized(got, &function.Function{Spec: function.Spec{Limits: test.limits, Requests: test.requests}})
			if !equality.Semantic.DeepEqual(again, got) {
				t.Errorf("a second time: %+v", again)
			}
		})
	}
}

func TestWeigh(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	of := func(uid string, age time.Duration) *spare {
		return &spare{uid: types.UID(uid), shape: "s", created: now.Add(-age)}
	}
	over, odd := of("r-over", 0), of("r-odd", 0)
	over.over, odd.shape = true, "other"
	for name, test := range map[string]struct {
		spares  map[string]*spare // registered if their identity begins with r
		size    int
		began   time.Duration // ago
		remove  []string
		coming  []string
		late    int
		missing int
		free    int
	}{
		"none":                                 {size: 2, missing: 2},
		"as asked":                             {spares: map[string]*spare{"a": of("r1", 0)}, size: 1, free: 1},
		"one is coming":                        {spares: map[string]*spare{"a": of("r1", 0), "b": of("2", 0)}, size: 3, coming: []string{"b"}, missing: 1, free: 1},
		"one ended, one is odd":                {spares: map[string]*spare{"a": over, "b": odd}, size: 2, remove: []string{"a", "b"}, missing: 2},
		"too many: the youngest":               {spares: map[string]*spare{"a": of("r1", time.Hour), "b": of("r2", time.Minute)}, size: 1, remove: []string{"b"}, free: 1},
		"too many: that is coming":             {spares: map[string]*spare{"a": of("1", time.Second), "b": of("r2", 0)}, size: 1, remove: []string{"a"}, free: 1},
		"never registered":                     {spares: map[string]*spare{"a": of("1", 2*time.Minute)}, size: 1, began: time.Hour, remove: []string{"a"}, missing: 1},
		"after a change of providers, not yet": {spares: map[string]*spare{"a": of("1", time.Hour)}, size: 1, began: time.Second, coming: []string{"a"}},
		"one that cannot start":                {spares: map[string]*spare{"a": of("1", spareSlow+1)}, size: 1, began: time.Hour, coming: []string{"a"}, late: 1},
		"off":                                  {spares: map[string]*spare{"a": of("r1", 0)}, remove: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Cluster{cfg: Config{Pool: &Pool{Registered: func(id string) bool { return strings.HasPrefix(id, "r") }}}}
			w := c.weigh(test.spares, now, now.Add(-test.began), test.size, "s")
			if !slices.Equal(w.remove, test.remove) || !slices.Equal(w.coming, test.coming) || w.starting != len(test.coming)-test.late || w.missing != test.missing || w.free != test.free {
				t.Errorf("%+v", w)
			}
		})
	}
}

// New spares wait for pods that come up for calls: while others are left as long as it takes, where none is for some time.
func TestKeeper_WaitsForWakes(t *testing.T) {
	type at struct {
		after  time.Duration
		waking bool
		free   int
		waits  bool
	}
	for name, looks := range map[string][]at{
		"nothing comes up":          {{0, false, 0, false}, {0, false, 1, false}},
		"others are left":           {{0, true, 1, true}, {burstPause, true, 1, true}, {time.Hour, true, 1, true}, {time.Hour, false, 1, false}},
		"a burst takes them all":    {{0, true, 0, true}, {burstPause - 1, true, 0, true}, {burstPause, false, 0, false}},
		"it goes on":                {{0, true, 0, true}, {burstPause, true, 0, false}, {burstPause + 1, true, 0, false}},
		"one burst after the other": {{0, true, 0, true}, {burstPause, false, 0, false}, {burstPause + 1, true, 0, true}, {2*burstPause + 1, true, 0, false}},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			k := &keeper{made: began.Add(-time.Hour)}
			for _, l := range looks {
				now := began.Add(l.after)
				if k.look(l.waking, now); k.inTheWay(l.free, now) != l.waits {
					t.Errorf("after %v, waking %t, %d free: waits %t", l.after, l.waking, l.free, !l.waits)
				}
			}
			// One that was made is followed by no other at once.
			now := began.Add(2 * time.Hour)
			k.look(true, now.Add(-burstPause))
			k.made = now.Add(burstPause)
			if !k.inTheWay(0, k.made.Add(wakesPause-1)) || k.inTheWay(0, k.made.Add(wakesPause)) {
				t.Error("the pause after a spare is another")
			}
		})
	}
}

// The status of a function that was woken waits for the pods that come up for calls, and is written though they come without end.
func TestStatus_WaitsForWakes(t *testing.T) {
	w := &poolWorld{registered: make(map[string]bool)}
	var starting atomic.Bool
	w.world = newWorld(t, func(cfg *Config) {
		w.config(1)(cfg)
		cfg.Pool.Starting = starting.Load
	})
	w.fill(1)
	w.atZero(cow())
	starting.Store(true)
	w.scale(cowRef, 1)
	p := w.claimed("cow")
	since := w.cluster.pods.get(function.Ref{Name: p.Name, Namespace: ns}).claim.since
	r := w.cluster.records.get(cowRef)
	waits := func(o outcome, after time.Duration) time.Duration {
		return w.cluster.statusWaits(cowRef, r, o, since.Add(after))
	}
	for after, want := range map[time.Duration]time.Duration{
		0: statusPause, statusPause / 2: statusPause / 2, statusPause: 0, time.Hour: 0, -time.Hour: statusPause,
	} {
		if got := waits(outcome{claimed: true}, after); got != want {
			t.Errorf("%v after its claim it waits %v, want %v", after, got, want)
		}
	}
	if got := waits(outcome{waiting: "a quota"}, 0); got != 0 {
		t.Errorf("what is wrong waits %v", got)
	}
	w.starts(p, true)
	w.cluster.MarkReady(cowRef, string(r.uid), p.Name, "10.0.0.9", function.Startup{})
	w.condition("cow", "Healthy", "True")
	starting.Store(false)
	if got := waits(outcome{claimed: true}, 0); got != 0 {
		t.Errorf("with no pod coming up it waits %v", got)
	}
}

func TestTurns(t *testing.T) {
	for _, test := range []struct {
		missing map[string]int
		most    []int // of rounds
		want    string
	}{
		{nil, []int{4}, "[]"},
		{map[string]int{"a": 9}, []int{4}, "[a a a a]"},
		{map[string]int{"a": 9, "b": 1, "c": 2}, []int{4}, "[a b c a]"},
		{map[string]int{"a": 1, "b": 1}, []int{4}, "[a b]"},
		{map[string]int{"a": 1, "b": 1}, []int{0}, "[]"},
		{map[string]int{"a": 1}, []int{-2}, "[]"},
		// A namespace whose spares are used up as they come.
		{map[string]int{"a": 9, "b": 9, "c": 9}, []int{1, 1, 1, 1, 2, 0, 1}, "[a b c a b c a]"},
	} {
		turns := turns{last: make(map[string]uint64)}
		got := []string{}
		for _, most := range test.most {
			got = append(got, turns.share(test.missing, most)...)
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("%v of %d: %s, want %s", test.missing, test.most, got, test.want)
		}
	}
}

// Before its first restart what is told of a claimed pod is the spare's.
func TestNewPod_Claimed(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	pulling := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}
	for name, test := range map[string]struct {
		status               corev1.ContainerStatus
		ready, down, started bool
		restarts             int32
		problem              string
	}{
		"still the spare":     {status: corev1.ContainerStatus{State: running}},
		"the spare has ended": {status: corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}},
		"no image":            {status: corev1.ContainerStatus{State: pulling}, problem: "ErrImagePull"},
		"the function":        {status: corev1.ContainerStatus{State: running, RestartCount: 1}, ready: true, started: true},
		"it has ended":        {status: corev1.ContainerStatus{State: ended, RestartCount: 1}, ready: true, down: true, started: true},
		"it crashes":          {status: corev1.ContainerStatus{State: waiting, LastTerminationState: ended, RestartCount: 3}, ready: true, down: true, started: true, restarts: 2},
	} {
		t.Run(name, func(t *testing.T) {
			o := &corev1.Pod{}
			o.Labels = map[string]string{labelFunction: "cow"}
			o.Annotations = map[string]string{annotationClaimed: time.Now().Format(time.RFC3339Nano)}
			o.Spec.Containers = []corev1.Container{{Name: spareContainer}}
			test.status.Name = spareContainer
			o.Status.ContainerStatuses = []corev1.ContainerStatus{test.status}
			o.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			p := newPod(o, nil)
			if p.claim == nil || p.ready != test.ready || p.down != test.down || p.started != test.started || p.restarts != test.restarts || !strings.Contains(p.problem, test.problem) {
				t.Errorf("%+v", p)
			}
			if p.container() != spareContainer {
				t.Errorf("container %q", p.container())
			}
		})
	}
}
