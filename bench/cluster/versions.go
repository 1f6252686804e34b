package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/bench/contest"
)

// versions tells what the cluster consists of.
func (t *target) versions(ctx context.Context) (contest.Tools, error) {
	nodes, err := t.cluster.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("ask the cluster what it is: %w", err)
	}
	tools := contest.Tools{"nodes": {Version: fmt.Sprint(len(nodes.Items))}}
	for _, node := range nodes.Items {
		tools["kubernetes"] = contest.Tool{Version: node.Status.NodeInfo.KubeletVersion}
		tools["container-runtime"] = contest.Tool{Version: node.Status.NodeInfo.ContainerRuntimeVersion}
	}
	raw, err := t.connectOnce(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the provider what it is: %w", err)
	}
	var info struct {
		Version struct{ Release, SHA string }
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		return nil, fmt.Errorf("the provider's info: %w", err)
	}
	tools["dc-provider"] = contest.Tool{Version: strings.TrimSpace(info.Version.Release + " " + info.Version.SHA)}
	return tools, nil
}
