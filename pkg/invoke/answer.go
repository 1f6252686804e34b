package invoke

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// answer is what a contract answered, read to its end.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	trailer http.Header
	// bodiless answers cannot have a body, whatever the contract meant to say.
	bodiless bool
	// viewWrites and conditions are what the contract has left in its View in the course of the call.
	viewWrites []function.HeapWrite
	conditions []function.HeapCondition
	// writer is the call id that is kept with what the call writes, whoever chose it.
	writer string
}

// succeeded reports whether the contract says that it did its work: what it has written counts then.
func (a answer) succeeded() bool { return a.status >= 200 && a.status <= 299 }

// readAnswer reads an answer of at most limit bytes to its end.
func readAnswer(response *http.Response, head bool, limit int64) (answer, error) {
	if response.ContentLength > limit && !head {
		return answer{}, tooLarge(limit)
	}
	body, err := readAll(response.Body, response.ContentLength, limit)
	if err != nil {
		return answer{}, err
	}
	return answer{
		status:   response.StatusCode,
		header:   response.Header,
		body:     body,
		trailer:  response.Trailer,
		bodiless: head || response.StatusCode == http.StatusNoContent || response.StatusCode == http.StatusResetContent,
	}, nil
}

// readAll reads at most limit bytes; size is how many there will be, or negative.
func readAll(from io.Reader, size, limit int64) ([]byte, error) {
	var body bytes.Buffer
	if size > 0 && size <= limit {
		// One more than the body, since the end is found by a read that gets nothing.
		body.Grow(int(size) + bytes.MinRead)
	}
	n, err := body.ReadFrom(io.LimitReader(from, limit+1))
	if n > limit {
		return nil, tooLarge(limit)
	}
	return body.Bytes(), err
}

func tooLarge(limit int64) error {
	return fmt.Errorf("%w: at most %d bytes are allowed", ErrAnswerTooLarge, limit)
}

// writes returns what the answer puts in the heap. limit bounds the decoded body. An error wraps ErrUnstorable or
// ErrAnswerTooLarge.
func (a answer) writes(limit int64) ([]function.HeapWrite, error) {
	if !a.succeeded() || a.bodiless {
		return nil, nil
	}
	text, err := a.text(limit)
	if err != nil {
		return nil, err
	}
	return parseAnswer(text)
}

// text undoes the answer's Content-Encoding.
func (a answer) text(limit int64) ([]byte, error) {
	switch coding := strings.ToLower(strings.Join(a.header.Values("Content-Encoding"), ", ")); coding {
	case "", "identity":
		return a.body, nil
	case "gzip":
		text, err := gunzip(a.body, limit)
		if err != nil && !errors.Is(err, ErrAnswerTooLarge) {
			err = fmt.Errorf("%w: its gzip encoding is damaged: %w", ErrUnstorable, err)
		}
		return text, err
	default:
		return nil, fmt.Errorf("%w: its Content-Encoding is %.40q", ErrUnstorable, coding)
	}
}

func gunzip(body []byte, limit int64) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return readAll(reader, -1, limit)
}

// write gives the answer to the caller. A caller that has gone gets nothing, which changes nothing: the commit stands.
func (a answer) write(w http.ResponseWriter) error {
	header := w.Header()
	maps.Copy(header, a.header)
	if _, given := a.header["Content-Type"]; !given {
		// Otherwise the server would guess one, which a function that sent none did not say.
		header["Content-Type"] = nil
	}
	switch {
	case a.bodiless || a.status == http.StatusNotModified:
		// A length, if there is one, is the function's: that of the body a GET would have.
	case len(a.trailer) > 0:
		// Only a chunked body has trailers, and one with a length is not chunked.
		header.Del("Content-Length")
		for name := range a.trailer {
			header.Add("Trailer", name)
		}
	default:
		header.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if a.bodiless {
		return nil
	}
	_, err := w.Write(a.body)
	maps.Copy(header, a.trailer)
	return err
}
