package watchdog

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

func poolConfig(t *testing.T) PoolConfig {
	t.Helper()
	key, err := assignment.DeriveProviderKey([]byte("ready-key"))
	if err != nil {
		t.Fatal(err)
	}
	return PoolConfig{Pod: "pool-1", UID: "uid-1", Key: key.Public(), Dir: t.TempDir(), SecretsDir: t.TempDir(), Mark: "/proc/self"}
}

func assigned(change func(*assignment.Assignment)) assignment.Assignment {
	a := assignment.Assignment{Function: "hello.fn", Record: "uid-2", Pod: "pool-1", UID: "uid-1", Env: map[string]string{"fprocess": "cat"}}
	if change != nil {
		change(&a)
	}
	return a
}

// An assignment is never put in place of another one, nor is its token.
func TestPoolConfig_KeepsOne(t *testing.T) {
	cfg := poolConfig(t)
	if a, err := cfg.Assigned(); a != nil || err != nil {
		t.Fatalf("%+v, %v before there was one", a, err)
	}
	first := assigned(func(a *assignment.Assignment) { a.Env["DC_READY_TOKEN"] = "aa" })
	if err := cfg.keep(first); err != nil {
		t.Fatal(err)
	}
	if first.Env["DC_READY_TOKEN"] != "aa" {
		t.Error("the caller's environment was changed")
	}
	second := assigned(func(a *assignment.Assignment) { a.Function, a.Env["DC_READY_TOKEN"] = "other.fn", "bb" })
	if err := cfg.keep(second); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second one: %v", err)
	}
	a, err := cfg.Assigned()
	if err != nil || a.Function != "hello.fn" || !maps.Equal(a.Env, map[string]string{"fprocess": "cat"}) {
		t.Errorf("%+v, %v", a, err)
	}
	if token, err := cfg.takeReadyToken(); token != "aa" || err != nil {
		t.Errorf("token %q, %v", token, err)
	}
}

func TestPoolConfig_ClaimedEnvironment(t *testing.T) {
	cfg := poolConfig(t)
	if err := cfg.keep(assigned(func(a *assignment.Assignment) {
		a.Env = map[string]string{"fprocess": "cat", "both": "function", "DC_READY_URL": "http://provider/dc/ready", "DC_READY_TOKEN": "aabb", "DC_FUNCTION": "hello.fn"}
	})); err != nil {
		t.Fatal(err)
	}
	a, err := cfg.Assigned()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Port = 8079
	image := []string{"PATH=/bin", "both=image", "DC_POD=of-the-image", "DC_READY_TOKEN=of-the-image"}
	first, err := cfg.Claim(a, image)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"PATH": "/bin", "fprocess": "cat", "both": "function", "DC_POD": "pool-1", "DC_FUNCTION": "hello.fn",
		"DC_PROBE_PORT": "8079", "DC_READY_URL": "http://provider/dc/ready", "DC_READY_TOKEN": "aabb"}
	if got := environMap(first); !maps.Equal(got, want) {
		t.Errorf("first start: %v", got)
	}
	again, err := cfg.Claim(a, image)
	if err != nil {
		t.Fatal(err)
	}
	delete(want, "DC_READY_URL")
	delete(want, "DC_READY_TOKEN")
	if got := environMap(again); !maps.Equal(got, want) {
		t.Errorf("second start: %v", got)
	}
	if !slices.Equal(image, []string{"PATH=/bin", "both=image", "DC_POD=of-the-image", "DC_READY_TOKEN=of-the-image"}) {
		t.Errorf("the caller's environment was changed: %v", image)
	}
	// Without a way to tell the provider the watchdog is none the less able to run.
	if _, err := ParseEnv(again); err != nil {
		t.Error(err)
	}
}

// The function may have put anything where its secrets are by the time the container starts again.
func TestPoolConfig_SecretsPlacedAnew(t *testing.T) {
	cfg := poolConfig(t)
	secrets := map[string][]byte{"a": []byte("1"), "b.c": {0}}
	outside := filepath.Join(t.TempDir(), "outside")
	for _, meddle := range []func() error{
		func() error { return nil },
		func() error { return os.Remove(filepath.Join(cfg.SecretsDir, "a")) },
		func() error {
			return errors.Join(os.Remove(filepath.Join(cfg.SecretsDir, "a")), os.Symlink(outside, filepath.Join(cfg.SecretsDir, "a")))
		},
		func() error { return os.WriteFile(filepath.Join(cfg.SecretsDir, tempPrefix+"1"), nil, 0o600) },
	} {
		if err := meddle(); err != nil {
			t.Fatal(err)
		}
		if err := cfg.placeSecrets(secrets); err != nil {
			t.Fatal(err)
		}
		for name, want := range secrets {
			path := filepath.Join(cfg.SecretsDir, name)
			if info, err := os.Lstat(path); err != nil || info.Mode() != 0o444 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		if files, err := os.ReadDir(cfg.SecretsDir); err != nil || len(files) != len(secrets) {
			t.Errorf("%v, %v", files, err)
		}
	}
	if _, err := os.Stat(outside); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a secret was written through a link: %v", err)
	}
	if err := os.Mkdir(filepath.Join(cfg.SecretsDir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := cfg.placeSecrets(map[string][]byte{"sub": nil}); err == nil || !strings.Contains(err.Error(), "place secret sub") {
		t.Errorf("in place of a folder: %v", err)
	}
}

func TestParsePoolEnv_TellsAllThatIsWrong(t *testing.T) {
	_, err := ParsePoolEnv([]string{"DC_SPARE_PORT=x"})
	for _, part := range []string{"DC_POD is missing", "DC_POD_UID is missing", `DC_SPARE_PORT "x"`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in %v", part, err)
		}
	}
	cfg, err := ParsePoolEnv([]string{"DC_POD=p", "DC_POD_UID=u", "DC_SPARE_KEY=k", "DC_SPARE_URL=http://x"})
	want := PoolConfig{Pod: "p", UID: "u", Key: "k", URL: "http://x", Port: 8079, Dir: "/.dc-assignment", SecretsDir: "/var/openfaas/secrets",
		TokenFile: "/.dc-token/token", Mark: "/dc-watchdog"}
	if err != nil || cfg != want {
		t.Errorf("%+v, %v", cfg, err)
	}
}

// A spare ends at once when it is told to, whatever the provider that it calls does.
func TestSpare_EndsAtOnce(t *testing.T) {
	for _, r := range []struct {
		name  string
		serve func(w http.ResponseWriter, r *http.Request)
		calls int
	}{
		{"hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 1},
		{"refuses", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, 3},
		{"breaks off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 3},
		{"redirects", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusTemporaryRedirect) }, 3},
		{"takes it", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, 1},
	} {
		t.Run(r.name, func(t *testing.T) {
			checkLeaks(t)
			called := make(chan struct{}, 1000)
			provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if _, err := io.ReadAll(req.Body); err != nil { // only then is it seen that a caller leaves
					t.Error(err)
				}
				called <- struct{}{}
				r.serve(w, req)
			}))
			defer provider.Close()
			cfg := poolConfig(t)
			cfg.URL = provider.URL
			ctx, end := context.WithCancel(context.Background())
			defer end()
			_, ended := startSpare(t, ctx, cfg, nil)
			for range r.calls {
				waitFor(t, called, "call")
			}
			end()
			if err := waitFor(t, ended, "end"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A spare that was assigned something before it was started has nothing to call for.
func TestSpare_AssignedBefore(t *testing.T) {
	checkLeaks(t)
	provider := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("called") }))
	defer provider.Close()
	cfg := poolConfig(t)
	cfg.URL = provider.URL
	a := assigned(nil)
	if err := cfg.keep(a); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	defer end()
	s, ended := startSpare(t, ctx, cfg, &a)
	s.call(ctx) // returns by itself
	end()
	if err := waitFor(t, ended, "end"); err != nil {
		t.Error(err)
	}
	if a, err := cfg.Assigned(); err != nil || a == nil {
		t.Errorf("%+v, %v: the assignment was cleaned away", a, err)
	}
}

// A call that was heard is repeated, for the provider that heard it may be gone.
func TestSpare_CallsAgain(t *testing.T) {
	checkLeaks(t)
	called := make(chan struct{}, 1000)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		called <- struct{}{}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer provider.Close()
	cfg := poolConfig(t)
	cfg.URL = provider.URL
	s, err := NewSpare(cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.again = time.Millisecond
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.call(ctx) }()
	for range 3 {
		waitFor(t, called, "call")
	}
	end()
	waitFor(t, ended, "end")
}

// Whoever holds connections open takes no memory beyond a bound, and what the others are refused for that ends with them.
func TestSpare_BoundsConnections(t *testing.T) {
	checkLeaks(t)
	ctx, end := context.WithCancel(context.Background())
	defer end()
	s, err := NewSpare(poolConfig(t), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	health := func() error {
		res, err := client.Get("http://" + ln.Addr().String() + "/_/health")
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	var held []net.Conn
	for range maxSpareConns {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	// They are accepted in their order.
	if err := health(); err == nil {
		t.Error("one more was served")
	}
	for _, c := range held {
		c.Close()
	}
	for deadline := time.Now().Add(patience); health() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("none is served any more")
		}
	}
	end()
	if err := waitFor(t, ended, "end"); err != nil {
		t.Error(err)
	}
}

func startSpare(t *testing.T, ctx context.Context, cfg PoolConfig, a *assignment.Assignment) (*Spare, <-chan error) {
	t.Helper()
	s, err := NewSpare(cfg, a, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s.pause = time.Millisecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	return s, ended
}

func waitFor[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("no %s", what)
	}
	return v
}

// Its probe is answered while it waits, so that Kubernetes writes no event every two seconds, and not when a function is to come: a
// claimed pod whose spare was started again must not be taken for the function.
func TestSpare_ReadyUntilItIsAssigned(t *testing.T) {
	for name, test := range map[string]struct {
		assigned string
		want     int
	}{
		"free":     {"", http.StatusOK},
		"assigned": {"cow.openfaas-fn", http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			var before *assignment.Assignment
			if test.assigned != "" {
				before = &assignment.Assignment{Function: test.assigned}
			}
			s, err := NewSpare(poolConfig(t), before, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			for path, want := range map[string]int{readypush.ReadyPath: test.want, "/_/health": http.StatusOK, "/": http.StatusServiceUnavailable} {
				answer := httptest.NewRecorder()
				s.route(answer, httptest.NewRequest(http.MethodGet, path, nil))
				if answer.Code != want {
					t.Errorf("%s: %d, want %d", path, answer.Code, want)
				}
			}
		})
	}
}
