package watchdog

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A body that is buffered reaches the function whole and with its length, however it was sent, and whichever server it came to.
func TestHTTPMode_BufferBody(t *testing.T) {
	for _, name := range []string{"http_buffer_req_body", "buffer_http"} {
		f := serveHTTP(t, nil, name+"=true")
		f.waitReady()
		for _, path := range []string{"/", "/upgrade"} {
			for _, size := range []int{0, 1, 5000, spoolMemory - 1, spoolMemory, spoolMemory + 1, 3 << 20} {
				for kind, from := range map[string]io.Reader{
					"announced": strings.NewReader(strings.Repeat("x", size)),
					"chunked":   io.MultiReader(strings.NewReader(strings.Repeat("x", size))),
				} {
					for _, header := range []string{"A: b", "Expect: 100-continue"} {
						if r, ok := from.(*strings.Reader); ok {
							r.Seek(0, io.SeekStart)
						} else {
							from = io.MultiReader(strings.NewReader(strings.Repeat("x", size)))
						}
						got := f.doCtx(context.Background(), "POST", path, from, append(toNetHTTP(path), header)...)
						want := `"Body":"` + strings.Repeat("x", size) + `","Length":` + strconv.Itoa(size) + `,"Coding":null`
						if got.status != 200 || !strings.Contains(got.body, want) {
							t.Errorf("%s, %s, %s, %d bytes, %s: %d, %.200q ... %v", name, path, kind, size, header, got.status,
								strings.ReplaceAll(got.body, "xxxxxxxxxx", ""), got.err)
						}
					}
				}
			}
		}
		if got := f.seen("GET", "/", ""); got.Header["Content-Length"] != nil {
			t.Errorf("a request without a body got a length: %v", got.Header)
		}
		left, err := filepath.Glob(filepath.Join(f.cfg.TempDir, "dc-watchdog-*"))
		if len(left) > 0 || err != nil {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// toNetHTTP is what makes net/http forward a request for a path that begins with /upgrade.
func toNetHTTP(path string) []string {
	if !strings.HasPrefix(path, "/upgrade") {
		return nil
	}
	return []string{"Connection: Upgrade", "Upgrade: none"}
}

// Nothing of a request is sent to the function before all of it is there, nor anything of one that breaks off.
func TestHTTPMode_BufferedBreaksOff(t *testing.T) {
	f := serveHTTP(t, nil, "buffer_http=true", "http_buffer_bytes=300000")
	f.waitReady()
	impatient := serveHTTP(t, nil, "buffer_http=true", "http_buffer_bytes=300000", "read_timeout=300ms")
	impatient.waitReady()
	long := strings.Repeat("x", 300001)
	for request, want := range map[string]int{
		"POST /log?bytes=9 HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\nabc":                                     408,
		"POST http://x/log?bytes=9 HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\nabc":                             408,
		"POST /log?bytes=9 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n":                              400,
		"POST http://x/log?bytes=9 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n":                      400,
		"POST /log?bytes=9 HTTP/1.1\r\nHost: x\r\nContent-Length: 300001\r\n\r\n":                                       413,
		"POST http://x/log?bytes=9 HTTP/1.1\r\nHost: x\r\nContent-Length: 300001\r\n\r\n":                               413,
		"POST /log?bytes=9 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n493e1\r\n" + long + "\r\n0\r\n\r\n": 413,
	} {
		to := f
		if want == http.StatusRequestTimeout {
			to = impatient
		}
		res, err := http.ReadResponse(bufio.NewReader(to.raw(request)), nil)
		if err != nil || res.StatusCode != want {
			t.Errorf("%.100q: %+v, %v", request, res, err)
		}
	}
	if strings.Contains(f.stderr.String()+impatient.stderr.String(), "xxxxxxxxx") {
		t.Error("a request that was not whole reached the function")
	}
}

func TestHTTPMode_BufferedOutOfTime(t *testing.T) {
	f := serveHTTP(t, nil, "buffer_http=true", "exec_timeout=300ms")
	f.waitReady()
	for _, path := range []string{"/", "http://x/"} {
		res, err := http.ReadResponse(bufio.NewReader(f.raw("POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\nabc")), nil)
		if err != nil || res.StatusCode != 504 {
			t.Errorf("%s: %+v, %v", path, res, err)
		}
	}
}

func TestHTTPMode_BufferedWithoutFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := serveHTTP(t, nil, "buffer_http=true", "suppress_lock=true", "TMPDIR="+file)
	f.waitReady()
	for _, path := range []string{"/", "/upgrade"} {
		if got := f.do("POST", path, strings.Repeat("x", spoolMemory+1), toNetHTTP(path)...); got.status != 500 || !strings.Contains(got.body, "could not be kept") {
			t.Errorf("%s: %+v", path, got)
		}
		if got := f.do("POST", path, strings.Repeat("x", spoolMemory), toNetHTTP(path)...); got.status != 200 {
			t.Errorf("%s: %+v", path, got)
		}
	}
	f.log.waitFor(t, "could not be kept")
}

// An answer that comes before the function has read the buffered body is passed on.
func TestHTTPMode_BufferedEarlyAnswer(t *testing.T) {
	f := serveHTTP(t, nil, "buffer_http=true")
	f.waitReady()
	if got := f.do("POST", "/status?code=201", strings.Repeat("x", 20<<20)); got.status != 201 {
		t.Errorf("%+v", got)
	}
}

func TestHTTPMode_AccessLog(t *testing.T) {
	for name, environ := range map[string][]string{
		"asked for":         {"log_callid=true"},
		"of the other name": {"log_call_id=1"},
		"of":                {"DC_DIALECT=of"},
	} {
		f := serveHTTP(t, nil, environ...)
		f.waitReady()
		for path, want := range map[string]string{
			"/status?code=201":  "status=201",
			"/upgrade":          "status=200",
			"/abort":            "status=50", // 502, or 500
			"/upgrade/../abort": "path=/upgrade/../abort",
		} {
			id := "call-" + strconv.Itoa(len(path))
			f.do("GET", path, "", append(toNetHTTP(path), "X-Call-Id: "+id, "User-Agent: me")...)
			f.log.waitFor(t, "call_id="+id+" status")
			line := lineWith(f.log.String(), `msg="invocation ended"`, "call_id="+id)
			if !strings.Contains(line, "level=INFO") || !strings.Contains(line, want) || strings.Contains(line, "<nil>") {
				t.Errorf("%s, %s: %s", name, path, line)
			}
		}
		f.do("GET", "/", "", "X-Call-Id: probe", "User-Agent: kube-probe/1.30")
		f.log.waitFor(t, "call_id=probe status")
		if line := lineWith(f.log.String(), `msg="invocation ended"`, "call_id=probe"); !strings.Contains(line, "level=DEBUG") {
			t.Errorf("%s: a probe is logged: %s", name, line)
		}
	}
}

func lineWith(text string, parts ...string) string {
lines:
	for line := range strings.Lines(text) {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue lines
			}
		}
		return line
	}
	return ""
}
