package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openfaas/faas-provider/logs"
	"github.com/openfaas/faas-provider/types"
)

// TestSDK goes through every verb of the official Go SDK as one user's story, in a namespace of its own.
func TestSDK(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	name, secret := unique(t, "sdk"), unique(t, "secret")

	t.Run("namespaces", func(t *testing.T) { sdkNamespaces(t, namespace) })
	t.Run("info", sdkInfo)
	t.Run("secrets", func(t *testing.T) { sdkSecrets(t, namespace, secret) })

	d := scripted()
	d.Service, d.Namespace, d.Secrets = name, namespace, []string{secret}
	d.EnvVars = map[string]string{"ANIMAL": "cow"}
	d.Labels = &map[string]string{"team": "barn"}
	d.Annotations = &map[string]string{"note": "any text, even: this"}
	d.Limits = &types.FunctionResources{Memory: "128Mi", CPU: "500m"}
	d.Requests = &types.FunctionResources{Memory: "32Mi", CPU: "10m"}
	d.ReadOnlyRootFilesystem = true
	f := function{name, namespace}

	t.Run("deploy", func(t *testing.T) {
		code, err := client.Deploy(t.Context(), d)
		wantCode(t, code, err, http.StatusAccepted)
		sdkSays(t, f, "echo $ANIMAL; cat /var/openfaas/secrets/"+secret, "cow\nchanged")
	})
	t.Run("get and list give back what was sent", func(t *testing.T) {
		got, err := client.GetFunction(t.Context(), name, namespace)
		if err != nil {
			t.Fatal(err)
		}
		sameAsSent(t, got, d)
		all, err := client.GetFunctions(t.Context(), namespace)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != 1 {
			t.Fatalf("list has %d functions, want the one in this namespace", len(all))
		}
		sameAsSent(t, all[0], d)
	})
	t.Run("update", func(t *testing.T) {
		d.EnvVars = map[string]string{"ANIMAL": "dragon"}
		code, err := client.Update(t.Context(), d)
		wantCode(t, code, err, http.StatusAccepted)
		eventually(t, "the new version answers", func() (bool, string) {
			said := sdkInvoke(t, f, "echo $ANIMAL")
			return said == "dragon\n", said
		})
	})
	t.Run("scale", func(t *testing.T) {
		if err := client.ScaleFunction(t.Context(), name, namespace, 2); err != nil {
			t.Fatal(err)
		}
		f.awaitReplicas(t, 2)
		if err := client.ScaleFunction(t.Context(), name, namespace, 1); err != nil {
			t.Fatal(err)
		}
		f.awaitReplicas(t, 1)
		if err := client.ScaleFunction(t.Context(), unique(t, "absent"), namespace, 1); err == nil || !strings.Contains(err.Error(), "not found") {
			t.Errorf("scale of an unknown function: %v, want not found", err)
		}
	})
	t.Run("logs", func(t *testing.T) { sdkLogs(t, f) })
	t.Run("delete", func(t *testing.T) {
		if err := client.DeleteFunction(t.Context(), name, namespace); err != nil {
			t.Fatal(err)
		}
		if _, ok := f.status(t); ok {
			t.Error("the function is still there after DELETE answered")
		}
		if err := client.DeleteFunction(t.Context(), name, namespace); err == nil || !strings.Contains(err.Error(), "not found") {
			t.Errorf("second delete: %v, want not found", err)
		}
		if err := client.DeleteSecret(t.Context(), secret, namespace); err != nil {
			t.Error(err)
		}
	})
}

// newNamespace makes a function namespace through the SDK and takes it away with the test.
func newNamespace(t *testing.T) string {
	t.Helper()
	name := unique(t, "ns")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := client.DeleteNamespace(ctx, name); err != nil {
			t.Error(err)
		}
	})
	code, err := client.CreateNamespace(t.Context(), types.FunctionNamespace{Name: name})
	wantCode(t, code, err, http.StatusCreated, http.StatusAccepted)
	return name
}

func sdkNamespaces(t *testing.T, namespace string) {
	names, err := client.GetNamespaces(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{namespace, functionNamespace} {
		if !slices.Contains(names, want) {
			t.Errorf("namespaces %q lack %q", names, want)
		}
	}
	code, err := client.CreateNamespace(t.Context(), types.FunctionNamespace{Name: namespace})
	if err == nil || code != http.StatusConflict {
		t.Errorf("second create: %d %v, want 409", code, err)
	}
	code, err = client.UpdateNamespace(t.Context(), types.FunctionNamespace{Name: namespace, Labels: map[string]string{"team": "barn"}})
	wantCode(t, code, err, http.StatusAccepted)
	got, err := client.GetNamespace(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != namespace || got.Labels["team"] != "barn" || got.Labels["openfaas"] != "1" || got.Annotations["openfaas"] != "1" {
		t.Errorf("namespace reads back as %+v", got)
	}
	if _, err := client.GetNamespace(t.Context(), "kube-system"); err == nil {
		t.Error("kube-system can be read as a function namespace")
	}
}

func sdkInfo(t *testing.T) {
	info, err := client.GetInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Provider.Provider == "" || info.Provider.Orchestration != "kubernetes" || info.Version.Release == "" || info.Arch == "" {
		t.Errorf("info %+v has empty fields", info)
	}
}

// sdkSecrets leaves the secret there with the value "changed".
func sdkSecrets(t *testing.T, namespace, name string) {
	secret := types.Secret{Name: name, Namespace: namespace, Value: "first"}
	code, err := client.UpdateSecret(t.Context(), secret)
	if err == nil || code != http.StatusNotFound {
		t.Errorf("update of an absent secret: %d %v, want 404", code, err)
	}
	code, err = client.CreateSecret(t.Context(), secret)
	wantCode(t, code, err, http.StatusAccepted)
	if code, err = client.CreateSecret(t.Context(), secret); err == nil || code != http.StatusConflict {
		t.Errorf("second create: %d %v, want 409", code, err)
	}
	// The raw value wins over the other: faas-cli sends both for a file.
	code, err = client.UpdateSecret(t.Context(), types.Secret{Name: name, Namespace: namespace, Value: "ignored", RawValue: []byte("changed")})
	wantCode(t, code, err, http.StatusAccepted)
	got, err := client.GetSecrets(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	if want := []types.Secret{{Name: name, Namespace: namespace}}; !reflect.DeepEqual(got, want) {
		t.Errorf("secrets %+v, want %+v and no value", got, want)
	}
	if err := client.DeleteSecret(t.Context(), unique(t, "absent"), namespace); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("delete of an absent secret: %v, want not found", err)
	}
}

// sdkLogs checks tail, since and follow. f runs scripts.
func sdkLogs(t *testing.T, f function) {
	said := unique(t, "line")
	for i := range 3 {
		sdkInvoke(t, f, fmt.Sprintf("echo %s-%d >&2", said, i))
	}
	eventually(t, "the log has what the function wrote", func() (bool, string) {
		lines := readLogs(t, f, 1, nil)
		return len(lines) == 1 && strings.Contains(lines[0].Text, said+"-2"), fmt.Sprint(lines)
	})
	for _, line := range readLogs(t, f, 1, nil) {
		if line.Name != f.name || line.Namespace != f.namespace || line.Instance == "" || time.Since(line.Timestamp) > time.Hour {
			t.Errorf("log line %+v lacks its name, namespace, instance or time", line)
		}
	}
	future := time.Now().Add(time.Hour)
	if lines := readLogs(t, f, -1, &future); len(lines) != 0 {
		t.Errorf("since an hour from now: %v, want nothing", lines)
	}
	past := time.Now().Add(-time.Hour)
	if lines := readLogs(t, f, -1, &past); !slices.ContainsFunc(lines, has(said+"-0")) {
		t.Errorf("since an hour ago: %v, want %s-0 among them", lines, said)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	following, err := client.GetLogs(ctx, f.name, f.namespace, true, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	sdkInvoke(t, f, "echo "+said+"-later >&2")
	for line := range following {
		if has(said + "-later")(line) {
			return
		}
	}
	t.Error("a line written while following did not arrive")
}

func has(text string) func(logs.Message) bool {
	return func(m logs.Message) bool { return strings.Contains(m.Text, text) }
}

// readLogs reads a log that ends by itself.
func readLogs(t *testing.T, f function, tail int, since *time.Time) []logs.Message {
	t.Helper()
	stream, err := client.GetLogs(within(t, 30*time.Second), f.name, f.namespace, false, tail, since)
	if err != nil {
		t.Fatal(err)
	}
	var lines []logs.Message
	for line := range stream {
		lines = append(lines, line)
	}
	return lines
}

func sdkInvoke(t *testing.T, f function, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.InvokeFunction(f.name, f.namespace, false, false, r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("invoke %s: %d %q", f, res.StatusCode, out)
	}
	return string(out)
}

func sdkSays(t *testing.T, f function, script, want string) {
	t.Helper()
	if got := sdkInvoke(t, f, script); got != want {
		t.Errorf("%s answers %q, want %q", f, got, want)
	}
}

func wantCode(t *testing.T, got int, err error, want ...int) {
	t.Helper()
	if err != nil || !slices.Contains(want, got) {
		t.Fatalf("got %d, %v; want one of %v", got, err, want)
	}
}

// sameAsSent compares field by field what a client gets back with what it sent: faas-cli diff does the same.
func sameAsSent(t *testing.T, got types.FunctionStatus, sent deployment) {
	t.Helper()
	annotations := map[string]string{}
	if got.Annotations != nil {
		for k, v := range *got.Annotations {
			if k != annotationStatus { // ours, and the one that is not the user's
				annotations[k] = v
			}
		}
	}
	back := deployment{
		Service: got.Name, Image: got.Image, Namespace: got.Namespace, EnvProcess: got.EnvProcess, EnvVars: got.EnvVars,
		Constraints: got.Constraints, Secrets: got.Secrets, Labels: got.Labels, Annotations: &annotations,
		Limits: got.Limits, Requests: got.Requests, ReadOnlyRootFilesystem: got.ReadOnlyRootFilesystem,
	}
	if !reflect.DeepEqual(back, sent) {
		t.Errorf("reads back as\n%s\nsent\n%s", encode(t, back), encode(t, sent))
	}
	if got.Replicas != 1 || time.Since(got.CreatedAt) > time.Hour || got.CreatedAt.IsZero() {
		t.Errorf("replicas %d, created %s", got.Replicas, got.CreatedAt)
	}
}
