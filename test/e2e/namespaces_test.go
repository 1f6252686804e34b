package e2e

import (
	"net/http"
	"testing"
)

// TestNamespaces_AreSeparate has two functions of one name.
func TestNamespaces_AreSeparate(t *testing.T) {
	t.Parallel()
	name := unique(t, "twin")
	namespaces := []string{newNamespace(t), newNamespace(t)}
	twins := make([]function, len(namespaces))
	for i, namespace := range namespaces {
		d := contract(parrot())
		d.Service, d.Namespace = name, namespace
		twins[i] = deploy(t, d)
	}
	for i, f := range twins {
		f.call(t, `{"lives":"`+namespaces[i]+`"}`).is(t, "call "+f.String(), http.StatusOK)
	}
	for i, f := range twins {
		wantHeap(t, f, map[string]string{"lives": `"` + namespaces[i] + `"`})
	}
	function{name: name}.call(t, "").is(t, "call of the name in the default namespace", http.StatusNotFound)

	twins[0].scale(t, 0)
	twins[0].remove(t)
	twins[0].call(t, "").is(t, "call of the deleted twin", http.StatusNotFound)
	twins[1].call(t, `{"still":1}`).is(t, "call of the other", http.StatusOK)
	wantHeap(t, twins[1], map[string]string{"lives": `"` + namespaces[1] + `"`, "still": "1"})

	// A secret of one is not one of the other.
	makeSecretIn(t, "shared-name", namespaces[0])
	d := parrot()
	d.Service, d.Namespace, d.Secrets = unique(t, "f"), namespaces[1], []string{"shared-name"}
	gateway.do(t, "POST", "/system/functions", encode(t, d)).refused(t, "secret of another namespace", http.StatusBadRequest)
}
