package watchdog

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDialect(t *testing.T) {
	for _, r := range []struct {
		name    string
		environ []string
		want    Dialect
	}{
		{"nothing that tells", []string{"fprocess=cat", "exec_timeout=1s"}, Native},
		{"mode fork is ours", []string{"mode=fork"}, Native},
		{"mode lambda is ours", []string{"mode=lambda"}, Native},
		{"mode", []string{"mode=http"}, Of},
		{"function_process", []string{"function_process=cat"}, Of},
		{"upstream_url", []string{"upstream_url=http://127.0.0.1:3000"}, Of},
		{"http_upstream_url", []string{"http_upstream_url=http://127.0.0.1:3000"}, Of},
		{"combine_output", []string{"combine_output=false"}, Classic},
		{"cgi_headers", []string{"cgi_headers=true"}, Classic},
		{"marshal_request", []string{"marshal_request=true"}, Classic},
		{"write_debug", []string{"write_debug=false"}, Classic},
		{"debug_headers", []string{"debug_headers=true"}, Classic},
		{"of before classic", []string{"write_debug=true", "mode=http"}, Of},
		{"said", []string{"DC_DIALECT=native", "write_debug=true", "mode=http"}, Native},
		{"said classic", []string{"DC_DIALECT=classic"}, Classic},
		{"empty values tell nothing", []string{"mode=", "write_debug=", "DC_DIALECT="}, Native},
	} {
		if got, err := dialectOf(environMap(r.environ)); got != r.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", r.name, got, err, r.want)
		}
	}
	if _, err := dialectOf(map[string]string{"DC_DIALECT": "klingon"}); err == nil {
		t.Error("unknown dialect accepted")
	}
}

func TestVars_Durations(t *testing.T) {
	const otherwise = 7 * time.Second
	for _, r := range []struct {
		text    string
		want    time.Duration
		refused bool // in the native dialect
	}{
		{"", otherwise, false},
		{"0", 0, false},
		{"30", 30 * time.Second, false},
		{"250ms", 250 * time.Millisecond, false},
		{"1m30s", 90 * time.Second, false},
		{"-5", otherwise, true},
		{"-5s", 0, true},
		{"soon", otherwise, true},
		{"1.5", otherwise, true},
		{" 1", otherwise, true},
		{"99999999999999999", otherwise, true},
	} {
		for _, d := range []Dialect{Native, Classic, Of} {
			v := vars{set: map[string]string{"x": r.text}, dialect: d}
			if got := v.duration("x", otherwise); got != r.want {
				t.Errorf("%s %q: %v, want %v", d, r.text, got, r.want)
			}
			if refused := len(v.errs) > 0; refused != (r.refused && d == Native) {
				t.Errorf("%s %q: %v", d, r.text, v.errs)
			}
		}
	}
}

func TestVars_Booleans(t *testing.T) {
	for _, r := range []struct {
		text                string
		native, classic, of bool
		refused             bool // in the native dialect
	}{
		{"true", true, true, true, false},
		{"1", true, false, true, false},
		{"True", true, false, false, false},
		{"false", false, false, false, false},
		{"0", false, false, false, false},
		{"yes", true, false, false, true}, // native: the default
		{"", true, true, true, false},     // the default
	} {
		for d, want := range map[Dialect]bool{Native: r.native, Classic: r.classic, Of: r.of} {
			v := vars{set: map[string]string{"x": r.text}, dialect: d}
			if got := v.boolean("x", true); got != want {
				t.Errorf("%s %q: %v, want %v", d, r.text, got, want)
			}
			if refused := len(v.errs) > 0; refused != (r.refused && d == Native) {
				t.Errorf("%s %q: %v", d, r.text, v.errs)
			}
		}
	}
}

func TestVars_Numbers(t *testing.T) {
	for text, want := range map[string]int{"": 7, "0": 0, "12": 12, "-1": 7, "abc": 7, "1.5": 7} {
		for _, d := range []Dialect{Native, Classic, Of} {
			v := vars{set: map[string]string{"x": text}, dialect: d}
			if got := v.number("x", 7); got != want {
				t.Errorf("%s %q: %d, want %d", d, text, got, want)
			}
			if refused, bad := len(v.errs) > 0, want == 7 && text != ""; refused != (bad && d == Native) {
				t.Errorf("%s %q: %v", d, text, v.errs)
			}
		}
	}
}

func TestParseEnv_Defaults(t *testing.T) {
	for _, r := range []struct {
		dialect    Dialect
		read, exec time.Duration
		combine    bool
		prefix     bool
		mode       ModeName
		typ        string
		log        bool
	}{
		{Native, 0, 0, false, false, ForkMode, "", false},
		{Classic, 30 * time.Second, 0, true, false, ForkMode, "", false},
		{Of, 30 * time.Second, 30 * time.Second, false, true, StreamingMode, "application/octet-stream", true},
	} {
		got, err := ParseEnv([]string{"DC_DIALECT=" + string(r.dialect), "fprocess=cat -n"})
		if err != nil {
			t.Fatal(err)
		}
		got.Environ = nil
		want := Config{Dialect: r.dialect, Mode: r.mode, ContentType: r.typ, AccessLog: r.log, Command: []string{"cat", "-n"}, Port: 8080, MetricsPort: 8081, LockFile: "/tmp/.lock",
			ReadTimeout: r.read, ExecTimeout: r.exec, LameDuck: defaultLameDuck, CombineOutput: r.combine, PrefixLogs: r.prefix,
			LineBytes: 65536}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v, want\n%+v", r.dialect, got, want)
		}
	}
}

func TestParseEnv_Values(t *testing.T) {
	for _, r := range []struct {
		name    string
		environ []string
		check   func(Config) bool
	}{
		{"timeouts", []string{"read_timeout=1", "write_timeout=2m", "exec_timeout=3s", "healthcheck_interval=0"}, func(c Config) bool {
			return c.ReadTimeout == time.Second && c.WriteTimeout == 2*time.Minute && c.ExecTimeout == 3*time.Second && c.LameDuck == 0
		}},
		{"DC_COMMAND first", []string{`DC_COMMAND=["a","b c",""]`, "fprocess=x"}, func(c Config) bool {
			return slices.Equal(c.Command, []string{"a", "b c", ""})
		}},
		{"lock file in TMPDIR", []string{"TMPDIR=/var/run/"}, func(c Config) bool { return c.LockFile == "/var/run/.lock" }},
		{"content_type set to nothing", []string{"mode=streaming", "content_type="}, func(c Config) bool { return c.ContentType == "" }},
		{"no content_type in our own dialect", []string{"mode=streaming", "DC_DIALECT=native"}, func(c Config) bool { return c.ContentType == "" }},
		{"mode streaming combines nothing", []string{"mode=streaming", "DC_DIALECT=classic"}, func(c Config) bool { return !c.CombineOutput }},
		{"http_buffer_req_body", []string{"http_buffer_req_body=true"}, func(c Config) bool { return c.BufferBody }},
		{"buffer_http", []string{"buffer_http=1"}, func(c Config) bool { return c.BufferBody }},
		{"http_buffer_bytes", []string{"http_buffer_bytes=7"}, func(c Config) bool { return c.BufferBytes == 7 }},
		{"log_callid", []string{"log_callid=T"}, func(c Config) bool { return c.AccessLog }},
		{"log_call_id", []string{"log_call_id=1"}, func(c Config) bool { return c.AccessLog }},
		{"static_path", []string{"mode=static", "static_path=/srv"}, func(c Config) bool { return c.StaticPath == "/srv" }},
		{"static_path not set", []string{"mode=static"}, func(c Config) bool { return c.StaticPath == "/home/app/public" }},
		{"no metrics", []string{"metrics_port=0"}, func(c Config) bool { return c.MetricsPort == 0 }},
		{"ready_path", []string{"ready_path=/ready?x"}, func(c Config) bool { return c.ReadyPath == "/ready?x" }},
		{"no lock file", []string{"suppress_lock=true"}, func(c Config) bool { return c.LockFile == "" }},
		{"log lines without end", []string{"log_buffer_size=-1"}, func(c Config) bool { return c.LineBytes == maxLineBytes }},
		{"log line 0 is the default", []string{"log_buffer_size=0"}, func(c Config) bool { return c.LineBytes == defaultLineBytes }},
		{"upstream", []string{"mode=http", "upstream_url=http://127.0.0.1:3000/base"}, func(c Config) bool {
			return c.Upstream.String() == "http://127.0.0.1:3000/base" && !slices.Contains(c.Environ, "PORT=8082")
		}},
		{"http_upstream_url first", []string{"mode=http", "upstream_url=http://a:1", "http_upstream_url=http://b:2"}, func(c Config) bool {
			return c.Upstream.Host == "b:2"
		}},
		{"upstream without a port", []string{"mode=http", "upstream_url=http://localhost"}, func(c Config) bool {
			return c.Upstream.Host == "localhost:80"
		}},
		{"PORT for the process", []string{"mode=http"}, func(c Config) bool {
			return c.Upstream.String() == "http://127.0.0.1:8082" && slices.Contains(c.Environ, "PORT=8082")
		}},
		{"PORT of the process", []string{"mode=http", "PORT=3000"}, func(c Config) bool {
			return c.Upstream.String() == "http://127.0.0.1:3000" && slices.Contains(c.Environ, "PORT=3000") && len(c.Environ) == 3
		}},
		{"push", []string{"DC_READY_URL=http://p/dc/ready", "DC_FUNCTION=f.n", "DC_POD=p", "DC_READY_TOKEN=" + strings.Repeat("0f", 32)},
			func(c Config) bool {
				return c.Push.URL == "http://p/dc/ready" && c.Push.Function == "f.n" && c.Push.Pod == "p" && c.Push.Token.Hex() == strings.Repeat("0f", 32)
			}},
	} {
		got, err := ParseEnv(append([]string{"fprocess=cat"}, r.environ...))
		if err != nil || !r.check(got) {
			t.Errorf("%s: %+v, %v", r.name, got, err)
		}
	}
}

func TestParseEnv_Refuses(t *testing.T) {
	for _, r := range []struct {
		name    string
		environ []string
		want    []string // all of them in the one error
	}{
		{"no command", []string{"mode=http"}, []string{"fprocess"}},
		{"empty command", []string{"DC_COMMAND=[]"}, []string{"fprocess"}},
		{"command of an empty word", []string{`DC_COMMAND=[""]`}, []string{"fprocess"}},
		{"command that is no JSON", []string{"DC_COMMAND=cat"}, []string{"DC_COMMAND"}},
		{"mode afterburn", []string{"fprocess=cat", "mode=afterburn"}, []string{"mode afterburn", "fork, streaming, serializing, http, lambda, static"}},
		{"mode inproc", []string{"fprocess=cat", "mode=inproc"}, []string{"mode inproc", "of-watchdog"}},
		{"mode with capitals", []string{"fprocess=cat", "mode=Fork"}, []string{`"Fork"`, "fork, streaming"}},
		{"static_path set to nothing", []string{"mode=static", "static_path="}, []string{"static_path"}},
		{"several at once", []string{"fprocess=cat", "port=x", "exec_timeout=y", "suppress_lock=z"}, []string{"port", "exec_timeout", "suppress_lock"}},
		{"port", []string{"fprocess=cat", "port=70000"}, []string{"70000"}},
		{"port of the metrics", []string{"fprocess=cat", "metrics_port=70000"}, []string{"metrics_port 70000"}},
		{"log_buffer_size in any dialect", []string{"fprocess=cat", "log_buffer_size=x", "DC_DIALECT=of"}, []string{"log_buffer_size"}},
		{"jwt_auth", []string{"fprocess=cat", "jwt_auth=true"}, []string{"jwt_auth"}},
		{"ready_path", []string{"fprocess=cat", "ready_path=ready"}, []string{"ready_path"}},
		{"upstream with another scheme", []string{"fprocess=cat", "mode=http", "upstream_url=ftp://x"}, []string{"http://HOST:PORT"}},
		{"upstream without a host", []string{"fprocess=cat", "mode=http", "upstream_url=http://:80"}, []string{"host"}},
		{"upstream with a query", []string{"fprocess=cat", "mode=http", "upstream_url=http://x/?a"}, []string{"query"}},
		{"upstream is the watchdog", []string{"fprocess=cat", "mode=http", "upstream_url=http://localhost:8080"}, []string{"itself"}},
		{"PORT is the watchdog's", []string{"fprocess=cat", "mode=http", "PORT=8080"}, []string{"itself"}},
		{"token", []string{"fprocess=cat", "DC_READY_URL=http://x", "DC_FUNCTION=f", "DC_POD=p", "DC_READY_TOKEN=abc"}, []string{"DC_READY_TOKEN"}},
		{"push for nobody", []string{"fprocess=cat", "DC_READY_URL=http://x", "DC_READY_TOKEN=" + strings.Repeat("0", 64)}, []string{"DC_FUNCTION"}},
	} {
		_, err := ParseEnv(r.environ)
		if err == nil {
			t.Errorf("%s: accepted", r.name)
			continue
		}
		for _, part := range r.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q says nothing of %s", r.name, err, part)
			}
		}
		if strings.Contains(err.Error(), "abc") {
			t.Errorf("%s: the error shows the token", r.name)
		}
	}
}

func TestParseEnv_Warnings(t *testing.T) {
	for _, r := range []struct{ environ, want string }{
		{"static_path=/x", "static_path has no effect in mode fork"},
		{"http_buffer_req_body=true", "http_buffer_req_body has no effect in mode "},
		{"upstream_url=http://127.0.0.1:5000", "upstream_url has no effect in mode streaming"},
		{"write_timeout=30s", "write_timeout is not above exec_timeout"},
	} {
		cfg, err := ParseEnv([]string{"fprocess=cat", r.environ})
		if err != nil || !strings.Contains(strings.Join(cfg.warnings, "\n"), r.want) {
			t.Errorf("%s: %v, %v", r.environ, cfg.warnings, err)
		}
	}
}

func TestChildEnviron(t *testing.T) {
	environ := []string{"PATH=/bin", "fprocess=cat", "mode=fork", "DC_READY_TOKEN=x", "DC_DIALECT=y", "A=1", "EMPTY=", "A=2=3", "broken", "DCX=1"}
	for dialect, want := range map[Dialect][]string{
		Native:  {"PATH=/bin", "EMPTY=", "A=2=3", "DCX=1"},
		Classic: {"PATH=/bin", "fprocess=cat", "mode=fork", "EMPTY=", "A=2=3", "DCX=1"},
		Of:      {"PATH=/bin", "fprocess=cat", "mode=fork", "EMPTY=", "A=2=3", "DCX=1"},
	} {
		if got := childEnviron(environ, dialect); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", dialect, got, want)
		}
	}
}
