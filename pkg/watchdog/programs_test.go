package watchdog

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// programs are what this test binary can be instead of tests.
var programs = map[string]func(args []string){
	"server":      serverProgram,
	"runtime":     runtimeProgram,
	"become-root": becomeRootProgram,
}

// serverProgram is a function for mode http. What it does depends on the path.
func serverProgram(args []string) {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	delay := flags.Duration("delay", 0, "before it listens")
	ignoreTerm := flags.Bool("ignore-term", false, "do not end on SIGTERM")
	idle := flags.Duration("idle", 0, "close idle connections after")
	warmUp := flags.Duration("warm-up", 0, "after it listens, until /ready says so")
	flags.Parse(args)

	terms := make(chan os.Signal, 1)
	signal.Notify(terms, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for sig := range terms {
			fmt.Println("signal:", sig)
			if sig == syscall.SIGTERM && !*ignoreTerm {
				os.Exit(0)
			}
		}
	}()
	time.Sleep(*delay)
	ln, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	mux := http.NewServeMux()
	warm := time.Now().Add(*warmUp)
	var tired atomic.Bool
	mux.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) {
		if time.Now().Before(warm) || tired.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/tire", func(w http.ResponseWriter, r *http.Request) { tired.Store(true) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.FormValue("for"))
		io.Copy(io.Discard, r.Body) // or net/http does not watch the connection
		fmt.Println("begun")
		select {
		case <-time.After(d):
			fmt.Println("slept")
			fmt.Fprint(w, "slept")
		case <-r.Context().Done():
			fmt.Println("cancelled")
		}
	})
	mux.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.FormValue("code"))
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.Header().Set("X-Duration-Seconds", "the function's own")
		w.Header().Set("Keep-Alive", "timeout=5")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		fmt.Println("events ended")
	})
	mux.HandleFunc("/trailer", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "42")
	})
	mux.HandleFunc("/exit", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.FormValue("code"))
		os.Exit(code)
	})
	mux.HandleFunc("/close-port", func(w http.ResponseWriter, r *http.Request) { ln.Close() })
	mux.HandleFunc("/log", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("bytes"))
		fmt.Fprintln(os.Stderr, strings.Repeat("x", n))
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("begun")
		w.Write(make([]byte, 30<<20))
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for buf := make([]byte, 32<<10); ; {
			if _, err := w.Write(buf); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/abort", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/break", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "half")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		fmt.Fprint(w, "early\n")
		for buf := make([]byte, 32<<10); ; {
			http.NewResponseController(w).Flush()
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			if err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/socket", serveSocket)
	srv := &http.Server{Handler: echoUnless(mux), IdleTimeout: *idle, MaxHeaderBytes: 2 << 20}
	if *idle > 0 {
		var used sync.Map // connections that have had a request, which those of probes have not
		srv.ConnState = func(conn net.Conn, state http.ConnState) {
			if state == http.StateActive {
				used.Store(conn, nil)
			} else if _, found := used.Load(conn); found && state == http.StateClosed {
				fmt.Println("idle connection closed")
			}
		}
	}
	if err := srv.Serve(ln); !errors.Is(err, net.ErrClosed) {
		os.Exit(1)
	}
	select {} // without its port
}

// seen is what the server saw of a request.
type seen struct {
	Method, URI, Host, Body string
	Length                  int64
	Coding                  []string
	Header                  http.Header
	Arguments               []string
	Environ                 []string
	Pid                     int
}

// echoUnless answers what mux does not know, without its redirects, with what it saw.
func echoUnless(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" && r.URL.Path == pattern {
			mux.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		json.NewEncoder(w).Encode(seen{
			Method: r.Method, URI: r.RequestURI, Host: r.Host, Body: string(body), Length: r.ContentLength,
			Coding: r.TransferEncoding, Header: r.Header, Environ: os.Environ(),
			Pid: os.Getpid(),
		})
	})
}

// serveSocket upgrades the connection and echoes what comes.
func serveSocket(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	rw.Flush()
	io.Copy(conn, rw)
	fmt.Println("socket closed")
}

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }
