package watchdog

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// besideEnviron has a watchdog stand beside the server program, which serves at url.
func besideEnviron(t *testing.T, args ...string) (url string, environ []string) {
	t.Helper()
	port := freePort(t)
	return "http://127.0.0.1:" + port, []string{"DC_BESIDE=" + port, "PORT=" + port, self(t, "server", args...)}
}

// get asks whoever serves at url.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// The function is told of no setting of ours, and of all that are another watchdog's: it may be one.
func TestBeside_FunctionServesByItself(t *testing.T) {
	p := newProvider(t, 204)
	url, environ := besideEnviron(t)
	f := servePush(t, p, append(environ, "fprocess=not-for-us", "mode=not-for-us", "write_timeout=soon", "DC_PROBE_PORT=8079")...)
	<-p.pushed
	if status, _ := get(t, f.url+"/_/ready"); status != http.StatusOK {
		t.Errorf("readiness %d", status)
	}
	if status, _ := get(t, f.url+"/_/health"); status != http.StatusOK {
		t.Errorf("health %d", status)
	}
	if status, _ := get(t, f.url+"/"); status != http.StatusNotFound {
		t.Errorf("a call where the function does not listen: %d", status)
	}
	_, body := get(t, url+"/a?b=c")
	var saw seen
	if err := json.Unmarshal([]byte(body), &saw); err != nil {
		t.Fatal(err)
	}
	for _, entry := range []string{"fprocess=not-for-us", "mode=not-for-us", "write_timeout=soon"} {
		if !slices.Contains(saw.Environ, entry) {
			t.Errorf("the function does not see %s", entry)
		}
	}
	if text := strings.Join(saw.Environ, "\n"); strings.Contains(text, "DC_") {
		t.Errorf("the function sees what is the provider's:\n%s", text)
	}
	get(t, url+"/log?bytes=100")
	f.stderr.waitFor(t, strings.Repeat("x", 100)+"\n")
}

func TestBeside_ReadyWhenThePathSaysSo(t *testing.T) {
	url, environ := besideEnviron(t)
	f := serve(t, append(environ, "DC_READY_PATH=/ready")...)
	f.waitReady()
	get(t, url+"/tire")
	if status, _ := get(t, f.url+"/_/ready"); status != http.StatusServiceUnavailable {
		t.Errorf("readiness of a function that says it is not: %d", status)
	}
	if status, _ := get(t, f.url+"/_/health"); status != http.StatusOK {
		t.Errorf("health %d", status)
	}
}

// What is to go serves on for as long as calls may take, not ready any more, and is told to end then.
func TestBeside_HeldBeforeItsEnd(t *testing.T) {
	url, environ := besideEnviron(t)
	f := serve(t, append(environ, "DC_HOLD=3s")...)
	f.waitReady()
	f.end()
	f.log.waitFor(t, "not ready any more")
	if status, body := get(t, url+"/slow?for=10ms"); status != http.StatusOK || body != "slept" {
		t.Errorf("a call on the way: %d %q", status, body)
	}
	if status, _ := get(t, f.url+"/_/ready"); status != http.StatusServiceUnavailable {
		t.Errorf("readiness %d", status)
	}
	if err := f.wait(); err != nil {
		t.Error(err)
	}
	f.stdout.waitFor(t, "signal: terminated")
}

func TestBeside_FunctionEnds(t *testing.T) {
	url, environ := besideEnviron(t)
	f := serve(t, environ...)
	f.waitReady()
	if res, err := client.Get(url + "/exit?code=7"); err == nil {
		_ = res.Body.Close()
	}
	if err := f.wait(); !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("error %v", err)
	}
}

func TestBeside_Refused(t *testing.T) {
	for name, environ := range map[string][]string{
		"no command":           {"fprocess=cat"},
		"a command of no form": {"DC_COMMAND=cat"},
		"an empty command":     {"DC_COMMAND=[]"},
		"no path":              {argv("cat"), "DC_READY_PATH=ready"},
		"no time":              {argv("cat"), "DC_HOLD=long"},
		"no port":              {argv("cat"), "DC_PROBE_PORT=80790"},
	} {
		t.Run(name, func(t *testing.T) {
			if cfg, err := ParseEnv(append(environ, "DC_BESIDE=8080")); err == nil {
				t.Errorf("taken: %+v", cfg)
			}
		})
	}
}

// A claimed pod's probes ask where those of the spare did, whatever runs in it.
func TestProbePort(t *testing.T) {
	checkLeaks(t)
	port, probes := freePort(t), freePort(t)
	f := prepare(t, "fprocess=cat", "port="+port, "DC_PROBE_PORT="+probes, "metrics_port=0")
	f.serves(f.Run)
	for _, at := range []string{port, probes} {
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			f.url = "http://127.0.0.1:" + at
			if f.do("GET", "/_/ready", "").status == http.StatusOK {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("not ready at %s\n%s", at, f.log)
			}
		}
	}
	if status, _ := get(t, "http://127.0.0.1:"+probes+"/"); status != http.StatusNotFound {
		t.Errorf("a call at the port of probes: %d", status)
	}
	if err := f.stop(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", "127.0.0.1:"+probes); err == nil {
		t.Error("the port is open behind the end")
	}
}
