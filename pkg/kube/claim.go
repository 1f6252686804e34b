package kube

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	// claimPatience is how long a claimed pod may take to serve before the function gets its Deployment beside it: what goes
	// wrong there may go right in a pod that was made for it, and its status tells what does not.
	claimPatience = 15 * time.Second
	// secretsInterval is how often the secrets of claimed pods are looked at: about as often as the kubelet does for all others.
	secretsInterval = 30 * time.Second
	// unfitLife is how long a function whose process ended in a spare as soon as it began is given no other. It may have been chance.
	unfitLife = 10 * time.Minute
)

// resizeKubernetes has in-place changes of requests and limits on by default.
var resizeKubernetes = version.MustParseGeneric("1.33.0")

// unclaimable says why a function cannot be given a spare, or "". image is what was found out about its image; nil if that is
// not known yet. limits are those of the spares, which nothing can take away.
func unclaimable(fn *function.Function, image *resolution, limits *function.Resources) string {
	if why := unclaimableAsAsked(fn, limits); why != "" {
		return why
	}
	switch {
	case image == nil:
		return "its image is not resolved yet"
	case image.User != nil && *image.User != defaultUser:
		return fmt.Sprintf("its image runs as user %d, and a spare as %d", *image.User, defaultUser)
	case len(image.PullSecrets) > 0:
		return fmt.Sprintf("its image is pulled with secret %q, which a spare lacks", image.PullSecrets[0])
	case !fn.Policy.Watchdog() && len(image.Command) == 0:
		return "its image serves by itself, and what that runs is not known: " +
			cmp.Or(image.Problem, "it has neither ENTRYPOINT nor CMD, or was deployed before spares could run it")
	}
	return ""
}

// unclaimableAsAsked is unclaimable for whatever image it may have.
func unclaimableAsAsked(fn *function.Function, limits *function.Resources) string {
	switch {
	case len(fn.Constraints) > 0:
		return "it is constrained to certain nodes"
	case fn.ReadOnlyRoot:
		return "its root is read-only, and a spare's is not"
	case gpuOf(fn) != "":
		return "it needs " + gpuOf(fn)
	}
	if limits == nil {
		return ""
	}
	own := function.Resources{}
	if fn.Limits != nil {
		own = *fn.Limits
	}
	switch {
	case limits.Memory != "" && own.Memory == "":
		return "it has no limit of memory, and the spares have one"
	case limits.CPU != "" && own.CPU == "":
		return "it has no limit of CPU, and the spares have one"
	}
	return ""
}

func gpuOf(fn *function.Function) string {
	for _, r := range []*function.Resources{fn.Limits, fn.Requests} {
		for name := range resourcesIn(r) {
			for _, gpu := range gpus {
				if name == gpu {
					return string(gpu)
				}
			}
		}
	}
	return ""
}

func resourcesIn(r *function.Resources) corev1.ResourceList {
	list, _ := quantities("", r) // what cannot be read was refused before
	return list
}

// unclaimable says why a record's function cannot be given a spare, or "".
func (c *Cluster) unclaimable(ctx context.Context, r *record, image *resolution) string {
	if c.cfg.Pool == nil {
		return "there is no warm pool"
	}
	if why := unclaimable(r.fn, image, c.cfg.Pool.Limits); why != "" {
		return why
	}
	if why := c.unfitness(r); why != "" {
		return why
	}
	return c.nodes.cannotResize(ctx, r.fn)
}

// unfit is a function whose process ended in a spare as soon as it began, in one version of it. Where the reason is the spare, such as
// the one port that is not the function's there, it would in the next.
type unfit struct {
	inputs, why string
	until       time.Time
}

// noteUnfit looks at a claimed pod that does not serve.
func (c *Cluster) noteUnfit(r *record, p *pod, inputs string, now time.Time) {
	if !p.wasSpare() || p.restarts == 0 && !p.down || p.claim.inputs != inputs || now.Sub(p.claim.since) > claimPatience || p.problem == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unfits[r.uid] = unfit{inputs: inputs, why: p.problem, until: now.Add(unfitLife)}
}

func (c *Cluster) unfitness(r *record) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	u, is := c.unfits[r.uid]
	if !is {
		return ""
	}
	if u.inputs != inputsOf(r.fn, r.rollout, r.resolvedOrNone()) || time.Now().After(u.until) {
		delete(c.unfits, r.uid)
		return ""
	}
	return fmt.Sprintf("it ended as soon as it began in a spare, where port %d is not its own: %s", readypush.ProbePort, u.why)
}

// cannotResize says why a pod cannot be given a function's resources in place, or "".
func (c *nodeCache) cannotResize(ctx context.Context, fn *function.Function) string {
	requests, limits := resourcesIn(fn.Requests), resourcesIn(fn.Limits)
	if len(requests) == 0 && len(limits) == 0 {
		return ""
	}
	server, nodes, err := c.get(ctx)
	if err != nil {
		return "it has requests or limits, and what nodes there are is not known now"
	}
	if !atLeast(server, resizeKubernetes) {
		return "it has requests or limits, and this Kubernetes cannot change those of a pod that runs"
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceCPU} {
		wanted, ok := requests[name]
		if !ok {
			wanted, ok = limits[name]
		}
		if ok && !anyHolds(nodes, name, wanted) {
			return fmt.Sprintf("no node has %s of %s", wanted.String(), name)
		}
	}
	return ""
}

func anyHolds(nodes []node, name corev1.ResourceName, wanted resource.Quantity) bool {
	for _, n := range nodes {
		if has, ok := n.allocatable[name]; !ok || has.Cmp(wanted) >= 0 {
			return true
		}
	}
	return len(nodes) == 0
}

// Assignment is what makes a spare a replica of a function: what the pods of its Deployment have in their specification.
func (c *Cluster) Assignment(ctx context.Context, fn *function.Function) (assignment.Assignment, error) {
	r, err := c.recordOf(fn)
	if err != nil {
		return assignment.Assignment{}, err
	}
	secrets, err := c.secretsOf(ctx, r.fn)
	if err != nil {
		return assignment.Assignment{}, err
	}
	p := c.claimPlan(r)
	a := assignment.Assignment{
		Function: r.fn.Ref.String(), Record: r.fn.ID, Env: p.values(), User: p.user(), Secrets: make(map[string][]byte),
	}
	if !r.fn.Policy.Watchdog() {
		p.besideEnv(a.Env)
	}
	if limit, ok := resourcesIn(r.fn.Limits)[corev1.ResourceMemory]; ok {
		a.MemoryLimitBytes = limit.Value()
	}
	for _, s := range secrets {
		if isPullSecret(s) {
			return a, function.Invalidf("its image is pulled with secret %q, which a spare lacks", s.Name)
		}
		maps.Copy(a.Secrets, s.Data)
	}
	c.mu.Lock()
	c.given[r.uid] = versionsOf(secrets)
	c.mu.Unlock()
	return a, nil
}

// versionsOf names what secrets are now, without a word of what is in them; "" for none.
func versionsOf(secrets []*corev1.Secret) string {
	if len(secrets) == 0 {
		return ""
	}
	h := sha256.New()
	for _, s := range secrets {
		fmt.Fprintln(h, s.Name, s.UID, s.ResourceVersion)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func (c *Cluster) recordOf(fn *function.Function) (*record, error) {
	r := c.records.get(fn.Ref)
	if r == nil || r.deleting || string(r.uid) != fn.ID || r.resolved() == nil {
		return nil, fmt.Errorf("function %q is not what it was: %w", fn.Ref, function.ErrConflict)
	}
	return r, nil
}

// claimPlan is a plan for what of a pod a claim can change.
func (c *Cluster) claimPlan(r *record) *plan {
	p := &plan{
		fn: r.fn, rollout: r.rollout, image: r.resolved(), watchdogImage: c.cfg.WatchdogImage,
		readyURL: c.cfg.ReadyURL, readyKey: c.cfg.ReadyKey, callTimeout: c.cfg.CallTimeout,
		sleepAction: true, // the watchdog does what the kubelet's would
	}
	p.inputs = inputsOf(p.fn, p.rollout, p.image)
	return p
}

// Adopt makes a spare's pod a replica of a function, in one change: the kubelet starts the function's image in it, and it
// counts as the function's from then on. taken is when it was claimed.
func (c *Cluster) Adopt(ctx context.Context, pod, id string, taken time.Time, fn *function.Function) error {
	r, err := c.recordOf(fn)
	if err != nil {
		return err
	}
	p := c.claimPlan(r)
	meta := p.meta()
	labels := map[string]any{labelSpare: nil}
	for key, value := range p.labels() {
		labels[key] = value
	}
	annotations := p.annotations()
	annotations[annotationInputs] = p.inputs
	annotations[annotationClaimed] = time.Now().UTC().Format(time.RFC3339Nano)
	c.mu.Lock()
	if given := c.given[r.uid]; given != "" {
		annotations[annotationSecrets] = given
	}
	delete(c.given, r.uid)
	c.mu.Unlock()
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid": id, "labels": labels, "annotations": annotations,
			"ownerReferences": []any{map[string]any{"$patch": "replace"}, meta.OwnerReferences[0]},
		},
		"spec": map[string]any{
			"containers": []any{map[string]any{"name": spareContainer, "image": p.pinned()}},
		},
	})
	if err != nil {
		return fmt.Errorf("encode a claim: %w", err)
	}
	made, err := c.core.CoreV1().Pods(fn.Namespace).Patch(ctx, pod, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return translate(err, "Pod", pod)
	}
	c.starts.mark(fn.Ref, pod, function.PhaseClaim, taken)
	c.starts.mark(fn.Ref, pod, function.PhaseAssign, time.Now())
	if err := c.pods.observe(made); err != nil {
		return err
	}
	c.spares.forget(function.Ref{Name: pod, Namespace: fn.Namespace}, made.UID)
	c.log.Info("spare claimed", "function", fn.Name, "namespace", fn.Namespace, "replica", pod)
	return nil
}

// claims are the pods that were claimed for a record and are of use to it, in any version of it.
func (c *Cluster) claims(ref function.Ref, record types.UID) map[string]*pod {
	claims := c.table.podsOf(ref)
	maps.DeleteFunc(claims, func(_ string, p *pod) bool { return p.claim == nil || p.record != record || p.ending })
	return claims
}

// servedByClaims reports whether the claimed pods of a function are all that it needs for now: as many as replicas are
// wanted, of the present version, in good health, and nobody has asked for more. A function that was just woken is given a
// spare here, if there is one, or a pod of its own.
func (c *Cluster) servedByClaims(ctx context.Context, ref function.Ref, r *record) bool {
	if c.cfg.Pool == nil {
		return false
	}
	woken := c.takeWoken(r)
	if d := c.deployments.get(ref); d != nil && d.record == r.uid || c.isSteady(r.uid) {
		return false
	}
	claims := c.claims(ref, r.uid)
	if len(claims) == 0 && woken {
		if !c.giveSpare(ctx, ref, r) && (r.fn.Replicas != 1 || !c.makeLone(ctx, ref, r)) {
			return false
		}
		claims = c.claims(ref, r.uid)
	}
	if len(claims) == 0 || len(claims) < r.fn.Replicas {
		return false
	}
	inputs := inputsOf(r.fn, r.rollout, r.resolvedOrNone())
	for name, p := range claims {
		left := claimPatience - time.Since(p.claim.since)
		switch {
		case p.claim.inputs != inputs, p.restarts > 0, p.claim.unresized, p.problem != "", left <= 0 && !c.isEndpoint(ref, name):
			c.noteUnfit(r, p, inputs, time.Now())
			return false
		case left > 0:
			c.rounds().AddAfter(ref, left) // no event tells that something did not happen
		}
	}
	return !c.secretsChanged(ctx, ref, r, claims)
}

// secretsChanged looks whether claimed pods hold what the function's secrets are now. In all other pods the kubelet renews them; to
// one that was claimed they were told once, so that the function gets its Deployment if they have changed. What cannot be found out
// now changes nothing: a secret that is gone is kept in other pods, too.
func (c *Cluster) secretsChanged(ctx context.Context, ref function.Ref, r *record, claims map[string]*pod) bool {
	if len(r.fn.Secrets) == 0 {
		return false
	}
	due := false
	for _, p := range claims {
		left := secretsInterval - time.Since(p.claim.since)
		if left <= 0 { // and not in the middle of a wake
			due, left = true, secretsInterval
		}
		c.rounds().AddAfter(ref, left)
	}
	if !due {
		return false
	}
	secrets, err := c.secretsOf(ctx, r.fn)
	if err != nil {
		c.log.Debug("secrets of a claimed pod are not known now", "function", ref.Name, "namespace", ref.Namespace, "err", err)
		return false
	}
	now := versionsOf(secrets)
	for _, p := range claims {
		if p.claim.secrets != "" && p.claim.secrets != now {
			c.log.Info("claimed pod is replaced, a secret of it has changed", "function", ref.Name, "namespace", ref.Namespace)
			c.Steady(ref, string(r.uid))
			return true
		}
	}
	return false
}

// giveSpare claims a spare for a function, if it can be given one and one is free.
func (c *Cluster) giveSpare(ctx context.Context, ref function.Ref, r *record) bool {
	if c.unclaimable(ctx, r, r.resolved()) != "" {
		return false
	}
	err := c.cfg.Pool.Claim(ctx, r.fn)
	if err != nil {
		c.log.Debug("function starts without a spare", "function", ref.Name, "namespace", ref.Namespace, "err", err)
	}
	return err == nil
}

// resolvedOrNone is resolved for those who only compare.
func (r *record) resolvedOrNone() *resolution {
	if image := r.resolved(); image != nil {
		return image
	}
	return &resolution{}
}

func (c *Cluster) isEndpoint(ref function.Ref, pod string) bool {
	for _, e := range c.table.endpoints(ref) {
		if e.Replica == pod {
			return true
		}
	}
	return false
}

// dropClaims takes a function's claimed pods away once its Deployment serves: they get no more calls, finish those that they
// have, and go.
func (c *Cluster) dropClaims(ctx context.Context, ref function.Ref, r *record) error {
	d := c.deployments.get(ref)
	if d == nil || d.record != r.uid || d.available == 0 || d.observed < d.generation {
		return nil
	}
	claims := c.claims(ref, r.uid)
	if len(claims) == 0 || c.rescued(ref, r) {
		return nil
	}
	return c.drainClaims(ctx, ref, claims)
}

// trimClaims takes away the claimed pods that are more than is wanted. They come of a claim that was given up because Kubernetes
// did not answer in time, and took effect all the same.
func (c *Cluster) trimClaims(ctx context.Context, ref function.Ref, r *record) error {
	claims := c.claims(ref, r.uid)
	if len(claims) <= r.fn.Replicas || c.rescued(ref, r) {
		return nil
	}
	// Those that were given up go first, and of the others those that do not serve, and the youngest.
	goes := slices.SortedFunc(maps.Keys(claims), func(a, b string) int {
		first := func(is func(name string) bool) int {
			switch {
			case is(a) == is(b):
				return 0
			case is(a):
				return -1
			}
			return 1
		}
		return cmp.Or(
			first(func(name string) bool { return c.isDiscarded(claims[name].uid) }),
			first(func(name string) bool { return !c.isEndpoint(ref, name) }),
			claims[b].claim.since.Compare(claims[a].claim.since),
			cmp.Compare(a, b),
		)
	})
	for _, name := range goes[len(goes)-r.fn.Replicas:] {
		delete(claims, name)
	}
	for name := range claims {
		c.log.Warn("claimed pod taken away, the function has another", "function", ref.Name, "namespace", ref.Namespace, "replica", name)
	}
	return c.drainClaims(ctx, ref, claims)
}

// drainClaims has claimed pods get no more calls, finish those that they have, and go.
func (c *Cluster) drainClaims(ctx context.Context, ref function.Ref, claims map[string]*pod) error {
	if len(claims) == 0 {
		return nil
	}
	for name, p := range claims {
		c.pods.amend(function.Ref{Name: name, Namespace: ref.Namespace}, p.uid, func(p pod) pod {
			p.ending = true
			return p
		})
	}
	c.table.told(ctx, ref)
	g, ctx := errgroup.WithContext(ctx)
	for name, p := range claims {
		g.Go(func() error {
			err := c.deletePod(ctx, ref, name, p)
			if err != nil {
				c.pods.amend(function.Ref{Name: name, Namespace: ref.Namespace}, p.uid, func(now pod) pod {
					now.ending = p.ending
					return now
				})
			}
			return err
		})
	}
	return g.Wait()
}

// deletePod deletes a pod of a function. One that was claimed has a spare's grace in its specification, so that it is told
// the function's.
func (c *Cluster) deletePod(ctx context.Context, ref function.Ref, name string, p *pod) error {
	options := metav1.DeleteOptions{}
	if p.claim != nil {
		options = deletionOf(p.uid)
		if r := c.records.get(ref); r != nil && r.uid == p.record {
			grace := int64((&plan{fn: r.fn, sleepAction: true, callTimeout: c.cfg.CallTimeout}).grace().Seconds())
			options.GracePeriodSeconds = &grace
		}
	}
	return gone(c.core.CoreV1().Pods(ref.Namespace).Delete(ctx, name, options), "Pod", name)
}

// resizeClaims gives claimed pods the function's requests and limits. Nothing waits for that. What Kubernetes refuses is
// noted, and the function gets its Deployment.
func (c *Cluster) resizeClaims(ctx context.Context, ref function.Ref, r *record) error {
	var errs []error
	for name, p := range c.claims(ref, r.uid) {
		if p.claim.lone {
			continue // it was made with them
		}
		wanted := resized(p.claim.resources, r.fn)
		if p.restarts == 0 && p.running.IsZero() || equality.Semantic.DeepEqual(p.claim.resources, wanted) {
			continue // it is on its way up, and has the processor to itself, or has what it is to have
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.uid}, "spec": map[string]any{
			"containers": []any{map[string]any{"name": spareContainer, "resources": wanted}},
		}})
		if err != nil {
			return fmt.Errorf("encode resources: %w", err)
		}
		made, err := c.core.CoreV1().Pods(ref.Namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "resize")
		switch {
		case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err), apierrors.IsNotFound(err):
			c.log.Info("resources of a claimed pod cannot be changed", "function", ref.Name, "namespace", ref.Namespace, "replica", name, "err", err)
			c.pods.amend(function.Ref{Name: name, Namespace: ref.Namespace}, p.uid, func(p pod) pod {
				claim := *p.claim
				claim.unresized = true
				p.claim = &claim
				return p
			})
			c.rounds().Add(ref)
		case err != nil:
			errs = append(errs, translate(err, "Pod", name))
		default:
			errs = append(errs, c.pods.observe(made))
		}
	}
	return errors.Join(errs...)
}

// resized is what a claimed pod's resources are to become: the function's own, over what it has, of which nothing can be
// taken away. A limit without a request is a request, too, as everywhere in Kubernetes. A pod cannot become one of the class
// Guaranteed, whose requests are its limits: it gets a thousandth of a processor less.
func resized(has corev1.ResourceRequirements, fn *function.Function) corev1.ResourceRequirements {
	to := *has.DeepCopy()
	limits, requests := resourcesIn(fn.Limits), resourcesIn(fn.Requests)
	set := func(list *corev1.ResourceList, name corev1.ResourceName, quantity resource.Quantity) {
		if *list == nil {
			*list = make(corev1.ResourceList)
		}
		(*list)[name] = quantity
	}
	guaranteed := true
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceCPU} {
		limit, limited := limits[name]
		request, requested := requests[name]
		if limited {
			set(&to.Limits, name, limit)
		}
		if limited && !requested {
			request, requested = limit, true
		}
		if requested {
			set(&to.Requests, name, request)
		}
		limit, limited = to.Limits[name]
		request = to.Requests[name]
		if limited && request.Cmp(limit) > 0 {
			set(&to.Requests, name, limit)
			request = limit
		}
		guaranteed = guaranteed && limited && request.Cmp(limit) == 0
	}
	if guaranteed {
		cpu := to.Requests[corev1.ResourceCPU]
		cpu.Sub(resource.MustParse("1m"))
		to.Requests[corev1.ResourceCPU] = cpu
	}
	return to
}

// Claimed is a function that is served by claimed pods alone.
type Claimed struct {
	Ref function.Ref
	// ID is the record's identity.
	ID    string
	Since time.Time
}

// Claimed lists the functions that are served by claimed pods alone. Memory only.
func (c *Cluster) Claimed() []Claimed {
	oldest := make(map[function.Ref]Claimed)
	c.pods.each("", func(_ function.Ref, p *pod) {
		if p.claim == nil || p.ending {
			return
		}
		if known, ok := oldest[p.function]; !ok || p.claim.since.Before(known.Since) {
			oldest[p.function] = Claimed{Ref: p.function, ID: string(p.record), Since: p.claim.since}
		}
	})
	list := make([]Claimed, 0, len(oldest))
	for ref, claimed := range oldest {
		r, d := c.records.get(ref), c.deployments.get(ref)
		if r != nil && string(r.uid) == claimed.ID && r.fn.Replicas > 0 && d == nil && !c.isSteady(r.uid) {
			list = append(list, claimed)
		}
	}
	return list
}

// Steady has a function get its Deployment though claimed pods serve it, which go when the Deployment does. It holds until the
// function is at zero again. Memory only.
func (c *Cluster) Steady(ref function.Ref, id string) {
	c.mu.Lock()
	c.steady[types.UID(id)] = struct{}{}
	c.mu.Unlock()
	c.rounds().Add(ref)
}

func (c *Cluster) isSteady(record types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, is := c.steady[record]
	return is
}

// replaceClaims has the functions that name a secret served by other pods than claimed ones, which hold what the secret was
// when they were claimed; the kubelet renews it in all others.
func (c *Cluster) replaceClaims(namespace, secret string) {
	for _, claimed := range c.Claimed() {
		if f, ok := c.Lookup(claimed.Ref); ok && claimed.Ref.Namespace == namespace && slices.Contains(f.Secrets, secret) {
			c.Steady(claimed.Ref, claimed.ID)
		}
	}
}

// unsteady undoes Steady.
func (c *Cluster) unsteady(record types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.steady, record)
}

// takeWoken reports whether a record's function was woken since the last look.
func (c *Cluster) takeWoken(r *record) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.woken == c.woken[r.uid] {
		return false
	}
	c.woken[r.uid] = r.woken
	return true
}
