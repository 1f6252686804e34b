package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/scenario"
)

const hotName = "bench-hot"

// hotScenario is a function that is up, with one replica and no watchdog, called by the cluster's own gateway. t is nil if it is to be
// skipped.
func (t *target) hotScenario(tools contest.Tools) *scenario.Scenario {
	return scenario.Hot(tools, func(ctx context.Context, dir string, rivals []scenario.Rival) (site scenario.Site, after func(context.Context) error, err error) {
		ctx, cancel := context.WithTimeout(ctx, lifeLimit)
		defer cancel()
		cage := t.newCage()
		after = func(ctx context.Context) error {
			err := cage.remove(ctx)
			ctx, cancel := context.WithTimeout(ctx, cleanupLimit)
			defer cancel()
			return errors.Join(err, t.delete(ctx, hotName)) // its pod stays for half a minute and does nothing
		}
		if site, err = t.hot(ctx, cage, dir, rivals); err != nil {
			return site, nil, errors.Join(err, after(context.WithoutCancel(ctx)))
		}
		return site, after, nil
	})
}

// hot deploys the function, waits until it answers, and puts the rivals before it.
func (t *target) hot(ctx context.Context, cage *cage, dir string, rivals []scenario.Rival) (site scenario.Site, err error) {
	gateway, err := url.Parse(t.url)
	if err != nil {
		return site, err
	}
	// The number of replicas stays, whatever the load.
	k := kind{"hot", map[string]any{"image": "dragonchain/example-hello:dev", "labels": map[string]string{"com.openfaas.scale.max": "1"}}}
	if err := t.deploy(ctx, k, hotName); err != nil {
		return site, err
	}
	if err := t.call(ctx, hotName); err != nil {
		return site, err
	}
	function, err := t.onlyPod(ctx, functionNamespace, "faas_function="+hotName)
	if err != nil {
		return site, err
	}
	own, err := t.onlyPod(ctx, metav1.NamespaceAll, "app.kubernetes.io/name=dc-provider")
	if err != nil {
		return site, err
	}
	site = scenario.Site{Gateway: gateway.Host, Path: "/function/" + hotName, Function: net.JoinHostPort(function.Status.PodIP, "8080")}
	pods := map[string]*corev1.Pod{"direct": function, "ours": own}
	if site.NoRivals, err = t.elsewhere(ctx); err != nil {
		return site, err
	}
	if site.NoRivals == "" {
		if site.Rivals, err = cage.run(ctx, own, dir, site.Function, rivals, pods); err != nil {
			return site, err
		}
	}
	groups := map[string]string{}
	for name, pod := range pods {
		if groups[name], err = contest.GroupOf(string(pod.UID)); err != nil {
			return site, err
		}
	}
	site.CPU = func(name string) (time.Duration, bool) { return contest.GroupCPU(groups[name]) }
	return site, nil
}

// onlyPod is the one pod with a label.
func (t *target) onlyPod(ctx context.Context, namespace, label string) (*corev1.Pod, error) {
	list, err := t.cluster.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: label, FieldSelector: "status.phase=Running"})
	if err != nil {
		return nil, err
	}
	if len(list.Items) != 1 || list.Items[0].Status.PodIP == "" {
		return nil, fmt.Errorf("%d pods run with %s, want one with an address", len(list.Items), label)
	}
	return &list.Items[0], nil
}
