// Command dc-watchdog runs one function inside its container: see package watchdog.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/watchdog"
)

const usage = `dc-watchdog runs a function and serves it over HTTP.

  dc-watchdog                    serve; everything is set by environment variables
  dc-watchdog install DIR        copy this program to DIR/dc-watchdog
  dc-watchdog spare              wait in a pod of the provider's warm pool, and run what that is assigned
  dc-watchdog -run-healthcheck   exit 0 if the watchdog of this container is healthy, else 1
  dc-watchdog -version           print the version

The variables are those of the OpenFaaS watchdogs. Those needed most:

  fprocess       the program and its arguments, split at every blank
  mode           fork (the default): a process for every request, stdin to stdout
                 streaming: the same with both bodies passed on as they come, however long
                 serializing: fork with the answers of the of-watchdog
                 http: one process that serves HTTP, to which requests are forwarded
                 lambda: a program made for AWS Lambda; lambda_concurrency processes of it,
                 lambda_reports=true for Lambda's lines START, END and REPORT in the log
                 static: no process; the files in static_path (default /home/app/public)
  upstream_url   mode http: where the process serves (default http://127.0.0.1:$PORT, PORT 8082)
  http_buffer_req_body
                 mode http: true to read a whole request before it is forwarded, with its length;
                 http_buffer_bytes is how long it may be (default 268435456, 256 MiB)
  exec_timeout   how long an invocation may run
  max_inflight   how many may run at once
  fork_body_bytes, fork_output_bytes
                 modes fork and serializing: how long a request and an answer may be (default 33554432, 32 MiB)
  port           where to listen (default 8080)
  DC_PREFORK     modes fork, serializing and streaming: how many processes are started ahead and wait for a request (default 0)
  DC_PARK        modes http and lambda: how long a process may idle before it is ended until the next request (default: for ever)
  metrics_port   where Prometheus finds metrics (default 8081; 0: nowhere)
`

// Set by the build.
var version, commit = "dev", "unknown"

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// exitNoClaim is the exit code of a pod of the warm pool that has nothing to run, and never will.
const exitNoClaim = 3

// run is main with its surroundings as parameters. It returns the exit code: 0 after an orderly end, 2 for a wrong command
// line, 3 for a pod of the warm pool that has nothing to run, 1 for everything else.
func run(args, environ []string, stdout, stderr io.Writer) int {
	// Before anything else, and whatever the command: a health check has the container's environment too, and runs beside the function.
	if err := keepPrivate(); err != nil {
		fmt.Fprintln(stderr, "dc-watchdog:", err)
		return 1
	}
	flags := flag.NewFlagSet("dc-watchdog", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	printVersion := flags.Bool("version", false, "")
	checkHealth := flags.Bool("run-healthcheck", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	var err error
	switch {
	case *printVersion:
		_, err = fmt.Fprintf(stdout, "dc-watchdog %s commit %s %s\n", version, commit, runtime.Version())
	case *checkHealth:
		err = healthcheck(environ)
	case flags.NArg() == 0:
		err = serve(environ, watchdog.MemoryLimitMB(cgroups), stdout, stderr)
	case flags.NArg() == 1 && flags.Arg(0) == assignment.Command:
		err = pooled(environ, stdout, stderr)
	case flags.NArg() == 2 && flags.Arg(0) == "install":
		err = install(flags.Arg(1), stdout)
	default:
		flags.Usage()
		return 2
	}
	if err != nil {
		fmt.Fprintln(stderr, "dc-watchdog:", err)
		if errors.Is(err, watchdog.ErrNoClaim) {
			return exitNoClaim
		}
		return 1
	}
	return 0
}

const cgroups = "/sys/fs/cgroup"

// pooled is a spare in the image of spares, and the function that was assigned in any other.
func pooled(environ []string, stdout, stderr io.Writer) error {
	cfg, err := watchdog.ParsePoolEnv(environ)
	if err != nil {
		return err
	}
	assigned, err := cfg.Assigned()
	switch {
	case err != nil:
		return err
	case cfg.OwnImage():
		return wait(cfg, assigned, stderr)
	case assigned == nil:
		return fmt.Errorf("%w: the container was started in another image than a spare's before anything was assigned", watchdog.ErrNoClaim)
	}
	if environ, err = cfg.Claim(assigned, environ); err != nil {
		return err
	}
	// Programs are looked for in PATH, and TMPDIR is where files go: both as the function's environment says.
	for name, value := range assigned.Env {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	memoryMB := watchdog.MemoryLimitMB(cgroups)
	if assigned.MemoryLimitBytes > 0 {
		memoryMB = int(assigned.MemoryLimitBytes >> 20) // the container has it a moment later
	}
	return serve(environ, memoryMB, stdout, stderr)
}

// wait is a spare until it is told to end, which it does at once: the kubelet tells it so to start the function in its place.
func wait(cfg watchdog.PoolConfig, assigned *assignment.Assignment, stderr io.Writer) error {
	spare, err := watchdog.NewSpare(cfg, assigned, newLog(stderr, false))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	defer stop()
	return spare.Run(ctx)
}

// serve runs the watchdog until SIGTERM, SIGINT or SIGQUIT. Other signals that a program may have a use for go to the function.
func serve(environ []string, memoryMB int, stdout, stderr io.Writer) error {
	cfg, err := watchdog.ParseEnv(environ)
	if err != nil {
		return err
	}
	cfg.Reap = adopts()
	cfg.Cgroup = watchdog.OwnCgroup()
	cfg.Lambda.MemoryMB = memoryMB
	out, errs := watchdog.NewSink(stdout), watchdog.NewSink(stderr)
	defer out.Close()
	defer errs.Close()
	w, err := watchdog.New(cfg, newLog(errs, cfg.Debug), out, errs)
	if err != nil {
		return err
	}
	// A log whose reader has gone must not end us, as it would without this; an ignored signal would be ignored by the function too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	defer stop()
	passed := make(chan os.Signal, 8)
	signal.Notify(passed, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		for sig := range passed {
			w.Signal(sig.(syscall.Signal))
		}
	}()
	defer func() { signal.Stop(passed); close(passed); <-forwarded }()
	return w.Run(ctx)
}

func newLog(to io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level}))
}

// adopts tells whether orphans become our children: as process 1 of a container, or as a subreaper.
func adopts() bool {
	return os.Getpid() == 1 || isSubreaper()
}

// healthcheck is for probes that run a program. The lock file tells; where there is none, the watchdog is asked.
func healthcheck(environ []string) error {
	cfg, err := watchdog.ParseEnv(environ)
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.LockFile); cfg.LockFile != "" && err == nil {
		return nil
	}
	client := http.Client{Timeout: time.Second}
	res, err := client.Get("http://127.0.0.1:" + strconv.Itoa(cfg.Port) + "/_/health")
	if err != nil {
		return errors.New("unable to find lock file")
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("unhealthy: status %d", res.StatusCode)
	}
	return nil
}

func install(dir string, stdout io.Writer) error {
	path, err := watchdog.Install(dir)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, path)
	return err
}
