package heapstore_test

import (
	"os/exec"
	"strings"
	"testing"
)

// Stores know the domain and their own library: neither Kubernetes nor HTTP, nor the packages beside them.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		own, inModule := strings.CutPrefix(path, "github.com/dragonchain/dc-provider/")
		switch {
		case inModule && own != "pkg/heapstore" && !strings.HasPrefix(own, "pkg/heapstore/") && own != "pkg/function",
			path == "net/http", strings.HasPrefix(path, "k8s.io/"):
			t.Errorf("imports %s", path)
		}
	}
}
