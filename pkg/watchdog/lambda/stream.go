package lambda

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

const (
	// preludeType is the type of a streamed answer that begins with its status and headers, as JSON and then eight zero bytes.
	preludeType  = "application/vnd.awslambda.http-integration-response"
	preludeBytes = 1 << 20
	copyBytes    = 32 << 10
)

var preludeEnd = make([]byte, 8)

// streamError is how a streamed answer ended that did not end well: the function's error, as JSON.
type streamError struct{ body []byte }

func (e *streamError) Error() string { return "the function has ended its stream with an error" }

// serveResponse takes the answer to an invocation, as a whole or as it comes.
func (r *runtime) serveResponse(w http.ResponseWriter, req *http.Request) {
	inv, err := r.reply(req.PathValue("id"))
	if err != nil {
		refuseReply(w, err)
		return
	}
	streamed, err := isStreamed(req.Header)
	switch {
	case err != nil:
		r.brokeOff()
		refuse(w, http.StatusBadRequest, "InvalidFunctionResponseMode", err.Error())
	case streamed:
		r.relay(w, req, inv)
	default:
		r.collect(w, req, inv, answered)
	}
}

// isStreamed tells whether an answer is to be passed on as it comes. aws-lambda-go never says so in the header made for it: the
// types of the answers that its handlers write as streams have to do.
func isStreamed(h http.Header) (bool, error) {
	switch mode := strings.ToLower(h.Get(headerMode)); mode {
	case "streaming":
		return true, nil
	case "", "buffered":
	default:
		return false, fmt.Errorf("invalid response mode: %.80q", mode)
	}
	switch mediaType(h.Get("Content-Type")) {
	case preludeType, "application/octet-stream":
		return true, nil
	}
	return false, nil
}

func mediaType(contentType string) string {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	return t
}

// relay passes a response on as it comes. The process stands still while the caller does not read, until its deadline.
func (r *runtime) relay(w http.ResponseWriter, req *http.Request, inv *invocation) {
	from, to := io.Pipe()
	// The process's end frees us from a caller that does not read.
	defer context.AfterFunc(r.ctx, func() { to.CloseWithError(errTruncated) })()
	r.begin(inv, outcome{stream: from, contentType: req.Header.Get("Content-Type")})
	limit := r.pool.cfg.StreamBytes
	switch size, err := copyStream(to, req.Body, limit); {
	case err != nil:
		to.CloseWithError(errTruncated)
		r.brokeOff()
		refuse(w, http.StatusBadRequest, "TruncatedHTTPRequest", errTruncated.Error())
	case size > limit:
		inv.log.end("error")
		to.CloseWithError(&streamError{sizeError(size, limit)})
		r.answered(inv, nil)
		refuseSize(w, limit)
	default:
		// Whoever reads the stream may look at the log when it ends.
		if fault := trailerError(req.Trailer); fault != nil {
			inv.log.end("error")
			to.CloseWithError(&streamError{fault})
		}
		inv.log.end("")
		_ = to.Close() // a second one does nothing
		r.answered(inv, nil)
		accept(w)
	}
}

// begin hands the beginning of an answer to whoever waits.
func (r *runtime) begin(inv *invocation, o outcome) {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	r.pool.settleLocked(inv, o)
}

// copyStream copies until src ends or has given more than limit. A reader that goes away does not end it: the sender would not
// understand.
func copyStream(dst *io.PipeWriter, src io.Reader, limit int64) (size int64, err error) {
	buffer := make([]byte, copyBytes)
	gone := false
	for size <= limit {
		n, err := src.Read(buffer)
		size += int64(n)
		if n > 0 && !gone && size <= limit {
			_, writeErr := dst.Write(buffer[:n])
			gone = writeErr != nil
		}
		if err == io.EOF {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
	return size, nil
}

// trailerError is the error that follows an answer, or nil. It may be read when the body was read to its end.
func trailerError(trailer http.Header) []byte {
	errorType, body := trailer.Get(headerErrorType), trailer.Get(headerErrorBody)
	if errorType == "" && body == "" {
		return nil
	}
	if text, err := base64.StdEncoding.DecodeString(body); err == nil && json.Valid(text) {
		return text
	}
	return errorJSON(errorType, "")
}

// prelude is the head of an answer as the function has made it.
type prelude struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Cookies    []string          `json:"cookies"`
}

// readPrelude reads the head of a streamed answer, and returns what follows it.
func readPrelude(stream io.Reader) (prelude, io.Reader, error) {
	var head []byte
	buffer := make([]byte, 4<<10)
	for {
		n, err := stream.Read(buffer)
		from := max(len(head)-len(preludeEnd), 0)
		head = append(head, buffer[:n]...)
		if at := bytes.Index(head[from:], preludeEnd); at >= 0 {
			p, err := parsePrelude(head[:from+at])
			return p, io.MultiReader(bytes.NewReader(head[from+at+len(preludeEnd):]), stream), err
		}
		if err == io.EOF {
			return prelude{}, nil, errors.New("the answer has no end of its head")
		}
		if err != nil {
			return prelude{}, nil, err
		}
		if len(head) > preludeBytes {
			return prelude{}, nil, fmt.Errorf("the answer's head is above %d bytes", preludeBytes)
		}
	}
}

func parsePrelude(text []byte) (prelude, error) {
	var p prelude
	if err := json.Unmarshal(text, &p); err != nil {
		return p, fmt.Errorf("the answer's head is not JSON: %w", err)
	}
	if p.StatusCode == 0 {
		p.StatusCode = http.StatusOK
	}
	if p.StatusCode < 200 || p.StatusCode > 999 {
		return p, fmt.Errorf("the answer's status is %d", p.StatusCode)
	}
	return p, nil
}
