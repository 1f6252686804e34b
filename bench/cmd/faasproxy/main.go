// Command faasproxy is the proxy of github.com/openfaas/faas-provider as a provider runs it, with one function behind it:
// /function/NAME goes to the endpoint, whatever the name.
package main

import (
	"flag"
	"log"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/mux"
	"github.com/openfaas/faas-provider/proxy"
	"github.com/openfaas/faas-provider/types"
)

// endpoint resolves every name to itself.
type endpoint url.URL

func (e endpoint) Resolve(string) (url.URL, error) { return url.URL(e), nil }

func main() {
	address := flag.String("addr", "127.0.0.1:8081", "`address` to listen on")
	behind := flag.String("endpoint", "127.0.0.1:8082", "`address` of the function")
	flag.Parse()
	handler := proxy.NewHandlerFunc(
		types.FaaSConfig{ReadTimeout: time.Minute, WriteTimeout: time.Minute, MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024},
		endpoint{Scheme: "http", Host: *behind}, false)
	router := mux.NewRouter()
	router.HandleFunc("/function/{name:[-a-zA-Z_0-9.]+}", handler)
	router.HandleFunc("/function/{name:[-a-zA-Z_0-9.]+}/", handler)
	router.HandleFunc("/function/{name:[-a-zA-Z_0-9.]+}/{params:.*}", handler)
	log.Fatal(http.ListenAndServe(*address, router))
}
