package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// deadline bounds the whole demo, first starts of all functions included.
const deadline = 2 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	examples := flag.String("examples", "examples", "directory of the examples")
	flag.Parse()
	if err := run(ctx, os.Stdout, *examples); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, examples string) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	gateway, err := url.Parse(os.Getenv("OPENFAAS_URL"))
	if err != nil || gateway.Host == "" {
		return fmt.Errorf("OPENFAAS_URL=%q is not the address of a provider", os.Getenv("OPENFAAS_URL"))
	}
	p := newPlatform(gateway, os.Getenv("OPENFAAS_USER"), os.Getenv("OPENFAAS_PASSWORD"))
	functions, err := readStack(filepath.Join(examples, "stack.yml"))
	if err != nil {
		return err
	}
	d := demo{platform: p, out: out}
	if err := d.deploy(ctx, functions); err != nil {
		return err
	}
	for _, act := range []func(context.Context) error{d.hello, d.shell, d.lambda, d.balance, d.cowsay} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}
