package e2e

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/test/e2e/image"
	"github.com/dragonchain/dc-provider/test/e2e/registry"
)

// registryPort is the one port from which the dev cluster's nodes pull without TLS.
const registryPort = "5000"

// images is the registry with the probe in it, made when the first test asks.
var images imageSource

type imageSource struct {
	once     sync.Once
	err      error
	program  []byte
	registry *registry.Registry
}

// start returns the registry, which serves until the run ends.
func (s *imageSource) start(t *testing.T) *registry.Registry {
	t.Helper()
	s.once.Do(func() { s.err = s.open(t) })
	if s.err != nil {
		t.Fatalf("make the probe's image: %v", s.err)
	}
	return s.registry
}

func (s *imageSource) open(t *testing.T) (err error) {
	if s.program, err = image.Compile(t.Context(), "probe"); err != nil {
		return err
	}
	address, err := nodeAddress(t)
	if err != nil {
		return err
	}
	if s.registry, err = registry.Start(net.JoinHostPort(address, registryPort), "puller", "pull: me"); err != nil {
		return err
	}
	img, err := s.probe("one")
	if err != nil {
		return err
	}
	_, err = s.registry.Push(s.registry.Open("probe:one"), img)
	return err
}

// probe makes the probe's image; versions differ in the environment variable VERSION alone.
func (s *imageSource) probe(version string) (v1.Image, error) {
	return image.Of("probe", s.program, "VERSION="+version)
}

func (s *imageSource) close() {
	if s.registry == nil {
		return
	}
	if err := s.registry.Close(); err != nil {
		fmt.Println("close the registry:", err)
	}
}

// push puts a version of the probe under the name and returns its digest.
func (s *imageSource) push(t *testing.T, name, version string) string {
	t.Helper()
	img, err := s.probe(version)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := s.registry.Push(name, img)
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// nodeAddress is the address of the node in whose network this process runs.
func nodeAddress(t *testing.T) (string, error) {
	nodes, err := cluster.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return "", fmt.Errorf("find the node: %w", err)
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("find the node: %w", err)
	}
	for _, node := range nodes.Items {
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP && holds(own, address.Address) {
				return address.Address, nil
			}
		}
	}
	return "", fmt.Errorf("no node has an address of this network namespace: run the tests by make test-e2e")
}

func holds(addresses []net.Addr, ip string) bool {
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(net.ParseIP(ip)) {
			return true
		}
	}
	return false
}

// probe is the probe as an OpenFaaS workload: the image's own entrypoint listens on port 8080.
func probe(t *testing.T) deployment {
	t.Helper()
	return deployment{Image: images.start(t).Open("probe:one")}
}

// watchedProbe is the probe behind the watchdog in http mode.
func watchedProbe(t *testing.T) deployment {
	t.Helper()
	d := probe(t)
	d.EnvProcess = "/probe"
	d.EnvVars = map[string]string{"mode": "http", "PORT": "3000", "upstream_url": "http://127.0.0.1:3000"}
	return d
}
