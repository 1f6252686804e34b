package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestPush_AllLost has no pod reach the provider: functions are deployed, and woken by a spare and without, and answer as soon as
// Kubernetes tells that they are ready. It runs alone: no push of any other arrives either.
func TestPush_AllLost(t *testing.T) {
	pooled, lone := parrot(), parrot()
	pooled.Namespace, lone.Namespace = newPool(t, 1), newPool(t, 0)
	byClaim, byPod := deployAtZero(t, pooled), deployAtZero(t, lone)
	providers := providerPods(t)
	onlyHere(t, providers...)
	var addresses []string
	for _, p := range providers {
		addresses = append(addresses, p.Status.PodIP)
	}
	lost := forbid(t, "forward", fmt.Sprintf("ip daddr { %s } tcp dport %d", strings.Join(addresses, ", "), pushPort), "reject with tcp reset")
	for _, tt := range []struct {
		what string
		call func() function
	}{
		{"just deployed", func() function {
			f := deploy(t, lone)
			f.call(t, "first").is(t, "call", http.StatusOK)
			return f
		}},
		{"a pod of its own", func() function {
			byPod.wake(t, "first").is(t, "call that wakes", http.StatusOK)
			return byPod
		}},
		// Spares are not heard of either, but asked.
		{"a spare", func() function {
			byClaim.wakeByClaim(t, "first")
			return byClaim
		}},
	} {
		before, began := lost.packets(t), time.Now()
		f := tt.call()
		t.Logf("%s: answered after %v", tt.what, time.Since(began).Round(time.Millisecond))
		if lost.packets(t) == before {
			t.Errorf("%s: no push was lost", tt.what)
		}
		for _, p := range podsIn(t, f.inNamespace(), "faas_function="+f.name) {
			if log := podLog(t, p); p.DeletionTimestamp == nil && strings.Contains(log, "provider told of readiness") {
				t.Errorf("%s: the provider was told: %s", tt.what, log)
			}
		}
	}
	lost.lift(t)
	byPod.scale(t, 0)
	byPod.awaitZero(t)
	byPod.wake(t, "after").is(t, "call that wakes when pushes arrive again", http.StatusOK)
}

// TestPush_Forged posts ready pushes that are not what they say: of another token, of no function, of a pod that is elsewhere, and
// twice. None is taken, and calls go where they went.
func TestPush_Forged(t *testing.T) {
	t.Parallel()
	f := deploy(t, parrot())
	f.awaitReplicas(t, 1)
	pods := podsIn(t, f.inNamespace(), "faas_function="+f.name)
	if len(pods) != 1 {
		t.Fatalf("%d pods", len(pods))
	}
	token, err := hex.DecodeString(f.readyToken(t))
	if err != nil || len(token) == 0 {
		t.Fatalf("the pod's token for ready pushes: %v", err)
	}
	push := func(token []byte, name, nonce string) string {
		fields := map[string]string{"function": name, "pod": pods[0].Name, "nonce": nonce}
		sum := hmac.New(sha256.New, token)
		fmt.Fprintf(sum, "push\n%s\n%s\n%s", name, fields["pod"], nonce)
		fields["mac"] = hex.EncodeToString(sum.Sum(nil))
		return encode(t, fields)
	}
	own := f.name + "." + f.inNamespace()
	fresh := func() string { return fmt.Sprintf("%032x", rand.Uint64()) }
	elsewhere := push(token, own, fresh())
	for _, tt := range []struct {
		what, body string
		status     int
	}{
		{"no message", "{}", http.StatusBadRequest},
		{"no such function", push(token, "nobody."+f.inNamespace(), fresh()), http.StatusNotFound},
		{"another token", push(make([]byte, len(token)), own, fresh()), http.StatusUnauthorized},
		// Nobody answers here who has the token: the sender is told to come again, as one that is not up yet.
		{"from elsewhere", elsewhere, http.StatusServiceUnavailable},
		{"the same again", elsewhere, http.StatusUnauthorized},
	} {
		a := provider.ask(t, request{method: http.MethodPost, path: "/dc/ready", body: tt.body, auth: nobody})
		if a.status != tt.status {
			t.Errorf("%s: %d %q, want %d", tt.what, a.status, a.body, tt.status)
		}
	}
	for i := range 10 {
		body := fmt.Sprint("call ", i)
		if a := f.call(t, body).is(t, body, http.StatusOK); a.body != body {
			t.Errorf("%s: %q", body, a.body)
		}
	}
}

// podLog is what the pod's containers have written.
func podLog(t *testing.T, p corev1.Pod) string {
	t.Helper()
	var all strings.Builder
	for _, c := range p.Spec.Containers {
		text, err := cluster.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: c.Name}).DoRaw(t.Context())
		if err != nil {
			t.Fatalf("log of %s: %v", p.Name, err)
		}
		all.Write(text)
	}
	return all.String()
}
