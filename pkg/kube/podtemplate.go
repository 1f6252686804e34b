package kube

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	// defaultUser runs functions whose image names no user that a pod may run as.
	defaultUser  = 1000
	secretsPath  = "/var/openfaas/secrets"
	defaultGrace = 30 * time.Second
	// graceMargin is what the pod gets beyond the function's write_timeout, as OpenFaaS does.
	graceMargin = 2 * time.Second
	// processGrace is what a process gets to end by itself when its calls are over: the watchdog's does, and one that we
	// have held back as long.
	processGrace = 11 * time.Second
	// minHold covers the time until everybody has heard that a pod is to go.
	minHold = 2 * time.Second
	// lostNodePatience is how long a pod stays where its node is not ready, or is not heard of, before another takes its place
	// elsewhere. Kubernetes' own five minutes are for pods that keep something; a replica keeps nothing, and gives no answer
	// there. A kubelet that is started again is back in less, and most of the wait, some 50 s, is over before Kubernetes calls a
	// node unreachable.
	lostNodePatience = 5 * time.Second
)

// tolerations are those of every pod that functions run in.
func tolerations() []corev1.Toleration {
	patience := int64(lostNodePatience.Seconds())
	var list []corev1.Toleration
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		list = append(list, corev1.Toleration{
			Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &patience,
		})
	}
	return list
}

// podTemplate renders the pods. They pass the restricted Pod Security Standard.
func (p *plan) podTemplate() corev1.PodTemplateSpec {
	yes, no := true, false
	grace := int64(p.grace().Seconds())
	spec := corev1.PodSpec{
		Containers:                    []corev1.Container{p.container()},
		RestartPolicy:                 corev1.RestartPolicyAlways,
		DNSPolicy:                     corev1.DNSClusterFirst,
		NodeSelector:                  nodeSelector(p.fn.Constraints),
		Tolerations:                   tolerations(),
		AutomountServiceAccountToken:  &no,
		EnableServiceLinks:            &no,
		TerminationGracePeriodSeconds: &grace,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   &yes,
			RunAsUser:      p.user(),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	for _, name := range p.pull {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	if p.fn.ReadOnlyRoot {
		p.mount(&spec, "temp", "/tmp", false, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	}
	if len(p.mounted) > 0 {
		p.mount(&spec, "secrets", secretsPath, true, p.secrets())
	}
	if p.fn.Policy.Watchdog() {
		p.putWatchdog(&spec)
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: p.labels(), Annotations: p.annotations()},
		Spec:       spec,
	}
}

func (p *plan) container() corev1.Container {
	return corev1.Container{
		Name:            p.fn.Name,
		Image:           p.pinned(),
		ImagePullPolicy: corev1.PullIfNotPresent,
		// What it wrote last is what tells why it does not start.
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		Ports:                    []corev1.ContainerPort{{Name: "http", ContainerPort: port, Protocol: corev1.ProtocolTCP}},
		Env:                      p.env(),
		Resources:                resourcesOf(p.fn),
		ReadinessProbe:           p.readiness(),
		LivenessProbe:            p.liveness(),
		Lifecycle:                p.lifecycle(),
		SecurityContext:          lockedDown(p.fn.ReadOnlyRoot),
	}
}

// pinned is the image by digest where that is known, so that every replica runs the same bytes.
func (p *plan) pinned() string {
	if p.image.Digest == "" {
		return p.fn.Image
	}
	return pinned(p.fn.Image, p.image.Digest)
}

func (p *plan) user() *int64 {
	user := int64(defaultUser)
	if p.image.User != nil {
		user = *p.image.User
	}
	return &user
}

func lockedDown(readOnlyRoot bool) *corev1.SecurityContext {
	no := false
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no,
		ReadOnlyRootFilesystem:   &readOnlyRoot,
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// values are the function's environment, and what the watchdog is to know.
func (p *plan) values() map[string]string {
	values := make(map[string]string, len(p.fn.Env)+8)
	maps.Copy(values, p.fn.Env)
	if p.fn.Process != "" {
		values["fprocess"] = p.fn.Process
	}
	if p.fn.Policy.Watchdog() {
		if p.fn.Policy.ModeAnnotated {
			values["mode"] = string(p.fn.Policy.Mode)
			// mode is the of-watchdog's variable; set by our own annotation it is not to bring the of-watchdog's rules along.
			values["DC_DIALECT"] = "native"
		}
		if p.fn.Policy.ReadyPath != "" && values["ready_path"] == "" {
			values["ready_path"] = p.fn.Policy.ReadyPath
		}
		p.watchdogEnv(values)
	}
	return values
}

// env is values as Kubernetes takes them.
func (p *plan) env() []corev1.EnvVar {
	values := p.values()
	env := make([]corev1.EnvVar, 0, len(values)+1)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		// Kubernetes expands $(NAME) in values; a function gets what was sent, byte for byte.
		env = append(env, corev1.EnvVar{Name: name, Value: strings.ReplaceAll(values[name], "$", "$$")})
	}
	if p.fn.Policy.Watchdog() {
		env = append(env, corev1.EnvVar{Name: "DC_POD", ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"},
		}})
	}
	return env
}

func (p *plan) watchdogEnv(values map[string]string) {
	values["DC_FUNCTION"] = p.fn.Ref.String()
	if needsCommand(p.fn) {
		values["DC_COMMAND"] = p.command()
	}
	if park := p.fn.Policy.Park; park > 0 {
		values["DC_PARK"] = park.String()
	}
	if n := p.fn.Policy.Prefork; n > 0 {
		values["DC_PREFORK"] = strconv.Itoa(n)
	}
	p.pushEnv(values)
	if p.readyURL != "" && p.fn.Policy.Heap {
		values["DC_HEAP_PORT"] = strconv.Itoa(readypush.HeapPort)
	}
}

// besideEnv tells the watchdog of a spare to run an image that serves by itself, and to stand beside it: it pushes readiness,
// answers the pod's probes, and holds the end back as lifecycle does elsewhere.
func (p *plan) besideEnv(values map[string]string) {
	values["DC_FUNCTION"] = p.fn.Ref.String()
	values["DC_BESIDE"] = strconv.Itoa(port)
	values["DC_COMMAND"] = p.command()
	values["DC_HOLD"] = p.hold().String()
	if path := p.fn.Policy.ReadyPath; path != "" {
		values["DC_READY_PATH"] = path
	}
	p.pushEnv(values)
}

func (p *plan) pushEnv(values map[string]string) {
	if p.readyURL != "" {
		values["DC_READY_URL"] = p.readyURL
		values["DC_READY_TOKEN"] = readypush.DeriveToken(p.readyKey, p.fn.Ref.String(), p.fn.ID).Hex()
	}
}

// command is the image's own, as the watchdog reads it.
func (p *plan) command() string {
	command, err := json.Marshal(p.image.Command)
	if err != nil {
		panic(fmt.Sprintf("a list of strings is always JSON: %v", err))
	}
	return string(command)
}

func (p *plan) readiness() *corev1.Probe {
	probe := &corev1.Probe{PeriodSeconds: 2, TimeoutSeconds: 2, SuccessThreshold: 1, FailureThreshold: 3}
	switch {
	case p.fn.Policy.Watchdog():
		probe.ProbeHandler = httpGet(readypush.ReadyPath)
	case p.fn.Policy.ReadyPath != "":
		probe.ProbeHandler = httpGet(p.fn.Policy.ReadyPath)
	default:
		probe.ProbeHandler = corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("http")}}
	}
	return probe
}

// liveness asks the watchdog. An image that serves by itself has promised no path, and one that merely stops listening is
// taken out by its readiness.
func (p *plan) liveness() *corev1.Probe {
	if !p.fn.Policy.Watchdog() {
		return nil
	}
	return &corev1.Probe{
		ProbeHandler: httpGet("/_/health"), PeriodSeconds: 10, TimeoutSeconds: 5, SuccessThreshold: 1, FailureThreshold: 3,
	}
}

func httpGet(path string) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
		Path: path, Port: intstr.FromString("http"), Scheme: corev1.URISchemeHTTP,
	}}
}

// lifecycle keeps an image that runs by itself from being told to end while it has calls: it may end there and then. A
// Deployment ends pods without asking anybody, and an image without a shell can run no hook; so the kubelet sleeps, for as
// long as a call may take. The watchdog needs none of it: told to end, it serves on until its calls are over.
func (p *plan) lifecycle() *corev1.Lifecycle {
	hold := p.hold()
	if hold == 0 {
		return nil
	}
	return &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: int64(hold.Seconds())}}}
}

// hold is how long a pod's container runs on as if nothing were when the pod is to go, in whole seconds.
func (p *plan) hold() time.Duration {
	if p.fn.Policy.Watchdog() || !p.sleepAction {
		return 0
	}
	hold := p.drain()
	if p.callTimeout > 0 {
		hold = min(hold, p.callTimeout)
	}
	return max(hold, minHold).Round(time.Second)
}

// drain is how long the calls that a pod has may go on when it is to go. The watchdog counts no more.
func (p *plan) drain() time.Duration {
	if d, ok := function.ParseDuration(p.fn.Env["write_timeout"]); ok && d > 0 {
		return d
	}
	if d, ok := function.ParseDuration(p.fn.Env["exec_timeout"]); ok {
		return max(defaultGrace, d)
	}
	return defaultGrace
}

// grace is how long a pod may take to end: what it is held back or drains for, and the watchdog's wait before that.
func (p *plan) grace() time.Duration {
	grace := p.drain()
	if hold := p.hold(); hold > 0 {
		grace = hold + processGrace
	}
	if d, ok := function.ParseDuration(p.fn.Env["healthcheck_interval"]); ok {
		grace += d
	}
	if p.fn.Policy.Mode.KeepsProcesses() {
		grace += processGrace
	}
	return grace.Round(time.Second) + graceMargin
}

// secrets puts every key of every secret in one directory. The files are readable by whatever user the function runs as;
// nobody else is in the container.
func (p *plan) secrets() corev1.VolumeSource {
	mode := int32(0o444)
	projected := &corev1.ProjectedVolumeSource{DefaultMode: &mode}
	for _, name := range p.mounted {
		projected.Sources = append(projected.Sources, corev1.VolumeProjection{
			Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
		})
	}
	return corev1.VolumeSource{Projected: projected}
}

// mount adds a volume to the function's container.
func (p *plan) mount(spec *corev1.PodSpec, name, path string, readOnly bool, source corev1.VolumeSource) {
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts,
		corev1.VolumeMount{Name: name, MountPath: path, ReadOnly: readOnly})
}

// nodeSelector makes the function's constraints, which were checked, a selector of nodes.
func nodeSelector(constraints []string) map[string]string {
	if len(constraints) == 0 {
		return nil
	}
	selector := make(map[string]string, len(constraints))
	for _, c := range constraints {
		key, value, _ := strings.Cut(c, "=")
		selector[key] = value
	}
	return selector
}

// resourcesOf turns the function's resources, which were checked, into Kubernetes'.
func resourcesOf(fn *function.Function) corev1.ResourceRequirements {
	limits, _ := quantities("limits", fn.Limits)
	requests, _ := quantities("requests", fn.Requests)
	return corev1.ResourceRequirements{Limits: limits, Requests: requests}
}

// checkResources refuses what Kubernetes would refuse of the pods: quantities that cannot be read, requests above their
// limit, and GPUs that are not whole, or of which another number is requested than the limit.
func checkResources(fn *function.Function) error {
	limits, err := quantities("limits", fn.Limits)
	if err != nil {
		return err
	}
	requests, err := quantities("requests", fn.Requests)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		request := requests[name]
		if limit, ok := limits[name]; ok && request.Cmp(limit) > 0 {
			return function.Invalidf("requests.%s=%s is above limits.%s=%s", name, request.String(), name, limit.String())
		}
	}
	return checkGPUs(limits, requests)
}

var gpus = []corev1.ResourceName{"nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu"}

func checkGPUs(limits, requests corev1.ResourceList) error {
	for _, name := range gpus {
		limit, limited := limits[name]
		request, requested := requests[name]
		switch {
		case limited && limit.MilliValue()%1000 != 0:
			return function.Invalidf("limits.%s=%s: give a whole number", name, limit.String())
		case requested && (!limited || request.Cmp(limit) != 0):
			return function.Invalidf("requests.%s=%s: a GPU is not shared, so give the same number as limits.%s, or no request", name, request.String(), name)
		}
	}
	return nil
}

func quantities(kind string, r *function.Resources) (corev1.ResourceList, error) {
	if r == nil {
		return nil, nil
	}
	list := make(corev1.ResourceList)
	for _, q := range []struct {
		name  corev1.ResourceName
		value string
	}{
		{corev1.ResourceMemory, r.Memory}, {corev1.ResourceCPU, r.CPU},
		{"nvidia.com/gpu", r.NvidiaGPU}, {"amd.com/gpu", r.AMDGPU}, {"intel.com/gpu", r.IntelGPU},
	} {
		if q.value == "" {
			continue
		}
		quantity, err := resource.ParseQuantity(q.value)
		if err != nil {
			return nil, function.Invalidf("%s.%s=%.40q: %v", kind, q.name, q.value, err)
		}
		list[q.name] = quantity
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list, nil
}

// oneLine makes s fit for a status: one line of at most 300 bytes.
func oneLine(s string) string {
	const most = 300
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most-3], "") + "..."
	}
	return cmp.Or(s, "unknown")
}
