package kube

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// maxLogLine is where a line without an end is cut.
const maxLogLine = 1 << 20

// logOptions say which part of a replica's log is wanted.
type logOptions struct {
	tail   int
	since  *time.Time
	follow bool
}

// logStream is the log of one replica, read line by line.
type logStream struct {
	replica string
	body    io.ReadCloser
	reader  *bufio.Reader
	last    time.Time
	// cut means that the line read last goes on.
	cut  bool
	head *function.LogLine
}

// openLog opens the log of one replica.
func (c *Cluster) openLog(ctx context.Context, ref function.Ref, replica string, o logOptions) (*logStream, error) {
	options := &corev1.PodLogOptions{Container: ref.Name, Timestamps: true, Follow: o.follow}
	if p := c.pods.get(function.Ref{Name: replica, Namespace: ref.Namespace}); p != nil {
		options.Container = p.container()
	}
	if o.tail > 0 {
		tail := int64(o.tail)
		options.TailLines = &tail
	}
	if o.since != nil {
		since := metav1.NewTime(*o.since)
		options.SinceTime = &since
	}
	body, err := c.core.CoreV1().Pods(ref.Namespace).GetLogs(replica, options).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("log of replica %s: %w", replica, err)
	}
	return newLogStream(replica, body), nil
}

func newLogStream(replica string, body io.ReadCloser) *logStream {
	return &logStream{replica: replica, body: body, reader: bufio.NewReader(body)}
}

func (s *logStream) close() {
	// Closing a body that was read as far as it is wanted cannot fail in a way that matters.
	_ = s.body.Close()
}

// next reads a line. It reports false at the end, and when the connection breaks, which for a log is the same.
func (s *logStream) next() (function.LogLine, bool) {
	for {
		goesOn := s.cut
		text, ok := s.readLine()
		if !ok {
			return function.LogLine{}, false
		}
		line := function.LogLine{Instance: s.replica, Time: s.last, Text: text}
		if goesOn {
			return line, true
		}
		stamp, rest, _ := strings.Cut(text, " ")
		if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			line.Time, line.Text, s.last = at, rest, at
			return line, true
		}
		// Without a time it is not the function's word but the kubelet's own, such as that a container is no more.
	}
}

// readLine reads a line without its newline, or as much of it as fits.
func (s *logStream) readLine() (string, bool) {
	var line []byte
	s.cut = false
	for {
		part, err := s.reader.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return strings.TrimSuffix(string(line), "\n"), true
		case !errors.Is(err, bufio.ErrBufferFull):
			return string(line), len(line) > 0
		case len(line) >= maxLogLine:
			s.cut = true
			return string(line), true
		}
	}
}

// nextOf takes the earliest line from several streams.
func nextOf(streams []*logStream) (function.LogLine, bool) {
	var first *logStream
	for _, s := range streams {
		if s.head == nil {
			line, ok := s.next()
			if !ok {
				continue // it ended, and says so each time it is asked
			}
			s.head = &line
		}
		if first == nil || s.head.Time.Before(first.head.Time) {
			first = s
		}
	}
	if first == nil {
		return function.LogLine{}, false
	}
	line := *first.head
	first.head = nil
	return line, true
}

// followLog sends what a replica writes after a position, or since the time that was asked for, until its container ends,
// the connection breaks or ctx ends, and returns how far it came.
func (c *Cluster) followLog(ctx context.Context, query function.LogQuery, replica string, from position, lines chan<- function.LogLine) position {
	options := logOptions{follow: true, since: query.Since}
	if from.same > 0 {
		options.since = &from.at
	}
	s, err := c.openLog(ctx, query.Ref, replica, options)
	if err != nil {
		return from // it has gone, or will be asked again
	}
	defer s.close()
	start, seen := from, 0
	for line, ok := s.next(); ok; line, ok = s.next() {
		if start.same > 0 && !start.after(line.Time, &seen) || tooOld(query, line) {
			continue
		}
		select {
		case lines <- line:
			from.advance(line.Time)
		case <-ctx.Done():
			return from
		}
	}
	return from
}
