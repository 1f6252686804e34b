package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/dragonchain/dc-provider/bench/report"
	"github.com/dragonchain/dc-provider/bench/scenario"
)

// wakeKinds have nothing in common: any image wakes by a spare. Their ends are short, for each wake waits for the one before to be gone.
var wakeKinds = []kind{
	{"busybox-fork", map[string]any{"image": "dragonchain/example-shell:dev", "envProcess": "cat", "envVars": shortEnd}},
	{"python-fork", map[string]any{"image": "dragonchain/example-balance:dev", "envProcess": "python3 -c print(42)", "envVars": shortEnd}},
	{"go-http", map[string]any{"image": "dragonchain/example-hello:dev", "envProcess": "/hello", "envVars": map[string]string{
		"mode": "http", "PORT": "3000", "upstream_url": "http://127.0.0.1:3000", endVariable: endTime}}},
	{"lambda-go", map[string]any{"image": "dragonchain/example-lambda:dev", "envVars": shortEnd,
		"annotations": map[string]string{"com.dragonchain.mode": "lambda"}}},
}

// endVariable is how long a function that is to end goes on as if it were not, so that everybody hears of it: a second by default.
const (
	endVariable = "healthcheck_interval"
	endTime     = "100ms"
)

var shortEnd = map[string]string{endVariable: endTime}

var (
	// besideKind serves by itself, as an image of OpenFaaS's templates does. Its replica stays for its write_timeout when it is to go.
	besideKind = kind{"go-by-itself", map[string]any{"image": "dragonchain/example-hello:dev", "envVars": map[string]string{"write_timeout": "2s"}}}
	// noPoolKind is given no spare, for it is constrained to certain nodes, which all are.
	noPoolKind = kind{"no-pool", map[string]any{"image": "dragonchain/example-shell:dev", "envProcess": "cat", "envVars": shortEnd,
		"constraints": []string{"kubernetes.io/os=linux"}}}
	// parkedKind has its process ended parkAfter its last call. Its replica stays.
	parkedKind = kind{"parked-go", map[string]any{"image": "dragonchain/example-hello:dev", "envProcess": "/hello",
		"envVars":     map[string]string{"PORT": "3000", "upstream_url": "http://127.0.0.1:3000"},
		"annotations": map[string]string{"com.dragonchain.mode": "http", "com.dragonchain.park": parkAfter.String()}}}
)

const (
	// coldStart asks for the phases of a cold start, and tells them.
	coldStart = "X-Cold-Start"
	plain     = "plain-deployment"
	// wakeRounds is for a median and a 99th percentile; plainRounds for the one beside, a turn of which takes 5 s.
	wakeRounds, plainRounds = 30, 10
	// parkAfter is the least that there is.
	parkAfter = time.Second
	// wakeSpares is how many spares there are: the chart's default.
	wakeSpares = 2
)

// wakeScenarios are those of functions at zero, or parked. t is nil if they are to be skipped.
func wakeScenarios(t *target) []*scenario.Scenario {
	return []*scenario.Scenario{newRoom(t).one(), newRoom(t).many(), newRoom(t).idle()}
}

// one is the wake of one function at a time.
func (r *room) one() *scenario.Scenario {
	s := &scenario.Scenario{
		Name: "cluster/wake/one",
		About: "One function is called, at zero or parked: first byte, first byte minus the process's own start, and where the time went. With " +
			"spares as many as by default; no-pool without. Beside it a Deployment scaled 0 to 1 until Kubernetes has it ready, probed every " +
			"2 s after 2 s. Closed loop, one client, one call at a time, when no pod comes or goes; images on the node.",
		Plot: "first-byte-ns", Rounds: wakeRounds,
	}
	add := func(name string, turn func(context.Context, string) (map[string]float64, error)) {
		s.Contestants = append(s.Contestants, scenario.Contestant{Name: name, Turn: func(t *scenario.Turn) (scenario.Measured, error) {
			ctx, cancel := context.WithTimeout(t.Context, lifeLimit)
			defer cancel()
			values, err := turn(ctx, name)
			return scenario.Measured{Count: min(1, int64(len(values))), Values: values}, err
		}})
	}
	goal := func(name, metric string, p50, p99 float64) {
		for i, most := range []float64{p50, p99} {
			s.Goals = append(s.Goals, report.Goal{Metric: metric, Relation: report.Value, Of: name, AtMost: most, P99: i == 1})
		}
	}
	functions := map[string]kind{noPoolKind.name: noPoolKind}
	add(parkedKind.name, r.parked)
	goal(parkedKind.name, "first-byte-ns", 10e6, 30e6)
	for _, k := range append(slices.Clone(wakeKinds), besideKind) {
		functions[k.name] = k
		add(k.name, func(ctx context.Context, name string) (map[string]float64, error) { return r.wake(ctx, name, "claim") })
		goal(k.name, "first-byte-minus-process-ns", 150e6, 300e6)
	}
	add(noPoolKind.name, func(ctx context.Context, name string) (map[string]float64, error) { return r.wake(ctx, name, "pod") })
	goal(noPoolKind.name, "first-byte-ns", 650e6, 1.3e9)
	rounds := 0
	add(plain, func(ctx context.Context, _ string) (map[string]float64, error) {
		if rounds++; rounds > plainRounds {
			return nil, nil
		}
		return r.scaleUp(ctx)
	})
	return r.in(s, wakeSpares, func(ctx context.Context) error {
		if err := r.deploy(ctx, parkedKind, parkedKind.name); err != nil {
			return err
		}
		return errors.Join(r.call(ctx, parkedKind.name), r.up(ctx, functions))
	})
}

// wake measures one wake of a function that is at zero, and is afterwards.
func (r *room) wake(ctx context.Context, name, way string) (map[string]float64, error) {
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	values, err := r.cold(ctx, name, way)
	if err != nil {
		return nil, err
	}
	// That its pod has gone is seen before the next wake.
	return values, r.scaleToZero(ctx, name)
}

// parked measures a call of a function whose process was ended for idleness.
func (r *room) parked(ctx context.Context, name string) (map[string]float64, error) {
	// It was called last a round ago, or in the beginning: its process has ended when it has been left alone for so long.
	if err := errors.Join(r.settle(ctx), pause(ctx, parkAfter)); err != nil {
		return nil, err
	}
	firstByte, err := r.firstByte(ctx, name)
	return map[string]float64{"first-byte-ns": float64(firstByte)}, err
}

// cold calls a function at zero. It is an error if it was woken in another way.
func (r *room) cold(ctx context.Context, name, way string) (map[string]float64, error) {
	var firstByte time.Duration
	started := time.Now()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { firstByte = time.Since(started) }})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+r.path(name), strings.NewReader(`{"name":"moo"}`))
	if err != nil {
		return nil, err
	}
	request.Header.Set(coldStart, "1")
	started = time.Now()
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if came := response.Header.Get(coldStart); response.StatusCode != http.StatusOK || came != way {
		return nil, fmt.Errorf("%s: %s, woken by %q, want %q", name, response.Status, came, way)
	}
	values := map[string]float64{"first-byte-ns": float64(firstByte), "first-byte-minus-process-ns": float64(firstByte)}
	for _, phase := range []string{"Record", "Schedule", "Claim", "Assign", "Container", "Process", "First-Byte"} {
		text := response.Header.Get(coldStart + "-" + phase + "-Seconds")
		if text == "" {
			continue
		}
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		values["in-"+strings.ToLower(phase)+"-ns"] = seconds * 1e9
		if phase == "Process" {
			values["first-byte-minus-process-ns"] -= seconds * 1e9
		}
	}
	return values, nil
}

// scaleUp measures how long a plain Deployment takes from 0 to 1.
func (r *room) scaleUp(ctx context.Context) (measured map[string]float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, lifeLimit)
	defer cancel()
	deployments := r.cluster.AppsV1().Deployments(r.namespace)
	d := plainDeployment(r.namespace)
	if _, err := deployments.Create(ctx, d, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	defer func() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
		defer cancel()
		err = errors.Join(err, deployments.Delete(after, d.Name, metav1.DeleteOptions{}), r.awaitNoPods(after, d.Name))
	}()
	started := time.Now()
	if _, err := deployments.Patch(ctx, d.Name, types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{}); err != nil {
		return nil, err
	}
	for {
		now, err := deployments.Get(ctx, d.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		if now.Status.ReadyReplicas == 1 {
			return map[string]float64{"first-byte-ns": float64(time.Since(started))}, nil
		}
		if err := pause(ctx, pollEvery); err != nil {
			return nil, fmt.Errorf("deployment %s is not ready: %w", d.Name, err)
		}
	}
}

func plainDeployment(namespace string) *appsv1.Deployment {
	const name = "bench-plain"
	labels := map[string]string{"faas_function": name, "bench": name}
	yes, no, none, user := true, false, int32(0), int64(1000)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"bench": name}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &none,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					SecurityContext: &corev1.PodSecurityContext{
						RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
					},
					Containers: []corev1.Container{{
						Name: name, Image: "dragonchain/example-hello:dev", ImagePullPolicy: corev1.PullIfNotPresent,
						ReadinessProbe: &corev1.Probe{
							ProbeHandler:        corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(8080)}},
							InitialDelaySeconds: 2, PeriodSeconds: 2,
						},
						SecurityContext: &corev1.SecurityContext{
							AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
						},
					}},
				},
			},
		},
	}
}
