package lambda

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// sdk is AWS's own client of the watchdog.
func (w *watchdog) sdk() *lambda.Client {
	return lambda.New(lambda.Options{
		BaseEndpoint: &w.url, Region: "us-east-1", Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}, nil
		}),
	})
}

const functionARN = "arn:aws:lambda:us-east-1:012345678912:function:fn"

func TestSDK_Invoke(t *testing.T) {
	w := start(t)
	for _, name := range []string{"fn", functionARN, functionARN + ":$LATEST"} {
		out, err := w.sdk().Invoke(t.Context(), &lambda.InvokeInput{
			FunctionName: &name, Payload: []byte(`{"do":"log","text":"said by the function"}`), LogType: types.LogTypeTail,
			ClientContext: aws.String(base64.StdEncoding.EncodeToString([]byte(`{"client":{}}`))),
		})
		if err != nil {
			t.Fatal(err)
		}
		if out.StatusCode != 200 || out.FunctionError != nil || aws.ToString(out.ExecutedVersion) != "$LATEST" || string(out.Payload) != `"logged"` {
			t.Errorf("%s: %d %v %s", name, out.StatusCode, aws.ToString(out.FunctionError), out.Payload)
		}
		log, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"START RequestId: ", "said by the function\nEND RequestId: ", "\nREPORT RequestId: ", "\tMax Memory Used: "} {
			if want == "\tMax Memory Used: " && !strings.Contains(string(log), want) {
				t.Log("the memory of this control group is not known")
				continue
			}
			if !strings.Contains(string(log), want) {
				t.Errorf("log %q lacks %q", log, want)
			}
		}
	}
	out, err := w.sdk().Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("fn"), Payload: []byte(`{"do":"error","text":"as wished"}`)})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(out.FunctionError) != "Unhandled" || !strings.Contains(string(out.Payload), `"errorMessage":"as wished"`) || out.LogResult != nil {
		t.Errorf("%v %s, log %v", aws.ToString(out.FunctionError), out.Payload, out.LogResult)
	}
}

func TestSDK_EventAndDryRun(t *testing.T) {
	w := start(t)
	file := filepath.Join(t.TempDir(), "done")
	out, err := w.sdk().Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("fn"), InvocationType: types.InvocationTypeDryRun})
	if err != nil || out.StatusCode != 204 {
		t.Errorf("dry run: %+v, %v", out, err)
	}
	out, err = w.sdk().Invoke(t.Context(), &lambda.InvokeInput{
		FunctionName: aws.String("fn"), InvocationType: types.InvocationTypeEvent, Payload: fmt.Appendf(nil, `{"do":"write","text":%q}`, file),
	})
	if err != nil || out.StatusCode != 202 || len(out.Payload) != 0 {
		t.Errorf("event: %+v, %v", out, err)
	}
	awaitFile(t, file)
	//lint:ignore SA1019 tools of that time go on calling it
	old, err := w.sdk().InvokeAsync(t.Context(), &lambda.InvokeAsyncInput{
		FunctionName: aws.String("fn"), InvokeArgs: strings.NewReader(fmt.Sprintf(`{"do":"write","text":%q}`, file+"2")),
	})
	if err != nil || old.Status != 202 {
		t.Errorf("invoke-async: %+v, %v", old, err)
	}
	awaitFile(t, file+"2")
}

func awaitFile(t *testing.T, name string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(name); err == nil {
			return
		}
	}
	t.Errorf("nobody has written %s", filepath.Base(name))
}

func TestSDK_Refusals(t *testing.T) {
	w := start(t, "lambda_queue=0")
	_, err := w.sdk().Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("fn"), Payload: []byte(`{`)})
	var content *types.InvalidRequestContentException
	if !errors.As(err, &content) {
		t.Errorf("no JSON: %v", err)
	}
	_, err = w.sdk().Invoke(t.Context(), &lambda.InvokeInput{
		FunctionName: aws.String("fn"), Payload: []byte(`{"text":"` + strings.Repeat("x", 6<<20+100) + `"}`),
	})
	var large *types.RequestTooLargeException
	if !errors.As(err, &large) {
		t.Errorf("too large: %v", err)
	}
	w.await("/_/ready")
	file := filepath.Join(t.TempDir(), "go-on")
	busy := w.open("/", fmt.Sprintf(`{"do":"stream","text":%q}`, file))
	defer busy.Body.Close()
	_, err = w.sdk().Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("fn"), Payload: []byte(`{}`)})
	var many *types.TooManyRequestsException
	if !errors.As(err, &many) || many.Reason != types.ThrottleReasonConcurrentInvocationLimitExceeded {
		t.Errorf("too many: %v", err)
	}
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestSDK_InvokeWithResponseStream(t *testing.T) {
	w := start(t)
	w.await("/_/ready")
	open := func(event string) *lambda.InvokeWithResponseStreamEventStream {
		t.Helper()
		out, err := w.sdk().InvokeWithResponseStream(t.Context(), &lambda.InvokeWithResponseStreamInput{
			FunctionName: aws.String("fn"), Payload: []byte(event), LogType: types.LogTypeTail,
		})
		if err != nil {
			t.Fatal(err)
		}
		if out.StatusCode != 200 || aws.ToString(out.ExecutedVersion) != "$LATEST" {
			t.Errorf("%+v", out)
		}
		t.Cleanup(func() { _ = out.GetStream().Close() }) // it has come to its end
		return out.GetStream()
	}
	// rest reads to the end.
	rest := func(s *lambda.InvokeWithResponseStreamEventStream) (payload string, end types.InvokeWithResponseStreamCompleteEvent) {
		t.Helper()
		for e := range s.Events() {
			switch e := e.(type) {
			case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
				payload += string(e.Value.Payload)
			case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
				end = e.Value
			default:
				t.Errorf("event %T", e)
			}
		}
		if err := s.Err(); err != nil {
			t.Error(err)
		}
		return payload, end
	}
	t.Run("arrives as it is written", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "go-on")
		s := open(fmt.Sprintf(`{"do":"stream","text":%q}`, file))
		first, ok := (<-s.Events()).(*types.InvokeWithResponseStreamResponseEventMemberPayloadChunk)
		if !ok || string(first.Value.Payload) != "one" {
			t.Fatalf("%v", first)
		}
		if err := os.WriteFile(file, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		payload, end := rest(s)
		if payload != "two" || end.ErrorCode != nil || aws.ToString(end.LogResult) == "" {
			t.Errorf("%q, %+v", payload, end)
		}
	})
	t.Run("breaks off", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "go-on")
		if err := os.WriteFile(file, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		payload, end := rest(open(fmt.Sprintf(`{"do":"stream error","text":%q}`, file)))
		if payload != "part" || aws.ToString(end.ErrorCode) != "errorString" || !strings.Contains(aws.ToString(end.ErrorDetails), "broken in the middle") {
			t.Errorf("%q, %+v", payload, end)
		}
	})
	t.Run("whole", func(t *testing.T) {
		payload, end := rest(open(`{"do":"large","bytes":100000}`))
		if len(payload) != 100002 || end.ErrorCode != nil {
			t.Errorf("%d bytes, %+v", len(payload), end)
		}
	})
	t.Run("error", func(t *testing.T) {
		payload, end := rest(open(`{"do":"custom error","text":"as wished"}`))
		if payload != "" || aws.ToString(end.ErrorCode) != "customError" || !strings.Contains(aws.ToString(end.ErrorDetails), "as wished") {
			t.Errorf("%q, %+v", payload, end)
		}
	})
}
