package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// TestModes_ByAnnotation runs one image in each mode that starts a process for an invocation.
func TestModes_ByAnnotation(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"fork", "streaming", "serializing"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f := deploy(t, annotate(scripted(), annotationMode, mode))
			if a := f.call(t, "echo $Http_Method; echo moo").is(t, "call", http.StatusOK); a.body != "POST\nmoo\n" {
				t.Errorf("answer %q", a.body)
			}
		})
	}
}

// TestModes_ByEnvironment has the variables of the OpenFaaS watchdogs choose.
func TestModes_ByEnvironment(t *testing.T) {
	t.Parallel()
	d := scripted()
	d.EnvVars = map[string]string{"mode": "streaming"}
	f := deploy(t, d)
	if a := f.call(t, "echo moo").is(t, "call", http.StatusOK); a.body != "moo\n" {
		t.Errorf("answer %q", a.body)
	}
}

// TestModes_Static serves files of an image that starts nothing.
func TestModes_Static(t *testing.T) {
	t.Parallel()
	d := annotate(deployment{Image: imageShell}, annotationMode, "static")
	d.EnvVars = map[string]string{"static_path": "/etc"}
	f := deploy(t, d)
	if a := f.get(t, "/hostname").is(t, "a file", http.StatusOK); strings.TrimSpace(a.body) == "" {
		t.Errorf("answer %q", a.body)
	}
	f.get(t, "/there-is-none").is(t, "no file", http.StatusNotFound)
}
