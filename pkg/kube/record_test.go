package kube

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestObject_GivesBackExactlyWhatWasSent(t *testing.T) {
	for _, spec := range []function.Spec{
		{Image: "i"},
		{Image: "i", Labels: map[string]string{}, Annotations: map[string]string{}, Limits: &function.Resources{}},
		{
			Image: "i", Process: "cat -n", Env: map[string]string{"a": ""}, Constraints: []string{"a=b"}, Secrets: []string{"s"},
			Labels: map[string]string{"l": "1"}, Annotations: map[string]string{"n": "x\ny"}, ReadOnlyRoot: true,
			Limits:   &function.Resources{Memory: "128Mi", CPU: "0.5", NvidiaGPU: "1", AMDGPU: "2", IntelGPU: "3"},
			Requests: &function.Resources{Memory: "64M"},
		},
	} {
		spec.Ref = cowRef
		text, err := json.Marshal(objectOf(spec))
		if err != nil {
			t.Fatal(err)
		}
		var o object
		if err := json.Unmarshal(text, &o); err != nil {
			t.Fatal(err)
		}
		if got := specOf(&o); !reflect.DeepEqual(got, spec) {
			t.Errorf("got  %#v\nwant %#v\nby %s", got, spec, text)
		}
		if copied := o.DeepCopyObject(); !reflect.DeepEqual(copied, &o) {
			t.Errorf("the copy differs: %+v", copied)
		}
	}
}

func TestNewRecord_KeepsTheLastValidVersion(t *testing.T) {
	good := objectOf(cow())
	good.UID = "u"
	first := newRecord(good, nil)
	bad := objectOf(cow())
	bad.UID, bad.Spec.Name = "u", "calf"
	if r := newRecord(bad, first); r.fn != first.fn || r.problem == "" {
		t.Errorf("got function %v, problem %q", r.fn, r.problem)
	}
	r := newRecord(bad, nil)
	if !r.salvaged || r.problem == "" || r.fn.ID != "u" || r.fn.Name != "cow" {
		t.Errorf("got function %v, problem %q, with no version before", r.fn, r.problem)
	}
	two := int32(2)
	bad.Spec.Replicas = &two
	if r = newRecord(bad, r); !r.salvaged || r.fn.Replicas != 2 {
		t.Errorf("got function %v, after one that was not valid either", r.fn)
	}
}

// The answer to a write that was made before a delete may be heard of after it.
func TestNewRecord_StaysDeleting(t *testing.T) {
	stale := idleObject(t, 1)
	before := newRecord(stale, nil)
	before.deleting = true
	if !newRecord(stale, before).deleting {
		t.Error("a record that is being deleted came back")
	}
}

// That a function was woken is known as soon as the number of its replicas is: a round in between would give it a Deployment.
func TestNewRecord_Woken(t *testing.T) {
	o := idleObject(t, 1)
	var r *record
	for i, step := range []struct {
		replicas    int32
		generation  int64
		woken       int64
		description string
	}{
		{1, 4, 0, "it was never seen at zero"},
		{0, 5, 0, "it is at zero"},
		{0, 5, 0, "its status is written"},
		{1, 6, 6, "it is woken"},
		{1, 6, 6, "its status is written"},
		{2, 7, 6, "it gets another replica"},
		{0, 8, 6, "it is at zero again"},
		{2, 9, 9, "it is woken again"},
	} {
		o.Spec.Replicas, o.Generation, o.ResourceVersion = &step.replicas, step.generation, fmt.Sprint(i+1)
		if r = newRecord(o, r); r.woken != step.woken {
			t.Errorf("%s: woken in generation %d, want %d", step.description, r.woken, step.woken)
		}
	}
}

// A hundred thousand functions at zero are to fit in a small container.
func TestRecords_HeapPerIdleFunction(t *testing.T) {
	const count, limitBytes = 2000, 4096
	m := newMirror(func(o any, before *record) *record { return newRecord(o.(*object), before) }, func(function.Ref, *record, *record) {})
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	for i := range count {
		if err := m.observe(idleObject(t, i)); err != nil {
			t.Fatal(err)
		}
	}
	each := (heap() - before) / count
	t.Logf("%d bytes for each idle function", each)
	if each > limitBytes {
		t.Errorf("%d bytes for each idle function, at most %d are allowed", each, limitBytes)
	}
	runtime.KeepAlive(m)
}

// idleObject is a record as the API server sends it, with what a contract of the usual size has.
func idleObject(t *testing.T, i int) *object {
	t.Helper()
	o := objectOf(function.Spec{
		Ref:         function.Ref{Name: fmt.Sprintf("contract-%d", i), Namespace: ns},
		Image:       fmt.Sprintf("registry.example/contracts/contract-%d:v1", i),
		Process:     "python3 /app/index.py",
		Env:         map[string]string{"STAGE": "prod", "exec_timeout": "60", "SMART_CONTRACT_ID": fmt.Sprint(i)},
		Labels:      map[string]string{"com.openfaas.scale.zero": "true", "com.openfaas.scale.max": "3"},
		Annotations: map[string]string{"com.dragonchain.heap": "true", "com.dragonchain.mode": "fork"},
		Secrets:     []string{fmt.Sprintf("secret-%d", i)},
		Limits:      &function.Resources{Memory: "128Mi", CPU: "500m"},
	})
	user := int64(1000)
	o.UID, o.ResourceVersion, o.Generation = types.UID(fmt.Sprintf("3ecdf483-0bb4-4a32-83fc-%012d", i)), fmt.Sprint(i+1), 4
	o.Finalizers = []string{finalizer}
	o.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "dc-provider", FieldsV1: metav1.NewFieldsV1(fmt.Sprintf("{%q:{}}", strings.Repeat("f:spec", 300)))}}
	o.Status = recordStatus{observed: 4, image: &resolution{
		Reference: o.Spec.Image, Digest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", User: &user,
	}}.object()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	decoded := new(object)
	if err := json.Unmarshal(text, decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}
