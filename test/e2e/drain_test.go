package e2e

import (
	"flag"
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var drainChanges = flag.Int("changes", 20, "how many times TestDrain_Changes changes each function under load")

// loaded gives d room for several replicas, as many as it is told, and for calls of longCall when a pod is to go.
func loaded(d deployment) deployment {
	return label(label(unhurried(d), labelMax, "5"), labelFactor, "0")
}

// unhurried gives d time for calls of longCall when a pod is to go.
func unhurried(d deployment) deployment {
	env := map[string]string{"write_timeout": "6s", "exec_timeout": "6s"}
	for k, v := range d.EnvVars {
		env[k] = v
	}
	d.EnvVars = env
	return d
}

// TestDrain_Changes updates and scales functions and deletes their pods while they are called: no call is lost.
func TestDrain_Changes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		d    func(*testing.T) deployment
		of   func(function) target
		says func(*testing.T, function) string
	}{
		"forked": {
			func(*testing.T) deployment { return scripted() }, scriptedTarget,
			func(t *testing.T, f function) string { return f.call(t, "printf $ROUND").body },
		},
		"served behind the watchdog": {watchedProbe, probeTarget, probeRound},
		// It has no watchdog and dies of SIGTERM at once.
		"own entrypoint": {probe, probeTarget, probeRound},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := loaded(tt.d(t))
			f := deploy(t, d)
			f.awaitReplicas(t, 1)
			l, ctx := startLoad(t)
			l.on(ctx, tt.of(f))
			replicas := uint64(1)
			for n := range *drainChanges {
				switch n % 5 {
				case 1:
					replicas = 3
					f.scale(t, replicas)
				case 3:
					f.deletePod(t)
				case 4:
					replicas = 1
					f.scale(t, replicas)
				default:
					d = f.change(t, d, n)
					eventually(t, fmt.Sprintf("%s is at change %d", f, n), func() (bool, string) {
						said := tt.says(t, f)
						return said == fmt.Sprint(n), said
					})
				}
				f.awaitReplicas(t, replicas)
			}
			l.report(t)
		})
	}
}

func probeRound(t *testing.T, f function) string { return f.get(t, "/env?name=ROUND").body }

// change updates f to another environment and, where it is a probe, every other time to another image.
func (f function) change(t *testing.T, d deployment, n int) deployment {
	t.Helper()
	env := map[string]string{"ROUND": fmt.Sprint(n)}
	for k, v := range d.EnvVars {
		if k != "ROUND" {
			env[k] = v
		}
	}
	d.EnvVars = env
	if d.Image != imageShell && n%2 == 0 {
		name := fmt.Sprint("probe:round-", n)
		images.push(t, images.registry.Open(name), name)
		d.Image = images.registry.Open(name)
	}
	f.update(t, d)
	return d
}

// deletePod deletes one that serves.
func (f function) deletePod(t *testing.T) {
	t.Helper()
	pods, err := cluster.CoreV1().Pods(f.inNamespace()).List(t.Context(), metav1.ListOptions{LabelSelector: "faas_function=" + f.name})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			if err := cluster.CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%s has no pod to delete", f)
}

// TestDrain_ProviderRestarts replaces the provider's pod under load, by an update of its Deployment and by deleting the pod.
// Functions are woken, deployed and updated meanwhile.
func TestDrain_ProviderRestarts(t *testing.T) {
	targets := []target{
		scriptedTarget(deploy(t, loaded(scripted()))), probeTarget(deploy(t, loaded(probe(t)))), contractTarget(deploy(t, loaded(contract(scripted())))),
	}
	for _, f := range targets {
		f.awaitReplicas(t, 1)
	}
	for name, replace := range map[string]func(*testing.T){"updated": restartProvider, "pod deleted": deleteProviderPod} {
		t.Run(name, func(t *testing.T) {
			asleep := atZero(t, 4)
			updated := loaded(scripted())
			f := deploy(t, updated)
			f.awaitReplicas(t, 1)
			l, ctx := startLoad(t)
			for _, f := range targets {
				l.on(ctx, f)
			}
			eventually(t, "the load is on", func() (bool, string) {
				l.mu.Lock()
				defer l.mu.Unlock()
				return l.counts["long answered"] > 0, fmt.Sprint(l.counts)
			})
			before := providerPods(t)
			replace(t)
			l.onceEach(ctx, "wake", 2*time.Second, asleep)
			updated.EnvVars["VERSION"] = "two"
			f.update(t, updated)
			f.says(t, "VERSION", "two")
			deploy(t, parrot()).call(t, "moo").is(t, "call of a function deployed meanwhile", http.StatusOK)
			eventually(t, "another pod is the provider alone", func() (bool, string) {
				now := providerPods(t)
				return len(now) == 1 && now[0].UID != before[0].UID && podReady(now[0]), fmt.Sprint(len(now), " pods")
			})
			for _, f := range targets {
				q, want := f.request("afterwards", 0)
				if a := gateway.ask(t, q).is(t, "call of "+f.String()+" afterwards", http.StatusOK); a.body != want {
					t.Errorf("%s answers %q afterwards", f, a.body)
				}
			}
			l.report(t)
		})
	}
}

// atZero deploys functions, every other one a contract, and scales them to zero.
func atZero(t *testing.T, n int) []target {
	t.Helper()
	var list []target
	for i := range n {
		if i%2 == 1 {
			list = append(list, contractTarget(deploy(t, contract(scripted()))))
		} else {
			list = append(list, scriptedTarget(deploy(t, scripted())))
		}
	}
	for _, f := range list {
		f.awaitReplicas(t, 1)
		f.scale(t, 0)
	}
	for _, f := range list {
		f.awaitZero(t)
	}
	return list
}

func providerPods(t *testing.T) []corev1.Pod {
	t.Helper()
	pods, err := cluster.CoreV1().Pods(providerNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=dc-provider"})
	if err != nil {
		t.Fatal(err)
	}
	return pods.Items
}

func podReady(p corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// restartProvider does what kubectl rollout restart does.
func restartProvider(t *testing.T) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
	_, err := cluster.AppsV1().Deployments(providerNamespace).Patch(t.Context(), "dc-provider", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func deleteProviderPod(t *testing.T) {
	t.Helper()
	for _, p := range providerPods(t) {
		if err := cluster.CoreV1().Pods(p.Namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
