package watchdog

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// rule is one rule of a mode's contract, as one request can show it.
type rule struct {
	name               string
	environ            []string
	method, path, body string
	header             []string
	status             int
	want               string            // the answer's body
	wantMatch          string            // or what it matches
	wantHeader         map[string]string // "" means absent
	wantLog, stderr    string            // what is found there
	notInLog           string
	cut                bool // the answer is broken off
}

// checkRules runs a watchdog for each rule, with the variables of all of them.
func checkRules(t *testing.T, environ []string, rules []rule) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			defer killMarked(t, "98765.5") // which escape on purpose
			f := serve(t, append(append([]string{"healthcheck_interval=0"}, environ...), r.environ...)...)
			if r.method == "" {
				r.method = "POST"
			}
			begun := time.Now()
			got := f.do(r.method, r.path, r.body, r.header...)
			if took := time.Since(begun); took > patience/2 {
				t.Errorf("answered after %v", took)
			}
			if (got.err != nil) != r.cut || got.status != r.status {
				t.Fatalf("status %d, %v, want %d; body %.200q", got.status, got.err, r.status, got.body)
			}
			if r.wantMatch == "" && got.body != r.want {
				t.Errorf("body %.200q, want %.200q", got.body, r.want)
			}
			if !regexp.MustCompile(r.wantMatch).MatchString(got.body) {
				t.Errorf("body %.300q does not match %s", got.body, r.wantMatch)
			}
			for name, want := range r.wantHeader {
				if value := got.header.Get(name); value != want {
					t.Errorf("%s: %q, want %q", name, value, want)
				}
			}
			f.log.waitFor(t, r.wantLog)
			f.stderr.waitFor(t, r.stderr)
			if err := f.stop(); err != nil {
				t.Errorf("Serve: %v", err)
			}
			if r.notInLog != "" && strings.Contains(f.log.String(), r.notInLog) {
				t.Errorf("log: %s", f.log)
			}
		})
	}
}

// forkedRules are those that hold in every mode that starts a process for each invocation, in the of-watchdog's dialect.
var forkedRules = []rule{
	{name: "stdin to stdout", environ: []string{"fprocess=cat"}, body: "hello", status: 200, want: "hello",
		wantHeader: map[string]string{"Content-Type": "application/octet-stream"}},
	{name: "no body is the end of stdin", environ: []string{"fprocess=cat"}, method: "GET", status: 200},
	{name: "arguments split at every blank", environ: []string{"fprocess=printf [%s] a  b"}, status: 200, want: "[a][][b]"},
	{name: "function_process before fprocess", environ: []string{"fprocess=false", "function_process=echo yes"}, status: 200, want: "yes\n"},
	{name: "a Python program", environ: []string{argv("python3", "-c", "import sys; print(sys.stdin.read().upper(), end='')")}, body: "hello",
		status: 200, want: "HELLO"},
	{name: "stdin ignored", environ: []string{"fprocess=true"}, body: "x", status: 200},
	{name: "long stdin ignored", environ: []string{sh("exec sleep 0.2")}, body: strings.Repeat("x", 128<<10), status: 200},

	{name: "any method", environ: []string{sh("printf %s $Http_Method")}, method: "OPTIONS", status: 200, want: "OPTIONS"},
	{name: "a method of its own", environ: []string{sh("printf %s $Http_Method")}, method: "BREW", status: 200, want: "BREW"},
	{name: "HEAD", environ: []string{"fprocess=echo yes"}, method: "HEAD", status: 200},
	{name: "path as sent", environ: []string{sh(`printf %s "$Http_Path"`)}, path: "//a/../b%20c/./", status: 200, want: "//a/../b c/./"},
	{name: "query", environ: []string{sh(`printf %s "$Http_Query"`)}, path: "/?a=%201&b;c", status: 200, want: "a=%201&b;c"},
	{name: "no query", environ: []string{sh(`printf %s "${Http_Query-unset}"`)}, status: 200, want: "unset"},
	{name: "headers", environ: []string{sh(`printf %s "$Http_X_My_Header $Http_Content_Length"`)}, header: []string{"x-my-header: a", "x-my-header: b"},
		body: "xy", status: 200, want: "a 2"},
	{name: "call id", environ: []string{sh(`printf %s "$Http_X_Call_Id $Http_X_Start_Time"`)}, header: []string{"X-Call-Id: c1", "X-Start-Time: 5"},
		status: 200, want: "c1 5", wantHeader: map[string]string{"X-Call-Id": "", "X-Start-Time": ""}},
	{name: "neither host nor another length", environ: []string{sh(`printf %s "${Http_Host-unset} ${Http_ContentLength-unset}"`)}, status: 200,
		want: "unset unset"},
	{name: "settings are seen", environ: []string{"fprocess=env"}, status: 200, wantMatch: "(?m)^fprocess=env$"},
	{name: "what is the provider's is not", environ: []string{sh(`printf %s "${DC_FUNCTION-unset}"`), "DC_FUNCTION=f.n"}, status: 200, want: "unset"},
	{name: "NUL in the path", environ: []string{"fprocess=true"}, path: "/%00", status: 400, wantMatch: "NUL"},
	{name: "header too long for a variable", environ: []string{"fprocess=true"}, header: []string{"X-Big: " + strings.Repeat("x", 128<<10)},
		status: 431, wantMatch: "128 KiB"},
	{name: "content_type", environ: []string{"fprocess=cat", "content_type=text/csv"}, body: "{}", header: []string{"Content-Type: application/json"},
		status: 200, want: "{}", wantHeader: map[string]string{"Content-Type": "text/csv"}},
	{name: "type of the request, native", environ: []string{"fprocess=cat", "DC_DIALECT=native"}, body: "{}",
		header: []string{"Content-Type: application/json"}, status: 200, want: "{}", wantHeader: map[string]string{"Content-Type": "application/json"}},
	{name: "type guessed, native", environ: []string{"fprocess=echo <html>", "DC_DIALECT=native"}, status: 200, want: "<html>\n",
		wantHeader: map[string]string{"Content-Type": "text/html; charset=utf-8"}},

	{name: "stderr to the log", environ: []string{sh("echo out; echo err >&2")}, status: 200, want: "out\n", stderr: " stderr: err\n"},
	{name: "prefix_logs=false", environ: []string{sh("echo err >&2"), "prefix_logs=false"}, status: 200, stderr: "err\n"},
	{name: "long log lines are split", environ: []string{sh("printf 1234567890123456789012345 >&2"), "log_buffer_size=20", "prefix_logs=false"},
		status: 200, stderr: "12345678901234567890\n12345\n"},
	{name: "access log", environ: []string{"fprocess=cat"}, body: "hello", path: "/p", header: []string{"X-Call-Id: c1"}, status: 200, want: "hello",
		wantLog: `level=INFO msg="invocation ended" method=POST path=/p call_id=c1 status=200 bytes=5 duration_seconds=`},
	{name: "no access log of probes", environ: []string{"fprocess=cat"}, header: []string{"User-Agent: kube-probe/1.36"}, status: 200,
		notInLog: `level=INFO msg="invocation ended"`},
	{name: "no access log, native", environ: []string{"fprocess=cat", "DC_DIALECT=native"}, status: 200, notInLog: `level=INFO msg="invocation ended"`},
	{name: "log_callid, native", environ: []string{"fprocess=cat", "DC_DIALECT=native", "log_callid=true"}, header: []string{"X-Call-Id: c1"},
		status: 200, wantLog: `level=INFO msg="invocation ended" method=POST path=/ call_id=c1 status=200`},

	{name: "no such program", environ: []string{"fprocess=./nope"}, status: 500, wantMatch: `nope.*: no such file or directory`, wantLog: "status=500"},
	{name: "output of a background process", environ: []string{sh("(sleep 0.1; echo late) & echo early")}, status: 200, want: "early\nlate\n"},
	{name: "stdout closed before the end", environ: []string{sh("echo a; exec >&-; exit 0")}, status: 200, want: "a\n"},
	{name: "X-Timeout does not raise", environ: []string{sh("sleep 0.2; echo yes"), "exec_timeout=10s"}, header: []string{"X-Timeout: 1h"}, status: 200,
		want: "yes\n"},
	{name: "X-Timeout 0 ignored", environ: []string{"fprocess=echo yes"}, header: []string{"X-Timeout: 0s"}, status: 200, want: "yes\n"},
	{name: "X-Timeout negative ignored", environ: []string{"fprocess=echo yes"}, header: []string{"X-Timeout: -1s"}, status: 200, want: "yes\n"},
	{name: "health with a slash is the function", environ: []string{"fprocess=echo yes"}, path: "/_/health/", status: 200, want: "yes\n"},
}

// each runs a test in every mode that starts a process for each invocation.
func each(t *testing.T, test func(t *testing.T, mode string)) {
	for _, mode := range []ModeName{ForkMode, StreamingMode, SerializingMode} {
		t.Run(string(mode), func(t *testing.T) { test(t, "mode="+string(mode)) })
	}
}

func TestForkedModes_ExpectContinue(t *testing.T) {
	each(t, func(t *testing.T, mode string) {
		f := serve(t, "fprocess=cat", mode)
		conn := f.raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
		lines := bufio.NewReader(conn)
		if res, err := http.ReadResponse(lines, nil); err != nil || res.StatusCode != 100 {
			t.Fatalf("%+v, %v", res, err)
		}
		io.WriteString(conn, "hi")
		res, err := http.ReadResponse(lines, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); string(body) != "hi" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
	})
}

// Nothing is started for a request with more than 1 MiB of headers.
func TestForkedModes_HeadersTooLong(t *testing.T) {
	each(t, func(t *testing.T, mode string) {
		f := serve(t, sh("echo ran >&2"), mode)
		var header []string
		for i := range 12 {
			header = append(header, "X-Big-"+string(rune('a'+i))+": "+strings.Repeat("x", 100<<10))
		}
		if got := f.do("GET", "/", "", header...); got.status != 431 {
			t.Errorf("%+v", got)
		}
		f.stop()
		if strings.Contains(f.stderr.String(), "ran") {
			t.Error("the function ran")
		}
	})
}

func TestForkedModes_ChunkedBody(t *testing.T) {
	each(t, func(t *testing.T, mode string) {
		f := serve(t, sh(`echo "${Http_Content_Length-unset} $Http_Transfer_Encoding"; cat`), mode, "DC_DIALECT=of")
		want := "unset chunked\nab"
		if mode == "mode=fork" {
			want = "-1 chunked\nab" // as the classic watchdog has it
		}
		if got := f.doCtx(context.Background(), "POST", "/", io.MultiReader(strings.NewReader("a"), strings.NewReader("b"))); got.body != want {
			t.Errorf("%q, want %q", got.body, want)
		}
	})
}

func TestForkedModes_MaxInFlight(t *testing.T) {
	each(t, func(t *testing.T, mode string) {
		f := serve(t, sh("echo begun >&2; sleep 100"), mode, "DC_DIALECT=of", "max_inflight=1", "healthcheck_interval=0")
		ctx, cancel := context.WithCancel(context.Background())
		answered := make(chan answer, 1)
		go func() { answered <- f.doCtx(ctx, "GET", "/", nil) }()
		f.stderr.waitFor(t, "begun")
		if got := f.do("GET", "/", ""); got.status != 429 || got.body != "Concurrent request limit exceeded. Max concurrent requests: 1\n" {
			t.Errorf("second: %+v", got)
		}
		if got := f.do("GET", "/_/ready", ""); got.status != 429 {
			t.Errorf("ready: %+v", got)
		}
		cancel()
		<-answered
		f.waitNothingInFlight()
		if got := f.do("GET", "/_/ready", ""); got.status != 200 {
			t.Errorf("ready again: %+v", got)
		}
	})
}

// The end of the watchdog ends what has outlived its drain, and answers nothing that could be taken for whole.
func TestForkedModes_EndInFlight(t *testing.T) {
	each(t, func(t *testing.T, mode string) {
		defer killMarked(t, "98765.4")
		f := prepare(t, sh("echo some; echo begun >&2; sleep 98765.4"), mode, "healthcheck_interval=0")
		f.drainLimit = 100 * time.Millisecond
		f.start()
		answered := make(chan answer, 1)
		go func() { answered <- f.do("GET", "/", "") }()
		f.stderr.waitFor(t, "begun")
		if err := f.stop(); err != nil {
			t.Error(err)
		}
		if got := <-answered; got.err == nil {
			t.Errorf("answered as if whole: %+v", got)
		}
		waitGone(t, "98765.4")
	})
}
