package handlers_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/openfaas/faas-provider/types"
)

func TestSecrets_List(t *testing.T) {
	w := newWorld()
	w.secrets["fns"]["a"] = "never shown"
	for listener, h := range listeners(newAPI(t, w.config(t))) {
		t.Run(listener, func(t *testing.T) {
			wantJSON(t, call(h, "GET", "/system/secrets", ""), `[{"name":"a","namespace":"fns"},{"name":"old","namespace":"fns"}]`)
			wantJSON(t, call(h, "GET", "/system/secrets?namespace=dev", ""), `[]`)
			wantLine(t, call(h, "GET", "/system/secrets?namespace=other", ""), 400, `"other"`)
		})
	}
}

func TestSecrets_Change(t *testing.T) {
	const keep = "1" // what the secret "old" holds at first
	for _, c := range []struct {
		name, method, body string
		status             int
		// tells is in the line of an error; empty wants no body.
		tells string
		// secret and value are what is there afterwards.
		secret, value string
	}{
		{"create", "POST", `{"name":"new","value":"v"}`, 202, "", "new", "v"},
		{"raw value wins", "POST", `{"name":"new","value":"v","rawValue":"AP8="}`, 202, "", "new", "\x00\xff"},
		{"empty raw value does not", "POST", `{"name":"new","value":"v","rawValue":""}`, 202, "", "new", "v"},
		{"empty", "POST", `{"name":"new"}`, 202, "", "new", ""},
		{"create of an existing one", "POST", `{"name":"old","value":"v"}`, 409, "", "old", keep},
		{"update", "PUT", `{"name":"old","value":"v"}`, 202, "", "old", "v"},
		{"update of an absent one", "PUT", `{"name":"new","value":"v"}`, 404, "", "old", keep},
		{"delete of an absent one", "DELETE", `{"name":"new"}`, 404, "", "old", keep},
		{"no body", "POST", ``, 400, "body is empty", "old", keep},
		{"bad JSON", "PUT", `{"name":"old"`, 400, "not JSON", "old", keep},
		{"no name", "POST", `{"value":"v"}`, 400, "needs a name", "old", keep},
		{"bad name", "POST", `{"name":"../etc","value":"v"}`, 400, `"../etc"`, "old", keep},
		{"bad name in update", "PUT", `{"name":"Old","value":"v"}`, 400, `"Old"`, "old", keep},
		{"value is a number", "PUT", `{"name":"old","value":1}`, 400, `"value": a string`, "old", keep},
		{"no base64", "PUT", `{"name":"old","rawValue":"!"}`, 400, "base64", "old", keep},
		{"too large", "PUT", `{"name":"old","value":"` + strings.Repeat("v", 8<<20) + `"}`, 413, "8388608", "old", keep},
		{"namespace not for functions", "PUT", `{"name":"old","namespace":"other"}`, 400, `"other"`, "old", keep},
		{"other namespace", "PUT", `{"name":"old","namespace":"dev"}`, 404, "", "old", keep},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			for _, h := range listeners(newAPI(t, w.config(t))) {
				w.secrets["fns"] = map[string]string{"old": keep}
				got := call(h, c.method, "/system/secrets", c.body)
				if c.tells == "" {
					wantEmpty(t, got, c.status)
				} else {
					wantLine(t, got, c.status, c.tells)
				}
				if value, there := w.secrets["fns"][c.secret]; !there || value != c.value {
					t.Errorf("secrets %q", w.secrets["fns"])
				}
			}
		})
	}
}

// As faas-cli secret create --from-file sends it: as base64, and as text with what is none replaced.
func TestSecrets_FileAsLargeAsKubernetesTakes(t *testing.T) {
	file := bytes.Repeat([]byte{0xff}, 1<<20) // no byte of it is text
	body, err := json.Marshal(types.Secret{Name: "new", Value: string(file), RawValue: file})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	wantEmpty(t, call(newAPI(t, w.config(t)).Gateway(), "POST", "/system/secrets", string(body)), 202)
	if value := w.secrets["fns"]["new"]; value != string(file) {
		t.Errorf("a value of %d bytes, want the file's %d", len(value), len(file))
	}
}

func TestSecrets_Delete(t *testing.T) {
	w := newWorld()
	h := newAPI(t, w.config(t)).Gateway()
	wantEmpty(t, call(h, "DELETE", "/system/secrets", `{"name":"old","namespace":"fns"}`), 202)
	if len(w.secrets["fns"]) != 0 {
		t.Errorf("left: %v", w.secrets)
	}
}
