package lambda

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"
)

const (
	// DefaultTimeout is the limit of an invocation, as in Lambda's own emulator; the service's default of 3 s is for bills.
	DefaultTimeout    = 300 * time.Second
	defaultInitLimit  = 10 * time.Second
	defaultQueueDepth = 100
	// DefaultPayloadBytes is the service's limit of an event and of an answer: 6 MiB and 100 bytes.
	DefaultPayloadBytes = 6<<20 + 100
	defaultStreamBytes  = 200 << 20
	maxProcesses        = 1000
)

// Config is how the runtime processes of one function are run.
type Config struct {
	// Name is the function's name, as its code shall see it. Empty means "function".
	Name string
	// Handler is the handler that the code shall see. Empty means none.
	Handler string
	// Environ is the environment of the runtime processes, as "NAME=value", to which what Lambda sets is added.
	Environ []string
	// MemoryMB is the memory that the code shall believe to have, in MB: Node sizes its heap by it. 0 means 3008.
	MemoryMB int

	// Processes is how many runtime processes there are, each of which handles one invocation at a time. 0 means 1.
	Processes int
	// QueueDepth is how many invocations may wait for a process. 0 means 100; negative means none may wait.
	QueueDepth int
	// InitLimit is how long a process may take to ask for its first event. 0 means 10 s.
	InitLimit time.Duration
	// Reports gets the lines that Lambda writes about each invocation, START, END and REPORT. It must hold nobody up. nil means none.
	Reports io.Writer
	// MemoryUsed tells how much memory is used, for the reports. nil means that it is not known.
	MemoryUsed func() (bytes int64, known bool)
	// Timeout tells how long a request's invocation may take, from its coming; a process that has it is killed then. nil, or an
	// answer of 0, means 300 s.
	Timeout func(*http.Request) time.Duration
	// HTTPEvents makes the event of a request out of all of it, and its response out of the answer, as Lambda's function URLs do
	// (payload format 2.0). Otherwise its body is the event, and the answer is the response's. The Invoke API is the same with both.
	HTTPEvents bool
	// Park is how long the pool may have nothing to do before its processes are ended; the next invocation starts them again. 0 means
	// for ever.
	Park time.Duration
	// PayloadBytes is the most that an event, and an answer that is not streamed, may have. 0 means DefaultPayloadBytes.
	PayloadBytes int64
	// StreamBytes is the most that a streamed answer may have. 0 means 200 MiB.
	StreamBytes int64
}

// Process is a runtime process, with a process group of its own.
type Process interface {
	// Exited is closed when the process has exited.
	Exited() <-chan struct{}
	// Signal sends a signal to the whole group.
	Signal(syscall.Signal)
	// Drain returns when what the process has written so far was passed to the output that it was started with, or soon after.
	Drain()
	// End kills what is left of the group, waits for the process, and tells how it ended: "exit status 1", "signal: killed", or
	// nothing if its status was 0. It is called once, and frees what the process held.
	End() string
}

// Starter starts a runtime process with an environment. What the process writes to stdout and stderr is written to output too,
// which never fails and holds nobody up.
type Starter func(environ []string, output io.Writer) (Process, error)

// withDefaults is c with its zero values filled in, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.Processes < 0 || c.Processes > maxProcesses {
		return c, fmt.Errorf("%d runtime processes: give 1 to %d", c.Processes, maxProcesses)
	}
	if c.PayloadBytes < 0 || c.StreamBytes < 0 || c.InitLimit < 0 || c.MemoryMB < 0 || c.Park < 0 {
		return c, errors.New("a limit is negative")
	}
	c.Name = orDefault(c.Name, "function")
	c.MemoryMB = orDefault(c.MemoryMB, 3008)
	c.Processes = orDefault(c.Processes, 1)
	c.QueueDepth = max(orDefault(c.QueueDepth, defaultQueueDepth), 0)
	c.InitLimit = orDefault(c.InitLimit, defaultInitLimit)
	c.PayloadBytes = orDefault(c.PayloadBytes, DefaultPayloadBytes)
	c.StreamBytes = orDefault(c.StreamBytes, defaultStreamBytes)
	return c, nil
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// timeout is how long the invocation that r asks for may take.
func (c *Config) timeout(r *http.Request) time.Duration {
	if c.Timeout == nil {
		return DefaultTimeout
	}
	return orDefault(c.Timeout(r), DefaultTimeout)
}
