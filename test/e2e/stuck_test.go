package e2e

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openfaas/faas-provider/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wakeTimeout is the chart's calls.wakeTimeout, which a call waits for a replica that may yet come.
const wakeTimeout = time.Minute

// toldWhy makes several calls at once of a function that cannot start. All are to be told why, long before they would have
// given up waiting, in words that its status has too.
func (f function) toldWhy(t *testing.T, words ...string) {
	t.Helper()
	holds := func(what, text string) {
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%s says %q, without %q", what, text, w)
			}
		}
	}
	began := time.Now()
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
			defer cancel()
			a, err := gateway.insist(ctx, request{method: http.MethodGet, path: f.path(""), auth: nobody})
			if err != nil || a.status != http.StatusServiceUnavailable {
				t.Errorf("call of %s: %d %q, %v", f, a.status, a.body, err)
			}
			if a.header.Get("X-OpenFaaS-Internal") == "" || strings.Count(a.body, "\n") != 1 {
				t.Errorf("answer %q with header %v is not the platform's line", a.body, a.header)
			}
			holds("the answer", a.body)
		})
	}
	calls.Wait()
	took := time.Since(began)
	t.Logf("told after %v", took)
	if took > wakeTimeout-10*time.Second {
		t.Errorf("told after %v, which is no earlier than by giving up", took)
	}
	holds("the status", f.statusText(t))
}

func TestStuck_ImageThatIsNotThere(t *testing.T) {
	t.Parallel()
	image := images.start(t).Open(unique(t, "nothing") + ":1")
	f := deploy(t, deployment{Image: image})
	f.toldWhy(t, image, "not found")
	// And when it is woken.
	f.scale(t, 0)
	f.awaitZero(t)
	f.toldWhy(t, image, "not found")
	// Once it is there an update is all that it takes.
	images.push(t, image, "at last")
	f.update(t, deployment{Image: image})
	if a := f.get(t, "/env?name=VERSION").is(t, "call after the image has come", http.StatusOK); a.body != "at last" {
		t.Errorf("version %q", a.body)
	}
}

func TestStuck_Crash(t *testing.T) {
	t.Parallel()
	served, watched := probe(t), watchedProbe(t)
	for name, d := range map[string]deployment{"own entrypoint": served, "behind the watchdog": watched} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{"CRASH": "1"}
			for k, v := range d.EnvVars {
				env[k] = v
			}
			d.EnvVars = env
			deploy(t, d).toldWhy(t, "probe: told to crash")
		})
	}
}

func TestStuck_NeverListens(t *testing.T) {
	t.Parallel()
	d := probe(t)
	d.EnvVars = map[string]string{"DEAF": "1"}
	deploy(t, d).toldWhy(t, "NotReady", "port 8080")
}

func TestStuck_Quota(t *testing.T) {
	t.Parallel()
	d := parrot()
	d.Namespace = newNamespace(t)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "no-pods"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
	}
	if _, err := cluster.CoreV1().ResourceQuotas(d.Namespace).Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// A quota counts for nothing until it was counted.
	eventually(t, "the quota is in force", func() (bool, string) {
		q, err := cluster.CoreV1().ResourceQuotas(d.Namespace).Get(t.Context(), quota.Name, metav1.GetOptions{})
		return err == nil && len(q.Status.Hard) > 0, "not counted"
	})
	deploy(t, d).toldWhy(t, "exceeded quota: no-pods")
}

func TestStuck_Unschedulable(t *testing.T) {
	t.Parallel()
	d := parrot()
	d.Requests = &types.FunctionResources{CPU: "1000"}
	deploy(t, d).toldWhy(t, "Unschedulable", "Insufficient cpu")
}

func TestStuck_SecretRemovedAtZero(t *testing.T) {
	t.Parallel()
	d := parrot()
	secret := types.Secret{Name: unique(t, "s"), Namespace: functionNamespace, Value: "v"}
	makeIt := func() {
		gateway.do(t, "POST", "/system/secrets", encode(t, secret)).is(t, "make a secret", http.StatusAccepted)
	}
	makeIt()
	t.Cleanup(func() { removeSecret(t, secret.Name, secret.Namespace) })
	d.Secrets = []string{secret.Name}
	f := deploy(t, d)
	f.awaitReplicas(t, 1)
	f.scale(t, 0)
	f.awaitZero(t)
	removeSecret(t, secret.Name, secret.Namespace)
	f.toldWhy(t, secret.Name, "does not exist")
	makeIt()
	eventually(t, "the secret's return is noticed", func() (bool, string) {
		a := f.call(t, "awake")
		return a.status == http.StatusOK && a.body == "awake", a.body
	})
}
