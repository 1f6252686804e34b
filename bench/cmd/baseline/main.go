// Command baseline does what a watchdog does, the plain way, on net/http and os/exec. Ours is compared with it where an OpenFaaS
// watchdog cannot be built.
//
//	baseline -mode http -upstream http://127.0.0.1:8082 PROGRAM ARGS...   one process; requests are forwarded to it
//	baseline -mode fork PROGRAM ARGS...                                   a process for each request, stdin to stdout
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	address := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	mode := flag.String("mode", "fork", "fork or http")
	upstream := flag.String("upstream", "", "mode http: `URL` of the process")
	flag.Parse()
	if err := run(*address, *mode, *upstream, flag.Args()); err != nil {
		log.Fatal("baseline: ", err)
	}
}

func run(address, mode, upstream string, command []string) error {
	if len(command) == 0 {
		return errors.New("no program to run")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var handler http.Handler = fork(command)
	if mode == "http" {
		child := exec.CommandContext(ctx, command[0], command[1:]...)
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			return err
		}
		defer func() {
			stop()
			if err := child.Wait(); err != nil && ctx.Err() == nil {
				log.Print("the process: ", err)
			}
		}()
		handler = forward(upstream)
	}
	server := &http.Server{Addr: address, Handler: handler}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}

// forward sends requests on with a client of its own for all, and copies the answers.
func forward(upstream string) http.HandlerFunc {
	client := &http.Client{
		Transport:     &http.Transport{MaxIdleConns: 100, MaxIdleConnsPerHost: 100, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		out, err := http.NewRequestWithContext(r.Context(), r.Method, upstream+r.URL.RequestURI(), r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out.Header, out.Host, out.ContentLength = r.Header.Clone(), r.Host, r.ContentLength
		answer, err := client.Do(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer answer.Body.Close()
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.Header().Set("X-Duration-Seconds", strconv.FormatFloat(time.Since(started).Seconds(), 'f', 6, 64))
		w.WriteHeader(answer.StatusCode)
		if _, err := io.Copy(w, answer.Body); err != nil {
			log.Print("answer: ", err)
		}
	}
}

// fork runs the command for each request, with the headers in its environment.
func fork(command []string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		cmd := exec.CommandContext(r.Context(), command[0], command[1:]...)
		cmd.Env = append(os.Environ(), "Http_Method="+r.Method, "Http_Path="+r.URL.Path)
		for name, values := range r.Header {
			cmd.Env = append(cmd.Env, "Http_"+strings.ReplaceAll(name, "-", "_")+"="+values[0])
		}
		var out bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(body), &out, &out
		if err := cmd.Run(); err != nil {
			http.Error(w, err.Error()+"\n"+out.String(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("X-Duration-Seconds", strconv.FormatFloat(time.Since(started).Seconds(), 'f', 6, 64))
		if _, err := w.Write(out.Bytes()); err != nil {
			log.Print("answer: ", err)
		}
	}
}
