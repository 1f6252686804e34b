package function_test

import (
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestParseRef(t *testing.T) {
	for in, want := range map[string]function.Ref{
		"":          {Namespace: "fns"},
		"cow":       {Name: "cow", Namespace: "fns"},
		"cow.dev":   {Name: "cow", Namespace: "dev"},
		"a.cow.dev": {Name: "a.cow", Namespace: "dev"},
		"cow.":      {Name: "cow"},
		".dev":      {Namespace: "dev"},
		".":         {},
	} {
		if got := function.ParseRef(in, "fns"); got != want {
			t.Errorf("ParseRef(%q) = %+v, want %+v", in, got, want)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, seed := range []string{"", "cow", "cow.dev", "a.b.c", "..", "cow.", "\x00.é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref := function.ParseRef(s, "fns")
		if strings.Contains(ref.Namespace, ".") {
			t.Fatalf("%q: namespace %q has a dot", s, ref.Namespace)
		}
		if back := function.ParseRef(ref.String(), "other"); back != ref {
			t.Fatalf("%q: %+v became %+v", s, ref, back)
		}
		if strings.Contains(s, ".") && ref.String() != s {
			t.Fatalf("%q became %q", s, ref)
		}
	})
}
