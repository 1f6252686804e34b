package watchdog

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dragonchain/dc-provider/pkg/watchdog/lambda"
)

// lambdaMode runs processes that ask for their work: package lambda says how, this is what starts them.
type lambdaMode struct {
	cfg     *Config
	procs   *processes
	stdout  *lineLog
	stderr  *lineLog
	pool    *lambda.Pool
	program program // set by start
}

func newLambdaMode(cfg *Config, procs *processes, log *slog.Logger, stdout, stderr *Sink) (*lambdaMode, error) {
	m := &lambdaMode{
		cfg:    cfg,
		procs:  procs,
		stdout: newLineLog(stdout, "stdout", cfg.PrefixLogs, cfg.LineBytes),
		stderr: newLineLog(stderr, "stderr", cfg.PrefixLogs, cfg.LineBytes),
	}
	c := cfg.Lambda
	c.Environ = cfg.Environ
	c.Handler = cfg.Command[len(cfg.Command)-1]
	c.Park = cfg.Park
	c.Timeout = limitOfLambda(cfg)
	if cfg.LambdaReports {
		c.Reports = stdout
	}
	c.MemoryUsed = cfg.Cgroup.workingSet
	var err error
	m.pool, err = lambda.New(c, m.startProcess, log)
	return m, err
}

// limitOfLambda tells how long an invocation may run: exec_timeout, else what Lambda's emulator takes its limit from, else what that
// takes without. There is always a limit that no caller can lift.
func limitOfLambda(cfg *Config) func(*http.Request) time.Duration {
	limit := lambda.DefaultTimeout
	switch {
	case cfg.ExecTimeout > 0:
		limit = cfg.ExecTimeout
	case cfg.LambdaTimeout > 0:
		limit = cfg.LambdaTimeout
	}
	limit = lesser(limit, cfg.WriteTimeout)
	return func(r *http.Request) time.Duration { return lesser(limit, askedLimit(r)) }
}

func (m *lambdaMode) start() (err error) {
	m.program, err = findProgram(m.cfg.Command)
	return err
}

// serve never fails: a process that ends is started again.
func (m *lambdaMode) serve(ctx context.Context) error {
	m.pool.Run(ctx)
	return nil
}

func (m *lambdaMode) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.pool.ServeHTTP(w, r) }

func (m *lambdaMode) serving() (bool, <-chan struct{}) { return m.pool.Serving() }

func (m *lambdaMode) check(context.Context) bool {
	able, _ := m.pool.Serving()
	return able
}

// runtimeProcess is a process of a lambda.Pool, and the pipes of its log.
type runtimeProcess struct {
	*process
	pipes   []*teePipe
	readers sync.WaitGroup
}

func (m *lambdaMode) startProcess(environ []string, output io.Writer) (lambda.Process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	p := &runtimeProcess{}
	childs := []int{int(null.Fd())}
	for range 2 {
		ours, fd, err := outPipe()
		if err != nil {
			p.closePipes()
			return nil, err
		}
		defer closeFD(fd)
		p.pipes, childs = append(p.pipes, newTeePipe(ours, output)), append(childs, fd)
	}
	if p.process, err = m.procs.start(m.program, environ, childs[0], childs[1], childs[2]); err != nil {
		p.closePipes()
		return nil, err
	}
	p.readers.Go(func() { m.stdout.copy(p.pipes[0]) })
	p.readers.Go(func() { m.stderr.copy(p.pipes[1]) })
	return p, nil
}

// Exited is closed when the process has exited.
func (p *runtimeProcess) Exited() <-chan struct{} { return p.exited() }

// Signal sends a signal to the process group.
func (p *runtimeProcess) Signal(sig syscall.Signal) { p.signal(sig) }

// End kills the session and logs what it wrote last.
func (p *runtimeProcess) End() string {
	status := p.end()
	p.closePipes()
	return exitText(status)
}

// drainPatience is how long Drain waits for a process, or one that it has started, which writes on and on.
const drainPatience = 50 * time.Millisecond

// Drain returns when what the process has written so far was copied to its output.
func (p *runtimeProcess) Drain() {
	by := time.Now().Add(drainPatience)
	for _, pipe := range p.pipes {
		// The reader is about to run: there is nothing that could tell of it.
		for !pipe.drained() && time.Now().Before(by) {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

// closePipes waits for the rest of the log. Only what escaped into a session of its own can still hold a pipe open.
func (p *runtimeProcess) closePipes() {
	for _, pipe := range p.pipes {
		giveUpAfter(pipe.file, stderrPatience)
	}
	p.readers.Wait()
	for _, pipe := range p.pipes {
		_ = pipe.file.Close() // read to its end
	}
}

// lambda reads the settings of LambdaMode.
func (v *vars) lambda() lambda.Config {
	depth := v.number("lambda_queue", 0)
	if v.set["lambda_queue"] == "0" {
		depth = -1
	}
	name, _, _ := strings.Cut(v.set["DC_FUNCTION"], ".")
	return lambda.Config{
		Name:         v.text("AWS_LAMBDA_FUNCTION_NAME", v.text("OPENFAAS_NAME", name)),
		Processes:    v.number("lambda_concurrency", 0),
		QueueDepth:   depth,
		InitLimit:    v.duration("lambda_init_timeout", 0),
		PayloadBytes: int64(v.number("lambda_payload_bytes", 0)),
		HTTPEvents:   v.httpEvents(),
	}
}

// httpEvents reads what the event of a request is: its body, or all of it as Lambda's function URLs put it.
func (v *vars) httpEvents() bool {
	switch text := v.set["lambda_event"]; text {
	case "", "body":
		return false
	case "function-url":
		return true
	default:
		v.refuse("lambda_event", text, "body or function-url")
		return false
	}
}

// MemoryLimitMB is the memory that this container may use, in MB, by what its control group says under root, such as /sys/fs/cgroup.
// 0 means that there is no limit, or that it cannot be seen.
func MemoryLimitMB(root string) int {
	for _, file := range []string{"/memory.max", "/memory/memory.limit_in_bytes"} { // version 2, version 1
		text, err := os.ReadFile(root + file)
		if err != nil {
			continue
		}
		// Version 2 says "max" where there is no limit, version 1 a number that no machine has.
		bytes, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && bytes < 1<<50 {
			return int(bytes >> 20)
		}
	}
	return 0
}
