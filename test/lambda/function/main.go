// Function is a Lambda function that does what its event says.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// event is what to do, and with what.
type event struct {
	Do    string `json:"do"`
	Text  string `json:"text"`
	Bytes int    `json:"bytes"`
}

// customError gives its own type to an error.
type customError struct{ text string }

func (e *customError) Error() string { return e.text }

func main() {
	if d, err := time.ParseDuration(os.Getenv("INIT_SLEEP")); err == nil {
		time.Sleep(d)
	}
	if os.Getenv("INIT_PANIC") != "" {
		panic("init as wished")
	}
	if file := os.Getenv("SIGTERM_FILE"); file != "" {
		lambda.StartWithOptions(handle, lambda.WithEnableSIGTERM(func() {
			if err := os.WriteFile(file, []byte("told"), 0o666); err != nil {
				log.Print(err)
			}
		}))
		return
	}
	if os.Getenv("FUNCTION_URL") != "" {
		lambda.Start(serveURL)
		return
	}
	lambda.Start(handle)
}

// serveURL is a function behind a function URL.
func serveURL(_ context.Context, r events.LambdaFunctionURLRequest) (events.LambdaFunctionURLResponse, error) {
	return events.LambdaFunctionURLResponse{
		StatusCode: 202,
		Headers:    map[string]string{"Content-Type": "text/plain", "X-Agent": r.RequestContext.HTTP.UserAgent},
		Cookies:    r.Cookies,
		Body:       fmt.Sprint(r.RequestContext.HTTP.Method, " ", r.RawPath, " ", r.QueryStringParameters["q"], " ", r.Headers["x-a"], " ", r.Body),
	}, nil
}

func handle(ctx context.Context, e event) (any, error) {
	switch e.Do {
	case "context":
		return describe(ctx), nil
	case "pid":
		return os.Getpid(), nil
	case "error":
		return nil, errors.New(e.Text)
	case "custom error":
		return nil, &customError{e.Text}
	case "panic":
		panic(e.Text)
	case "exit":
		os.Exit(3)
	case "sleep":
		d, err := time.ParseDuration(e.Text)
		if err != nil {
			return nil, err
		}
		time.Sleep(d)
		return os.Getpid(), nil
	case "await": // the file, having told of itself beside it
		if err := os.WriteFile(fmt.Sprint(e.Text, ".", os.Getpid()), nil, 0o666); err != nil {
			return nil, err
		}
		for {
			if _, err := os.Stat(e.Text); err == nil {
				return os.Getpid(), nil
			}
			time.Sleep(time.Millisecond)
		}
	case "log":
		fmt.Println(e.Text)
		return "logged", nil
	case "write":
		return nil, os.WriteFile(e.Text, nil, 0o666)
	case "large":
		return strings.Repeat("x", e.Bytes), nil
	case "stream":
		return &pieces{file: e.Text}, nil
	case "stream error":
		return io.MultiReader(strings.NewReader("part"), &pieces{file: e.Text, err: errors.New("broken in the middle")}), nil
	case "url":
		return &events.LambdaFunctionURLStreamingResponse{
			StatusCode: 201, Headers: map[string]string{"X-From": "function"}, Cookies: []string{"a=1"}, Body: bytes.NewReader([]byte("made")),
		}, nil
	}
	return e, nil
}

func describe(ctx context.Context) map[string]string {
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return map[string]string{
		"requestId": lc.AwsRequestID,
		"arn":       lc.InvokedFunctionArn,
		"client":    lc.ClientContext.Client.AppTitle,
		"trace":     fmt.Sprint(ctx.Value("x-amzn-trace-id")),
		"left":      time.Until(deadline).String(),
		"name":      lambdacontext.FunctionName,
		"version":   lambdacontext.FunctionVersion,
	}
}

// pieces reads "one", and when the file is there "two".
type pieces struct {
	file string
	err  error // instead of the second
	read int
}

func (p *pieces) Read(b []byte) (int, error) {
	p.read++
	if p.read == 1 && p.err == nil {
		return copy(b, "one"), nil
	}
	for p.read == 2 || p.err != nil {
		if _, err := os.Stat(p.file); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	switch {
	case p.err != nil:
		return 0, p.err
	case p.read == 2:
		return copy(b, "two"), nil
	}
	return 0, io.EOF
}
