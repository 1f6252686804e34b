package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	runs := flags.Int("n", 10, "`runs` of each kind of function")
	out := flags.String("out", ".dev/bench", "`folder` for the raw results")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *runs < 1 || flags.NArg() > 0 {
		return fmt.Errorf("want at least one run and no arguments")
	}
	target, err := connect()
	if err != nil {
		return err
	}
	results := results{Started: time.Now().UTC().Truncate(time.Second), Load: loadModel, Runs: *runs}
	if results.Setting, err = target.setting(ctx); err != nil {
		return err
	}
	if err := results.Setting.print(os.Stdout); err != nil {
		return err
	}
	for _, kind := range kinds {
		for i := range *runs {
			measured, err := target.life(ctx, kind, fmt.Sprintf("bench-%s-%d", kind.name, i))
			if err != nil {
				return fmt.Errorf("%s, run %d: %w", kind.name, i+1, err)
			}
			for _, m := range measured {
				fmt.Println(m)
			}
			results.Measured = append(results.Measured, measured...)
		}
	}
	path, err := results.save(*out)
	if err != nil {
		return err
	}
	return results.table(os.Stderr, path)
}
