package proxy

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"time"
)

// aheadBytes bounds what is read of a body before there is an endpoint. The server notices a caller's leaving only once
// the body was read, and most bodies are smaller than this.
const aheadBytes = 64 << 10

// sentBody is a request's body on its way to an endpoint, or to several until one is reached.
type sentBody struct {
	// source is nil if the request has no body.
	source io.ReadCloser
	// again gives the body anew, or is nil.
	again func() (io.ReadCloser, error)
	// length is the number of bytes to come, or negative.
	length int64
	// room tells whether there is memory for so many bytes.
	room func(bytes int64) bool
	// readDeadline bounds reads from source, or is nil if nothing is to be read ahead.
	readDeadline func(time.Time) error

	// memory is the whole body, if it was read ahead; abandoned is set if that went wrong halfway.
	memory    []byte
	abandoned bool

	// mu guards what the transport's goroutine sees of the body.
	mu      sync.Mutex
	touched bool
	err     error
}

func newSentBody(r *http.Request, room func(bytes int64) bool) *sentBody {
	b := &sentBody{again: r.GetBody, length: r.ContentLength, room: room}
	if r.Body != nil && r.Body != http.NoBody {
		b.source = r.Body
	}
	return b
}

// readAhead reads a small body of known length, once, by the deadline.
func (b *sentBody) readAhead(deadline time.Time) error {
	if b.readDeadline == nil || b.source == nil || b.memory != nil || b.length <= 0 || b.length > aheadBytes {
		return nil
	}
	if b.begun() || !b.room(b.length) {
		return nil
	}
	// An error means that the listener's own limits are all there are.
	_ = b.readDeadline(deadline)
	// The server takes a body for complete once its end was read, which is what ReadAll does.
	memory, err := io.ReadAll(io.LimitReader(b.source, aheadBytes+1))
	if err != nil {
		b.abandoned = true
		return err
	}
	_ = b.readDeadline(time.Time{})
	b.memory = memory
	return nil
}

// reader returns the body for one attempt. Closing it leaves the source open for the next.
func (b *sentBody) reader() io.ReadCloser {
	if b.memory != nil {
		return io.NopCloser(bytes.NewReader(b.memory))
	}
	return onceBody{b}
}

// rewind makes the body ready for another attempt and reports whether it can be.
func (b *sentBody) rewind() bool {
	if !b.begun() {
		return true
	}
	if b.again == nil {
		return false
	}
	source, err := b.again()
	if err != nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.source, b.touched = source, false
	return true
}

// begun reports whether some of the source was read for an attempt.
func (b *sentBody) begun() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.touched
}

// failure is why the source could not be read, or nil.
func (b *sentBody) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// onceBody reads a sentBody's source for one attempt.
type onceBody struct{ b *sentBody }

func (o onceBody) Read(p []byte) (int, error) {
	o.b.mu.Lock()
	o.b.touched = true
	o.b.mu.Unlock()
	n, err := o.b.source.Read(p)
	if err != nil && err != io.EOF {
		o.b.mu.Lock()
		o.b.err = err
		o.b.mu.Unlock()
	}
	return n, err
}

func (o onceBody) Close() error { return nil }

// endingBody is an answer's body whose closing ends the call.
type endingBody struct {
	io.ReadCloser
	once sync.Once
	trip *trip
}

// Read tells the call's deadline from its caller's leaving, which the transport does not.
func (b *endingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && b.trip.expired.Load() {
		err = timedOut(b.trip.call.f.Ref)
	}
	return n, err
}

func (b *endingBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(b.trip.end)
	return err
}
