package function_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// smallest is the smallest spec that is valid.
func smallest() function.Spec {
	return function.Spec{Ref: function.Ref{Name: "cow", Namespace: "fns"}, Image: "i"}
}

// wantInvalid wants an error of one line that a caller can be shown.
func wantInvalid(t *testing.T, err error) {
	t.Helper()
	switch {
	case !errors.Is(err, function.ErrInvalid):
		t.Errorf("error %v, want one that wraps ErrInvalid", err)
	case strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) || len(err.Error()) > 500:
		t.Errorf("no short line: %q", err)
	}
}

func TestCheck_Accepts(t *testing.T) {
	long := strings.Repeat("a", 63)
	for name, edit := range map[string]func(*function.Spec){
		"smallest":               func(*function.Spec) {},
		"one letter":             func(s *function.Spec) { s.Name = "c" },
		"longest name":           func(s *function.Spec) { s.Name = long },
		"digits and dashes":      func(s *function.Spec) { s.Name = "c0-w--9" },
		"namespace with a digit": func(s *function.Spec) { s.Namespace = "9-a" },
		"empty maps":             func(s *function.Spec) { s.Labels, s.Annotations = map[string]string{}, map[string]string{} },
		"labels": func(s *function.Spec) {
			s.Labels = map[string]string{"a": "", "A.b_c-d": "V-a_l.9", "example.com/x": long, long: "1"}
		},
		"annotations": func(s *function.Spec) {
			s.Annotations = map[string]string{"Example.com/X": "any\ntext", "topic": "a,b"}
		},
		"environment":  func(s *function.Spec) { s.Env = map[string]string{"_A.b-c": "x\ny", ".a": "", "fprocess": "cat"} },
		"secrets":      func(s *function.Spec) { s.Secrets = []string{"a", "b.c-d", "0"} },
		"constraints":  func(s *function.Spec) { s.Constraints = []string{"disk=ssd", "kubernetes.io/os=linux", "gone="} },
		"no resources": func(s *function.Spec) { s.Limits = &function.Resources{} },
		"resources": func(s *function.Spec) {
			s.Limits = &function.Resources{Memory: "1.5Gi", CPU: "250m", NvidiaGPU: "1"}
			s.Requests = &function.Resources{Memory: "1e6", CPU: ".5", AMDGPU: "0", IntelGPU: "2"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := smallest()
			edit(&s)
			if _, err := function.Check(s); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCheck_Refuses(t *testing.T) {
	long := strings.Repeat("a", 64)
	label := func(k, v string) func(*function.Spec) {
		return func(s *function.Spec) { s.Labels = map[string]string{k: v} }
	}
	annotation := func(k, v string) func(*function.Spec) {
		return func(s *function.Spec) { s.Annotations = map[string]string{k: v} }
	}
	env := func(k, v string) func(*function.Spec) {
		return func(s *function.Spec) { s.Env = map[string]string{k: v} }
	}
	secrets := func(names ...string) func(*function.Spec) {
		return func(s *function.Spec) { s.Secrets = names }
	}
	constraint := func(c string) func(*function.Spec) {
		return func(s *function.Spec) { s.Constraints = []string{c} }
	}
	memory := func(q string) func(*function.Spec) {
		return func(s *function.Spec) { s.Requests = &function.Resources{Memory: q} }
	}
	name := func(n string) func(*function.Spec) { return func(s *function.Spec) { s.Name = n } }
	namespace := func(n string) func(*function.Spec) { return func(s *function.Spec) { s.Namespace = n } }

	// The value is what the error has to name.
	for _, c := range []struct {
		name string
		edit func(*function.Spec)
		tell string
	}{
		{"no name", name(""), "needs a name"},
		{"capital", name("Cow"), `"Cow"`},
		{"leading digit, which no Service may have", name("9cow"), `"9cow"`},
		{"dash at the end", name("cow-"), `"cow-"`},
		{"dot", name("cow.dev"), `"cow.dev"`},
		{"line feed", name("cow\n"), `"cow\n"`},
		{"name too long", name(long), "64 characters"},
		{"no namespace", namespace(""), "namespace"},
		{"namespace with a dot", namespace("a.b"), `"a.b"`},
		{"namespace of Kubernetes", namespace("kube-public"), `"kube-public" belongs to Kubernetes`},
		{"no image", func(s *function.Spec) { s.Image = "" }, "image"},
		{"reserved label", label("faas_function", "dog"), `"faas_function" is reserved`},
		{"reserved uid", label("uid", "1"), `"uid" is reserved`},
		{"reserved prefix", label("dragonchain.com/record", "1"), "is reserved"},
		{"label key", label("a b", "1"), `"a b"`},
		{"label key with two slashes", label("a/b/c", "1"), `"a/b/c"`},
		{"label without a key", label("", "1"), "label key"},
		{"label without a prefix", label("/a", "1"), `"/a"`},
		{"label key in capitals before the slash", label("Example.com/a", "1"), `"Example.com/a"`},
		{"label key too long", label(long, "1"), "label key"},
		{"label value", label("a", "-x"), `a="-x"`},
		{"label value too long", label("a", long), "at most 63"},
		{"reserved annotation", annotation("dragonchain.com/x", "1"), "is reserved"},
		{"annotation key", annotation("a b", "1"), `"a b"`},
		{"annotations too large", annotation("a", strings.Repeat("x", 200<<10)), "bytes together"},
		{"environment too large", env("A", strings.Repeat("x", 256<<10)), "bytes together"},
		{"process too large", func(s *function.Spec) { s.Process = strings.Repeat("x", 256<<10+1) }, "bytes together"},
		{"constraints that contradict each other", func(s *function.Spec) { s.Constraints = []string{"a=1", "b=1", "a=2"} }, `"a=2"`},
		{"environment key", env("1A", ""), `"1A"`},
		{"environment key with =", env("A=B", ""), `"A=B"`},
		{"empty environment key", env("", ""), `""`},
		{"environment key of dots", env("..", ""), `".."`},
		{"environment of the watchdog", env("DC_COMMAND", "x"), `"DC_COMMAND"`},
		{"NUL in the environment", env("A", "a\x00"), "NUL"},
		{"NUL in the process", func(s *function.Spec) { s.Process = "a\x00" }, "NUL"},
		{"secret without a name", secrets(""), "secret needs a name"},
		{"secret name", secrets("ok", "A"), `"A"`},
		{"secret leaves its folder", secrets("../a"), `"../a"`},
		{"secret twice", secrets("a", "b", "a"), `"a" is listed twice`},
		{"secret name too long", secrets(strings.Repeat("a", 254)), "at most 253"},
		{"constraint without =", constraint("ssd"), `"ssd"`},
		{"constraint with two =", constraint("a==b"), `"a==b"`},
		{"constraint key", constraint("=b"), `"=b"`},
		{"quantity", memory("lots"), `requests.memory="lots"`},
		{"negative quantity", memory("-1Mi"), `"-1Mi"`},
		{"quantity with a blank", memory("1 Mi"), `"1 Mi"`},
		{"quantity in full words", memory("1MB"), `"1MB"`},
		{"endless quantity", memory(strings.Repeat("9", 1000)), "requests.memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := smallest()
			c.edit(&s)
			_, err := function.Check(s)
			wantInvalid(t, err)
			if err != nil && !strings.Contains(err.Error(), c.tell) {
				t.Errorf("%q does not tell %q", err, c.tell)
			}
			if f, err := function.New(s); err == nil || f != nil {
				t.Errorf("New made a function of it")
			}
		})
	}
}

func TestNew_KeepsWhatWasSent(t *testing.T) {
	s := withLabels("com.openfaas.scale.min", "3")
	s.Annotations = map[string]string{}
	f, err := function.New(s)
	if err != nil {
		t.Fatal(err)
	}
	if f.Replicas != 3 || !maps.Equal(f.Labels, s.Labels) || f.Annotations == nil || f.Env != nil {
		t.Errorf("function %+v of %+v", f, s)
	}
	f.ID = "1"
	if f.Heap() != (function.Heap{Ref: s.Ref, ID: "1"}) {
		t.Errorf("heap %+v", f.Heap())
	}
}

func TestErrors_TextIsTheLineAlone(t *testing.T) {
	for _, c := range []struct {
		err  error
		kind error
	}{
		{function.Invalidf("no %s", "cow"), function.ErrInvalid},
		{function.NotFoundf("no %s", "cow"), function.ErrNotFound},
		{function.Existsf("no %s", "cow"), function.ErrExists},
	} {
		if c.err.Error() != "no cow" || !errors.Is(fmt.Errorf("deploy: %w", c.err), c.kind) {
			t.Errorf("%q of kind %v", c.err, errors.Unwrap(c.err))
		}
	}
}

// FuzzCheck checks that whatever is refused is told in one short line, and that what is accepted stays accepted.
func FuzzCheck(f *testing.F) {
	f.Add("cow", "fns", "i", "a", "1", "A", "b", "s", "k=v", "1Mi")
	f.Add("Cow\n", "", "", "faas_function", "\x00", "DC_X", "\x00", "..", "==", "-1")
	f.Add("cow", "fns", "i", "com.openfaas.scale.min", "99999999999999999999", "mode", "http", "s", "a/b=c", "1e99")
	f.Fuzz(func(t *testing.T, name, namespace, image, key, value, envKey, envValue, secret, constraint, quantity string) {
		s := function.Spec{
			Ref: function.Ref{Name: name, Namespace: namespace}, Image: image, Process: value,
			Labels: map[string]string{key: value}, Annotations: map[string]string{key: envValue},
			Env: map[string]string{envKey: envValue}, Secrets: []string{secret}, Constraints: []string{constraint},
			Limits: &function.Resources{Memory: quantity, CPU: value},
		}
		p, err := function.Check(s)
		if err != nil {
			wantInvalid(t, err)
			return
		}
		if p.Scale.Min < 1 || p.Scale.Max < p.Scale.Min || p.Scale.ZeroAfter <= 0 || p.HeapQuotaBytes < 0 {
			t.Fatalf("policy %+v of %+v", p, s)
		}
	})
}
