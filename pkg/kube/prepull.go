package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// labelPull marks pods that have a node pull an image; its value is the pod's own name.
	labelPull = function.ReservedPrefix + "pull"
	// pullContainer is the name of the container that has the image.
	pullContainer = "image"

	// pullLook is how often all images are compared with all nodes, whether something is known to have changed or not.
	pullLook = 5 * time.Second
	// pullPause is the least time from one round to the next, and pullShare how many times as long as a round takes: with many
	// functions each round looks at all of them.
	pullPause = 500 * time.Millisecond
	pullShare = 20
	// pullSettle is what a function's own first replica gets to pull the image where it is.
	pullSettle = 3 * time.Second
	// pullsAtOnce bounds the pods that pull, pullsPerNode those of one node. Those that cannot pull do not count.
	pullsAtOnce, pullsPerNode = 8, 1
	// pullDeadline is how long one may take; the kubelet tries several times in it. pullRetry is the pause after one that failed,
	// doubled with each time up to pullRetryMax.
	pullDeadline, pullRetry, pullRetryMax = 10 * time.Minute, time.Minute, time.Hour
)

// pullPod is what is kept of a pod that has its node pull an image.
type pullPod struct {
	uid  types.UID
	node string
	// pulled means that the container was started, so that its image is there; over that the pod does no more.
	pulled, over bool
	// problem is what keeps it from pulling, in Kubernetes' or the registry's words.
	problem string
}

func newPullPod(obj any, _ *pullPod) *pullPod {
	o := obj.(*corev1.Pod)
	p := &pullPod{uid: o.UID, node: intern(o.Spec.NodeName), over: o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed, problem: podProblem(o)}
	for i := range o.Status.ContainerStatuses {
		if s := &o.Status.ContainerStatuses[i]; s.Name == pullContainer {
			p.pulled = s.State.Running != nil || s.State.Terminated != nil
		}
	}
	if p.over && !p.pulled && p.problem == "" {
		p.problem = sentence(o.Status.Reason, o.Status.Message)
	}
	return p
}

// pullJob is one image on one node, for functions of one namespace.
type pullJob struct{ node, image, namespace string }

// pod is the name of the pod that does it.
func (j pullJob) pod() string {
	sum := sha256.Sum256([]byte(j.node + "\n" + j.image + "\n" + j.namespace))
	return "dc-pull-" + hex.EncodeToString(sum[:8])
}

// pullProgress is how far the image of a function has come.
type pullProgress struct {
	// reference and rollout tell of which version.
	reference, rollout string
	done, total        int
	// problem is what the last node that failed said.
	problem string
}

func (p pullProgress) condition() condition {
	message := fmt.Sprintf("%d of %d nodes have the image", p.done, p.total)
	switch {
	case p.problem != "":
		return condition{reason: "PullFailed", message: oneLine(message + ": " + p.problem)}
	case p.done < p.total:
		return condition{reason: "Pulling", message: message}
	}
	return condition{is: true, reason: "Pulled", message: message}
}

// puller has every node that may run a function pull its image, in the background, so that a wake never does. For each node
// and image that the node does not say it has, it makes a pod there that has the image, the function's pull secrets and, for a
// command, the watchdog put in, which ends at once; and deletes it when the image has come. It runs where the cluster is
// reconciled. What a node does with an image later is the kubelet's: one that it removed because its disk was full is not pulled
// again before the function's next version, or a restart of the provider.
type puller struct {
	c       *Cluster
	pods    *mirror[pullPod]
	changed chan struct{}

	// What follows belongs to run. retries are the jobs to be tried again, wanted since when each job is.
	retries map[pullJob]pullRetryAt
	wanted  map[pullJob]time.Time

	mu sync.Mutex
	// done are the jobs that are.
	done     map[pullJob]bool
	progress map[function.Ref]pullProgress
	counts   pullCounts
}

// pullRetryAt is when a job may be tried again, how often it failed, and why.
type pullRetryAt struct {
	at      time.Time
	failed  int
	problem string
}

// pullCounts is what Prometheus is told.
type pullCounts struct {
	running, failing int
	pulled, failed   uint64
}

func newPuller(c *Cluster) *puller {
	p := &puller{
		c: c, changed: make(chan struct{}, 1), done: make(map[pullJob]bool), retries: make(map[pullJob]pullRetryAt),
		wanted: make(map[pullJob]time.Time), progress: make(map[function.Ref]pullProgress),
	}
	p.pods = newMirror(newPullPod, func(function.Ref, *pullPod, *pullPod) { signal(p.changed) })
	return p
}

// run looks after each change and every pullLook, until ctx ends.
func (p *puller) run(ctx context.Context) {
	select {
	case <-p.pods.synced:
	case <-ctx.Done():
	}
	for {
		began := time.Now()
		look := time.After(pullLook)
		if err := p.tick(ctx, time.Now()); err != nil && ctx.Err() == nil {
			p.c.log.Warn("pulling images ahead will be tried again", "err", err)
		}
		pause := time.After(min(max(pullPause, pullShare*time.Since(began)), pullLook)) // a burst of changes is one round
		select {
		case <-ctx.Done():
			return
		case <-look:
		case <-p.changed:
			select {
			case <-ctx.Done():
				return
			case <-pause:
			}
		}
	}
}

// tick does one round.
func (p *puller) tick(ctx context.Context, now time.Time) error {
	_, nodes, err := p.c.nodes.get(ctx)
	if err != nil {
		return err
	}
	r := &pullRound{puller: p, now: now, busy: make(map[string]int), keep: make(map[function.Ref]bool), jobs: make(map[pullJob]bool)}
	r.census()
	progress := make(map[function.Ref]pullProgress)
	var errs []error
	for ref, record := range p.records() {
		of := pullProgress{reference: record.fn.Image, rollout: record.rollout}
		for i := range nodes {
			if n := &nodes[i]; n.takes(record.fn) {
				of.total++
				problem, done, err := r.look(ctx, ref, record, n)
				switch {
				case err != nil:
					errs = append(errs, fmt.Errorf("pull the image of %q on node %q: %w", ref, n.name, err))
				case done:
					of.done++
				case problem != "":
					of.problem = fmt.Sprintf("node %s: %s", n.name, problem)
				}
			}
		}
		progress[ref] = of
	}
	errs = append(errs, r.sweep(ctx))
	p.tell(progress, r)
	return errors.Join(errs...)
}

// pullsDiffer reports whether there may be something else to pull after a change of a record. That a function was woken, or has gone to
// zero, is no such change: a round looks at all functions.
func pullsDiffer(before, after *record) bool {
	if before == nil || after == nil || before.uid != after.uid || before.deleting != after.deleting || before.problem != after.problem {
		return true
	}
	return !reflect.DeepEqual(before.resolved(), after.resolved()) || !slices.Equal(before.fn.Constraints, after.fn.Constraints) ||
		!slices.Equal(before.fn.Secrets, after.fn.Secrets) || before.fn.Policy.Watchdog() != after.fn.Policy.Watchdog()
}

// records are those whose images are to be on the nodes.
func (p *puller) records() map[function.Ref]*record {
	all := make(map[function.Ref]*record)
	p.c.records.each("", func(ref function.Ref, r *record) {
		if !r.deleting && r.problem == "" && r.resolved() != nil {
			all[ref] = r
		}
	})
	for ref := range all {
		if !p.c.Managed(ref.Namespace) {
			delete(all, ref)
		}
	}
	return all
}

// tell makes the progress known, and has the functions' status written where it has changed.
func (p *puller) tell(progress map[function.Ref]pullProgress, r *pullRound) {
	p.mu.Lock()
	before := p.progress
	p.progress = progress
	p.counts.running, p.counts.failing = r.running, r.failing
	p.mu.Unlock()
	for ref, now := range progress {
		if now != before[ref] {
			p.c.rounds().Add(ref)
		}
	}
}

// of is the condition of a function's present version, whose image was resolved to this, or nil; it has no reason where nothing is
// pulled ahead.
func (p *puller) of(ctx context.Context, ref function.Ref, r *record, image *resolution) condition {
	if !p.c.cfg.PrePull {
		return condition{}
	}
	p.mu.Lock()
	progress, known := p.progress[ref]
	p.mu.Unlock()
	if known && progress.reference == r.fn.Image && progress.rollout == r.rollout {
		return progress.condition()
	}
	if progress, all := p.nothingToPull(ctx, r, image); all {
		return progress.condition()
	}
	return condition{reason: "Pulling", message: "it is not known yet which nodes have the image"}
}

// nothingToPull reports whether all nodes that may run a function say that they have its image, as the next round would find: a third
// of all writes, where many functions of few images are deployed, would be to tell so later.
func (p *puller) nothingToPull(ctx context.Context, r *record, image *resolution) (progress pullProgress, all bool) {
	if r.problem != "" || image == nil || image.Reference != r.fn.Image || image.Rollout != r.rollout {
		return progress, false
	}
	_, nodes, err := p.c.nodes.get(ctx)
	if err != nil {
		return progress, false // the round tells, and tries again
	}
	of := plan{fn: r.fn, image: image, watchdogImage: p.c.cfg.WatchdogImage}
	for i := range nodes {
		if n := &nodes[i]; n.takes(r.fn) {
			if progress.total++; p.isDone(pullJob{n.name, of.pinned(), r.fn.Namespace}) || n.holds(&of) {
				progress.done++
			}
		}
	}
	return progress, progress.total > 0 && progress.done == progress.total
}

func (p *puller) isDone(job pullJob) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done[job]
}

func (p *puller) setDone(job pullJob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[job] = true
}

// pullRound is the state of one round.
type pullRound struct {
	*puller
	now              time.Time
	busy             map[string]int // by node
	running, failing int
	keep             map[function.Ref]bool // the pods that are still of use
	jobs             map[pullJob]bool
}

// census counts the pods that there are, before any is added.
func (r *pullRound) census() {
	r.pods.each("", func(_ function.Ref, pod *pullPod) {
		switch {
		case pod.pulled || pod.over:
		case pod.problem != "":
			r.failing++
		default:
			r.busy[pod.node]++
			r.running++
		}
	})
}

// look sees to the image of one record on one node.
func (r *pullRound) look(ctx context.Context, ref function.Ref, rec *record, n *node) (problem string, done bool, err error) {
	p := plan{fn: rec.fn, image: rec.resolved(), watchdogImage: r.c.cfg.WatchdogImage}
	job := pullJob{n.name, p.pinned(), ref.Namespace}
	first := !r.jobs[job]
	r.jobs[job] = true
	if r.isDone(job) {
		return "", true, nil
	}
	if n.holds(&p) || r.runsOn(ref, rec, n) {
		r.setDone(job)
		return "", true, nil
	}
	if _, known := r.wanted[job]; !known {
		r.wanted[job] = r.now
	}
	key := function.Ref{Name: job.pod(), Namespace: job.namespace}
	if pod := r.pods.get(key); pod != nil {
		return r.follow(job, key, pod, first)
	}
	retry := r.retries[job]
	settling := rec.fn.Replicas > 0 && r.now.Sub(r.wanted[job]) < pullSettle
	if settling || r.now.Before(retry.at) || r.busy[n.name] >= pullsPerNode || r.running >= pullsAtOnce {
		return retry.problem, false, nil
	}
	r.busy[n.name]++
	r.running++
	if err := r.start(ctx, job, rec, &p); err != nil {
		r.fail(job, oneLine(err.Error()))
		return r.retries[job].problem, false, nil
	}
	r.keep[key] = true
	return retry.problem, false, nil
}

// runsOn reports whether a replica of the present version runs, or did, on a node, which has the image by that.
func (r *pullRound) runsOn(ref function.Ref, rec *record, n *node) bool {
	for _, p := range r.c.table.podsOf(ref) {
		if p.record == rec.uid && p.rollout == rec.rollout && p.node == n.name && (p.ready || p.started && !p.wasSpare()) {
			return true
		}
	}
	return false
}

// follow sees what has become of a pod. It is deleted by the round's sweep unless it is to be kept.
func (r *pullRound) follow(job pullJob, key function.Ref, pod *pullPod, first bool) (problem string, done bool, err error) {
	switch {
	case pod.pulled:
		r.setDone(job)
		delete(r.retries, job)
		r.count(func(c *pullCounts) { c.pulled++ })
		return "", true, nil
	case pod.over:
		if first {
			r.fail(job, pod.problem)
		}
		return pod.problem, false, nil
	}
	r.keep[key] = true
	return pod.problem, false, nil
}

// fail notes that a job is to be tried again later.
func (r *pullRound) fail(job pullJob, problem string) {
	before := r.retries[job]
	pause := min(pullRetry<<min(before.failed, 10), pullRetryMax)
	r.retries[job] = pullRetryAt{r.now.Add(pause), before.failed + 1, problem}
	r.count(func(c *pullCounts) { c.failed++ })
}

func (r *pullRound) count(add func(*pullCounts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add(&r.counts)
}

// start makes the pod of a job.
func (r *pullRound) start(ctx context.Context, job pullJob, rec *record, p *plan) error {
	secrets, err := r.c.secretsOf(ctx, rec.fn)
	if err != nil {
		return err
	}
	_, pull := splitSecrets(secrets)
	for _, s := range pull {
		p.pull = append(p.pull, s.Name)
	}
	if p.watchdog, err = r.c.watchdogMethod(ctx, nodeSelector(rec.fn.Constraints)); err != nil {
		return err
	}
	made, err := r.c.core.CoreV1().Pods(job.namespace).Create(ctx, p.pullPod(job), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // the watch is behind
	}
	if err != nil {
		return translate(err, "Pod", job.pod())
	}
	return r.pods.observe(made)
}

// sweep deletes the pods that are of no use any more, and forgets what nobody wants any more.
func (r *pullRound) sweep(ctx context.Context) error {
	useless := make(map[function.Ref]types.UID)
	r.pods.each("", func(key function.Ref, pod *pullPod) {
		if !r.keep[key] {
			useless[key] = pod.uid
		}
	})
	var errs []error
	for key, uid := range useless {
		err := gone(r.c.core.CoreV1().Pods(key.Namespace).Delete(ctx, key.Name, deletionOf(uid)), "Pod", key.Name)
		errs = append(errs, forgotten(r.pods, key, uid, err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for job := range r.done {
		if !r.jobs[job] {
			delete(r.done, job)
		}
	}
	for job := range r.wanted {
		if !r.jobs[job] || r.done[job] {
			delete(r.wanted, job)
			delete(r.retries, job)
		}
	}
	return errors.Join(errs...)
}

// pullPod renders the pod of a job. It passes the restricted Pod Security Standard.
func (p *plan) pullPod(job pullJob) *corev1.Pod {
	yes, no := true, false
	grace, deadline := int64(1), int64(pullDeadline.Seconds())
	spec := corev1.PodSpec{
		NodeName:                      job.node,
		RestartPolicy:                 corev1.RestartPolicyNever,
		AutomountServiceAccountToken:  &no,
		EnableServiceLinks:            &no,
		TerminationGracePeriodSeconds: &grace,
		ActiveDeadlineSeconds:         &deadline,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: &yes, RunAsUser: p.user(), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name: pullContainer, Image: job.image, ImagePullPolicy: corev1.PullIfNotPresent, SecurityContext: lockedDown(true), Resources: pullResources(),
		}},
	}
	for _, name := range p.pull {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	p.putWatchdog(&spec)
	spec.Containers[0].Command = []string{watchdogCommand, "-version"}
	for i := range spec.InitContainers {
		spec.InitContainers[i].Resources = pullResources()
	}
	owner := p.meta().OwnerReferences[0]
	owner.Controller = nil // nobody makes it anew but the next round
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: job.pod(), Namespace: job.namespace, Labels: map[string]string{labelPull: job.pod()}, OwnerReferences: []metav1.OwnerReference{owner},
		},
		Spec: spec,
	}
}

// pullResources are next to nothing, and named for quotas that want them named.
func pullResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("8Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
	}
}

// takes reports whether a node may run a function's pods: it is ready, takes new pods, keeps none away whom it does not know,
// and has what the function's constraints ask for.
func (n *node) takes(fn *function.Function) bool {
	return n.open && labels.SelectorFromSet(nodeSelector(fn.Constraints)).Matches(labels.Set(n.labels))
}

// holds reports whether a node says that it has all images of a function's pods.
func (n *node) holds(p *plan) bool {
	return n.has(p.pinned()) && (!p.fn.Policy.Watchdog() || n.has(p.watchdogImage))
}

// has reports whether a node says that it has an image. Nodes tell of their fifty largest images or so, not of all.
func (n *node) has(image string) bool {
	canonical, ok := canonicalImage(image)
	return ok && n.images[canonical]
}

// canonicalImage spells a reference out, so that those that mean the same are the same.
func canonicalImage(image string) (string, bool) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return "", false // such as one of <none>
	}
	return ref.Name(), true
}

// nodeOpen tells whether a node takes pods that tolerate nothing.
func nodeOpen(o *corev1.Node) bool {
	if o.Spec.Unschedulable {
		return false
	}
	for _, taint := range o.Spec.Taints {
		if taint.Effect != corev1.TaintEffectPreferNoSchedule {
			return false
		}
	}
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return false
		}
	}
	return true
}

func imagesOf(o *corev1.Node) map[string]bool {
	images := make(map[string]bool)
	for i := range o.Status.Images {
		for _, image := range o.Status.Images[i].Names {
			if canonical, ok := canonicalImage(image); ok {
				images[intern(canonical)] = true
			}
		}
	}
	return images
}

// ImagePulls tells of pulls ahead of a wake: how many are under way, how many fail at present, and how many have ended and how.
// Memory only.
func (c *Cluster) ImagePulls() (running, failing int, pulled, failed uint64) {
	c.pulls.mu.Lock()
	defer c.pulls.mu.Unlock()
	n := c.pulls.counts
	return n.running, n.failing, n.pulled, n.failed
}
