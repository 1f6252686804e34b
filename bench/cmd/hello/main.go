// Command hello is the function behind all that is measured: a plain net/http server that does nothing.
//
//	/          any method: reads the body, answers "hello world"
//	/echo      answers with the body, when it has come whole: not every proxy takes an answer before it has sent everything
//	/sleep     answers "hello world" after 100 ms
//	/members   answers a JSON object of four members, which a contract's heap takes for four keys
//	/unwritten answers the same four, and a fifth one that keeps all of them out of the heap
//	/nothing   answers an object of no member
//
// The rest of the path does not matter, so that /function/NAME/echo is the same as /echo.
package main

import (
	"flag"
	"io"
	"log"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	sleep   = 100 * time.Millisecond
	values  = `"balance":1000,"last":"2026-01-02T03:04:05Z","name":"somebody","nonce":1}` + "\n"
	members = "{" + values
	// unwritten is an answer that a contract's caller gets and its heap does not.
	unwritten = `{"OUTPUT_TO_HEAP":false,` + values
)

func main() {
	address := flag.String("addr", "127.0.0.1:8082", "`address` to listen on")
	flag.Parse()
	log.Fatal(http.ListenAndServe(*address, http.HandlerFunc(serve)))
}

func serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/echo"):
		body, err := io.ReadAll(r.Body)
		if err != nil {
			log.Print("read: ", err)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if _, err := w.Write(body); err != nil {
			log.Print("write: ", err)
		}
		return
	case strings.HasSuffix(r.URL.Path, "/sleep"):
		time.Sleep(sleep)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		log.Print("read: ", err)
		return
	}
	kind, text := "text/plain", "hello world\n"
	switch {
	case strings.HasSuffix(r.URL.Path, "/members"):
		kind, text = "application/json", members
	case strings.HasSuffix(r.URL.Path, "/unwritten"):
		kind, text = "application/json", unwritten
	case strings.HasSuffix(r.URL.Path, "/nothing"):
		kind, text = "application/json", "{}\n"
	}
	w.Header().Set("Content-Type", kind)
	if _, err := io.WriteString(w, text); err != nil {
		log.Print("write: ", err)
	}
}
