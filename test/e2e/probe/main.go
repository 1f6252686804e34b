package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/websocket"
)

func main() {
	log.SetFlags(0)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if os.Getenv("CRASH") != "" {
		fmt.Fprintln(os.Stderr, "probe: told to crash")
		os.Exit(3)
	}
	if os.Getenv("DEAF") != "" {
		<-stop
		return
	}
	if also := os.Getenv("ALSO_PORT"); also != "" {
		listener, err := net.Listen("tcp", ":"+also)
		if err != nil {
			log.Fatal(err)
		}
		defer listener.Close()
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{Addr: ":" + port, Handler: routes()}
	go func() {
		<-stop
		server.Close()
	}()
	log.Printf("probe %s listens", os.Getenv("VERSION"))
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}

func routes() http.Handler {
	mux := http.NewServeMux()
	calls, events := newMeetings(), newMeetings()
	mux.HandleFunc("/", show)
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, os.Getenv(r.FormValue("name")))
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, r.FormValue("path"))
	})
	mux.HandleFunc("/status", status)
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) { stream(w, r, events.of(r.FormValue("id"))) })
	mux.HandleFunc("/emit", func(w http.ResponseWriter, r *http.Request) { emit(w, r, events.of(r.FormValue("id"))) })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		log.Printf("hanging %s", r.FormValue("id"))
		<-r.Context().Done()
		close(calls.of(r.FormValue("id")))
	})
	mux.HandleFunc("/gone", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-calls.of(r.FormValue("id")):
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/duplex", duplex)
	mux.HandleFunc("/echo", echo)
	mux.Handle("/ws/named", websocket.Server{Handler: func(c *websocket.Conn) {
		io.WriteString(c, hostname())
		io.Copy(c, c)
	}})
	mux.Handle("/ws", websocket.Server{Handler: func(c *websocket.Conn) { io.Copy(c, c) }})
	return mux
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	return name
}

func show(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"method": r.Method, "uri": r.RequestURI, "header": r.Header, "length": r.ContentLength, "body": string(body),
	})
}

func status(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.FormValue("code"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("X-Probe", "set by the function")
	w.WriteHeader(code)
	fmt.Fprintf(w, "status %d", code)
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	after, bad := time.ParseDuration(r.FormValue("after"))
	if err = errors.Join(err, bad); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(after):
		w.Write(body)
	case <-r.Context().Done():
	}
}

func stream(w http.ResponseWriter, r *http.Request, events <-chan []byte) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, "data: open\n\n")
	for {
		w.(http.Flusher).Flush()
		select {
		case event := <-events:
			if len(event) == 0 {
				return
			}
			fmt.Fprintf(w, "data: %s\n\n", event)
		case <-r.Context().Done():
			return
		}
	}
}

func emit(w http.ResponseWriter, r *http.Request, events chan<- []byte) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case events <- body:
	case <-r.Context().Done():
	}
}

func duplex(w http.ResponseWriter, r *http.Request) {
	both := http.NewResponseController(w)
	if err := both.EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Trailer", "X-Lines")
	w.WriteHeader(http.StatusOK)
	both.Flush()
	lines, in := 0, bufio.NewReader(r.Body)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		w.Write(bytes.ToUpper(line))
		both.Flush()
		lines++
	}
	w.Header().Set("X-Lines", strconv.Itoa(lines))
}
