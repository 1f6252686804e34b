package handlers_test

import (
	"os/exec"
	"strings"
	"testing"
)

func TestImports_PointDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		for forbidden, why := range map[string]string{
			"k8s.io/": "the API speaks of functions, and pkg/kube alone of Kubernetes",
			"github.com/dragonchain/dc-provider/pkg/kube":     "cmd joins the two",
			"github.com/dragonchain/dc-provider/pkg/watchdog": "it lives in functions' containers",
			"github.com/dragonchain/dc-provider/cmd/":         "it stands above",
		} {
			if strings.HasPrefix(path, forbidden) {
				t.Errorf("imports %s: %s", path, why)
			}
		}
	}
}
