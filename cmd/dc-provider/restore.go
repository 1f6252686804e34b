package main

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
)

const restoreHelp = `dc-provider restore makes the heaps' file of a backup, which it reads from its standard input and takes only if it is whole.

  curl -fu USER:PASSWORD http://GATEWAY/heap-backup >heap.db
  dc-provider restore -store bolt:/var/lib/dc-provider/heap.db <heap.db

No provider may be running on the file. The one that was there is kept, with .replaced behind its name, and its log .wal with
.replaced.wal: if the provider was killed, the two go together.

Flags:
`

// restore is the program's other use.
func restore(args []string, getenv func(string) string, stdin io.Reader, stderr io.Writer) error {
	flags := flag.NewFlagSet("dc-provider restore", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), restoreHelp)
		flags.PrintDefaults()
	}
	store := flags.String("store", orDefault(getenv("DC_STORE"), defaultStore), "`store` to restore, which is bolt:FILE")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q: the backup is read from the standard input", flags.Arg(0))
	}
	to, err := parseStore(*store)
	if err != nil {
		return err
	}
	if to.boltFile == "" {
		return errors.New("restore a database with its own tools, such as pg_restore")
	}
	return bolt.Restore(stdin, to.boltFile)
}
