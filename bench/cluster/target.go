package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const functionNamespace = "openfaas-fn"

// target is the installation that is measured.
type target struct {
	url, user, password string
	// namespace is where its functions are.
	namespace string
	client    *http.Client
	cluster   *kubernetes.Clientset
}

// connect takes the environment that make bench sets.
func connect() (*target, error) {
	t := &target{namespace: functionNamespace, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	var kubeconfig string
	for name, value := range map[string]*string{
		"OPENFAAS_URL": &t.url, "OPENFAAS_USER": &t.user, "OPENFAAS_PASSWORD": &t.password, "KUBECONFIG": &kubeconfig,
	} {
		if *value = os.Getenv(name); *value == "" {
			return nil, fmt.Errorf("%s is not set: no cluster is up, or this was not started by make bench", name)
		}
	}
	t.url = strings.TrimSuffix(t.url, "/")
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // otherwise client-go would space out our polls
	t.cluster, err = kubernetes.NewForConfig(config)
	return t, err
}

// connectOnce opens the connection that the measured calls then use.
func (t *target) connectOnce(ctx context.Context) ([]byte, error) {
	return t.send(ctx, http.MethodGet, "/system/info", nil, http.StatusOK)
}

func (t *target) manage(ctx context.Context, method, path string, body map[string]any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = t.send(ctx, method, path, raw, http.StatusAccepted)
	return err
}

func (t *target) path(name string) string { return "/function/" + name + "." + t.namespace }

func (t *target) call(ctx context.Context, name string) error {
	_, err := t.send(ctx, http.MethodPost, t.path(name), []byte(`{"name":"moo"}`), http.StatusOK)
	return err
}

// firstByte calls the function and returns the time to the first byte of its answer.
func (t *target) firstByte(ctx context.Context, name string) (took time.Duration, err error) {
	var started time.Time
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { took = time.Since(started) }})
	started = time.Now()
	err = t.call(ctx, name)
	return took, err
}

func (t *target) send(ctx context.Context, method, path string, body []byte, want int) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, t.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(t.user, t.password)
	res, err := t.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != want {
		err = fmt.Errorf("%s %s: %s %.200q, want %d", method, path, res.Status, answer, want)
	}
	return answer, err
}

// pods counts the function's pods, those that are ending too.
func (t *target) pods(ctx context.Context, name string) (int, error) {
	list, err := t.cluster.CoreV1().Pods(t.namespace).List(ctx, metav1.ListOptions{LabelSelector: "faas_function=" + name})
	if err != nil {
		return 0, err
	}
	return len(list.Items), nil
}
