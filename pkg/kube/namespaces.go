package kube

import (
	"context"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// markNamespace, as a label or an annotation of 1 or true, makes a namespace one for functions. We set both.
	markNamespace = "openfaas"
	// labelPodSecurity has Kubernetes refuse pods that are not locked down.
	labelPodSecurity = "pod-security.kubernetes.io/enforce"
)

// namespace is what is kept of a Namespace.
type namespace struct {
	marked, ending bool
	// pool is what its annotations say of its warm pool, as written.
	pool struct{ size, cpu, memory string }
}

func newNamespace(obj any, _ *namespace) *namespace {
	o := obj.(*corev1.Namespace)
	n := &namespace{marked: marked(o), ending: o.DeletionTimestamp != nil}
	n.pool.size, n.pool.cpu, n.pool.memory = o.Annotations[annotationPoolSize], o.Annotations[annotationPoolCPU], o.Annotations[annotationPoolMemory]
	return n
}

func marked(o *corev1.Namespace) bool {
	for _, m := range []map[string]string{o.Annotations, o.Labels} {
		if v := m[markNamespace]; v == "1" || v == "true" {
			return true
		}
	}
	return false
}

// Namespaces lists the namespaces that functions may be in, the default one among them. Memory only.
func (c *Cluster) Namespaces() []string {
	list := []string{c.cfg.DefaultNamespace}
	c.namespaces.each("", func(key function.Ref, n *namespace) {
		if key.Name != c.cfg.DefaultNamespace && c.holdsFunctions(key.Name, n) {
			list = append(list, key.Name)
		}
	})
	slices.Sort(list)
	return list
}

// Managed reports whether functions may be in a namespace. Memory only.
func (c *Cluster) Managed(name string) bool {
	return c.holdsFunctions(name, c.namespaces.get(function.Ref{Name: name}))
}

func (c *Cluster) holdsFunctions(name string, n *namespace) bool {
	if function.CheckNamespace(name) != nil {
		return false
	}
	return name == c.cfg.DefaultNamespace || n != nil && n.marked && !n.ending
}

// Namespace tells what a namespace for functions carries. Labels that Kubernetes gives a meaning are left out.
func (c *Cluster) Namespace(ctx context.Context, name string) (function.Namespace, error) {
	o, err := c.markedNamespace(ctx, name)
	if err != nil {
		return function.Namespace{}, err
	}
	n := function.Namespace{Name: name, Labels: make(map[string]string), Annotations: make(map[string]string)}
	for key, value := range o.Labels {
		if !kubernetesOwn(key) {
			n.Labels[key] = value
		}
	}
	for key, value := range o.Annotations {
		if !kubernetesOwn(key) {
			n.Annotations[key] = value
		}
	}
	return n, nil
}

// CreateNamespace makes a namespace for functions, in which Kubernetes lets no pod run that is not locked down.
func (c *Cluster) CreateNamespace(ctx context.Context, n function.Namespace) error {
	if err := checkNamespace(n); err != nil {
		return err
	}
	o := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: mark(n.Labels), Annotations: mark(n.Annotations)}}
	o.Labels[labelPodSecurity] = "restricted"
	made, err := c.core.CoreV1().Namespaces().Create(ctx, o, metav1.CreateOptions{})
	if err != nil {
		return translate(err, "namespace", n.Name)
	}
	return c.namespaces.observe(made)
}

// UpdateNamespace replaces the labels and annotations of a namespace for functions. Those that Kubernetes gives a meaning
// stay as they are.
func (c *Cluster) UpdateNamespace(ctx context.Context, n function.Namespace) error {
	if err := checkNamespace(n); err != nil {
		return err
	}
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		o, err := c.markedNamespace(ctx, n.Name)
		if err != nil {
			return err
		}
		o.Labels = replaceOwn(o.Labels, mark(n.Labels))
		o.Annotations = replaceOwn(o.Annotations, mark(n.Annotations))
		made, err := c.core.CoreV1().Namespaces().Update(ctx, o, metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		return c.namespaces.observe(made)
	})
	return translate(err, "namespace", n.Name)
}

// DeleteNamespace has Kubernetes delete a namespace and all that is in it; it is not for functions any more when the call
// returns, though it may take a while to go.
func (c *Cluster) DeleteNamespace(ctx context.Context, name string) error {
	if name == c.cfg.DefaultNamespace {
		return function.Invalidf("namespace %q is the default one and cannot be deleted", name)
	}
	o, err := c.markedNamespace(ctx, name)
	if err != nil {
		return err
	}
	err = c.core.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &o.UID}})
	if err != nil {
		return translate(err, "namespace", name)
	}
	c.namespaces.amend(function.Ref{Name: name}, o.UID, func(n namespace) namespace {
		n.ending = true
		return n
	})
	return nil
}

// markedNamespace gets a namespace for functions; any other is not found.
func (c *Cluster) markedNamespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	if err := function.CheckNamespace(name); err != nil {
		return nil, err
	}
	o, err := c.core.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, translate(err, "namespace", name)
	}
	if !c.holdsFunctions(name, newNamespace(o, nil)) {
		return nil, function.NotFoundf("namespace %q not found", name)
	}
	return o, nil
}

func checkNamespace(n function.Namespace) error {
	if err := function.CheckNamespace(n.Name); err != nil {
		return err
	}
	for _, m := range []map[string]string{n.Labels, n.Annotations} {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if kubernetesOwn(key) {
				return function.Invalidf("%q has a meaning for Kubernetes and cannot be set here", key)
			}
		}
	}
	return nil
}

// kubernetesOwn tells the labels and annotations that are not the user's: what the pods of a namespace may do hangs on some.
func kubernetesOwn(key string) bool {
	prefix, _, ok := strings.Cut(key, "/")
	return ok && (prefix == "kubernetes.io" || prefix == "k8s.io" ||
		strings.HasSuffix(prefix, ".kubernetes.io") || strings.HasSuffix(prefix, ".k8s.io"))
}

func mark(m map[string]string) map[string]string {
	marked := maps.Clone(m)
	if marked == nil {
		marked = make(map[string]string)
	}
	marked[markNamespace] = "1"
	return marked
}

func replaceOwn(old, own map[string]string) map[string]string {
	for key, value := range old {
		if kubernetesOwn(key) {
			own[key] = value
		}
	}
	return own
}

// namespaceChanged has the functions of a namespace looked at when it becomes one for functions.
func (c *Cluster) namespaceChanged(key function.Ref, before, after *namespace) {
	signal(c.refill)
	if c.holdsFunctions(key.Name, before) == c.holdsFunctions(key.Name, after) {
		return
	}
	c.log.Info("namespace changed", "namespace", key.Name, "functions", c.holdsFunctions(key.Name, after))
	c.records.each(key.Name, func(ref function.Ref, _ *record) { c.rounds().Add(ref) })
}

// errUnmanaged refuses a function in a namespace that is not for functions.
func errUnmanaged(name string) error {
	return function.Invalidf("namespace %q is not for functions: it lacks the annotation %s: \"1\"", name, markNamespace)
}
