// Command dc-provider runs functions and smart contracts on Kubernetes behind the OpenFaaS API.
//
// This package reads flags, environment and mounted secrets, builds the parts, joins them and runs them until a signal or
// the first failure; it decides nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// version and commit are set when linking.
var (
	version = "dev"
	commit  = "unknown"
)

func main() {
	if err := run(os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "dc-provider:", err)
		os.Exit(1)
	}
}

// run is main with everything it touches as a parameter. It returns when all that it started has ended.
func run(args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "restore" {
		return restore(args[1:], getenv, stdin, stderr)
	}
	cfg, err := parseConfig(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case cfg.printVersion:
		_, err := fmt.Fprintln(stdout, version, commit)
		return err
	}
	secrets, err := cfg.readSecrets()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: cfg.logLevel}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// It is asked for by a flag of its own, so that no level silences it.
	accessLog := slog.New(slog.NewJSONHandler(stderr, nil))
	provider, err := build(cfg, secrets, log, accessLog)
	if err != nil {
		return err
	}
	log.Info("starting", "version", version, "commit", commit)
	return provider.run(ctx)
}
