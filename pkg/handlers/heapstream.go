package handlers

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

const (
	ndjson = "application/x-ndjson"
	// streamPatience is how long the other side of a stream may take for the next part of it.
	streamPatience = time.Minute
	// backupChunk is how much of a backup goes out at a time.
	backupChunk = 1 << 20
	// importBatch bounds the lines of one commit of an import, and importBytes about the bytes.
	importBatch = 500
	importBytes = 1 << 20
	// maxLineBytes has room for a value and for a key in its longest spelling, six bytes for each of its own, and for the members
	// that an export adds.
	maxLineBytes = heapstore.MaxValueBytes + 6*heapstore.MaxKeyBytes + 4<<10
)

// exportLine is a line of an export. An import reads key and value.
type exportLine struct {
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value"`
	Version uint64          `json:"version"`
	writing
}

// exportHeap streams the heap's entries, a line of JSON each, in the order of the keys. It is no snapshot: each key is as it was at
// some moment of the export. One that breaks off is gone on with by after, the last key that arrived.
func (a *API) exportHeap(w http.ResponseWriter, r *http.Request, heap function.Heap, query parameters) error {
	prefix, after := query.last("prefix"), query.last("after")
	control := http.NewResponseController(w)
	// The connection may have another request after this one.
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	for first := true; first || after != ""; first = false {
		entries, next, err := a.cfg.Heaps.Entries(r.Context(), heap, prefix, after, heapstore.MaxListLimit)
		if err := unmade(err); err != nil {
			return brokenStream(!first, err)
		}
		page, err := encodeLines(entries)
		if err != nil {
			return brokenStream(!first, err)
		}
		w.Header().Set("Content-Type", ndjson)
		// A writer that cannot set deadlines is a test's.
		_ = control.SetWriteDeadline(time.Now().Add(streamPatience))
		if _, err := w.Write(page); err != nil {
			return brokenStream(true, err)
		}
		after = next
	}
	return nil
}

// brokenStream is the end of a stream that cannot go on. Once it has begun, only a broken connection can say so.
func brokenStream(begun bool, err error) error {
	if begun {
		panic(http.ErrAbortHandler)
	}
	return err
}

func encodeLines(entries []function.HeapEntry) ([]byte, error) {
	var page bytes.Buffer
	encoder := json.NewEncoder(&page)
	encoder.SetEscapeHTML(false)
	for _, e := range entries {
		if err := encoder.Encode(exportLine{Key: e.Key, Value: e.Value, Version: e.Version, writing: writingOf(e)}); err != nil {
			return nil, fmt.Errorf("export key %.40q: %w", e.Key, err)
		}
	}
	return page.Bytes(), nil
}

// importHeap sets the keys of the body's lines, some hundred in a commit. Lines that were read before one that is refused are
// imported, and the answer says how many; so it is gone on with, or done again as a whole, which comes to the same.
func (a *API) importHeap(w http.ResponseWriter, r *http.Request) error {
	f, path, err := a.contract(r)
	switch {
	case err != nil:
		return err
	case path.isKey:
		return function.Invalidf("import into the heap: POST /heap/%s; a key alone is set with PUT", f.Name)
	}
	id, err := callID(r)
	if err != nil {
		return err
	}
	control := http.NewResponseController(w)
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxLineBytes)
	imported := 0
	for more := true; more; {
		// A writer that cannot set deadlines is a test's.
		_ = control.SetReadDeadline(time.Now().Add(streamPatience))
		var batch []function.HeapWrite
		var read int
		var refused error
		batch, read, more, refused = importLines(lines, imported)
		if len(batch) > 0 {
			if err := a.cfg.Heaps.Commit(r.Context(), f.Heap(), function.Commit{
				Writes: batch, QuotaBytes: f.Policy.HeapQuotaBytes, Writer: id,
			}); err != nil {
				return stopped(operatorsError(err), imported)
			}
		}
		imported += read
		if refused != nil {
			return stopped(refused, imported)
		}
	}
	_ = control.SetReadDeadline(time.Time{})
	w.Header().Set(headerCallID, id)
	return answerJSON(w, map[string]int{"imported": imported})
}

// importLines reads lines for one commit. read is how many, refused why the next one cannot be.
func importLines(lines *bufio.Scanner, before int) (batch []function.HeapWrite, read int, more bool, refused error) {
	for bytes := 0; len(batch) < importBatch && bytes < importBytes; {
		if !lines.Scan() {
			return batch, read, false, importEnd(lines.Err(), before+read)
		}
		write, err := parseImportLine(lines.Bytes())
		if err != nil {
			return batch, read, false, fmt.Errorf("line %d: %w", before+read+1, err)
		}
		read++
		if write.Key != "" {
			batch, bytes = append(batch, write), bytes+len(write.Key)+len(write.Value)
		}
	}
	return batch, read, true, nil
}

// importEnd is why there is no further line, nil at the end.
func importEnd(err error, read int) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("line %d: %w: a line has at most %d bytes", read+1, heapstore.ErrValueTooLarge, maxLineBytes)
	default:
		return function.Invalidf("the body broke off behind line %d", read)
	}
}

// parseImportLine reads {"key": ..., "value": ...}. A blank line gives no key.
func parseImportLine(line []byte) (function.HeapWrite, error) {
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return function.HeapWrite{}, nil
	}
	var in struct {
		Key   *string         `json:"key"`
		Value json.RawMessage `json:"value"`
	}
	if !utf8.Valid(line) {
		return function.HeapWrite{}, function.Invalidf("it is not UTF-8")
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return function.HeapWrite{}, function.Invalidf(`it is not {"key": "...", "value": ...}: %v`, err)
	}
	if in.Key == nil || *in.Key == "" || in.Value == nil {
		return function.HeapWrite{}, function.Invalidf(`it is not {"key": "...", "value": ...}: both are needed, and a key is not empty`)
	}
	if strings.ContainsRune(*in.Key, utf8.RuneError) && !bytes.ContainsRune(line, utf8.RuneError) {
		return function.HeapWrite{}, function.Invalidf("its key has half a surrogate pair")
	}
	value, err := compactJSON(in.Value)
	if err != nil {
		return function.HeapWrite{}, err
	}
	write := function.HeapWrite{Key: *in.Key, Value: value}
	switch {
	case len(write.Key) > heapstore.MaxKeyBytes:
		return function.HeapWrite{}, fmt.Errorf("%w: at most %d bytes are allowed", heapstore.ErrKeyTooLarge, heapstore.MaxKeyBytes)
	case len(value) > heapstore.MaxValueBytes:
		return function.HeapWrite{}, fmt.Errorf("%w: at most %d bytes are allowed", heapstore.ErrValueTooLarge, heapstore.MaxValueBytes)
	}
	return write, nil
}

// stopped is why an import ended early.
func stopped(err error, imported int) error {
	return fmt.Errorf("%w; the %d lines before are imported", err, imported)
}

// backup answers with a copy of all heaps, which the program's restore takes.
func (a *API) backup(w http.ResponseWriter, r *http.Request) (err error) {
	snapshot, err := a.cfg.Heaps.Snapshot(r.Context())
	if err != nil {
		return err
	}
	// It was only read.
	defer func() { _ = snapshot.Close() }()
	info, err := snapshot.Stat()
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	h.Set("Content-Disposition", `attachment; filename="heap-`+time.Now().UTC().Format("20060102T150405Z")+`.db"`)
	control := http.NewResponseController(w)
	// The connection may have another request after this one.
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	for {
		// A writer that cannot set deadlines is a test's.
		_ = control.SetWriteDeadline(time.Now().Add(streamPatience))
		switch _, err := io.CopyN(w, snapshot, backupChunk); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return brokenStream(true, err)
		}
	}
}
