package bolt_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
)

// A power cut loses what was written and not synced, in any order and by halves. No kill shows that: the kernel keeps what a dead
// process has written. bbolt takes no file but the system's, and maps it, so that nothing can be put between the two; but all that it
// does to the file are system calls. So a real store is recorded with strace, which is everywhere that processes are, where device
// mapper, FUSE and the right to mount are not; and from the record every pair of files is made, the store's and its log's, that a cut at some moment could have left.
const (
	powerFolder = "BOLT_POWER_FOLDER"
	powerImage  = "BOLT_POWER_IMAGE"
	// powerCuts is how many moments are tried; powerCutsVariable says otherwise. See the Makefile's test-soak.
	powerCuts         = 300
	powerCutsVariable = "BOLT_POWER_CUTS"
	powerCommits      = 40
	powerWriters      = 3
	sectorBytes       = 512
)

// The files that are recorded, by what their names have behind the store's.
var powerFiles = [...]string{"", ".wal"}

const deafToNone = -1

// deed is what was done to a file, or said by its owner.
type deed struct {
	// file is an index of powerFiles.
	file int
	// data was written at offset.
	data   []byte
	offset int64
	// length is what the file was made to have, -1 if it was not.
	length int64
	// sync ends all uncertainty of the deeds to its file before the one with the number covers.
	sync   bool
	covers int
	// said is what was acknowledged.
	said string
}

func TestPowerLoss(t *testing.T) {
	if folder := os.Getenv(powerFolder); folder != "" {
		if err := runPowerVictim(t.Context(), folder); err != nil {
			t.Fatal(err)
		}
		return
	}
	if path := os.Getenv(powerImage); path != "" {
		said, err := os.ReadFile(path + ".said")
		if err := errors.Join(err, checkImage(t.Context(), path, strings.Split(string(said), "\n"))); err != nil {
			t.Fatal(err)
		}
		return
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatalf("%v: `make test-packages` as root, or Debian's package strace, brings it", err)
	}
	cuts := powerCuts
	if text := os.Getenv(powerCutsVariable); text != "" {
		var err error
		if cuts, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	deeds := record(t)
	first := slices.IndexFunc(deeds, func(d deed) bool { return d.said != "" })
	if first < 0 {
		t.Fatalf("nothing was acknowledged in %d deeds", len(deeds))
	}
	folder := t.TempDir()
	for n := range cuts {
		// Every moment once before any a second time.
		at := first + 1 + n%(len(deeds)-first)
		seed := rand.Uint64()
		if err := checkCut(t.Context(), folder, deeds[:at], deafToNone, seed); err != nil {
			t.Errorf("cut behind deed %d of %d, seed %d: %v", at, len(deeds), seed, err)
		}
	}
	// The same by a disk that syncs nothing of one of the files: what this test could not find, it would not find above either. bbolt may
	// end the process when it finds such a file.
	for deaf, suffix := range powerFiles {
		var found error
		for n := 0; n < 40 && found == nil; n++ {
			found = checkCut(t.Context(), folder, deeds[:first+1+rand.IntN(len(deeds)-first)], deaf, rand.Uint64())
		}
		if found == nil {
			t.Errorf("nothing is lost if nothing is synced of heap.db%s: the test can see nothing", suffix)
		}
		t.Logf("without the syncs of heap.db%s: %v", suffix, found)
	}
	t.Logf("%d cuts of %d deeds", cuts, len(deeds))
}

// record runs a victim under strace to its end and returns what it did.
func record(t *testing.T) []deed {
	t.Helper()
	folder := t.TempDir()
	log := filepath.Join(folder, "log")
	victim := exec.CommandContext(t.Context(), "strace", "-f", "-qq", "-y", "-xx", "-s", "100000000", "-o", log,
		"-e", "trace=write,pwrite64,pwritev,fsync,fdatasync,ftruncate,fallocate,msync,sync_file_range", os.Args[0], "-test.run=^TestPowerLoss$")
	victim.Env = append(os.Environ(), powerFolder+"="+folder)
	if out, err := victim.CombinedOutput(); err != nil {
		t.Fatalf("record: %v: %.2000s", err, out)
	}
	file, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var deeds []deed
	type start struct {
		call string
		at   int
	}
	begun := map[string]start{} // by thread, what was logged before another's call
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadString('\n')
		if line == "" && err != nil {
			return deeds
		}
		thread, call, _ := strings.Cut(strings.TrimSpace(line), " ")
		call = strings.TrimSpace(call)
		if call, unfinished := strings.CutSuffix(call, " <unfinished ...>"); unfinished {
			begun[thread] = start{call, len(deeds)}
			continue
		}
		covers := len(deeds)
		if strings.HasPrefix(call, "<... ") {
			_, end, _ := strings.Cut(call, " resumed>")
			call, covers = begun[thread].call+end, begun[thread].at
		}
		if d, is := parseDeed(t, call); is {
			d.covers = covers
			deeds = append(deeds, d)
		}
	}
}

// parseDeed reads a system call that has ended, such as pwrite64(7<PATH>, "DATA", 4096, 0) = 4096.
func parseDeed(t *testing.T, call string) (d deed, is bool) {
	t.Helper()
	name, rest, _ := strings.Cut(call, "(")
	_, rest, found := strings.Cut(rest, "<")
	if !found {
		return d, false
	}
	path, rest, _ := strings.Cut(rest, ">")
	end := strings.LastIndex(rest, ")") // padded behind it
	if end < 0 {
		return d, false
	}
	arguments, result := strings.TrimSpace(strings.TrimPrefix(rest[:end], ",")), strings.TrimLeft(rest[end+1:], " =")
	base := filepath.Base(unhex(t, path))
	d.file = slices.IndexFunc(powerFiles[:], func(suffix string) bool { return base == "heap.db"+suffix })
	isSaid := base == "said"
	if d.file < 0 && !isSaid || strings.HasPrefix(result, "-1") {
		return d, false
	}
	d.length = -1
	switch {
	case isSaid && name == "write":
		text, _, _ := strings.Cut(strings.TrimPrefix(arguments, `"`), `"`)
		d.said = strings.TrimSpace(unhex(t, text))
	case isSaid:
		return d, false
	case name == "pwrite64":
		text, rest, _ := strings.Cut(strings.TrimPrefix(arguments, `"`), `"`)
		d.data = []byte(unhex(t, text))
		if _, err := fmt.Sscanf(strings.TrimSpace(rest), ", %d, %d", new(int), &d.offset); err != nil || result != strconv.Itoa(len(d.data)) {
			t.Fatalf("%s with %d bytes: %s = %s, %v", name, len(d.data), rest, result, err)
		}
	case name == "ftruncate":
		if _, err := fmt.Sscan(arguments, &d.length); err != nil {
			t.Fatalf("%s: %v", call, err)
		}
	case name == "fsync", name == "fdatasync":
		d.sync = true
	default:
		t.Fatalf("the store does something that the test does not know: %.200s", call)
	}
	return d, true
}

// unhex reads strace's \x61\x62.
func unhex(t *testing.T, text string) string {
	t.Helper()
	if !strings.HasPrefix(text, `\x`) {
		return text // a socket, a pipe
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if err != nil {
		t.Fatalf("%.100q: %v", text, err)
	}
	return string(raw)
}

// checkCut makes files that the deeds may have left, of which those behind the last sync took place or did not, or by halves, and
// looks for what was acknowledged. deaf is the file of which a sync means nothing; what is left is looked at by a process of its own then.
func checkCut(ctx context.Context, folder string, deeds []deed, deaf int, seed uint64) (err error) {
	path := filepath.Join(folder, strconv.FormatUint(seed, 10))
	files, said := image(deeds, deaf, rand.New(rand.NewPCG(seed, seed)))
	for n, suffix := range powerFiles {
		if err := os.WriteFile(path+suffix, files[n], 0o600); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(path+suffix)) }()
	}
	if deaf == deafToNone {
		return checkImage(ctx, path, said)
	}
	if err := os.WriteFile(path+".said", []byte(strings.Join(said, "\n")), 0o600); err != nil {
		return err
	}
	check := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestPowerLoss$")
	check.Env = append(os.Environ(), powerImage+"="+path)
	if out, err := check.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %.300s", err, out)
	}
	return nil
}

func checkImage(ctx context.Context, path string, said []string) (err error) {
	// A file that is too short for what it says is read beyond its end.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if damage := recover(); damage != nil {
			err = fmt.Errorf("panic: %v", damage)
		}
	}()
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		return err
	}
	if err := errors.Join(checkSaid(ctx, s, said), s.Close()); err != nil {
		return err
	}
	return checkFile(path)
}

// image returns files that the deeds may have left, and what was acknowledged.
func image(deeds []deed, deaf int, chance *rand.Rand) (files [len(powerFiles)][]byte, said []string) {
	var synced [len(powerFiles)]int
	for _, d := range deeds {
		if d.sync && d.file != deaf {
			synced[d.file] = max(synced[d.file], d.covers)
		}
	}
	// Some cuts lose next to nothing, some next to everything.
	share := []float64{0, 0.1, 0.5, 0.9, 1}[chance.IntN(5)]
	for i, d := range deeds {
		if d.said != "" {
			said = append(said, d.said)
			continue
		}
		file, kept := &files[d.file], i < synced[d.file]
		survives := kept || chance.Float64() < share
		switch {
		case d.length >= 0 && survives:
			*file = resize(*file, d.length)
		case d.data != nil:
			for at := 0; at < len(d.data); at += sectorBytes {
				// A write that was under way survives by sectors.
				if survives && (kept || chance.IntN(20) > 0) || !survives && chance.IntN(20) == 0 {
					part := d.data[at:min(at+sectorBytes, len(d.data))]
					*file = resize(*file, max(int64(len(*file)), d.offset+int64(at+len(part))))
					copy((*file)[d.offset+int64(at):], part)
				}
			}
		}
	}
	return files, said
}

func resize(file []byte, length int64) []byte {
	if length <= int64(len(file)) {
		return file[:length]
	}
	return append(file, make([]byte, length-int64(len(file)))...)
}

// checkSaid looks for what was acknowledged: "commit WRITER N", "queued N" and "done N".
func checkSaid(ctx context.Context, s *bolt.Store, said []string) error {
	commits, queued, done := make([]int, powerWriters), 0, 0
	for _, line := range said {
		var writer, n int
		if _, err := fmt.Sscanf(line, "commit %d %d", &writer, &n); err == nil {
			commits[writer] = n
		} else if _, err := fmt.Sscanf(line, "queued %d", &n); err == nil {
			queued = n
		} else if _, err := fmt.Sscanf(line, "done %d", &n); err == nil {
			done = n
		} else {
			return fmt.Errorf("the victim said %q", line)
		}
	}
	var errs []error
	for writer, want := range commits {
		errs = append(errs, checkWriter(ctx, s, writer, want))
	}
	depths, err := s.Depths(ctx)
	errs = append(errs, err)
	waiting, worked := depths[testHeap()].Waiting, 0
	for n := 1; ; n++ {
		_, err := s.Get(ctx, testHeap(), fmt.Sprint("done-", n))
		if errors.Is(err, heapstore.ErrNoKey) {
			break
		}
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		worked = n
	}
	if worked != done && worked != done+1 {
		errs = append(errs, fmt.Errorf("%d items are done, acknowledged were %d", worked, done))
	}
	if all := worked + waiting; all != queued && all != queued+1 {
		errs = append(errs, fmt.Errorf("%d items are done and %d wait, acknowledged were %d", worked, waiting, queued))
	}
	return errors.Join(errs...)
}

// checkWriter wants the last commit of a writer that was acknowledged, or the one behind it, whole.
func checkWriter(ctx context.Context, s *bolt.Store, writer, want int) error {
	var commits []string
	for key := range 3 {
		entry, err := s.Get(ctx, testHeap(), fmt.Sprint(writer, "-", key))
		if err != nil && !errors.Is(err, heapstore.ErrNoKey) {
			return err
		}
		number, _, _ := strings.Cut(string(entry.Value), " ")
		commits = append(commits, number)
	}
	if len(slices.Compact(slices.Clone(commits))) > 1 {
		return fmt.Errorf("writer %d: torn commit: %q", writer, commits)
	}
	got, _ := strconv.Atoi(commits[0]) // none is 0
	if got != want && got != want+1 {
		return fmt.Errorf("writer %d is at %d, acknowledged was %d", writer, got, want)
	}
	for n := max(got, 1); n <= got+1; n++ {
		if _, recorded, err := s.Recorded(ctx, testHeap(), fmt.Sprint(writer, "/", n)); err != nil || recorded != (n <= got) {
			return fmt.Errorf("writer %d is at %d, and call %d is recorded: %t, %v", writer, got, n, recorded, err)
		}
	}
	return nil
}

// runPowerVictim commits, queues and works, and says of everything when it is done. Halfway it leaves the store as if it had died, and
// opens it again; later it closes it and does. Its log and its map are small, so that there are checkpoints, and little may be pending, so that
// bbolt commits between them.
func runPowerVictim(ctx context.Context, folder string) error {
	bolt.Limit(48<<10, 1<<18)
	bolt.LimitPending(60, 5*time.Millisecond)
	said, err := os.Create(filepath.Join(folder, "said"))
	if err != nil {
		return err
	}
	for _, part := range []struct {
		from, to int
		end      func(*bolt.Store) error
	}{{1, powerCommits / 2, bolt.Abandon}, {powerCommits/2 + 1, powerCommits - 5, (*bolt.Store).Close}, {powerCommits - 4, powerCommits, (*bolt.Store).Close}} {
		s, err := bolt.Open(filepath.Join(folder, "heap.db"), bolt.Options{})
		if err != nil {
			return err
		}
		if err := s.Create(ctx, testHeap()); err != nil {
			return err
		}
		ended := make(chan error)
		for writer := range powerWriters {
			go func() { ended <- powerCommit(ctx, s, said, writer, part.from, part.to) }()
		}
		go func() { ended <- powerQueue(ctx, s, said, part.from, part.to) }()
		go func() { ended <- powerWork(ctx, s, said, part.from, part.to) }()
		for range powerWriters + 2 {
			err = errors.Join(err, <-ended)
		}
		if err := errors.Join(err, part.end(s)); err != nil {
			return err
		}
	}
	return said.Close()
}

func powerCommit(ctx context.Context, s *bolt.Store, said *os.File, writer, from, to int) error {
	for n := from; n <= to; n++ {
		var w []heapstore.Write
		for key := range 3 {
			// The values vary in length, so that pages split and are given back.
			value := fmt.Sprintf("%d %s", n, strings.Repeat("x", n*137%3000))
			w = append(w, heapstore.Write{Key: fmt.Sprint(writer, "-", key), Value: []byte(value)})
		}
		if err := s.Commit(ctx, testHeap(), heapstore.Commit{Writes: w, CallID: fmt.Sprint(writer, "/", n)}); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(said, "commit %d %d\n", writer, n); err != nil {
			return err
		}
	}
	return nil
}

func powerQueue(ctx context.Context, s *bolt.Store, said *os.File, from, to int) error {
	for n := from; n <= to; n++ {
		item := heapstore.Item{Function: testHeap(), CallID: fmt.Sprint("item/", n), Serial: true, Due: time.Now(), Payload: []byte(strings.Repeat("p", n*37%2000))}
		if err := s.Enqueue(ctx, item, heapstore.QueueBounds{}); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(said, "queued %d\n", n); err != nil {
			return err
		}
	}
	return nil
}

func powerWork(ctx context.Context, s *bolt.Store, said *os.File, from, to int) error {
	for done := from - 1; done < to; {
		leased, err := s.Lease(ctx, function.ItemInvocation, 1, nil)
		if err != nil {
			return err
		}
		if len(leased) == 0 {
			select {
			case <-s.Ready():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		done++
		w := []heapstore.Write{{Key: fmt.Sprint("done-", done), Value: []byte(leased[0].CallID)}}
		if err := s.Commit(ctx, testHeap(), heapstore.Commit{Writes: w, CallID: leased[0].CallID, Leave: &leased[0].Lease}); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(said, "done %d\n", done); err != nil {
			return err
		}
	}
	return nil
}
