package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/api"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/forward"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/network"
)

// startForwarders listens on the cluster's ports and forwards until ctx ends. A forwarder that ends gives its reason to
// ended.
func startForwarders(ctx context.Context, ended func(error), c layout.Cluster, log *slog.Logger) (*sync.WaitGroup, error) {
	client, err := api.New(c)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return network.Dial(ctx, c.Node(0).NetnsFile(), address)
	}
	var running sync.WaitGroup
	for port, f := range map[int]*forward.Forwarder{
		c.GatewayPort: {Name: "gateway", Target: gatewayTarget(client), Dial: dial, Log: log},
		c.APIPort:     {Name: "API server", Target: apiTarget(c), Dial: dial, Log: log},
	} {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return nil, fmt.Errorf("forward to %s: %w", f.Name, err)
		}
		running.Go(func() { ended(f.Run(ctx, listener)) })
	}
	return &running, nil
}

func apiTarget(c layout.Cluster) func(context.Context, bool) (string, error) {
	return func(context.Context, bool) (string, error) { return c.APIServer(), nil }
}

// gatewayTarget looks up the Service gateway in the namespace openfaas and remembers its address, so that connections do not
// depend on the API server. The address changes only when the Service is made anew, and then the old one cannot be dialled.
func gatewayTarget(client *api.Client) func(context.Context, bool) (string, error) {
	var known atomic.Pointer[string]
	return func(ctx context.Context, again bool) (string, error) {
		if address := known.Load(); address != nil && !again {
			return *address, nil
		}
		var service struct {
			Spec struct{ ClusterIP string }
		}
		if err := client.Read(ctx, "/api/v1/namespaces/openfaas/services/gateway", &service); err != nil {
			if address := known.Load(); address != nil {
				return *address, nil // better an old address than none
			}
			return "", err
		}
		address := net.JoinHostPort(service.Spec.ClusterIP, "8080")
		known.Store(&address)
		return address, nil
	}
}
