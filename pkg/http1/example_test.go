package http1_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/dragonchain/dc-provider/pkg/http1"
)

// A forwarder to one endpoint, with fields of its own both ways, a deadline, and net/http for the rest.
func ExampleExchange_Forward() {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s", r.RequestURI, r.Header.Get("X-Forwarded-For"))
	}))
	defer endpoint.Close()
	pool, err := http1.NewPool(http1.PoolConfig{Address: endpoint.Listener.Addr().String()})
	if err != nil {
		panic(err)
	}
	rest := &http.Server{Handler: http.NotFoundHandler()}
	defer rest.Close()

	server, err := http1.NewServer(http1.ServerConfig{Rest: rest, Handler: func(x *http1.Exchange) {
		if string(x.Target) == "/healthz" {
			x.Pass() // net/http serves it, and what comes after it on the connection
			return
		}
		x.SetDeadline(x.Started.Add(time.Minute))
		x.ToEndpoint.Set("X-Forwarded-For", x.RemoteIP())
		err := x.Forward(pool, []byte("/other"), func(x *http1.Exchange, answer *http1.Response) {
			if answer.Length() < 0 {
				x.SetDeadline(time.Time{}) // a stream may last
			}
			x.ToClient.Set("X-Served-By", "example")
		})
		switch {
		case err == nil || x.Begun() || errors.Is(err, http1.ErrClientGone):
		case errors.Is(err, http1.ErrDeadline):
			x.Answer(http.StatusGatewayTimeout, nil)
		default:
			x.Answer(http.StatusBadGateway, nil)
		}
	}})
	if err != nil {
		panic(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go server.Serve(ln)
	defer server.Close()

	answer, err := http.Get("http://" + ln.Addr().String() + "/function")
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	fmt.Printf("%s, served by %s, %v\n", body, answer.Header.Get("X-Served-By"), err)
	// Output: /other for 127.0.0.1, served by example, <nil>
}
