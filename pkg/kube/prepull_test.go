package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// putNode puts a node and has it be noticed at once.
func (w *world) putNode(name, spec, status string) {
	w.api.put(nodesPath, "", fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"name":%q}},"spec":{%s},"status":{
		"nodeInfo":{"kubeletVersion":"v1.36.3","containerRuntimeVersion":"containerd://2.2.1","architecture":"amd64"}%s}}`, name, name, spec, status))
	w.cluster.nodes.mu.Lock()
	w.cluster.nodes.asked = time.Time{}
	w.cluster.nodes.mu.Unlock()
	signal(w.cluster.pulls.changed)
}

// pulling waits until pods pull on these nodes, and returns them in that order.
func (w *world) pulling(nodes ...string) (pods []*corev1.Pod) {
	w.Helper()
	w.eventually(fmt.Sprint("pulls on ", nodes), func() string {
		pods = nil
		var on []string
		for _, name := range w.api.names(podsPath) {
			pod := new(corev1.Pod)
			if _, name, _ = strings.Cut(name, "/"); w.api.get(podsPath, ns, name, pod) && pod.Labels[labelPull] != "" {
				pods = append(pods, pod)
			}
		}
		slices.SortFunc(pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Spec.NodeName, b.Spec.NodeName) })
		for _, pod := range pods {
			on = append(on, pod.Spec.NodeName)
		}
		if !slices.Equal(on, nodes) {
			return fmt.Sprint(on)
		}
		return ""
	})
	return pods
}

// report plays the kubelet for a pod that pulls.
func (w *world) report(pod *corev1.Pod, phase corev1.PodPhase, state string) {
	w.Helper()
	pod.Status = corev1.PodStatus{}
	text := jsonOf(w.T, pod)
	status := fmt.Sprintf(`"status":{"phase":%q,"containerStatuses":[{"name":"image","state":{%s}}]}`, phase, state)
	w.api.put(podsPath, ns, strings.Replace(text, `"status":{}`, status, 1))
}

func TestPrePull(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PrePull = true })
	w.putNode("n", "", "")
	w.putNode("cordoned", `"unschedulable":true`, "")
	w.putNode("tainted", `"taints":[{"key":"gpu","effect":"NoSchedule"}]`, "")
	w.putNode("broken", "", `,"conditions":[{"type":"Ready","status":"False"}]`)
	spec := cow()
	w.putNode("filled", "", fmt.Sprintf(`,"conditions":[{"type":"Ready","status":"True"}],
		"images":[{"names":["<none>@<none>","docker.io/%s"]},{"names":["docker.io/dragonchain/dc-provider:dev"]}]`, spec.Image))
	w.create(spec)
	w.deployment("cow")
	if err := w.cluster.Scale(t.Context(), cowRef, 0); err != nil {
		t.Fatal(err)
	}

	pod := w.pulling("n")[0]
	c := pod.Spec.Containers[0]
	if c.Image != spec.Image || !slices.Equal(c.Command, []string{"/.dc/dc-watchdog", "-version"}) || pod.Spec.RestartPolicy != "Never" {
		t.Errorf("it runs %s %q", c.Image, c.Command)
	}
	if owner := pod.OwnerReferences; len(owner) != 1 || owner[0].UID != w.object("cow").UID {
		t.Errorf("owned by %v", owner)
	}
	if pod.Labels[labelFunction] != "" {
		t.Error("it looks like a replica")
	}
	w.eventually("one of two nodes has the image", func() string {
		if got := w.condition("cow", "ImagePulled", "False"); got != "1 of 2 nodes have the image" {
			return got
		}
		return ""
	})
	w.report(pod, "Pending", `"waiting":{"reason":"ErrImagePull","message":"registry says: come back later"}`)
	w.eventually("the registry's words are told", func() string {
		if got := w.cluster.Status(cowRef).Reason; got != "1 of 2 nodes have the image: node n: ErrImagePull: registry says: come back later" {
			return got
		}
		return ""
	})
	w.report(pod, "Running", `"running":{}`)
	w.pulling()
	if got := w.condition("cow", "ImagePulled", "True"); got != "2 of 2 nodes have the image" {
		t.Errorf("condition %q", got)
	}
	if got := w.cluster.Status(cowRef).Reason; got != "" {
		t.Errorf("status %q", got)
	}

	// Another version has not been pulled because this one was.
	next := spec
	next.Image = "games/cowsay:2"
	if err := w.cluster.Update(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	w.condition("cow", "ImagePulled", "False")
	for _, pod := range w.pulling("filled", "n") {
		w.report(pod, "Succeeded", `"terminated":{"exitCode":0}`)
	}
	w.condition("cow", "ImagePulled", "True")
	if err := w.cluster.Update(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	w.condition("cow", "ImagePulled", "False")
	w.report(w.pulling("n")[0], "Succeeded", `"terminated":{"exitCode":0}`)
	w.condition("cow", "ImagePulled", "True")

	// A node that comes later, for this function and one that may not run there.
	other := cow()
	other.Name, other.Image, other.Constraints = "dog", "games/dog:1", []string{"name=n"}
	w.create(other)
	w.putPod("dog", "dog-1", string(w.object("dog").UID), "10.0.0.1", true) // on a node that is not told
	w.putNode("new", "", "")
	pods := w.pulling("n", "new")
	if a, b := pods[0].Spec.Containers[0].Image, pods[1].Spec.Containers[0].Image; a != "games/dog:1" || b != spec.Image {
		t.Errorf("pulls %s and %s", a, b)
	}

	// What nobody wants any more is not pulled.
	if err := w.cluster.Delete(t.Context(), cowRef); err != nil {
		t.Fatal(err)
	}
	w.pulling("n")
}

// TestPrePull_FunctionsOwnReplica pulls nothing where a replica of the present version has been started.
func TestPrePull_FunctionsOwnReplica(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PrePull = true })
	w.create(cow())
	w.deployment("cow")
	w.api.put(podsPath, ns, fmt.Sprintf(`{"metadata":{"name":"cow-1","labels":{"faas_function":"cow","dragonchain.com/record":%q}},
		"spec":{"nodeName":"n"},"status":{"containerStatuses":[{"name":"cow","state":{"running":{}}}]}}`, w.object("cow").UID))
	w.condition("cow", "ImagePulled", "True")
	if pods := w.api.names(podsPath); len(pods) != 1 {
		t.Errorf("pods %v", pods)
	}
}

// TestPrePull_NothingToPull tells of an image that all nodes have when it tells of the record at all, and not in another write.
func TestPrePull_NothingToPull(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PrePull = true })
	apply := func(name, image string) {
		w.api.put(functionsPath, ns, fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"name":%[1]q,"image":%q,"handler":"cowsay","replicas":0}}`, name, image))
	}
	told := func(name string) {
		t.Helper()
		if got := w.condition(name, "ImagePulled", "True"); got != "1 of 1 nodes have the image" {
			t.Errorf("%s: condition %q", name, got)
		}
	}
	statuses := func(name string) (n int) {
		for _, write := range w.api.writes() {
			if strings.HasSuffix(write, "/functions/"+name+"/status") {
				n++
			}
		}
		return n
	}
	w.putNode("n", "", `,"images":[{"names":["docker.io/games/cow:1"]},{"names":["docker.io/dragonchain/dc-provider:dev"]}]`)
	apply("cow", "games/cow:1")
	told("cow")
	// One that the node does not tell of: the first function of it has it pulled, and the second does not.
	apply("dog", "games/dog:1")
	w.report(w.pulling("n")[0], "Succeeded", `"terminated":{"exitCode":0}`)
	told("dog")
	apply("puppy", "games/dog:1")
	told("puppy")
	w.pulling()
	for _, name := range []string{"cow", "puppy"} {
		if got := statuses(name); got != 1 {
			t.Errorf("%s: its status was written %d times, want once", name, got)
		}
	}
}

// TestPrePull_OneAtATime has several images for one node, of which one cannot be pulled: that holds up no other.
func TestPrePull_OneAtATime(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PrePull = true })
	for i := range 3 {
		spec := cow()
		spec.Name, spec.Image = fmt.Sprint("cow-", i), fmt.Sprint("games/cow:", i)
		w.create(spec)
		if err := w.cluster.Scale(t.Context(), function.Ref{Name: spec.Name, Namespace: ns}, 0); err != nil {
			t.Fatal(err)
		}
	}
	first := w.pulling("n")[0]
	w.report(first, "Pending", `"waiting":{"reason":"ImagePullBackOff","message":"no"}`)
	w.pulling("n", "n")
	w.report(first, "Failed", `"waiting":{"reason":"ImagePullBackOff","message":"no"}`)
	second := w.pulling("n")[0]
	if second.Name == first.Name {
		t.Error("the one that failed is tried again at once")
	}
	w.report(second, "Succeeded", `"terminated":{"exitCode":0}`)
	w.eventually("the next one has its turn", func() string {
		third := w.pulling("n")[0]
		if third.Name == first.Name {
			t.Fatal("the one that failed is tried again at once")
		}
		if third.Name == second.Name {
			return "the one that is done is still there"
		}
		return ""
	})
}

func TestPuller_PausesGrow(t *testing.T) {
	r := pullRound{puller: newPuller(&Cluster{}), now: time.Now()}
	job := pullJob{"n", "i", ns}
	for _, want := range []time.Duration{pullRetry, 2 * pullRetry, 4 * pullRetry} {
		r.fail(job, "no")
		if got := r.retries[job].at.Sub(r.now); got != want {
			t.Errorf("tried again after %v, want %v", got, want)
		}
	}
	for range 100 {
		r.fail(job, "no")
	}
	if got := r.retries[job].at.Sub(r.now); got != pullRetryMax {
		t.Errorf("tried again after %v, want %v", got, pullRetryMax)
	}
}

func TestNode_Has(t *testing.T) {
	const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	n := node{images: imagesOf(&corev1.Node{Status: corev1.NodeStatus{Images: []corev1.ContainerImage{
		{Names: []string{"docker.io/library/busybox:latest", "docker.io/library/busybox" + digest}}, {Names: []string{"10.0.0.1:5000/open/probe:one"}},
	}}})}
	for image, want := range map[string]bool{
		"busybox": true, "docker.io/busybox:latest": true, "busybox" + digest: true, "10.0.0.1:5000/open/probe:one": true,
		"busybox:1": false, "other/busybox": false, "10.0.0.1:5000/open/probe:two": false, "NOT//AN:IMAGE": false,
	} {
		if n.has(image) != want {
			t.Errorf("%s: %v, want %v", image, !want, want)
		}
	}
}

// What nodes are to pull does not change with the number of replicas, and does with the image.
func TestPullsDiffer(t *testing.T) {
	of := func(change func(*record)) *record {
		r := &record{uid: "1", fn: &function.Function{Spec: function.Spec{Image: "a"}}, status: recordStatus{image: &resolution{Reference: "a"}}}
		change(r)
		return r
	}
	before := of(func(*record) {})
	for _, tt := range []struct {
		name   string
		change func(*record)
		want   bool
	}{
		{"nothing", func(*record) {}, false},
		{"woken", func(r *record) { r.fn.Replicas, r.generation = 1, 2 }, false},
		{"told more of its status", func(r *record) { r.status.available = 1 }, false},
		{"another record", func(r *record) { r.uid = "2" }, true},
		{"deleted", func(r *record) { r.deleting = true }, true},
		{"image", func(r *record) { r.fn.Image, r.status.image = "b", &resolution{Reference: "b"} }, true},
		{"digest", func(r *record) { r.status.image = &resolution{Reference: "a", Digest: "sha256:1"} }, true},
		{"not resolved", func(r *record) { r.status.image = nil }, true},
		{"constrained", func(r *record) { r.fn.Constraints = []string{"a=b"} }, true},
		{"pull secret", func(r *record) { r.fn.Secrets = []string{"a"} }, true},
	} {
		if got := pullsDiffer(before, of(tt.change)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if !pullsDiffer(nil, before) || !pullsDiffer(before, nil) {
		t.Error("a record that comes or goes is no difference")
	}
}
