package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dragonchain/dc-provider/dev/images/debian"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	repository := flags.String("C", ".", "root of the source tree")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "usage: images [-C dir] [name...]\n\nBuilds all images, or the named ones, into .dev/images:\n")
		for _, r := range recipes() {
			fmt.Fprintf(flags.Output(), "  %-16s %s\n", shortName(r.name), r.name)
		}
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := choose(recipes(), flags.Args())
	if err != nil {
		return err
	}
	b, err := newBuilder(*repository)
	if err != nil {
		return err
	}
	for _, r := range wanted {
		res, err := b.build(ctx, r)
		if err != nil {
			return err
		}
		report(res)
	}
	return nil
}

// choose returns the recipes with these short or full names; all of them if there are no names.
func choose(all []recipe, names []string) ([]recipe, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []recipe
	var known []string
	for _, r := range all {
		known = append(known, shortName(r.name))
	}
next:
	for _, name := range names {
		for _, r := range all {
			if name == r.name || name == shortName(r.name) {
				chosen = append(chosen, r)
				continue next
			}
		}
		return nil, fmt.Errorf("no image %q; there are %s", name, strings.Join(known, ", "))
	}
	return chosen, nil
}

func newBuilder(repository string) (builder, error) {
	program, err := os.Executable()
	if err != nil {
		return builder{}, err
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return builder{}, err
	}
	sum := sha256.Sum256(data)
	return builder{
		repository: repository,
		out:        filepath.Join(repository, ".dev", "images"),
		packages:   debian.NewCache(filepath.Join(repository, ".dev", "cache", "debian")),
		program:    hex.EncodeToString(sum[:]),
	}, nil
}

func report(res result) {
	state := "built"
	if res.unchanged {
		state = "unchanged"
	}
	fmt.Printf("%-32s %7.1f MB  %s  %s\n", res.Name, float64(res.Bytes)/1e6, res.Digest, state)
}
