package e2e

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/openfaas/go-sdk"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	providerNamespace = "openfaas"
	functionNamespace = "openfaas-fn"
)

// The installation under test, set once by connect.
var (
	gateway  listener // port 8080, what clients call
	provider listener // port 8081, what a stock gateway calls
	client   *sdk.Client
	cluster  struct {
		*kubernetes.Clientset
		objects   dynamic.Interface
		discovery discovery.DiscoveryInterface
	}
)

// listener is one of the provider's two, with the credentials it asks for.
type listener struct {
	url            string
	user, password string
}

func connect() error {
	env := map[string]string{}
	for _, name := range []string{"OPENFAAS_URL", "OPENFAAS_USER", "OPENFAAS_PASSWORD", "KUBECONFIG"} {
		if env[name] = os.Getenv(name); env[name] == "" {
			return fmt.Errorf("%s is not set: run these tests by make test-e2e", name)
		}
	}
	u, err := url.Parse(env["OPENFAAS_URL"])
	if err != nil {
		return fmt.Errorf("OPENFAAS_URL: %w", err)
	}
	gateway = listener{u.String(), env["OPENFAAS_USER"], env["OPENFAAS_PASSWORD"]}
	// The SDK prints each log query, and we have nothing of our own to say there.
	log.SetOutput(io.Discard)
	client = sdk.NewClient(u, &sdk.BasicAuth{Username: gateway.user, Password: gateway.password}, &http.Client{Timeout: callTimeout})
	config, err := clientcmd.BuildConfigFromFlags("", env["KUBECONFIG"])
	if err != nil {
		return err
	}
	if err := connectCluster(config); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	service, err := cluster.CoreV1().Services(providerNamespace).Get(ctx, "gateway-provider", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("find the provider's own listener: %w", err)
	}
	provider = gateway
	provider.url = fmt.Sprintf("http://%s:8081", service.Spec.ClusterIP)
	return nil
}

func connectCluster(config *rest.Config) (err error) {
	// The limiter of client-go would make the test wait for itself.
	config.QPS = -1
	// The inventory asks for every kind, those that are going out of use too.
	config.WarningHandler = rest.NoWarnings{}
	if cluster.Clientset, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	cluster.discovery = cluster.Clientset.Discovery()
	cluster.objects, err = dynamic.NewForConfig(config)
	return err
}

// within is the test's context with a bound, so that nothing hangs for the run's whole time.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
