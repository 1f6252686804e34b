package e2e

import (
	"fmt"
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

// TestModes_Prefork has Python processes wait for their calls: each serves one, and was there before it came.
func TestModes_Prefork(t *testing.T) {
	t.Parallel()
	f := deploy(t, annotate(python(), "com.dragonchain.prefork", "2"))
	served := map[string]bool{}
	eventually(t, "a process has waited for its call", func() (bool, string) {
		a := f.call(t, `
import os
began = int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
print(os.getpid(), float(open("/proc/uptime").read().split()[0]) - began)
`).is(t, "call", http.StatusOK)
		var pid string
		var age float64
		if _, err := fmt.Sscan(a.body, &pid, &age); err != nil {
			t.Fatalf("%q: %v", a.body, err)
		}
		if served[pid] {
			t.Fatalf("process %s has served twice", pid)
		}
		served[pid] = true
		return age > 0.5, a.body
	})
}
