package invoke_test

import (
	"os/exec"
	"strings"
	"testing"
)

// Stores and proxies are joined in by cmd, so that each can be replaced; the domain is all that they share.
func TestImports_DomainOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		switch path {
		case "github.com/dragonchain/dc-provider/pkg/invoke", "github.com/dragonchain/dc-provider/pkg/function":
		case "github.com/robfig/cron/v3": // reads schedules, and brings nothing
		case "github.com/dragonchain/dc-provider/pkg/dc1": // signs what goes to a chain
		case "golang.org/x/crypto/blake2b", "golang.org/x/sys/cpu": // of its hashes
		default:
			t.Errorf("imports %s", path)
		}
	}
}
