package watchdog

import (
	"bufio"
	"io"
	"sync"
	"time"
)

// lineLog copies a stream of the function into a log, line by line, so that lines of several processes do not mix. A line
// longer than its buffer is split; a last one without an end gets one. It reads until the stream ends, whatever the log does,
// for a process that writes into a full pipe stands still.
type lineLog struct {
	to     *Sink
	prefix string // the stream's name, if lines shall start with the time and it
	pool   sync.Pool
}

func newLineLog(to *Sink, stream string, prefixed bool, lineBytes int) *lineLog {
	l := &lineLog{to: to}
	if prefixed {
		l.prefix = " " + stream + ": "
	}
	// Pooled, for in fork mode every invocation has a stream: 64 KiB each, were they made anew.
	l.pool.New = func() any { return bufio.NewReaderSize(nil, lineBytes) }
	return l
}

// copy returns when r is at its end or broken.
func (l *lineLog) copy(r io.Reader) {
	lines := l.pool.Get().(*bufio.Reader)
	lines.Reset(r)
	defer func() {
		lines.Reset(nil)
		l.pool.Put(lines)
	}()
	for {
		line, err := lines.ReadSlice('\n') // a full buffer comes with ErrBufferFull
		if len(line) > 0 {
			l.write(line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (l *lineLog) write(line []byte) {
	whole := line[len(line)-1] == '\n'
	if l.prefix == "" && whole {
		_, _ = l.to.Write(line) // a sink never fails
		return
	}
	var out []byte
	if l.prefix != "" {
		out = time.Now().AppendFormat(out, "2006/01/02 15:04:05")
		out = append(out, l.prefix...)
	}
	out = append(out, line...)
	if !whole {
		out = append(out, '\n')
	}
	_, _ = l.to.Write(out) // a sink never fails
}
