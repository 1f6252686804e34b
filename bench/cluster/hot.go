package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/scenario"
)

const hotName = "bench-hot"

// hotScenario is a function that is up, with one replica and no watchdog, called by the cluster's own gateway.
func (t *target) hotScenario(tools contest.Tools) *scenario.Scenario {
	return scenario.Hot(tools, func(ctx context.Context) (site scenario.Site, after func(context.Context) error, err error) {
		ctx, cancel := context.WithTimeout(ctx, lifeLimit)
		defer cancel()
		after = func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, cleanupLimit)
			defer cancel()
			return t.delete(ctx, hotName) // its pod stays for half a minute and does nothing
		}
		if site, err = t.hot(ctx); err != nil {
			return site, nil, errors.Join(err, after(context.WithoutCancel(ctx)))
		}
		return site, after, nil
	})
}

// hot deploys the function and waits until it answers.
func (t *target) hot(ctx context.Context) (site scenario.Site, err error) {
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
	list, err := t.cluster.CoreV1().Pods(functionNamespace).List(ctx, metav1.ListOptions{LabelSelector: "faas_function=" + hotName})
	if err != nil {
		return site, err
	}
	if len(list.Items) != 1 || list.Items[0].Status.PodIP == "" {
		return site, fmt.Errorf("%s has %d pods, want one with an address", hotName, len(list.Items))
	}
	return scenario.Site{Gateway: gateway.Host, Path: "/function/" + hotName, Function: net.JoinHostPort(list.Items[0].Status.PodIP, "8080")}, nil
}
