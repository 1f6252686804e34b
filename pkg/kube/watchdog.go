package kube

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes"
)

// WatchdogMethod is a way to put the watchdog into a function's image.
type WatchdogMethod string

// The ways to put the watchdog into an image.
const (
	// WatchdogAuto takes the image volume where every node can mount it.
	WatchdogAuto WatchdogMethod = "auto"
	// WatchdogByImageVolume mounts the provider's image into the pod: nothing is copied and no container goes first.
	WatchdogByImageVolume WatchdogMethod = "image-volume"
	// WatchdogByInitContainer copies the watchdog into an emptyDir before the function starts; every cluster can do it.
	WatchdogByInitContainer WatchdogMethod = "init-container"
)

const (
	watchdogDir     = "/.dc"
	watchdogVolume  = "dc-watchdog"
	watchdogCommand = watchdogDir + "/dc-watchdog"
	// watchdogInit names the init container. Containers of a pod need different names, and the function's has the
	// function's, which never begins with a digit.
	watchdogInit = "0-watchdog"

	nodesLife = 30 * time.Second
)

// Image volumes are on by default from Kubernetes 1.35. containerd mounts them since 2.1, with files that may be executed.
// For CRI-O no such version can be named: some releases mounted them noexec, so there the volume has to be asked for.
var (
	imageVolumeKubernetes = version.MustParseGeneric("1.35.0")
	imageVolumeContainerd = version.MustParseGeneric("2.1.0")
)

// sleepActionKubernetes has pre-stop hooks that sleep on by default; they are there for good since 1.34.
var sleepActionKubernetes = version.MustParseGeneric("1.30.0")

func (m WatchdogMethod) check() error {
	switch m {
	case "", WatchdogAuto, WatchdogByImageVolume, WatchdogByInitContainer:
		return nil
	}
	return fmt.Errorf("kube: watchdog method %q: give %s, %s or %s", string(m), WatchdogAuto, WatchdogByImageVolume, WatchdogByInitContainer)
}

// putWatchdog makes the watchdog the container's command.
func (p *plan) putWatchdog(spec *corev1.PodSpec) {
	spec.Containers[0].Command = []string{watchdogCommand}
	if p.watchdog == WatchdogByImageVolume {
		p.mount(spec, watchdogVolume, watchdogDir, true, corev1.VolumeSource{Image: &corev1.ImageVolumeSource{
			Reference: p.watchdogImage, PullPolicy: corev1.PullIfNotPresent,
		}})
		return
	}
	p.mount(spec, watchdogVolume, watchdogDir, true, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	spec.InitContainers = []corev1.Container{{
		Name:            watchdogInit,
		Image:           p.watchdogImage,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{"/dc-watchdog", "install", watchdogDir},
		// The same as the function's own: it ran before, so the pod as a whole asks for no more, and a quota that wants
		// every container to name its resources is content.
		Resources:       resourcesOf(p.fn),
		VolumeMounts:    []corev1.VolumeMount{{Name: watchdogVolume, MountPath: watchdogDir}},
		SecurityContext: lockedDown(true),
	}}
}

// node is what decides whether a node can mount image volumes, and whether an image is to be pulled there.
type node struct {
	name                   string
	labels                 map[string]string
	kubelet, runtime, arch string
	allocatable            corev1.ResourceList
	// open nodes are ready and take pods; images are those that it says it has, spelled out.
	open   bool
	images map[string]bool
}

// chooseWatchdog takes the image volume if every node that the function may run on can mount it.
func chooseWatchdog(server string, nodes []node, selector map[string]string) WatchdogMethod {
	if !atLeast(server, imageVolumeKubernetes) {
		return WatchdogByInitContainer
	}
	matched := false
	for _, n := range nodes {
		if !labels.SelectorFromSet(selector).Matches(labels.Set(n.labels)) {
			continue
		}
		matched = true
		containerd, ok := strings.CutPrefix(n.runtime, "containerd://")
		if !ok || !atLeast(containerd, imageVolumeContainerd) || !atLeast(n.kubelet, imageVolumeKubernetes) {
			return WatchdogByInitContainer
		}
	}
	if !matched {
		return WatchdogByInitContainer // a node that is still to come may be of any age
	}
	return WatchdogByImageVolume
}

func atLeast(v string, least *version.Version) bool {
	parsed, err := version.ParseGeneric(v)
	return err == nil && parsed.AtLeast(least)
}

// nodeCache asks for nodes and the server's version at most once in nodesLife.
type nodeCache struct {
	core kubernetes.Interface

	mu     sync.Mutex
	asked  time.Time
	server string
	nodes  []node
}

func (c *nodeCache) get(ctx context.Context) (server string, nodes []node, err error) {
	return c.within(ctx, nodesLife)
}

// within is get for an answer that is not older than life.
func (c *nodeCache) within(ctx context.Context, life time.Duration) (server string, nodes []node, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) < life && c.server != "" {
		return c.server, c.nodes, nil
	}
	info, err := c.core.Discovery().ServerVersion()
	if err != nil {
		return "", nil, fmt.Errorf("ask Kubernetes for its version: %w", err)
	}
	list, err := c.core.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return "", nil, fmt.Errorf("list nodes: %w", err)
	}
	c.server, c.nodes, c.asked = info.GitVersion, nil, time.Now()
	for i := range list.Items {
		n := &list.Items[i]
		c.nodes = append(c.nodes, node{
			name:    n.Name,
			open:    nodeOpen(n),
			images:  imagesOf(n),
			labels:  n.Labels,
			kubelet: n.Status.NodeInfo.KubeletVersion,
			runtime: n.Status.NodeInfo.ContainerRuntimeVersion,
			arch:    n.Status.NodeInfo.Architecture,

			allocatable: n.Status.Allocatable,
		})
	}
	return c.server, c.nodes, nil
}

// sleepAction tells whether a pre-stop hook can be a sleep. An older API server would refuse it as a hook that does nothing.
func (c *nodeCache) sleepAction(ctx context.Context) (bool, error) {
	server, _, err := c.get(ctx)
	return err == nil && atLeast(server, sleepActionKubernetes), err
}

// arch is the architecture of the nodes, by which an image is chosen from an index.
func (c *nodeCache) arch(ctx context.Context) string {
	if _, nodes, err := c.get(ctx); err == nil && len(nodes) > 0 && nodes[0].arch != "" {
		return nodes[0].arch
	}
	return runtime.GOARCH // most likely the same; an image's digest does not depend on it
}

// watchdogMethod decides how the watchdog gets into a function's pods.
func (c *Cluster) watchdogMethod(ctx context.Context, selector map[string]string) (WatchdogMethod, error) {
	if c.cfg.WatchdogBy != WatchdogAuto {
		return c.cfg.WatchdogBy, nil
	}
	server, nodes, err := c.nodes.get(ctx)
	if err != nil {
		return "", err
	}
	return chooseWatchdog(server, nodes, selector), nil
}
