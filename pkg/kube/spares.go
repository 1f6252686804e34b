package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	// labelSpare is on the pods of the warm pool that are nobody's yet; its value is the shape that they were made in. A claim
	// takes it away.
	labelSpare = function.ReservedPrefix + "spare"
	// annotationClaimed says that a pod was a spare, and when it was claimed.
	annotationClaimed = function.ReservedPrefix + "claimed"
	// annotationSecrets says which versions of its function's secrets a claimed pod was given.
	annotationSecrets = function.ReservedPrefix + "secrets"

	// The namespace's own word on its pool.
	annotationPoolSize   = "com.dragonchain.pool.size"
	annotationPoolCPU    = "com.dragonchain.pool.cpu"
	annotationPoolMemory = "com.dragonchain.pool.memory"
	// maxPoolSize bounds what an annotation may ask for: a typing error must not fill a cluster.
	maxPoolSize = 100

	// spareContainer is the container's name, which cannot become the function's.
	spareContainer = "function"
	// probesPort is the name of the port that a spare's probes ask, which cannot change with its claim. Functions have port.
	probesPort = "probes"
	// spareMemory bounds each tmpfs: the longest assignment, as it was sent and as files.
	spareMemory = "16Mi"
	// spareTokenLife is the least that Kubernetes gives.
	spareTokenLife = 10 * 60
)

// Pool says what the warm pool is like, and joins it to whoever hands out its spares. All functions are needed; none is
// called with a lock held.
type Pool struct {
	// Size is how many spares each namespace for functions has, if its annotation com.dragonchain.pool.size says no other
	// number. 0 means none.
	Size int
	// Requests and Limits are a spare's; a namespace's annotations com.dragonchain.pool.cpu and .memory go before Requests.
	// A function that was given a spare gets its own by and by; what has a limit here cannot be without one.
	Requests, Limits *function.Resources
	// Owner is the ClusterRole with which the spares go, so that none is left when the provider is uninstalled. Empty, or not there,
	// means that they stay.
	Owner string
	// URL is where spares register, and Key the provider's public key for them.
	URL, Key string

	// Claim makes a spare of none of the nodes to avoid a replica of a function, by Assignment and Adopt, or says why it did not.
	Claim func(ctx context.Context, f *function.Function, avoid ...string) error
	// Shun tells of a node of which nothing is heard, and Shunned lists those of which it was told, or found out, lately.
	Shun    func(node string)
	Shunned func() []string
	// Registered reports whether a spare may be claimed; Retire takes one away from whoever might claim it, and reports
	// false if that is too late; Gone tells that its pod is no more.
	Registered, Retire func(id string) bool
	Gone               func(id string)
	// Serves tells that a pod that was claimed may be given work, and Starting reports whether one is on its way up.
	Serves   func(id string)
	Starting func() bool
	// Ask has a spare at an address register, which has not by itself. It does not wait.
	Ask func(ctx context.Context, pod string, ip netip.Addr)
}

func (p *Pool) check() error {
	if p.Size < 0 || p.Size > maxPoolSize {
		return fmt.Errorf("kube: %d spares for each namespace: give a number from 0 to %d", p.Size, maxPoolSize)
	}
	for kind, r := range map[string]*function.Resources{"requests": p.Requests, "limits": p.Limits} {
		if _, err := quantities(kind, r); err != nil {
			return fmt.Errorf("kube: the spares' %w", err)
		}
	}
	return nil
}

// spare is what is kept of a spare's pod.
type spare struct {
	uid types.UID
	// version is the pod's as it was looked at here: what is deleted by it has not been claimed since.
	version string
	shape   string
	ip      string
	created time.Time
	// over means that it ends, has ended, or was started again: it is of no use.
	over bool
}

func newSpare(obj any, before *spare) *spare {
	o := obj.(*corev1.Pod)
	s := &spare{
		uid:     o.UID,
		version: o.ResourceVersion,
		shape:   intern(o.Labels[labelSpare]),
		ip:      o.Status.PodIP,
		created: o.CreationTimestamp.Time,
		over:    before != nil && before.over || o.DeletionTimestamp != nil || o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed,
	}
	for i := range o.Status.ContainerStatuses {
		s.over = s.over || o.Status.ContainerStatuses[i].RestartCount > 0
	}
	return s
}

// poolOf is a namespace's pool.
type poolOf struct {
	size             int
	requests, limits corev1.ResourceList
}

// namespacePool is what a namespace's annotations say of its pool; a problem says which of them cannot be read, and that the
// provider's own settings count instead.
func (c *Cluster) namespacePool(name string) (pool poolOf, problem error) {
	pool.size = c.cfg.Pool.Size
	pool.requests, _ = quantities("requests", c.cfg.Pool.Requests) // New has checked both
	pool.limits, _ = quantities("limits", c.cfg.Pool.Limits)
	n := c.namespaces.get(function.Ref{Name: name})
	if n == nil {
		return pool, nil
	}
	if v := n.pool.size; v != "" {
		size, err := strconv.Atoi(v)
		if err != nil || size < 0 || size > maxPoolSize {
			return pool, fmt.Errorf("annotation %s=%.80q: give a whole number from 0 to %d", annotationPoolSize, v, maxPoolSize)
		}
		pool.size = size
	}
	own, err := quantities("pool", &function.Resources{CPU: n.pool.cpu, Memory: n.pool.memory})
	if err != nil {
		return pool, fmt.Errorf("annotations %s and %s: %w", annotationPoolCPU, annotationPoolMemory, err)
	}
	for name, quantity := range own {
		if pool.requests == nil {
			pool.requests = make(corev1.ResourceList)
		}
		pool.requests[name] = quantity
	}
	return pool, nil
}

// sparePod renders a spare. It passes the restricted Pod Security Standard. What of a pod cannot change is what most
// functions have: the user 1000, a root that can be written to, probes that the watchdog answers.
func (c *Cluster) sparePod(namespace string, pool poolOf, watchdog WatchdogMethod) *corev1.Pod {
	p := plan{
		fn:            &function.Function{Spec: function.Spec{Ref: function.Ref{Name: spareContainer, Namespace: namespace}}},
		watchdog:      watchdog,
		watchdogImage: c.cfg.WatchdogImage,
	}
	p.fn.Policy.Mode = function.ModeFork // any that has the watchdog
	p.image = &resolution{}
	yes, no := true, false
	user := int64(defaultUser)
	life := int64(spareTokenLife)
	grace := int64(defaultGrace.Seconds())
	fieldOf := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}
	}
	container := corev1.Container{
		Name:            spareContainer,
		Image:           c.cfg.WatchdogImage,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Ports: []corev1.ContainerPort{
			{Name: "http", ContainerPort: port, Protocol: corev1.ProtocolTCP},
			{Name: probesPort, ContainerPort: readypush.ProbePort, Protocol: corev1.ProtocolTCP},
		},
		Env: []corev1.EnvVar{
			{Name: assignment.EnvKey, Value: c.cfg.Pool.Key},
			{Name: assignment.EnvURL, Value: c.cfg.Pool.URL},
			{Name: assignment.EnvPod, ValueFrom: fieldOf("metadata.name")},
			{Name: assignment.EnvUID, ValueFrom: fieldOf("metadata.uid")},
			{Name: assignment.EnvIP, ValueFrom: fieldOf("status.podIP")},
		},
		Resources:       corev1.ResourceRequirements{Requests: pool.requests, Limits: pool.limits},
		ReadinessProbe:  p.readiness(),
		LivenessProbe:   p.liveness(),
		SecurityContext: lockedDown(false),
		// As for the function's own pods.
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
	for _, probe := range []*corev1.Probe{container.ReadinessProbe, container.LivenessProbe} {
		probe.HTTPGet.Port = intstr.FromString(probesPort)
	}
	spec := corev1.PodSpec{
		Containers:                    []corev1.Container{container},
		RestartPolicy:                 corev1.RestartPolicyAlways,
		DNSPolicy:                     corev1.DNSClusterFirst,
		Tolerations:                   tolerations(),
		AutomountServiceAccountToken:  &no,
		EnableServiceLinks:            &no,
		TerminationGracePeriodSeconds: &grace,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   &yes,
			RunAsUser:      &user,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	p.putWatchdog(&spec)
	spec.Containers[0].Command = []string{watchdogCommand, assignment.Command}
	for i := range spec.InitContainers {
		spec.InitContainers[i].Resources = container.Resources
	}
	limit := resource.MustParse(spareMemory)
	memory := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &limit}}
	p.mount(&spec, "assignment", assignment.Dir, false, memory)
	p.mount(&spec, "secrets", assignment.SecretsDir, false, *memory.DeepCopy())
	p.mount(&spec, "registration", assignment.TokenDir, true, corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: assignment.Audience, ExpirationSeconds: &life, Path: assignment.TokenName,
		}}},
	}})
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "dc-spare-", Namespace: namespace,
			Labels:      map[string]string{labelSpare: shapeOf(&spec)},
			Annotations: map[string]string{annotationScrape: "false"},
		},
		Spec: spec,
	}
}

// shapeOf names what a spare is like, so that those of an earlier version of the provider, or of other settings, are told.
func shapeOf(spec *corev1.PodSpec) string {
	text, err := json.Marshal(spec)
	if err != nil {
		panic(fmt.Sprintf("a pod is always JSON: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

func (c *Cluster) spareChanged(_ function.Ref, before, after *spare) {
	if after == nil || before != nil && before.uid != after.uid {
		c.cfg.Pool.Gone(string(before.uid))
		c.mu.Lock()
		delete(c.discarded, before.uid)
		c.mu.Unlock()
	}
	signal(c.refill)
}
