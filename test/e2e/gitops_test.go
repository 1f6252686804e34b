package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// records are the Function objects of the default namespace, which these tests write as kubectl does.
func records() dynamic.ResourceInterface {
	return cluster.objects.Resource(functionKind).Namespace(functionNamespace)
}

// apply makes a Function object and takes it away with the test.
func apply(t *testing.T, spec map[string]any) function {
	t.Helper()
	f := function{name: unique(t, "git")}
	spec["name"] = f.name
	record := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "openfaas.com/v1",
		"kind":       "Function",
		"metadata":   map[string]any{"name": f.name},
		"spec":       spec,
	}}
	t.Cleanup(func() { unapply(t, f) })
	if _, err := records().Create(t.Context(), record, metav1.CreateOptions{}); err != nil {
		t.Fatalf("apply: %v", err)
	}
	return f
}

func unapply(t *testing.T, f function) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	if err := records().Delete(ctx, f.name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("delete the record of %s: %v", f, err)
	}
}

// condition is one of a record's conditions.
type condition struct{ Type, Status, Reason, Message string }

func conditions(t *testing.T, f function) map[string]condition {
	t.Helper()
	record, err := records().Get(t.Context(), f.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := unstructured.NestedSlice(record.Object, "status", "conditions")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	var all []condition
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]condition{}
	for _, c := range all {
		found[c.Type] = c
	}
	return found
}

// awaitCondition waits until the record's condition has the status.
func awaitCondition(t *testing.T, f function, kind, status string) condition {
	t.Helper()
	var now condition
	eventually(t, fmt.Sprintf("%s is %s: %s", f, kind, status), func() (bool, string) {
		all := conditions(t, f)
		now = all[kind]
		return now.Status == status, fmt.Sprintf("%+v", all)
	})
	return now
}

func TestGitOps_ApplyIsDeploy(t *testing.T) {
	t.Parallel()
	f := apply(t, map[string]any{
		"image":       imageShell,
		"handler":     "sh",
		"environment": map[string]any{"ANIMAL": "cow"},
		"annotations": map[string]any{annotationHeap: "true"},
		"labels":      map[string]any{"team": "barn"},
		"limits":      map[string]any{"memory": "64Mi", "cpu": ""},
	})
	awaitCondition(t, f, "Ready", "True")
	awaitCondition(t, f, "Healthy", "True")
	if a := f.call(t, `echo '{"animal":"'$ANIMAL'"}'`).is(t, "call", http.StatusOK); a.body != "{\"animal\":\"cow\"}\n" {
		t.Errorf("answer %q", a.body)
	}
	wantHeap(t, f, map[string]string{"animal": `"cow"`})
	s, ok := f.status(t)
	if !ok || s.Image != imageShell || s.EnvProcess != "sh" || (*s.Labels)["team"] != "barn" || s.Limits.Memory != "64Mi" {
		t.Errorf("the API shows it as %+v", s)
	}

	change := []byte(`{"spec":{"environment":{"ANIMAL":"dragon"}}}`)
	if _, err := records().Patch(t.Context(), f.name, types.MergePatchType, change, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.says(t, "ANIMAL", "dragon")

	unapply(t, f)
	eventually(t, "the name is free", func() (bool, string) {
		_, ok := f.status(t)
		return !ok, "still there"
	})
	f.awaitNothing(t)
	f.call(t, "").is(t, "call of what was deleted", http.StatusNotFound)
}

// TestGitOps_KubectlScale uses the scale subresource.
func TestGitOps_KubectlScale(t *testing.T) {
	t.Parallel()
	f := deploy(t, parrot())
	f.awaitReplicas(t, 1)
	for _, replicas := range []uint64{2, 0} {
		change := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
		if _, err := records().Patch(t.Context(), f.name, types.MergePatchType, change, metav1.PatchOptions{}, "scale"); err != nil {
			t.Fatal(err)
		}
		f.awaitReplicas(t, replicas)
	}
}

func TestGitOps_InvalidIsStalled(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		spec map[string]any
		why  string
	}{
		{"missing secret", map[string]any{"image": imageShell, "handler": "cat", "secrets": []any{"there-is-no-such-secret"}}, "there-is-no-such-secret"},
		{"reserved label", map[string]any{"image": imageShell, "handler": "cat", "labels": map[string]any{"faas_function": "other"}}, "faas_function"},
		{"unknown mode", map[string]any{"image": imageShell, "annotations": map[string]any{annotationMode: "magic"}}, "magic"},
		{"bad quantity", map[string]any{"image": imageShell, "handler": "cat", "limits": map[string]any{"memory": "lots"}}, "lots"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := apply(t, tt.spec)
			stalled := awaitCondition(t, f, "Stalled", "True")
			if stalled.Reason == "" || !containsAny(stalled.Message, []string{tt.why}) {
				t.Errorf("stalled with %+v, want %q in the message", stalled, tt.why)
			}
			if objects := f.objects(t); len(objects) != 1 {
				t.Errorf("an invalid record has objects %q", objects)
			}
			unapply(t, f)
			f.awaitNothing(t)
		})
	}
}

// TestGitOps_MendedStarts mends what stalled: the secret comes after the function that names it.
func TestGitOps_MendedStarts(t *testing.T) {
	t.Parallel()
	secret := unique(t, "late")
	f := apply(t, map[string]any{"image": imageShell, "handler": "sh", "secrets": []any{secret}})
	awaitCondition(t, f, "Stalled", "True")
	makeSecret(t, secret, "here")
	awaitCondition(t, f, "Healthy", "True")
	if a := f.call(t, "cat /var/openfaas/secrets/"+secret).is(t, "call", http.StatusOK); a.body != "here" {
		t.Errorf("answer %q", a.body)
	}
}
