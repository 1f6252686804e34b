package watchdog

import (
	"os/exec"
	"strings"
	"testing"
)

// The watchdog lives in every container: it needs the standard library and the protocol that it shares with the provider.
func TestImports_NothingBesides(t *testing.T) {
	const here = "github.com/dragonchain/dc-provider/pkg/"
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		if path != here+"watchdog" && path != here+"watchdog/lambda" && path != here+"function/assignment" && path != here+"function/readypush" &&
			path != here+"http1" {
			t.Errorf("imports %s", path)
		}
	}
}
