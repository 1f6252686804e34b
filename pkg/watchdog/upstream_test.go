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

// TestUpstream_Tells: whoever waits for a change of state is told, news that were overtaken mean nothing, and who watches readiness is
// not told of parking.
func TestUpstream_Tells(t *testing.T) {
	for _, r := range []struct {
		from  lifeState
		name  string
		event func(*upstream)
		to    lifeState
		turns bool
	}{
		{booting, "heard", (*upstream).heard, listening, true},
		{listening, "heard again", (*upstream).heard, listening, false},
		{listening, "refused", (*upstream).refused, booting, true},
		{parking, "refused", (*upstream).refused, parking, false},
		{parked, "heard", (*upstream).heard, parked, false},
		{listening, "exited", func(u *upstream) { u.exited() }, ended, true},
		{waking, "exited", func(u *upstream) { u.exited() }, parking, false},
		{waking, "heard", (*upstream).heard, listening, false},
		{listening, "idle", func(u *upstream) { u.idle(time.Now().Add(time.Hour)) }, parking, false},
		{parking, "stopped", func(u *upstream) { u.stopped(nil) }, parked, false},
		{called, "started", (*upstream).started, waking, false},
		{parked, "over", (*upstream).over, ended, true},
		{ended, "heard", (*upstream).heard, ended, false},
		{ended, "refused", (*upstream).refused, ended, false},
	} {
		u := newUpstream(&url.URL{Host: "127.0.0.1:1"}, "", slog.New(slog.DiscardHandler))
		u.life.state, u.park = r.from, time.Second
		_, change := u.now()
		_, turned := u.able()
		r.event(u)
		if state, _ := u.now(); state != r.to {
			t.Errorf("%v, %s: %v, want %v", r.from, r.name, state, r.to)
		}
		if closed(change) != (r.from != r.to) && r.name != "heard again" {
			t.Errorf("%v, %s: told of a change is %v", r.from, r.name, closed(change))
		}
		if closed(turned) != r.turns {
			t.Errorf("%v, %s: told of readiness is %v", r.from, r.name, closed(turned))
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestUpstream_IdleOnlyWhenUnused(t *testing.T) {
	u := newUpstream(&url.URL{Host: "127.0.0.1:1"}, "", slog.New(slog.DiscardHandler))
	u.life.state, u.park = listening, time.Second
	u.used = time.Unix(100, 0)
	at := func(d time.Duration) (bool, time.Duration) { return u.idle(u.used.Add(d)) }
	if park, again := at(400 * time.Millisecond); park || again != 600*time.Millisecond {
		t.Errorf("too early: %v, %v", park, again)
	}
	if err := u.enter(context.Background()); err != nil {
		t.Fatal(err)
	}
	if park, again := at(time.Hour); park || again != time.Second {
		t.Errorf("in use: %v, %v", park, again)
	}
	u.leave()
	if park, _ := at(0); park {
		t.Error("parked at once after a long request")
	}
	if park, _ := at(time.Second); !park {
		t.Error("not parked")
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
		state   lifeState
		address string
		event   func(*upstream) // while it waits
		want    error
	}{
		{"listening", listening, ln.Addr().String(), nil, nil},
		{"booting, then listening", booting, ln.Addr().String(), (*upstream).heard, nil},
		{"booting, then ended", booting, ln.Addr().String(), func(u *upstream) { u.exited() }, errEnded},
		{"booting for too long", booting, ln.Addr().String(), nil, errBooting},
		{"ended", ended, ln.Addr().String(), nil, errEnded},
		{"refused, and not back in time", listening, "127.0.0.1:" + freePort(t), nil, errBooting},
	} {
		t.Run(r.name, func(t *testing.T) {
			u := newUpstream(&url.URL{Host: r.address}, "", slog.New(slog.DiscardHandler))
			u.life.state, u.hold = r.state, 20*time.Millisecond
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
	t.Run("booting as the end comes", func(t *testing.T) {
		u := newUpstream(&url.URL{Host: ln.Addr().String()}, "", slog.New(slog.DiscardHandler))
		go u.hurry()
		if _, err := u.dial(context.Background(), "", ""); !errors.Is(err, errBooting) {
			t.Errorf("%v", err)
		}
		go u.heard() // a late one is still served
		conn, err := u.dial(context.Background(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})
	t.Run("given up", func(t *testing.T) {
		u := newUpstream(&url.URL{Host: "127.0.0.1:1"}, "", slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := u.dial(ctx, "", ""); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}
