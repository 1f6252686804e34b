package watchdog

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"testing"
	"time"
)

func TestUpstream_States(t *testing.T) {
	events := map[string]func(*upstream){"heard": (*upstream).heard, "refused": (*upstream).refused, "exited": (*upstream).exited}
	for _, r := range []struct {
		from  upstreamState
		event string
		to    upstreamState
	}{
		{booting, "heard", listening},
		{booting, "refused", booting},
		{booting, "exited", ended},
		{listening, "heard", listening},
		{listening, "refused", booting},
		{listening, "exited", ended},
		{ended, "heard", ended},
		{ended, "refused", ended},
		{ended, "exited", ended},
	} {
		u := newUpstream(&url.URL{Host: "127.0.0.1:1"}, "", slog.New(slog.DiscardHandler))
		u.state = r.from
		_, change := u.now()
		events[r.event](u)
		state, _ := u.now()
		if state != r.to {
			t.Errorf("%d, %s: %d, want %d", r.from, r.event, state, r.to)
		}
		select {
		case <-change:
		default:
			if r.from != r.to {
				t.Errorf("%d, %s: nobody was told", r.from, r.event)
			}
		}
	}
}

func TestUpstream_Dial(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, r := range []struct {
		name    string
		state   upstreamState
		address string
		event   func(*upstream) // while it waits
		want    error
	}{
		{"listening", listening, ln.Addr().String(), nil, nil},
		{"booting, then listening", booting, ln.Addr().String(), (*upstream).heard, nil},
		{"booting, then ended", booting, ln.Addr().String(), (*upstream).exited, errEnded},
		{"booting for too long", booting, ln.Addr().String(), nil, errBooting},
		{"ended", ended, ln.Addr().String(), nil, errEnded},
		{"refused, and not back in time", listening, "127.0.0.1:" + freePort(t), nil, errBooting},
	} {
		t.Run(r.name, func(t *testing.T) {
			u := newUpstream(&url.URL{Host: r.address}, "", slog.New(slog.DiscardHandler))
			u.state, u.hold = r.state, 20*time.Millisecond
			if r.event != nil {
				u.hold = patience
				go r.event(u)
			}
			conn, err := u.dial(context.Background(), "", "")
			if !errors.Is(err, r.want) {
				t.Fatalf("%v, want %v", err, r.want)
			}
			if err == nil {
				conn.Close()
			}
		})
	}
	t.Run("given up", func(t *testing.T) {
		u := newUpstream(&url.URL{Host: "127.0.0.1:1"}, "", slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := u.dial(ctx, "", ""); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}
