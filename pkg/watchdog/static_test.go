package watchdog

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// site is a folder to serve, in one that holds what is not to be served.
func site(t testing.TB) (folder string) {
	t.Helper()
	outer := t.TempDir()
	folder = filepath.Join(outer, "public")
	for name, text := range map[string]string{
		"secret": "secret", "public/index.html": "<p>home", "public/a.txt": "0123456789", "public/sub/index.html": "<p>sub",
		"public/listed/one": "1", "public/.hidden": "dot",
	} {
		path := filepath.Join(outer, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"inside": "a.txt", "up": "../secret", "absolute": outer + "/secret", "folder": "..", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(folder, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(folder, "a.txt"), at, at); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestStaticMode(t *testing.T) {
	const modified = "Fri, 02 Jan 2026 03:04:05 GMT"
	native := []string{"DC_DIALECT=native"}
	checkRules(t, []string{"mode=static", "static_path=" + site(t)}, []rule{
		{name: "index", method: "GET", status: 200, want: "<p>home", wantHeader: map[string]string{"Content-Type": "text/html; charset=utf-8"}},
		{name: "file", method: "GET", path: "/a.txt", status: 200, want: "0123456789",
			wantHeader: map[string]string{"Content-Type": "text/plain; charset=utf-8", "Content-Length": "10", "Last-Modified": modified,
				"X-Duration-Seconds": ""}},
		{name: "HEAD", method: "HEAD", path: "/a.txt", status: 200, wantHeader: map[string]string{"Content-Length": "10"}},
		{name: "range", method: "GET", path: "/a.txt", header: []string{"Range: bytes=2-4"}, status: 206, want: "234",
			wantHeader: map[string]string{"Content-Range": "bytes 2-4/10"}},
		{name: "range beyond the end", method: "GET", path: "/a.txt", header: []string{"Range: bytes=20-"}, status: 416, wantMatch: "invalid range"},
		{name: "not modified", method: "GET", path: "/a.txt", header: []string{"If-Modified-Since: " + modified}, status: 304},
		{name: "index of a folder", method: "GET", path: "/sub/", status: 200, want: "<p>sub"},
		{name: "folder without its slash", method: "GET", path: "/sub", status: 301, wantHeader: map[string]string{"Location": "sub/"}},
		{name: "index.html by name", method: "GET", path: "/sub/index.html", status: 301, wantHeader: map[string]string{"Location": "./"}},
		{name: "absent", method: "GET", path: "/nope", status: 404, want: "404 page not found\n"},
		{name: "listing", method: "GET", path: "/listed/", status: 200, wantMatch: `<a href="one">one</a>`},
		{name: "no listing, native", environ: native, method: "GET", path: "/listed/", status: 404, want: "404 page not found\n"},
		{name: "file of a folder without listing, native", environ: native, method: "GET", path: "/listed/one", status: 200, want: "1"},
		{name: "index, native", environ: native, method: "GET", status: 200, want: "<p>home"},
		{name: "any method", method: "POST", path: "/a.txt", body: "x", status: 200, want: "0123456789"},
		{name: "methods, native", environ: native, method: "POST", path: "/a.txt", status: 405, wantHeader: map[string]string{"Allow": "GET, HEAD"}},
		{name: "link inside", method: "GET", path: "/inside", status: 200, want: "0123456789"},
		{name: "link out", method: "GET", path: "/up", status: 404, want: "404 page not found\n"},
		{name: "absolute link out", method: "GET", path: "/absolute", status: 404, want: "404 page not found\n"},
		{name: "linked folder out", method: "GET", path: "/folder/secret", status: 404, want: "404 page not found\n"},
		{name: "link to itself", method: "GET", path: "/loop", status: 404, want: "404 page not found\n"},
		{name: "dots", method: "GET", path: "/../secret", status: 404, want: "404 page not found\n"},
		{name: "dots behind a folder", method: "GET", path: "/sub/../../secret", status: 404, want: "404 page not found\n"},
		{name: "escaped dots", method: "GET", path: "/%2e%2e/secret", status: 404, want: "404 page not found\n"},
		{name: "escaped slashes", method: "GET", path: "/..%2fsecret", status: 404, want: "404 page not found\n"},
		{name: "NUL", method: "GET", path: "/a.txt%00", status: 404, want: "404 page not found\n"},
		{name: "a name that is too long", method: "GET", path: "/" + strings.Repeat("x", 5000), status: 404, want: "404 page not found\n"},
		{name: "a pipe holds nobody up", method: "GET", path: "/pipe", status: 404, want: "404 page not found\n"},
		{name: "no access log", method: "GET", path: "/a.txt", status: 200, want: "0123456789", notInLog: "invocation ended"},
		{name: "a command is not needed, nor run", environ: []string{"fprocess=no-such-program"}, method: "GET", status: 200, want: "<p>home"},
	})
}

func TestStaticMode_BigFile(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "big"), make([]byte, 16<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	f := serve(t, "mode=static", "static_path="+folder)
	if got := f.do("GET", "/big", ""); got.status != 200 || len(got.body) != 16<<20 {
		t.Errorf("%d, %d bytes, %v", got.status, len(got.body), got.err)
	}
}

func TestStaticMode_FolderIsReplaced(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "current")
	publish := func(version string) {
		if err := os.Mkdir(filepath.Join(dir, version), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "v"), []byte(version), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(version, link+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link+".new", link); err != nil {
			t.Fatal(err)
		}
	}
	publish("1")
	f := serve(t, "mode=static", "static_path="+link)
	for _, version := range []string{"1", "2"} {
		if version != "1" {
			publish(version)
		}
		if got := f.do("GET", "/v", ""); got.body != version {
			t.Errorf("%+v, want %s", got, version)
		}
	}
}

func TestStaticMode_NoFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "later")
	native := serve(t, "mode=static", "static_path="+path, "DC_DIALECT=native")
	if err := native.wait(); err == nil || !strings.Contains(err.Error(), "later") {
		t.Errorf("Serve: %v", err)
	}
	f := serve(t, "mode=static", "static_path="+path)
	f.log.waitFor(t, "not found")
	if got := f.do("GET", "/", ""); got.status != 404 {
		t.Errorf("%+v", got)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := f.do("GET", "/", ""); got.status != 200 {
		t.Errorf("once it is there: %+v", got)
	}
}

func TestStaticMode_ReadyPath(t *testing.T) {
	folder := t.TempDir()
	f := serve(t, "mode=static", "static_path="+folder, "ready_path=/ready")
	if got := f.do("GET", "/_/ready", ""); got.status != http.StatusServiceUnavailable {
		t.Errorf("%+v", got)
	}
	if err := os.WriteFile(filepath.Join(folder, "ready"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := f.do("GET", "/_/ready", ""); got.status != http.StatusOK {
		t.Errorf("%+v", got)
	}
}

// FuzzStaticMode asks for what it likes and never gets what lies outside the folder.
func FuzzStaticMode(f *testing.F) {
	for _, path := range []string{"/", "/a.txt", "/../secret", "/folder/secret", "/up", "//..//..", "/sub/..", "/./sub/index.html", "/a.txt/", "/\x00", "/pipe"} {
		f.Add(path, true)
		f.Add(path, false)
	}
	folder := site(f)
	modes := map[bool]*staticMode{}
	for _, list := range []bool{true, false} {
		cfg := &Config{Mode: StaticMode, StaticPath: folder, Dialect: Native}
		if list {
			cfg.Dialect = Of
		}
		modes[list] = newStaticMode(cfg, slog.New(slog.DiscardHandler))
	}
	f.Fuzz(func(t *testing.T, path string, list bool) {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: path}, Header: http.Header{}}
		w := httptest.NewRecorder()
		modes[list].ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), "secret") || w.Code >= 500 {
			t.Errorf("%q: %d %q", path, w.Code, w.Body)
		}
	})
}
