package main

import (
	"bufio"
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Every store in a file has what was committed to it.
func TestCommits(t *testing.T) {
	for _, kind := range []string{"ours", "bbolt", "bbolt-full"} {
		for _, recorded := range []bool{false, true} {
			s, err := open(t.Context(), kind, filepath.Join(t.TempDir(), "heap.db"), 4)
			if err != nil {
				t.Fatal(err)
			}
			c := newCaller(1, recorded)
			for range 3 {
				if err := s.commit(t.Context(), c.next()); err != nil {
					t.Errorf("%s: %v", kind, err)
				}
			}
			if ours, ok := s.(*ours); ok {
				wanted := newCaller(1, recorded).next()
				entry, err := ours.store.Get(t.Context(), ours.heap, wanted.keys[3])
				if err != nil || string(entry.Value) != string(someValue) {
					t.Errorf("%q, %v", entry.Value, err)
				}
				if _, found, err := ours.store.Recorded(t.Context(), ours.heap, wanted.callID); err != nil || found != recorded {
					t.Errorf("recorded %v, want %v: %v", found, recorded, err)
				}
			}
			if err := s.close(); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := open(t.Context(), "none", "", 1); err == nil {
		t.Error("a store of no kind is opened")
	}
}

func TestCommits_Counts(t *testing.T) {
	o := options{callers: 2, duration: 20 * time.Second}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := commits(ctx, o, "ours", filepath.Join(t.TempDir(), "heap.db")); err == nil {
		t.Error("a commit that fails is counted")
	}
}

func TestDrop(t *testing.T) {
	d, err := drop(t.Context(), filepath.Join(t.TempDir(), "heap.db"), 2500)
	if err != nil {
		t.Fatal(err)
	}
	if d.Drop <= 0 || d.Before <= 0 || d.After < d.Before {
		t.Errorf("%+v", d)
	}
}

// redisAnswers has a server of one connection that answers so whatever it is asked.
func redisAnswers(t *testing.T, answer string) *redisConn {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close() })
	go func() {
		defer server.Close()
		buffer := make([]byte, 1<<16)
		if _, err := server.Read(buffer); err != nil {
			return
		}
		// An error is that of a client that has read enough.
		_, _ = server.Write([]byte(answer))
	}()
	return &redisConn{Conn: client, answers: bufio.NewReader(client)}
}

func TestRedis_Answers(t *testing.T) {
	c := newCaller(1, true).next()
	good := "+OK\r\n" + strings.Repeat("+QUEUED\r\n", 5) + "*5\r\n" + strings.Repeat("+OK\r\n", 5)
	if err := redisAnswers(t, good).commit(c); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]string{
		"an error":        "-MISCONF the disk is full\r\n",
		"one set refused": strings.Replace(good, "+QUEUED", "-ERR", 1),
		"aborted":         "+OK\r\n" + strings.Repeat("+QUEUED\r\n", 5) + "*-1\r\n",
		"cut off":         good[:len(good)-4],
	} {
		if err := redisAnswers(t, bad).commit(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
