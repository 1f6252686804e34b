// Lambda is a function made for AWS Lambda, with AWS's own library and nothing of ours. Its image is deployed with the annotation
// com.dragonchain.mode: lambda.
//
//	{"name": "Ada"}                 a greeting, and what the function knows of its invocation
//	{"name": ""}                    an error
//	{"name": "Ada", "panic": true}  a panic, after which the process is replaced
//	{"name": "Ada", "sleep": 5}     the same greeting after five seconds, if its time is not over before
package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Name  string `json:"name"`
	Panic bool   `json:"panic"`
	Sleep int    `json:"sleep"` // in seconds
}

type answer struct {
	Greeting  string `json:"greeting"`
	RequestID string `json:"requestId"`
	ARN       string `json:"arn"`
	MemoryMB  int    `json:"memoryMB"`
	SecondsTo int    `json:"secondsToDeadline"`
	PID       int    `json:"pid"`
}

func main() { lambda.Start(greet) }

func greet(ctx context.Context, e event) (answer, error) {
	if e.Name == "" {
		return answer{}, errors.New("name is missing")
	}
	if e.Panic {
		panic("as " + e.Name + " wished")
	}
	time.Sleep(time.Duration(e.Sleep) * time.Second)
	a := answer{Greeting: "Hello, " + e.Name, MemoryMB: lambdacontext.MemoryLimitInMB, PID: os.Getpid()}
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		a.RequestID, a.ARN = lc.AwsRequestID, lc.InvokedFunctionArn
	}
	if deadline, ok := ctx.Deadline(); ok {
		a.SecondsTo = int(time.Until(deadline).Seconds())
	}
	return a, nil
}
