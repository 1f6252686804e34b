package function_test

import (
	"os/exec"
	"strings"
	"testing"
)

// Every other package imports this one; the watchdog, which lives in every container, does too.
func TestImports_StandardLibraryOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		if path != "github.com/dragonchain/dc-provider/pkg/function" {
			t.Errorf("imports %s", path)
		}
	}
}
