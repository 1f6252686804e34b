package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/bench/scenario"
)

const (
	cageName  = "dc-bench-rivals"
	rivalPort = 8080
	// chrootImage has a chroot(1), with which a pod runs what is on its node.
	chrootImage = "dragonchain/example-shell:dev"
)

// cage is a namespace for the baselines, in which they are what the gateway is: a pod behind a Service. As processes of the machine they
// would have a way of a third less from the caller and to the function, and processors as nobody in a pod has.
type cage struct{ *room }

func (t *target) newCage() *cage {
	own := *t
	own.namespace = cageName
	return &cage{&room{target: &own}}
}

// elsewhere says why the baselines cannot be pods, or nothing. They are programs of this machine, which the nodes have to be.
func (t *target) elsewhere(ctx context.Context) (why string, err error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	nodes, err := t.cluster.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, node := range nodes.Items {
		if node.Status.NodeInfo.BootID != strings.TrimSpace(string(id)) {
			return "node " + node.Name + " is another machine, and has not got the program", nil
		}
	}
	return "", nil
}

// run has each rival run before the function at upstream with what the pod like may use. It returns their addresses, and adds them to pods.
func (c *cage) run(
	ctx context.Context, like *corev1.Pod, dir, upstream string, rivals []scenario.Rival, pods map[string]*corev1.Pod,
) (addresses map[string]string, err error) {
	// What a run left that was killed.
	if err := c.remove(ctx); err != nil {
		return nil, err
	}
	_, err = c.cluster.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		// They see the machine's files, which no stricter standard allows.
		Name: c.namespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "privileged"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	addresses = map[string]string{}
	for _, r := range rivals {
		command, err := r.Command(dir, net.JoinHostPort("0.0.0.0", strconv.Itoa(rivalPort)), upstream)
		if err != nil {
			return nil, err
		}
		if addresses[r.Name], err = c.start(ctx, r.Name, command, like.Spec.Containers[0].Resources); err != nil {
			return nil, fmt.Errorf("start %s: %w", r.Name, err)
		}
		if pods[r.Name], err = c.await(ctx, r.Name); err != nil {
			return nil, err
		}
	}
	return addresses, nil
}

// start makes the pod and its Service, and returns the Service's address.
func (c *cage) start(ctx context.Context, name string, command []string, resources corev1.ResourceRequirements) (address string, err error) {
	root, none, no := int64(0), int64(0), false
	labels := map[string]string{"rival": name}
	_, err = c.cluster.CoreV1().Pods(c.namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &none,
			AutomountServiceAccountToken:  &no,
			RestartPolicy:                 corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "rival", Image: chrootImage, ImagePullPolicy: corev1.PullIfNotPresent,
				Command:         append([]string{"chroot", "/host"}, command...),
				Resources:       resources,
				SecurityContext: &corev1.SecurityContext{RunAsUser: &root},
				VolumeMounts:    []corev1.VolumeMount{{Name: "host", MountPath: "/host"}},
			}},
			Volumes: []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	service, err := c.cluster.CoreV1().Services(c.namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: rivalPort}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(rivalPort)), nil
}

// await returns the pod when it runs.
func (c *cage) await(ctx context.Context, name string) (*corev1.Pod, error) {
	for {
		pod, err := c.cluster.CoreV1().Pods(c.namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err != nil:
			return nil, err
		case pod.Status.Phase == corev1.PodRunning:
			return pod, nil
		case pod.Status.Phase != corev1.PodPending:
			return nil, fmt.Errorf("pod %s has ended: see its log in namespace %s", name, c.namespace)
		}
		if err := pause(ctx, 10*pollEvery); err != nil {
			return nil, fmt.Errorf("pod %s does not run: %w", name, err)
		}
	}
}
