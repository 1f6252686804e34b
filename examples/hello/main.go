// Hello is an HTTP function: a server on port 8080 and nothing else, which is all that OpenFaaS asks of an image. Beside its
// greeting it has a few routes that show what passes through on the way to a function and back, and how fast.
//
//	/            a greeting
//	/echo        the request's body, sent back while it arrives
//	/events      server-sent events, one every interval: ?n=5&interval=100ms
//	/sleep       answers after a while: ?d=100ms
//	/env         the environment, one variable a line
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	if err := serve(ctx, ":"+port); err != nil {
		log.Fatal(err)
	}
}

// serve answers until ctx ends, and then for as long as requests are in flight, at most 10 seconds.
func serve(ctx context.Context, address string) error {
	server := &http.Server{Addr: address, Handler: routes(), ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		stopped <- server.Shutdown(drain)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", greet)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/events", events)
	mux.HandleFunc("/sleep", sleep)
	mux.HandleFunc("/env", environment)
	return mux
}

func greet(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "Hello from a Go function.\n") // an error here means that the caller is gone
}

func echo(w http.ResponseWriter, r *http.Request) {
	if t := r.Header.Get("Content-Type"); t != "" {
		w.Header().Set("Content-Type", t)
	}
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil && r.ProtoMajor == 1 {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	buffer := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buffer)
		if _, err := w.Write(buffer[:n]); err != nil {
			return // the caller is gone
		}
		if err != nil { // io.EOF, or the caller is gone
			return
		}
		if control.Flush() != nil {
			return
		}
	}
}

func events(w http.ResponseWriter, r *http.Request) {
	count, err := number(r, "n", 5)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	interval, err := duration(r, "interval", 100*time.Millisecond)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	for i := range count {
		if i > 0 && !wait(r.Context(), interval) {
			return
		}
		if _, err := fmt.Fprintf(w, "id: %d\ndata: tick %d\n\n", i, i); err != nil {
			return
		}
		if control.Flush() != nil {
			return
		}
	}
}

func sleep(w http.ResponseWriter, r *http.Request) {
	d, err := duration(r, "d", 100*time.Millisecond)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if wait(r.Context(), d) {
		fmt.Fprintf(w, "slept %s\n", d)
	}
}

func environment(w http.ResponseWriter, _ *http.Request) {
	for _, variable := range slices.Sorted(slices.Values(os.Environ())) {
		fmt.Fprintln(w, variable)
	}
}

// wait returns true after d, or false as soon as ctx ends.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func number(r *http.Request, key string, otherwise int) (int, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s=%q: want a whole number, at least 0", key, text)
	}
	return n, nil
}

func duration(r *http.Request, key string, otherwise time.Duration) (time.Duration, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s=%q: want a duration such as 100ms", key, text)
	}
	return d, nil
}
