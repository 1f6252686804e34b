package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/openfaas/faas-provider/types"
	corev1 "k8s.io/api/core/v1"
)

// TestPool_NobodyReadsTheAssignment claims a spare for a function that has a secret, while all packets of the spare are captured. What
// the function is told, and the pod's tokens, are neither among them nor in the pod as Kubernetes shows it; its caller's words, which
// nobody seals, are.
func TestPool_NobodyReadsTheAssignment(t *testing.T) {
	t.Parallel()
	namespace := newPool(t, 1)
	hidden := map[string]string{"the secret": unique(t, "hush") + unique(t, ""), "the environment": unique(t, "quiet") + unique(t, "")}
	secret := types.Secret{Name: unique(t, "secret"), Namespace: namespace, Value: hidden["the secret"]}
	gateway.do(t, http.MethodPost, "/system/secrets", encode(t, secret)).is(t, "make secret", http.StatusAccepted)
	t.Cleanup(func() { removeSecret(t, secret.Name, namespace) })
	d := scripted()
	d.Namespace, d.Secrets, d.EnvVars = namespace, []string{secret.Name}, map[string]string{"TOLD": hidden["the environment"]}
	f := deploy(t, d)
	f.awaitReplicas(t, 1)
	// That of a pod that is claimed later is the same.
	hidden["the token of ready pushes"] = f.readyToken(t)
	f.scale(t, 0)
	f.awaitZero(t)

	var c *capture
	var claimed []corev1.Pod
	mark := ""
	eventually(t, "a spare whose packets are captured is claimed", func() (bool, string) {
		awaitSpares(t, namespace, 1)
		spares := podsIn(t, namespace, labelSpare)
		if len(spares) != 1 {
			return false, "it was replaced a moment ago"
		}
		token, ok := registrationToken(t, spares[0])
		if !ok {
			return false, "its process is not on this machine: run the tests by make test-e2e"
		}
		hidden["the token of its registration"] = token
		c = capturePod(t, spares[0].Status.PodIP)
		// As the provider asks, which did it before the capture began.
		asked := listener{url: "http://" + spares[0].Status.PodIP + ":8079"}.ask(t, request{
			method: http.MethodGet, path: "/_/spare", auth: nobody, header: http.Header{"X-Dc-Challenge": {strings.Repeat("5a", 16)}},
		})
		mark = unique(t, "anybody-reads-this")
		a := f.wake(t, ": "+mark+`; cat /var/openfaas/secrets/* | sha256sum; printf %s "$TOLD" | sha256sum`).is(t, "call that wakes", http.StatusOK)
		if want := sumOf(hidden["the secret"]) + "  -\n" + sumOf(hidden["the environment"]) + "  -\n"; a.body != want {
			t.Errorf("the function answers %q, want %q", a.body, want)
		}
		claimed, _ = f.claimed(t)
		if asked.status == http.StatusOK && a.header.Get("X-Cold-Start") == "claim" && len(claimed) == 1 && claimed[0].UID == spares[0].UID {
			return true, ""
		}
		c.end()
		f.scale(t, 0)
		f.awaitZero(t)
		return false, fmt.Sprintf("asked: %d, woken by %q, %d claimed", asked.status, a.header.Get("X-Cold-Start"), len(claimed))
	})
	eventually(t, "the caller's words are captured", func() (bool, string) { return c.has([]byte(mark)), "they are not" })
	c.end()
	if c.err != nil {
		t.Errorf("capture: %v", c.err)
	}
	if !c.has([]byte("POST /_/spare")) || !c.has([]byte("X-Dc-Challenge")) {
		t.Error("the assignment was not captured")
	}
	pod, err := json.Marshal(claimed[0])
	if err != nil {
		t.Fatal(err)
	}
	for what, value := range hidden {
		if len(value) < 8 {
			t.Fatalf("%s is %q", what, value)
		}
		for _, form := range []string{value, hex.EncodeToString([]byte(value)), base64.StdEncoding.EncodeToString([]byte(value))} {
			if c.has([]byte(form)) {
				t.Errorf("who is on the pods' network reads %s", what)
			}
			if strings.Contains(string(pod), form) {
				t.Errorf("who may get pods reads %s: %s", what, pod)
			}
		}
	}
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// readyToken is what a replica of the function's Deployment signs its ready pushes with.
func (f function) readyToken(t *testing.T) string {
	t.Helper()
	for _, p := range podsIn(t, f.inNamespace(), "faas_function="+f.name) {
		for _, e := range p.Spec.Containers[0].Env {
			if e.Name == "DC_READY_TOKEN" {
				return e.Value
			}
		}
	}
	t.Fatalf("no pod of %s has a token for ready pushes", f)
	return ""
}

// registrationToken is what Kubernetes gave a spare to show who it is; ok is false if it has ended.
func registrationToken(t *testing.T, spare corev1.Pod) (token string, ok bool) {
	t.Helper()
	if len(spare.Status.ContainerStatuses) != 1 {
		return "", false
	}
	_, id, _ := strings.Cut(spare.Status.ContainerStatuses[0].ContainerID, "://")
	pid, ok := processOf(t, id, "/.dc/dc-watchdog")
	if !ok {
		return "", false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/.dc-token/token", pid))
	return string(text), err == nil
}
