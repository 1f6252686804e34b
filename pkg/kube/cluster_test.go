package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/test/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

func cow() function.Spec {
	return function.Spec{Ref: cowRef, Image: "dragonchain/cowsay:1", Process: "/usr/games/cowsay"}
}

func TestCreate_MakesDeploymentAndServiceOwnedByTheRecord(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	if _, ok := w.cluster.Lookup(cowRef); !ok {
		t.Error("not found by Lookup when Create had returned")
	}
	record := w.object("cow")
	if !slices.Contains(record.Finalizers, finalizer) {
		t.Errorf("finalizers %v", record.Finalizers)
	}
	d := w.deployment("cow")
	w.eventually("Service", func() string {
		if !w.api.get(servicesPath, ns, "cow", new(corev1.Service)) {
			return "there is none"
		}
		return ""
	})
	for _, owner := range d.OwnerReferences {
		if owner.UID != record.UID || owner.Kind != kindFunction {
			t.Errorf("owned by %+v, want record %s", owner, record.UID)
		}
	}
	w.condition("cow", "Ready", "True")
	w.condition("cow", "Healthy", "False")
	w.pod("cow", "cow-1", "10.0.0.1", true)
	w.endpoints(cowRef, "10.0.0.1:8080")
	w.condition("cow", "Healthy", "True")
	if s := w.cluster.Status(cowRef); s.Available != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestCreate_Refuses(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	edit := func(f func(*function.Spec)) function.Spec {
		s := cow()
		s.Name = "other"
		f(&s)
		return s
	}
	for _, test := range []struct {
		name string
		spec function.Spec
		want error
		text string
	}{
		{"a name that is taken", cow(), function.ErrExists, `"cow" exists`},
		{"a namespace that is not for functions", edit(func(s *function.Spec) { s.Namespace = "default" }), function.ErrInvalid, "openfaas"},
		{"an image that cannot be parsed", edit(func(s *function.Spec) { s.Image = "UPPER/case:1" }), function.ErrInvalid, "UPPER"},
		{"a secret that does not exist", edit(func(s *function.Spec) { s.Secrets = []string{"nope"} }), function.ErrInvalid, `secret "nope"`},
		{"a request above its limit", edit(func(s *function.Spec) {
			s.Requests, s.Limits = &function.Resources{Memory: "2Gi"}, &function.Resources{Memory: "1Gi"}
		}), function.ErrInvalid, "above limits.memory"},
		{"an image whose command is needed and cannot be read", edit(func(s *function.Spec) {
			s.Process, s.Annotations = "", map[string]string{function.AnnotationMode: "fork"}
		}), function.ErrInvalid, "the image's own command has to be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(w.api.names(functionsPath))
			err := w.cluster.Create(t.Context(), test.spec)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %v with %q", err, test.want, test.text)
			}
			if after := len(w.api.names(functionsPath)); after != before {
				t.Errorf("%d records, %d before", after, before)
			}
		})
	}
}

func TestUpdate_RestartsEvenIfNothingChanged(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.cluster.Update(t.Context(), cow()); !errors.Is(err, function.ErrNotFound) {
		t.Fatalf("update of an absent function: %v", err)
	}
	w.create(cow())
	before := w.deployment("cow").Spec.Template.Labels[labelRollout]
	if err := w.cluster.Update(t.Context(), cow()); err != nil {
		t.Fatal(err)
	}
	w.eventually("a new pod template", func() string {
		if after := w.deployment("cow").Spec.Template.Labels[labelRollout]; after == before {
			return "label uid is still " + after
		}
		return ""
	})
}

func TestUpdate_ReplacesAllAndKeepsReplicas(t *testing.T) {
	w := newWorld(t, nil)
	spec := cow()
	spec.Env, spec.Labels = map[string]string{"a": "1"}, map[string]string{"team": "red"}
	w.create(spec)
	if err := w.cluster.Scale(t.Context(), cowRef, 3); err != nil {
		t.Fatal(err)
	}
	if err := w.cluster.Update(t.Context(), cow()); err != nil {
		t.Fatal(err)
	}
	fn, _ := w.cluster.Lookup(cowRef)
	if fn.Replicas != 3 || fn.Env != nil || fn.Labels != nil {
		t.Errorf("replicas %d, env %v, labels %v", fn.Replicas, fn.Env, fn.Labels)
	}
	spec.Labels = map[string]string{function.LabelScaleMin: "2"}
	if err := w.cluster.Update(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if fn, _ := w.cluster.Lookup(cowRef); fn.Replicas != 2 {
		t.Errorf("%d replicas after an update that asks for a minimum of 2", fn.Replicas)
	}
	w.eventually("replicas of the Deployment", func() string {
		if n := *w.deployment("cow").Spec.Replicas; n != 2 {
			return fmt.Sprint(n)
		}
		return ""
	})
}

func TestScale_ToZeroLeavesTheRecordAlone(t *testing.T) {
	var told atomic.Int32
	w := newWorld(t, func(c *Config) {
		c.OnEndpoints = func(_ function.Ref, _ string, list []function.Endpoint) { told.Store(int32(len(list))) }
	})
	w.create(cow())
	w.pod("cow", "cow-1", "10.0.0.1", true)
	w.endpoints(cowRef, "10.0.0.1:8080")
	record := w.object("cow").UID
	w.api.put(replicaSetsPath, ns, fmt.Sprintf(`{"metadata":{"name":"cow-rs","labels":{"dragonchain.com/record":%q}}}`, record))

	if err := w.cluster.Scale(t.Context(), cowRef, 0); err != nil {
		t.Fatal(err)
	}
	if got := w.cluster.Endpoints(cowRef); len(got) != 0 || told.Load() != 0 {
		t.Errorf("endpoints %v, %d told, when Scale had returned", got, told.Load())
	}
	w.eventually("only the record is left", func() string {
		if left := w.left(); !slices.Equal(left, []string{ns + "/cow"}) {
			return fmt.Sprint(left)
		}
		return ""
	})
	w.condition("cow", "Ready", "True")
	w.condition("cow", "Healthy", "False")

	if err := w.cluster.Scale(t.Context(), cowRef, 5); err != nil {
		t.Fatal(err)
	}
	if n := *w.deployment("cow").Spec.Replicas; n != 5 {
		t.Errorf("%d replicas after the wake", n)
	}
}

func TestScale_StaysWithinBounds(t *testing.T) {
	w := newWorld(t, nil)
	spec := cow()
	spec.Labels = map[string]string{function.LabelScaleMin: "2", function.LabelScaleMax: "4"}
	w.create(spec)
	for asked, want := range map[int]int{1: 2, 3: 3, 9: 4, 0: 0, -1: 0} {
		if err := w.cluster.Scale(t.Context(), cowRef, asked); err != nil {
			t.Fatal(err)
		}
		if fn, _ := w.cluster.Lookup(cowRef); fn.Replicas != want {
			t.Errorf("asked for %d: %d replicas, want %d", asked, fn.Replicas, want)
		}
	}
	if err := w.cluster.Scale(t.Context(), function.Ref{Name: "absent", Namespace: ns}, 1); !errors.Is(err, function.ErrNotFound) {
		t.Errorf("scale of an absent function: %v", err)
	}
}

func TestDelete_LeavesNothingAndFreesTheName(t *testing.T) {
	var dropped atomic.Int32
	var w *world
	w = newWorld(t, func(c *Config) {
		c.OnDelete = func(_ context.Context, fn *function.Function) error {
			if !w.api.get(functionsPath, ns, fn.Name, new(object)) {
				t.Error("OnDelete came after the record had gone")
			}
			dropped.Add(1)
			return nil
		}
	})
	for range 3 {
		w.create(cow())
		w.pod("cow", "cow-1", "10.0.0.1", true)
		w.endpoints(cowRef, "10.0.0.1:8080")
		if err := w.cluster.Delete(t.Context(), cowRef); err != nil {
			t.Fatal(err)
		}
		if left := w.left(); len(left) != 0 {
			t.Fatalf("left behind: %v", left)
		}
		if _, ok := w.cluster.Lookup(cowRef); ok {
			t.Error("still found by Lookup")
		}
	}
	if dropped.Load() != 3 {
		t.Errorf("OnDelete was called %d times for 3 deletes", dropped.Load())
	}
	if err := w.cluster.Delete(t.Context(), cowRef); !errors.Is(err, function.ErrNotFound) {
		t.Errorf("delete of an absent function: %v", err)
	}
}

func TestDelete_GoesOnAfterACrash(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.OnDelete = func(context.Context, *function.Function) error { return errors.New("the store is out of order") }
	})
	w.create(cow())
	w.deployment("cow")
	ctx, cancel := context.WithCancel(t.Context())
	deleted := make(chan error, 1)
	go func() { deleted <- w.cluster.Delete(ctx, cowRef) }()
	w.eventually("a delete that is stuck", func() string {
		if w.object("cow").DeletionTimestamp == nil || w.api.get(deploymentsPath, ns, "cow", new(object)) {
			return "not yet"
		}
		return ""
	})
	cancel()
	if err := <-deleted; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.stop()

	w.start(nil)
	w.eventually("nothing is left", func() string { return strings.Join(w.left(), " ") })
}

// Such as a pod that a controller made from its own, late, view of things.
func TestSweep_RemovesWhatBelongsToRecordsThatAreGone(t *testing.T) {
	w := newWorld(t, nil)
	w.putPod("ghost", "ghost-1", "uid-of-nobody", "10.0.0.9", true)
	w.create(cow())
	w.putPod("cow", "cow-old", "uid-of-an-earlier-cow", "10.0.0.8", true)
	w.pod("cow", "cow-new", "10.0.0.1", true)
	w.api.put(servicesPath, ns, `{"metadata":{"name":"ghost","labels":{"faas_function":"ghost","dragonchain.com/record":"uid-of-nobody"}},"spec":{}}`)
	w.api.put(servicesPath, ns, `{"metadata":{"name":"theirs","labels":{"faas_function":"theirs"}},"spec":{}}`)
	w.eventually("strays are gone", func() string {
		got := append(w.api.names(podsPath), w.api.names(servicesPath)...)
		if !slices.Equal(got, []string{ns + "/cow-new", ns + "/cow", ns + "/theirs"}) {
			return fmt.Sprint(got)
		}
		return ""
	})
	w.endpoints(cowRef, "10.0.0.1:8080")
}

func TestApply_DoesWhatCreateDoes(t *testing.T) {
	w := newWorld(t, nil)
	w.api.put(functionsPath, ns, `{"metadata":{"name":"cow"},"spec":{"name":"cow","image":"dragonchain/cowsay:1","handler":"cowsay"}}`)
	w.deployment("cow")
	if o := w.object("cow"); !slices.Contains(o.Finalizers, finalizer) {
		t.Errorf("finalizers %v", o.Finalizers)
	}
	w.condition("cow", "Ready", "True")

	// A mistake later on leaves what runs running, and says what to mend.
	w.api.put(functionsPath, ns, `{"metadata":{"name":"cow"},"spec":{"name":"cow","image":"dragonchain/cowsay:2","handler":"cowsay","labels":{"uid":"mine"}}}`)
	if message := w.condition("cow", "Stalled", "True"); !strings.Contains(message, `label "uid" is reserved`) {
		t.Errorf("stalled by %q", message)
	}
	if image := w.deployment("cow").Spec.Template.Spec.Containers[0].Image; image != "dragonchain/cowsay:1" {
		t.Errorf("runs %s", image)
	}
	if fn, ok := w.cluster.Lookup(cowRef); !ok || fn.Image != "dragonchain/cowsay:1" {
		t.Errorf("Lookup gives %+v", fn)
	}
	if s := w.cluster.Status(cowRef); !strings.Contains(s.Reason, "reserved") {
		t.Errorf("status %+v", s)
	}
}

// Such as one that kubectl edit made invalid, or that a newer provider with stricter rules finds so.
func TestRestart_GoesOnServingARecordThatIsNotValid(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	w.pod("cow", "cow-1", "10.0.0.1", true)
	w.condition("cow", "Ready", "True")
	o := w.object("cow")
	o.Spec.Labels = map[string]string{"uid": "mine"}
	w.api.put(functionsPath, ns, jsonOf(t, o))
	w.api.put(functionsPath, ns, `{"metadata":{"name":"calf"},"spec":{"name":"calf","image":"i","labels":{"uid":"mine"}}}`)
	w.condition("cow", "Stalled", "True")
	w.stop()

	w.start(nil)
	w.endpoints(cowRef, "10.0.0.1:8080")
	fn, ok := w.cluster.Lookup(cowRef)
	if !ok || fn.ID != string(o.UID) || fn.Image != cow().Image {
		t.Fatalf("Lookup gives %+v, %v", fn, ok)
	}
	if list := w.cluster.List(ns); len(list) != 1 || list[0] != fn {
		t.Errorf("listed are %v, want the one that runs", list)
	}
	if s := w.cluster.Status(cowRef); s.Available != 1 || !strings.Contains(s.Reason, "reserved") {
		t.Errorf("status %+v", s)
	}
	if _, ok := w.cluster.Lookup(function.Ref{Name: "calf", Namespace: ns}); ok {
		t.Error("one that never ran is found")
	}
	if err := w.cluster.Update(t.Context(), cow()); err != nil {
		t.Fatal(err)
	}
	w.condition("cow", "Stalled", "False")
}

// A round for one record must not speak of the next one of that name.
func TestReconcile_ReplacedMeanwhile(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Workers = -1 }) // the rounds are this test's
	w.create(cow())
	w.cluster.cfg.OnDeploy = func(context.Context, *function.Function) error {
		next := w.object("cow")
		next.UID, next.ResourceVersion = "another", "1000000"
		return w.cluster.records.observe(next)
	}
	before := len(w.api.writes())
	if err := w.cluster.reconcile(t.Context(), cowRef); err != nil {
		t.Fatal(err)
	}
	for _, request := range w.api.writes()[before:] {
		if strings.HasSuffix(request, "/status") {
			t.Errorf("%s: of another record than the round was for", request)
		}
	}
}

func TestApply_StallsWithoutStartingAnything(t *testing.T) {
	w := newWorld(t, nil)
	w.api.put(namespacesPath, "", `{"metadata":{"name":"elsewhere"}}`)
	for name, test := range map[string]struct{ spec, text string }{
		"another-name": {`{"name":"other","image":"i"}`, "differs from metadata.name"},
		"bad-image":    {`{"name":"bad-image","image":"A B"}`, "image"},
		"bad-label":    {`{"name":"bad-label","image":"i","labels":{"com.openfaas.scale.min":"many"}}`, "com.openfaas.scale.min"},
		"no-secret":    {`{"name":"no-secret","image":"i","secrets":["s"]}`, `secret "s" does not exist`},
		"no-command":   {`{"name":"no-command","image":"i","annotations":{"com.dragonchain.mode":"http"}}`, "command has to be read"},
	} {
		w.api.put(functionsPath, ns, fmt.Sprintf(`{"metadata":{"name":%q},"spec":%s}`, name, test.spec))
		if message := w.condition(name, "Stalled", "True"); !strings.Contains(message, test.text) {
			t.Errorf("%s is stalled by %q, want %q", name, message, test.text)
		}
	}
	if made := append(w.api.names(deploymentsPath), w.api.names(servicesPath)...); len(made) != 0 {
		t.Errorf("made %v", made)
	}
	// What was missing comes, and it goes on by itself.
	w.secret("s", "Opaque", map[string][]byte{"s": []byte("1")}, nil)
	w.deployment("no-secret")
	w.condition("no-secret", "Stalled", "False")
}

func TestReconcile_NamespaceIsMarkedLater(t *testing.T) {
	w := newWorld(t, nil)
	w.api.put(namespacesPath, "", `{"metadata":{"name":"late"}}`)
	w.api.put(functionsPath, "late", `{"metadata":{"name":"cow"},"spec":{"name":"cow","image":"i"}}`)
	stalledIn := func() string {
		o := new(object)
		w.api.get(functionsPath, "late", "cow", o)
		return fmt.Sprint(o.Status.Conditions)
	}
	w.eventually("stalled", func() string {
		if s := stalledIn(); !strings.Contains(s, "not for functions") {
			return s
		}
		return ""
	})
	w.api.put(namespacesPath, "", `{"metadata":{"name":"late","annotations":{"openfaas":"1"}}}`)
	w.eventually("Deployment", func() string { return oneOf(w.api.names(deploymentsPath), "late/cow") })
}

func TestReconcile_RepairsWhatOthersBroke(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	w.deployment("cow")
	w.condition("cow", "Ready", "True")
	client := w.cluster.core
	if err := client.AppsV1().Deployments(ns).Delete(t.Context(), "cow", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.deployment("cow")
	if err := client.CoreV1().Services(ns).Delete(t.Context(), "cow", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("Service", func() string { return oneOf(w.api.names(servicesPath), ns+"/cow") })
}

func TestReconcile_NameTakenBySomebodyElse(t *testing.T) {
	w := newWorld(t, nil)
	w.api.put(servicesPath, ns, `{"metadata":{"name":"cow"},"spec":{}}`)
	w.create(cow())
	if message := w.condition("cow", "Stalled", "True"); !strings.Contains(message, `a Service "cow" that is not this function's`) {
		t.Errorf("stalled by %q", message)
	}
	if err := w.cluster.Delete(t.Context(), cowRef); err != nil {
		t.Fatal(err)
	}
	if left := w.left(); !slices.Equal(left, []string{ns + "/cow"}) {
		t.Errorf("left %v, want somebody else's Service alone", left)
	}
}

func TestReconcile_StatusKeepsNothingOfAnEarlierImage(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	w.condition("cow", "Ready", "True")
	o := w.object("cow")
	o.Status.Image = &resolution{Reference: o.Spec.Image, Digest: "sha256:" + strings.Repeat("a", 64), Command: []string{"x"}}
	w.api.put(functionsPath, ns, jsonOf(t, o))
	spec := cow()
	spec.Image = "dragonchain/cowsay:2"
	if err := w.cluster.Update(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	w.eventually("status of the new image", func() string {
		image := w.object("cow").Status.Image
		if image.Reference != spec.Image || image.Digest != "" || image.Command != nil || image.Problem == "" {
			return fmt.Sprintf("%+v", image)
		}
		return ""
	})
	if image := w.deployment("cow").Spec.Template.Spec.Containers[0].Image; image != spec.Image {
		t.Errorf("runs %s", image)
	}
}

func TestUpdate_ThatNeverGetsReadyLeavesTheOldVersionServing(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	w.pod("cow", "cow-1", "10.0.0.1", true)
	w.condition("cow", "Healthy", "True")
	spec := cow()
	spec.Image = "dragonchain/nonesuch:1"
	if err := w.cluster.Update(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	w.eventually("a new pod template", func() string {
		if image := w.deployment("cow").Spec.Template.Spec.Containers[0].Image; image != spec.Image {
			return image
		}
		return ""
	})
	// What Kubernetes makes of it: one pod of each version, and one ready.
	d := w.deployment("cow")
	d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas, d.Status.ObservedGeneration = 2, 1, 1, d.Generation
	w.api.put(deploymentsPath, ns, jsonOf(t, d))
	w.api.put(podsPath, ns, fmt.Sprintf(`{
		"metadata":{"name":"cow-2","labels":{"faas_function":"cow","dragonchain.com/record":%q}},
		"status":{"phase":"Pending","containerStatuses":[{"name":"cow","state":{"waiting":{"reason":"ErrImagePull","message":"not found"}}}]}}`,
		w.object("cow").UID))
	w.eventually("said so in the record", func() string {
		if message := w.condition("cow", "Reconciling", "True"); message != "ErrImagePull: not found" {
			return message
		}
		return ""
	})
	if s := w.cluster.Status(cowRef); s.Available != 1 || s.Reason != "ErrImagePull: not found" {
		t.Errorf("status %+v", s)
	}
	w.endpoints(cowRef, "10.0.0.1:8080")
}

// Another version of the provider renders functions in its own way, and must restart none.
func TestReconcile_ANewProviderRestartsNothing(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	w.pod("cow", "cow-1", "10.0.0.1", true)
	w.condition("cow", "Healthy", "True")
	w.stop()
	before := len(w.api.writes())
	w.start(func(c *Config) { c.WatchdogImage = "dragonchain/dc-provider:next" })
	w.endpoints(cowRef, "10.0.0.1:8080")
	if err := w.cluster.Scale(t.Context(), cowRef, 2); err != nil {
		t.Fatal(err)
	}
	w.eventually("scaled", func() string {
		if n := *w.deployment("cow").Spec.Replicas; n != 2 {
			return fmt.Sprint(n)
		}
		return ""
	})
	for _, request := range w.api.writes()[before:] {
		if strings.HasPrefix(request, "PUT") || strings.HasPrefix(request, "POST") {
			t.Errorf("%s: nothing was to be written anew", request)
		}
	}
}

func TestOnDeploy_ComesBeforeThePodsAndUntilItIsDone(t *testing.T) {
	var calls atomic.Int32
	var w *world
	w = newWorld(t, func(c *Config) {
		c.OnDeploy = func(context.Context, *function.Function) error {
			if len(w.api.names(deploymentsPath)) != 0 {
				t.Error("OnDeploy came after the Deployment")
			}
			if calls.Add(1) == 1 {
				return errors.New("not this time")
			}
			return nil
		}
	})
	w.create(cow())
	w.deployment("cow")
	if calls.Load() != 2 {
		t.Errorf("called %d times", calls.Load())
	}
}

func TestMemory_AnswersWithTheAPIServerGone(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	w.pod("cow", "cow-1", "10.0.0.1", true)
	w.pod("cow", "cow-2", "10.0.0.2", false)
	w.endpoints(cowRef, "10.0.0.1:8080")
	w.knows("cow-2")
	w.api.CloseClientConnections()
	w.api.Close()

	if _, ok := w.cluster.Lookup(cowRef); !ok {
		t.Error("Lookup forgot the function")
	}
	if got := w.cluster.Endpoints(cowRef); len(got) != 1 {
		t.Errorf("endpoints %v", got)
	}
	fn, _ := w.cluster.Lookup(cowRef)
	w.cluster.MarkReady(cowRef, fn.ID, "cow-2", "10.0.0.2", function.Startup{})
	w.endpoints(cowRef, "10.0.0.1:8080", "10.0.0.2:8080")
	if got := w.cluster.Namespaces(); !slices.Equal(got, []string{ns}) {
		t.Errorf("namespaces %v", got)
	}
	if err := w.cluster.Healthy(t.Context()); err != nil {
		t.Errorf("unhealthy: %v", err)
	}
	if err := w.cluster.Delete(t.Context(), cowRef); err == nil || errors.Is(err, function.ErrNotFound) {
		t.Errorf("delete: %v", err)
	}
}

func TestReconcile_RetriesWhatTheAPIServerRefuses(t *testing.T) {
	w := newWorld(t, nil)
	var refused atomic.Int32
	w.api.refuseIf(func(r *http.Request) int {
		if r.Method == http.MethodPost && strings.Contains(r.URL.Path, "deployments") && refused.Add(1) <= 2 {
			return http.StatusInternalServerError
		}
		return 0
	})
	w.create(cow())
	w.deployment("cow")
	w.condition("cow", "Ready", "True")
	if refused.Load() != 3 {
		t.Errorf("%d tries", refused.Load())
	}
}

func TestOnEndpoints_TellsEachChangeOnceAndInOrder(t *testing.T) {
	var mu sync.Mutex
	var told []string
	w := newWorld(t, func(c *Config) {
		c.OnEndpoints = func(ref function.Ref, id string, list []function.Endpoint) {
			mu.Lock()
			defer mu.Unlock()
			var addresses []string
			for _, e := range list {
				addresses = append(addresses, strings.TrimSuffix(e.Address, ":8080"))
			}
			told = append(told, strings.Join(addresses, " "))
			if id == "" {
				t.Error("told without an identity")
			}
		}
	})
	until := func(want ...string) {
		t.Helper()
		w.eventually("told", func() string {
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(told, want) {
				return fmt.Sprintf("%q, want %q", told, want)
			}
			return ""
		})
	}
	w.create(cow())
	fn, _ := w.cluster.Lookup(cowRef)
	w.pod("cow", "cow-1", "10.0.0.1", false)
	w.knows("cow-1")
	w.cluster.MarkReady(cowRef, fn.ID, "cow-1", "10.0.0.1", function.Startup{})
	until("10.0.0.1")
	w.cluster.MarkReady(cowRef, "another record", "cow-3", "10.0.0.3", function.Startup{})
	w.pod("cow", "cow-1", "10.0.0.1", true) // the watch confirms: nothing new
	w.pod("cow", "cow-2", "10.0.0.2", true)
	until("10.0.0.1", "10.0.0.1 10.0.0.2")
	w.pod("cow", "cow-1", "10.0.0.1", false)
	until("10.0.0.1", "10.0.0.1 10.0.0.2", "10.0.0.2")
	if err := w.cluster.Delete(t.Context(), cowRef); err != nil {
		t.Fatal(err)
	}
	until("10.0.0.1", "10.0.0.1 10.0.0.2", "10.0.0.2", "")
}

func TestCluster_ManyAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			spec := cow()
			spec.Name = fmt.Sprintf("f%d", i)
			if err := w.cluster.Create(t.Context(), spec); err != nil {
				t.Error(err)
				return
			}
			if i%2 == 0 {
				w.deployment(spec.Name)
			}
			if err := w.cluster.Delete(t.Context(), spec.Ref); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w.eventually("nothing is left", func() string { return strings.Join(w.left(), " ") })
	if n := len(w.cluster.All()); n != 0 {
		t.Errorf("%d functions are remembered", n)
	}
}

func oneOf(names []string, want string) string {
	if slices.Contains(names, want) {
		return ""
	}
	return fmt.Sprint(names)
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func metaOf(name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: labels}
}
