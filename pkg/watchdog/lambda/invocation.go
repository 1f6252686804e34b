package lambda

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// invocation is one event on its way to a process, and its outcome on the way back.
type invocation struct {
	id            string
	event         []byte
	timeout       time.Duration
	deadline      time.Time // of the timeout, which runs from the request's coming: waiting for a process is part of it
	traceID       string
	clientContext string
	log           *callLog // nil if nobody wants it

	outcome chan outcome // gets one
	settled bool         // it has got one, or nobody waits for it; guarded by Pool.mu
}

// kind is how an invocation ended.
type kind int

const (
	answered    kind = iota // the function's answer
	functionErr             // the function's error
	crashed                 // the process has exited
	initFailed              // the process could not start
	timedOut                // the process was killed, for it took too long
)

// outcome is what became of an invocation: an answer or an error, in body; or an answer that is still coming, in stream.
type outcome struct {
	kind        kind
	body        []byte
	stream      *io.PipeReader // whoever gets it reads it to its end, or closes it
	contentType string         // of the stream
	release     func()         // gives back the memory of body; nil if there is nothing to give back
}

// done must be called by whoever gets an outcome, when it is used.
func (o *outcome) done() {
	if o.stream != nil {
		_ = o.stream.Close() // never fails
	}
	if o.release != nil {
		o.release()
	}
}

// errorJSON is the form of every error, of the function's and of ours.
func errorJSON(errorType, message string) []byte {
	text, err := json.Marshal(struct {
		Message string `json:"errorMessage"`
		Type    string `json:"errorType"`
	}{message, errorType})
	if err != nil {
		panic("lambda: strings have no JSON: " + err.Error())
	}
	return text
}

// The errors that Lambda itself gives for a function, in its words: tools look for them.

func exitError(id, status string) []byte {
	if status == "" {
		return errorJSON("Runtime.ExitError", fmt.Sprintf("RequestId: %s Error: Runtime exited without providing a reason", id))
	}
	return errorJSON("Runtime.ExitError", fmt.Sprintf("RequestId: %s Error: Runtime exited with error: %s", id, status))
}

func timeoutError(id string, after time.Duration) []byte {
	return errorJSON("Sandbox.Timedout", fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", id, after.Seconds()))
}

func initTimeoutError(id string, after time.Duration) []byte {
	return errorJSON("Sandbox.Timedout", fmt.Sprintf("RequestId: %s Error: Init timed out after %.2f seconds", id, after.Seconds()))
}

func entrypointError(id string, cause error) []byte {
	return errorJSON("Runtime.InvalidEntrypoint", fmt.Sprintf("RequestId: %s Error: %v", id, cause))
}

func sizeError(size, limit int64) []byte {
	return errorJSON("Function.ResponseSizeTooLarge",
		fmt.Sprintf("Response payload size (%d bytes) exceeded maximum allowed payload size (%d bytes).", size, limit))
}

// newUUID returns a random UUID, version 4 of RFC 9562.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	text := hex.EncodeToString(b[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// isUUID tells whether text has the form of a UUID in lower case.
func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i, c := range []byte(text) {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}
