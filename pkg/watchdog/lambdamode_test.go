package watchdog

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/watchdog/lambda"
)

// runtimeProgram is a function for mode lambda, on the bare Runtime API. An event says what to do: {"do": "...", "arg": "..."}.
func runtimeProgram(args []string) {
	if len(args) > 0 && args[0] == "broken" {
		fmt.Println("broken on purpose")
		os.Exit(3)
	}
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		res, err := http.Get(api + "next")
		if err != nil {
			os.Exit(1)
		}
		var event struct{ Do, Arg string }
		err = json.NewDecoder(res.Body).Decode(&event)
		res.Body.Close()
		if err != nil {
			event.Do = "refuse"
		}
		url := api + res.Header.Get("Lambda-Runtime-Aws-Request-Id")
		var answer any = event
		switch event.Do {
		case "exit":
			os.Exit(7)
		case "die":
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		case "hang": // with a child that would outlive it
			exec.Command("sleep", event.Arg).Start()
			fmt.Println("hanging")
			select {}
		case "log":
			fmt.Println("out " + event.Arg)
			fmt.Fprint(os.Stderr, "err "+event.Arg)
		case "environ":
			answer = os.Environ()
		case "pid":
			answer = os.Getpid()
		case "refuse":
			post(url+"/error", `{"errorMessage":"refused","errorType":"Refused"}`)
			continue
		}
		text, _ := json.Marshal(answer)
		post(url+"/response", string(text))
	}
}

func post(url, body string) {
	res, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil || res.StatusCode != http.StatusAccepted {
		os.Exit(2)
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
}

func serveLambda(t testing.TB, args []string, environ ...string) *fixture {
	t.Helper()
	base := []string{self(t, "runtime", args...), "mode=lambda", "healthcheck_interval=0", "DC_FUNCTION=fn.space"}
	return serve(t, append(base, environ...)...)
}

func TestLambdaMode_AnswersEvents(t *testing.T) {
	f := serveLambda(t, nil)
	f.waitReady()
	for i := range 3 {
		event := fmt.Sprintf(`{"Do":"","Arg":"%d"}`, i)
		if got := f.do("POST", "/any/path", event); got.status != 200 || got.body != event || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%+v", got)
		}
	}
	if got := f.do("POST", "/", "not json"); got.status != 500 || got.body != `{"errorMessage":"refused","errorType":"Refused"}` {
		t.Errorf("%+v", got)
	}
	if got := f.do("POST", "/2015-03-31/functions/function/invocations", `{"Do":"refuse"}`); got.status != 200 ||
		got.header.Get("X-Amz-Function-Error") != "Unhandled" {
		t.Errorf("%+v", got)
	}
}

// A request that comes before the process is ready waits for it.
func TestLambdaMode_ColdInit(t *testing.T) {
	f := serveLambda(t, nil)
	if got := f.do("POST", "/", `{"Do":"","Arg":"x"}`); got.status != 200 {
		t.Errorf("%+v", got)
	}
}

func TestLambdaMode_Environment(t *testing.T) {
	f := serveLambda(t, []string{"app.handler"}, "KEEP=me", "exec_timeout=5s", "write_debug=true", "lambda_concurrency=1", "_LAMBDA_SERVER_PORT=1",
		"AWS_LAMBDA_MAX_CONCURRENCY=2", "AWS_REGION=eu-central-1", "LAMBDA_TASK_ROOT=/task", "AWS_ACCESS_KEY_ID=k")
	var environ []string
	got := f.do("POST", "/", `{"Do":"environ"}`)
	if err := json.Unmarshal([]byte(got.body), &environ); err != nil {
		t.Fatalf("%+v: %v", got, err)
	}
	set := environMap(environ)
	for name, want := range map[string]string{
		"_HANDLER":                       "app.handler",
		"AWS_LAMBDA_FUNCTION_NAME":       "fn",
		"AWS_LAMBDA_FUNCTION_VERSION":    "$LATEST",
		"AWS_LAMBDA_LOG_GROUP_NAME":      "/aws/lambda/fn",
		"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
		"AWS_REGION":                     "eu-central-1",
		"AWS_DEFAULT_REGION":             "eu-central-1",
		"LAMBDA_TASK_ROOT":               "/task",
		"LAMBDA_RUNTIME_DIR":             "/var/runtime",
		"AWS_XRAY_CONTEXT_MISSING":       "LOG_ERROR",
		"AWS_ACCESS_KEY_ID":              "k",
		"KEEP":                           "me",
	} {
		if set[name] != want {
			t.Errorf("%s is %q, want %q", name, set[name], want)
		}
	}
	for _, name := range []string{
		"mode", "exec_timeout", "write_debug", "lambda_concurrency", "DC_FUNCTION", "DC_COMMAND", "_LAMBDA_SERVER_PORT",
		"AWS_LAMBDA_MAX_CONCURRENCY", "AWS_SESSION_TOKEN", "TZ",
	} {
		if value, there := set[name]; there {
			t.Errorf("%s is %q", name, value)
		}
	}
	if !strings.HasPrefix(set["AWS_LAMBDA_RUNTIME_API"], "127.0.0.1:") || set["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "" ||
		!strings.Contains(set["AWS_LAMBDA_LOG_STREAM_NAME"], "/[$LATEST]") {
		t.Errorf("environment %q", environ)
	}
}

func TestLambdaMode_ProcessThatEnds(t *testing.T) {
	f := serveLambda(t, nil)
	for event, want := range map[string]string{
		`{"Do":"exit"}`: "Runtime exited with error: exit status 7",
		`{"Do":"die"}`:  "Runtime exited with error: signal: killed",
	} {
		got := f.do("POST", "/", event)
		if got.status != 502 || !strings.Contains(got.body, want) || !strings.Contains(got.body, `"errorType":"Runtime.ExitError"`) {
			t.Errorf("%s: %+v", event, got)
		}
		if got := f.do("POST", "/", `{}`); got.status != 200 {
			t.Errorf("after it: %+v", got)
		}
	}
}

func TestLambdaMode_DeadlineKillsTheGroup(t *testing.T) {
	const nap = "97531.7"
	t.Cleanup(func() { killMarked(t, nap) })
	f := serveLambda(t, nil)
	f.waitReady()
	got := f.do("POST", "/", `{"Do":"hang","Arg":"`+nap+`"}`, "X-Timeout: 300ms")
	if got.status != 504 || !strings.Contains(got.body, "Task timed out after 0.30 seconds") {
		t.Errorf("%+v", got)
	}
	waitGone(t, nap)
	if got := f.do("POST", "/", `{}`); got.status != 200 {
		t.Errorf("after it: %+v", got)
	}
}

func TestLambdaMode_Concurrency(t *testing.T) {
	f := serveLambda(t, nil, "lambda_concurrency=3")
	f.waitReady()
	answers := make(chan answer)
	for range 2 {
		go func() { answers <- f.do("POST", "/", `{"Do":"hang","Arg":"0"}`, "X-Timeout: 2s") }()
	}
	f.stdout.waitFor(t, "hanging\nhanging\n")
	if got := f.do("POST", "/", `{}`); got.status != 200 {
		t.Errorf("beside two that hang: %+v", got)
	}
	<-answers
	<-answers
}

func TestLambdaMode_Logs(t *testing.T) {
	f := serveLambda(t, nil)
	f.do("POST", "/", `{"Do":"log","Arg":"one"}`)
	f.stdout.waitFor(t, "out one\n")
	f.do("POST", "/", `{"Do":"exit"}`) // what has no end gets one
	f.stderr.waitFor(t, "err one\n")
}

// TestLambdaMode_LogTail asks many times, for what the process wrote last is read beside its answer.
func TestLambdaMode_LogTail(t *testing.T) {
	f := serveLambda(t, nil, "lambda_reports=true")
	for i := range 100 {
		a := f.do("POST", "/2015-03-31/functions/fn/invocations", fmt.Sprintf(`{"do":"log","arg":"%d"}`, i), "X-Amz-Log-Type: Tail")
		text, err := base64.StdEncoding.DecodeString(a.header.Get("X-Amz-Log-Result"))
		if err != nil || a.status != 200 {
			t.Fatalf("%+v, %v", a, err)
		}
		for _, want := range []string{"START RequestId: " + a.header.Get("X-Amzn-Requestid"), fmt.Sprintf("out %d\n", i), fmt.Sprintf("err %d", i), "\tBilled Duration: "} {
			if strings.Count(string(text), want) != 1 {
				t.Fatalf("invocation %d: log %q, want %q in it once", i, text, want)
			}
		}
	}
	f.stdout.waitFor(t, "REPORT RequestId: ")
}

func TestLambdaMode_Limits(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ []string
		header  string
		after   string
	}{
		{"Lambda's own variable", []string{"AWS_LAMBDA_FUNCTION_TIMEOUT=1"}, "X-A: b", "1.00"},
		{"exec_timeout goes first", []string{"AWS_LAMBDA_FUNCTION_TIMEOUT=900", "exec_timeout=300ms"}, "X-A: b", "0.30"},
		{"write_timeout is above both", []string{"AWS_LAMBDA_FUNCTION_TIMEOUT=900", "write_timeout=400ms"}, "X-A: b", "0.40"},
		{"a caller may ask for less", []string{"AWS_LAMBDA_FUNCTION_TIMEOUT=900"}, "X-Timeout: 300ms", "0.30"},
		{"and not for more", []string{"AWS_LAMBDA_FUNCTION_TIMEOUT=1"}, "X-Timeout: 1h", "1.00"},
		{"nor for more than no setting gives", nil, "X-Timeout: 300ms", "0.30"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := serveLambda(t, nil, tt.environ...)
			f.waitReady()
			a := f.do("POST", "/", `{"do":"hang","arg":"1000"}`, tt.header)
			if a.status != 504 || !strings.Contains(a.body, "timed out after "+tt.after+" seconds") {
				t.Errorf("%+v", a)
			}
		})
	}
	t.Run("without any", func(t *testing.T) {
		f := serveLambda(t, nil)
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("X-Timeout", "1h")
		if got := limitOfLambda(&f.cfg)(r); got != lambda.DefaultTimeout {
			t.Errorf("%v", got)
		}
	})
}

func TestLambdaMode_InitFailure(t *testing.T) {
	f := serveLambda(t, []string{"broken"})
	got := f.do("POST", "/", `{}`)
	if got.status != 502 || !strings.Contains(got.body, "Runtime exited with error: exit status 3") {
		t.Errorf("%+v", got)
	}
	if got := f.do("GET", "/_/ready", ""); got.status != 503 {
		t.Errorf("ready: %+v", got)
	}
	f.stdout.waitFor(t, "broken on purpose\nbroken on purpose\n") // it is tried again
}

func TestLambdaMode_ProgramNotFound(t *testing.T) {
	f := prepare(t, argv("/no/such/bootstrap", "app.handler"), "mode=lambda")
	f.start()
	if err := f.wait(); err == nil || !strings.Contains(err.Error(), "/no/such/bootstrap") {
		t.Errorf("Serve: %v", err)
	}
}

func TestLambdaMode_ShutdownAnswersFirst(t *testing.T) {
	f := serveLambda(t, nil)
	f.waitReady()
	slow := make(chan answer)
	go func() { slow <- f.do("POST", "/", `{"Do":"hang","Arg":"0"}`, "X-Timeout: 2s") }()
	f.stdout.waitFor(t, "hanging")
	if err := f.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if got := <-slow; got.status != 504 {
		t.Errorf("in flight: %+v", got)
	}
}

// An Event is answered before it is handled, and handled before the end.
func TestLambdaMode_EventOutlivesItsCaller(t *testing.T) {
	f := serveLambda(t, nil)
	got := f.do("POST", "/2015-03-31/functions/fn/invocations", `{"Do":"log","Arg":"late"}`, "X-Amz-Invocation-Type: Event")
	if got.status != 202 || got.body != "" {
		t.Errorf("%+v", got)
	}
	if err := f.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	f.stdout.waitFor(t, "out late\n")
}

func TestLambdaMode_CallerLeaves(t *testing.T) {
	f := serveLambda(t, nil)
	pid := f.do("POST", "/", `{"Do":"pid"}`).body
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan answer)
	go func() {
		gone <- f.doCtx(ctx, "POST", "/", strings.NewReader(`{"Do":"hang","Arg":"0"}`), "X-Timeout: 2s")
	}()
	f.stdout.waitFor(t, "hanging")
	cancel()
	<-gone
	if got := f.do("POST", "/", `{"Do":"pid"}`); got.status != 200 || got.body == pid {
		t.Errorf("the process was not replaced at its deadline: %+v", got)
	}
}

func TestLambdaMode_Settings(t *testing.T) {
	cfg, err := ParseEnv([]string{"fprocess=/lambda-entrypoint.sh app.handler", "mode=lambda", "lambda_concurrency=4", "lambda_queue=0",
		"lambda_init_timeout=30", "lambda_payload_bytes=1000", "lambda_event=function-url", "OPENFAAS_NAME=fn"})
	if err != nil {
		t.Fatal(err)
	}
	if c := cfg.Lambda; c.Processes != 4 || c.QueueDepth >= 0 || c.InitLimit != 30*time.Second || c.PayloadBytes != 1000 || c.Name != "fn" || !c.HTTPEvents ||
		cfg.Dialect != Native || cfg.ExecTimeout != 0 {
		t.Errorf("%+v", cfg)
	}
	for _, bad := range []string{"lambda_concurrency=many", "lambda_event=all", "lambda_queue=-1", "lambda_init_timeout=soon"} {
		if _, err := ParseEnv([]string{"fprocess=x", "mode=lambda", bad}); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	for _, tt := range []struct {
		file, text string
		want       int
	}{
		{"memory.max", "max\n", 0},
		{"memory.max", "134217728\n", 128},
		{"memory/memory.limit_in_bytes", "268435456\n", 256},
		{"memory/memory.limit_in_bytes", "9223372036854771712\n", 0},
		{"nothing", "", 0},
	} {
		root := t.TempDir()
		path := filepath.Join(root, tt.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(tt.text), 0o666); err != nil {
			t.Fatal(err)
		}
		if got := MemoryLimitMB(root); got != tt.want {
			t.Errorf("%s %q: %d, want %d", tt.file, tt.text, got, tt.want)
		}
	}
}
