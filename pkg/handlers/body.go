package handlers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// maxBodyBytes is below what Kubernetes takes for one object, which is where most of the body ends up.
	maxBodyBytes = 1 << 20
	// maxSecretBodyBytes has room for the 1 MiB that Kubernetes takes for a secret in the worst spelling: faas-cli sends a
	// file as base64 (4/3) and once more as text, in which a byte that is no text becomes an escape of six.
	maxSecretBodyBytes = 8 << 20
	// bodyTimeout ends requests that send their body a byte at a time.
	bodyTimeout = 30 * time.Second
)

// decode reads the body as one JSON object. Unknown members are ignored, as OpenFaaS clients of all ages need; all else
// that is not as it should be is an error that says where.
func decode[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	return decodeUpTo[T](w, r, maxBodyBytes)
}

// decodeUpTo is decode for a body of at most maxBytes.
func decodeUpTo[T any](w http.ResponseWriter, r *http.Request, maxBytes int64) (T, error) {
	var v T
	body, err := readBody(w, r, maxBytes, bodyTimeout)
	if err != nil {
		return v, err
	}
	return v, parseBody(body, &v)
}

// readBody reads the body whole. An error for too long a body is an *http.MaxBytesError.
func readBody(w http.ResponseWriter, r *http.Request, maxBytes int64, timeout time.Duration) ([]byte, error) {
	control := http.NewResponseController(w)
	// A writer that cannot set deadlines is a test's; the limit on the size holds without them.
	_ = control.SetReadDeadline(time.Now().Add(timeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBytes))
	if err == nil {
		// The server goes on reading the connection to notice that the caller left. After an error the deadline stays:
		// before it answers, the server reads on for the rest of the body.
		_ = control.SetReadDeadline(time.Time{})
	}
	var tooLarge *http.MaxBytesError
	if err != nil && !errors.As(err, &tooLarge) {
		return nil, function.Invalidf("the body did not arrive whole")
	}
	return body, err
}

// parseBody is decode without the request.
func parseBody(body []byte, v any) error {
	body = bytes.TrimSpace(body)
	switch {
	case len(body) == 0:
		return function.Invalidf("the body is empty: send a JSON object")
	case !utf8.Valid(body):
		// The decoder would put replacement characters in place of what was sent.
		return function.Invalidf("the body is not valid UTF-8")
	case body[0] != '{':
		return function.Invalidf("the body is not a JSON object")
	}
	if err := json.Unmarshal(body, v); err != nil {
		return explain(err)
	}
	return nil
}

// explain words an error of the JSON decoder for the one who wrote the JSON.
func explain(err error) error {
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	var encoding base64.CorruptInputError
	switch {
	case errors.As(err, &mismatch):
		return function.Invalidf("field %q: %s belongs here, not %s", mismatch.Field, kindName(mismatch.Type), article(mismatch.Value))
	case errors.As(err, &encoding):
		return function.Invalidf("a value that has to be base64 has another character at byte %d", int64(encoding))
	case errors.As(err, &syntax):
		return function.Invalidf("the body is not JSON: %v, at byte %d", syntax, syntax.Offset)
	default:
		return function.Invalidf("the body is not JSON: %v", err)
	}
}

// kindName says in JSON's words what a Go type is read from.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number from 0 up"
	default:
		return "a number"
	}
}

func article(kind string) string {
	if strings.HasPrefix(kind, "bool") {
		return "true or false"
	}
	if strings.HasPrefix(kind, "array") || strings.HasPrefix(kind, "object") {
		return "an " + kind
	}
	return "a " + kind
}

// answerJSON answers 200 with v, which must be of a kind that encoding/json never refuses.
func answerJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // a caller that is gone needs no answer
	return nil
}

// answered answers with a status and no body, if what was asked for was done.
func answered(w http.ResponseWriter, status int, err error) error {
	if err == nil {
		w.WriteHeader(status)
	}
	return err
}
