package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
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

// wakeKinds have nothing in common: any image wakes by a spare.
var wakeKinds = []kind{
	{"busybox-fork", map[string]any{"image": "dragonchain/example-shell:dev", "envProcess": "cat"}},
	{"python-fork", map[string]any{"image": "dragonchain/example-balance:dev", "envProcess": "python3 -c print(42)"}},
	{"go-http", map[string]any{"image": "dragonchain/example-hello:dev", "envProcess": "/hello",
		"envVars": map[string]string{"mode": "http", "PORT": "3000", "upstream_url": "http://127.0.0.1:3000"}}},
	{"lambda-go", map[string]any{"image": "dragonchain/example-lambda:dev", "annotations": map[string]string{"com.dragonchain.mode": "lambda"}}},
}

const (
	selectSpares = "dragonchain.com/spare"
	// coldStart asks for the phases of a cold start, and tells them.
	coldStart = "X-Cold-Start"
	plain     = "plain-deployment"
	// quietBefore is how long the cluster is left alone before a wake: a spare that starts would share the node with it.
	quietBefore = time.Second
)

// wakeScenario is the wake of functions at zero by spares of the warm pool, beside a plain Deployment that is scaled up.
func (t *target) wakeScenario() *scenario.Scenario {
	s := &scenario.Scenario{
		Name: "cluster/wake",
		About: "A new function in each turn, called at zero with a spare free: first byte, and first byte minus the process's own start. " +
			"Beside it a Deployment scaled 0 to 1 until Kubernetes has it ready, probed every 2 s after 2 s. Closed loop, one client, one call at a time; images on the node.",
		Plot: "first-byte-ns",
	}
	for _, k := range wakeKinds {
		turns := 0
		s.Contestants = append(s.Contestants, scenario.Contestant{Name: k.name, Turn: func(turn *scenario.Turn) (scenario.Measured, error) {
			turns++
			values, err := t.wake(turn.Context, k, fmt.Sprintf("wake-%s-%d", k.name, turns))
			return scenario.Measured{Count: 1, Values: values}, err
		}})
		s.Goals = append(s.Goals, report.Goal{Metric: "first-byte-minus-process-ns", Relation: report.Value, Of: k.name, AtMost: 150e6})
	}
	s.Contestants = append(s.Contestants, scenario.Contestant{Name: plain, Turn: func(turn *scenario.Turn) (scenario.Measured, error) {
		values, err := t.scaleUp(turn.Context)
		return scenario.Measured{Count: 1, Values: values}, err
	}})
	return s
}

// wake measures one function's wake. The function is gone when it returns, whatever happened.
func (t *target) wake(ctx context.Context, k kind, name string) (measured map[string]float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, lifeLimit)
	defer cancel()
	defer func() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
		defer cancel()
		err = errors.Join(err, t.delete(after, name), t.awaitNoPods(after, name))
	}()
	if err := t.deploy(ctx, k, name); err != nil {
		return nil, err
	}
	if err := t.call(ctx, name); err != nil {
		return nil, err
	}
	if err := t.toZero(ctx, name); err != nil {
		return nil, err
	}
	if err := t.awaitSpare(ctx); err != nil {
		return nil, err
	}
	firstByte, process, err := t.claimed(ctx, name)
	return map[string]float64{"first-byte-ns": float64(firstByte), "first-byte-minus-process-ns": float64(firstByte - process)}, err
}

// awaitSpare returns when there are spares and none has started lately.
func (t *target) awaitSpare(ctx context.Context) error {
	tick := time.NewTicker(10 * pollEvery)
	defer tick.Stop()
	for settled := time.Now(); ; {
		list, err := t.cluster.CoreV1().Pods(functionNamespace).List(ctx, metav1.ListOptions{LabelSelector: selectSpares})
		if err != nil {
			return err
		}
		up := len(list.Items) > 0
		for i := range list.Items {
			up = up && list.Items[i].Status.Phase == corev1.PodRunning
		}
		if !up {
			settled = time.Now()
		}
		if time.Since(settled) >= quietBefore {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no spare in namespace %s, is the chart's pool.size above 0?: %w", functionNamespace, ctx.Err())
		}
	}
}

// claimed calls a function at zero. It is an error if no spare answered.
func (t *target) claimed(ctx context.Context, name string) (firstByte, process time.Duration, err error) {
	started := time.Now()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { firstByte = time.Since(started) }})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url+"/function/"+name, strings.NewReader(`{"name":"moo"}`))
	if err != nil {
		return 0, 0, err
	}
	r.Header.Set(coldStart, "1")
	started = time.Now()
	response, err := t.client.Do(r)
	if err != nil {
		return 0, 0, err
	}
	defer response.Body.Close()
	if way := response.Header.Get(coldStart); response.StatusCode != http.StatusOK || way != "claim" {
		return 0, 0, fmt.Errorf("%s: %s, woken by %q, want a claim", name, response.Status, way)
	}
	if s := response.Header.Get(coldStart + "-Process-Seconds"); s != "" {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return 0, 0, err
		}
		process = time.Duration(seconds * float64(time.Second))
	}
	return firstByte, process, nil
}

// scaleUp measures how long a plain Deployment takes from 0 to 1.
func (t *target) scaleUp(ctx context.Context) (measured map[string]float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, lifeLimit)
	defer cancel()
	deployments := t.cluster.AppsV1().Deployments(functionNamespace)
	d := plainDeployment()
	if _, err := deployments.Create(ctx, d, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	defer func() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
		defer cancel()
		err = errors.Join(err, deployments.Delete(after, d.Name, metav1.DeleteOptions{}), t.awaitNoPods(after, d.Name))
	}()
	started := time.Now()
	if _, err := deployments.Patch(ctx, d.Name, types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{}); err != nil {
		return nil, err
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		now, err := deployments.Get(ctx, d.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		if now.Status.ReadyReplicas == 1 {
			return map[string]float64{"first-byte-ns": float64(time.Since(started))}, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("deployment %s is not ready: %w", d.Name, ctx.Err())
		}
	}
}

func plainDeployment() *appsv1.Deployment {
	const name = "bench-plain"
	labels := map[string]string{"faas_function": name, "bench": name}
	yes, no, none, user := true, false, int32(0), int64(1000)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: functionNamespace, Labels: map[string]string{"bench": name}},
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
