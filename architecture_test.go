// Package architecture_test holds the rules of the tree that no compiler checks: which package may import which, and that
// each one tells its story once.
package architecture_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/dragonchain/dc-provider/"

// goPackage is what `go list -json` prints of a package, as far as the rules need it.
type goPackage struct {
	ImportPath string
	Dir        string
	Deps       []string
	GoFiles    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Deps,GoFiles", "./pkg/...", "./cmd/...").Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("decode package: %v", err)
		}
		packages = append(packages, p)
	}
}

// Imports point down: a package that is not named in a row may import only the standard library, what its row gives of
// this module, and third-party modules that no other row claims.
func TestImportsPointDown(t *testing.T) {
	own := map[string][]string{
		"cmd/dc-provider":                     {"pkg/dc1", "pkg/function", "pkg/function/assignment", "pkg/function/readypush", "pkg/handlers", "pkg/heapstore", "pkg/heapstore/bolt", "pkg/heapstore/driver", "pkg/heapstore/postgres", "pkg/http1", "pkg/invoke", "pkg/kube", "pkg/peers", "pkg/pool", "pkg/proxy", "pkg/scaler", "pkg/usage"},
		"cmd/dc-watchdog":                     {"pkg/function", "pkg/function/assignment", "pkg/function/readypush", "pkg/http1", "pkg/watchdog", "pkg/watchdog/lambda"},
		"pkg/dc1":                             {},
		"pkg/function":                        {},
		"pkg/function/assignment":             {"pkg/function/readypush"},
		"pkg/function/readypush":              {},
		"pkg/handlers":                        {"pkg/dc1", "pkg/function", "pkg/function/assignment", "pkg/function/readypush", "pkg/heapstore", "pkg/http1", "pkg/invoke", "pkg/proxy", "pkg/scaler"},
		"pkg/heapstore":                       {"pkg/function"},
		"pkg/heapstore/bolt":                  {"pkg/function", "pkg/heapstore", "pkg/heapstore/driver"},
		"pkg/heapstore/driver":                {"pkg/function", "pkg/heapstore"},
		"pkg/heapstore/heapstoretest":         {"pkg/function", "pkg/heapstore"},
		"pkg/heapstore/postgres":              {"pkg/function", "pkg/heapstore", "pkg/heapstore/driver"},
		"pkg/heapstore/postgres/postgrestest": {},
		"pkg/http1":                           {},
		"pkg/invoke":                          {"pkg/dc1", "pkg/function", "pkg/heapstore"},
		"pkg/kube":                            {"pkg/function", "pkg/function/assignment", "pkg/function/readypush"},
		"pkg/peers":                           {"pkg/function"},
		"pkg/pool":                            {"pkg/function", "pkg/function/assignment", "pkg/function/readypush"},
		"pkg/proxy":                           {"pkg/function", "pkg/http1"},
		"pkg/scaler":                          {"pkg/function"},
		"pkg/usage":                           {"pkg/function", "pkg/function/readypush"},
		"pkg/watchdog":                        {"pkg/function", "pkg/function/assignment", "pkg/function/readypush", "pkg/http1", "pkg/watchdog/lambda"},
		"pkg/watchdog/lambda":                 {},
	}
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := own[name]
		if !known {
			t.Errorf("%s has no row: say which packages of this module it may import", name)
			continue
		}
		for _, dep := range p.Deps {
			if local, ours := strings.CutPrefix(dep, module); ours && !slices.Contains(allowed, local) {
				t.Errorf("%s must not import %s", name, local)
			}
		}
	}
}

// Some modules are kept to one room, each for a reason.
func TestModulesKeepToTheirRoom(t *testing.T) {
	rooms := []struct {
		module string
		rooms  []string
		reason string
	}{
		{"k8s.io/", []string{"pkg/kube", "cmd/dc-provider"}, "Kubernetes types stay at the edge"},
		{"github.com/google/go-containerregistry/", []string{"pkg/kube", "cmd/dc-provider"}, "images are a matter of the cluster"},
		{"go.etcd.io/bbolt", []string{"pkg/heapstore/bolt", "cmd/dc-provider"}, "the store is one driver behind an interface, and never in a function's pod"},
		{"github.com/jackc/", []string{"pkg/heapstore/postgres", "pkg/heapstore/postgres/postgrestest", "cmd/dc-provider"}, "the store is one driver behind an interface, and never in a function's pod"},
		{"github.com/prometheus/", []string{"pkg/proxy", "pkg/scaler", "pkg/handlers", "cmd/dc-provider"}, "Prometheus is answered by the provider, and never in a function's pod"},
		{"github.com/robfig/cron/", []string{"pkg/invoke", "pkg/handlers", "cmd/dc-provider"}, "schedules are kept by the provider"},
		{"github.com/gorilla/mux", []string{"pkg/handlers", "cmd/dc-provider"}, "the data plane routes by itself"},
	}
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, dep := range p.Deps {
			for _, r := range rooms {
				if strings.HasPrefix(dep, r.module) && !slices.Contains(r.rooms, name) {
					t.Errorf("%s depends on %s: %s", name, dep, r.reason)
				}
			}
		}
	}
}

// A package tells its story in doc.go, a command in main.go, and nowhere else.
func TestEveryPackageIsDocumentedOnce(t *testing.T) {
	for _, p := range listPackages(t) {
		var documented []string
		for _, file := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(string(src), "// Package ") || strings.HasPrefix(string(src), "// Command ") {
				documented = append(documented, file)
			}
		}
		want := "doc.go"
		if strings.HasPrefix(p.ImportPath, module+"cmd/") {
			want = "main.go"
		}
		if !slices.Equal(documented, []string{want}) {
			t.Errorf("%s is documented in %v, want %s alone", p.ImportPath, documented, want)
		}
	}
}
