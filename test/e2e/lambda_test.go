package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/openfaas/faas-provider/logs"
	"github.com/openfaas/faas-provider/types"
)

const lambdaInvocations = "/2015-03-31/functions/function/invocations"

// lambdaImage is a function made for AWS Lambda, deployed with nothing but its image and the annotation.
func lambdaImage() deployment {
	return annotate(deployment{Image: "dragonchain/example-lambda:dev"}, annotationMode, "lambda")
}

// greeting is what the example answers.
type greeting struct {
	Greeting  string `json:"greeting"`
	RequestID string `json:"requestId"`
	ARN       string `json:"arn"`
	MemoryMB  int    `json:"memoryMB"`
	PID       int    `json:"pid"`
}

func TestLambda_ImageAsItIs(t *testing.T) {
	t.Parallel()
	f := deploy(t, lambdaImage())
	g := decode[greeting](t, f.call(t, `{"name":"Ada"}`).is(t, "event", http.StatusOK))
	if g.Greeting != "Hello, Ada" || g.RequestID == "" || g.ARN != "arn:aws:lambda:us-east-1:012345678912:function:"+f.name {
		t.Errorf("answer %+v", g)
	}
	again := decode[greeting](t, f.call(t, `{"name":"Bob"}`).is(t, "second event", http.StatusOK))
	if again.PID != g.PID || again.RequestID == g.RequestID {
		t.Errorf("answers %+v and %+v: one process should have served both", g, again)
	}

	refused := f.call(t, `{"name":""}`)
	if refused.status != http.StatusInternalServerError || !strings.Contains(refused.body, `"errorMessage":"name is missing"`) {
		t.Errorf("an error: %d %q", refused.status, refused.body)
	}
	broken := f.call(t, `{"name":"Ada","panic":true}`)
	if broken.status != http.StatusInternalServerError || !strings.Contains(broken.body, "stackTrace") {
		t.Errorf("a panic: %d %q", broken.status, broken.body)
	}
	after := decode[greeting](t, f.call(t, `{"name":"Eve"}`).is(t, "event after the panic", http.StatusOK))
	if after.PID == g.PID {
		t.Errorf("the process that panicked has answered: %+v", after)
	}
}

// TestLambda_AsFaasCLIDeploysIt sends what faas-cli does for a stack file that has all of its fields, and outlives a timeout.
func TestLambda_AsFaasCLIDeploysIt(t *testing.T) {
	t.Parallel()
	d := label(lambdaImage(), "team", "barn")
	d.EnvVars = map[string]string{"AWS_LAMBDA_FUNCTION_TIMEOUT": "1", "lambda_concurrency": "2", "lambda_reports": "true"}
	d.Secrets, d.Constraints = []string{}, []string{}
	d.Limits = &types.FunctionResources{Memory: "128Mi", CPU: "1"}
	d.Requests = &types.FunctionResources{Memory: "32Mi"}
	d.ReadOnlyRootFilesystem = true
	f := deploy(t, d)
	g := decode[greeting](t, f.call(t, `{"name":"Ada"}`).is(t, "event", http.StatusOK))
	if g.MemoryMB != 128 {
		t.Errorf("the function sees %d MB", g.MemoryMB)
	}
	late := f.call(t, `{"name":"Ada","sleep":60}`)
	if late.status != http.StatusGatewayTimeout || !strings.Contains(late.body, "Task timed out after 1.00 seconds") {
		t.Errorf("out of time: %d %q", late.status, late.body)
	}
	f.call(t, `{"name":"Ada"}`).is(t, "event after the timeout", http.StatusOK)
	eventually(t, "the log has the reports", func() (bool, string) {
		lines := readLogs(t, f, -1, nil)
		timedOut := func(m logs.Message) bool {
			return has("REPORT RequestId: ")(m) && has("Memory Size: 128 MB")(m) && has("Status: timeout")(m)
		}
		return slices.ContainsFunc(lines, has("START RequestId: "+g.RequestID)) && slices.ContainsFunc(lines, timedOut), fmt.Sprint(lines)
	})
}

// TestLambda_InvokeAPI calls a function as AWS's tools do, at Lambda's own path.
func TestLambda_InvokeAPI(t *testing.T) {
	t.Parallel()
	f := deploy(t, lambdaImage())
	invoke := func(body string, headers http.Header) answer {
		return gateway.ask(t, request{method: http.MethodPost, path: f.path(lambdaInvocations), body: body, auth: nobody, header: headers})
	}
	a := invoke(`{"name":"Ada"}`, nil).is(t, "invoke", http.StatusOK)
	if g := decode[greeting](t, a); g.Greeting != "Hello, Ada" || a.header.Get("X-Amz-Executed-Version") != "$LATEST" {
		t.Errorf("answer %+v, headers %v", g, a.header)
	}
	a = invoke(`{"name":""}`, nil).is(t, "invoke with an error", http.StatusOK)
	if a.header.Get("X-Amz-Function-Error") != "Unhandled" || !strings.Contains(a.body, "name is missing") {
		t.Errorf("answer %q, headers %v", a.body, a.header)
	}
	invoke(`{"name":"Ada"}`, http.Header{"X-Amz-Invocation-Type": {"DryRun"}}).is(t, "dry run", http.StatusNoContent)
	invoke(`{"name":"Ada"}`, http.Header{"X-Amz-Invocation-Type": {"Event"}}).is(t, "event", http.StatusAccepted)
	a = invoke(`{"name":"Ada"}`, http.Header{"X-Amz-Log-Type": {"Tail"}}).is(t, "invoke with the log", http.StatusOK)
	if log, err := base64.StdEncoding.DecodeString(a.header.Get("X-Amz-Log-Result")); err != nil || !strings.Contains(string(log), "REPORT RequestId: ") ||
		!strings.Contains(string(log), "Max Memory Used: ") {
		t.Errorf("log %q, %v", log, err)
	}
	a = gateway.ask(t, request{
		method: http.MethodPost, path: f.path("/2021-11-15/functions/function/response-streaming-invocations"), body: `{"name":"Ada"}`, auth: nobody,
	}).is(t, "invoke with a stream", http.StatusOK)
	if a.header.Get("Content-Type") != "application/vnd.amazon.eventstream" || !strings.Contains(a.body, "Hello, Ada") || !strings.Contains(a.body, "InvokeComplete") {
		t.Errorf("answer %q, headers %v", a.body, a.header)
	}
	invoke(`not json`, nil).is(t, "no JSON", http.StatusBadRequest)
}

// TestLambda_Contract commits a Lambda function's answer to its heap.
func TestLambda_Contract(t *testing.T) {
	t.Parallel()
	f := deploy(t, contract(lambdaImage()))
	f.call(t, `{"name":"Ada"}`).is(t, "event", http.StatusOK)
	if got := f.heap(t, "greeting"); got != `"Hello, Ada"` {
		t.Errorf("heap has %s", got)
	}
}
