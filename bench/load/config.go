package load

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Config says what is sent where and how fast.
type Config struct {
	// Address is HOST:PORT.
	Address string
	// Requests are sent one after the other, and again from the first. Needed.
	Requests []Request
	// Conns is how many connections are open. 0 means 1.
	Conns int
	// InFlight is the most requests in flight. 0 means one for each connection. With fewer, connections take turns.
	InFlight int
	// Rate, if it is not 0, makes this an open loop of so many requests a second.
	Rate float64
	// Think is how long a closed loop waits after an answer before it sends the next request. 0 means not at all.
	Think time.Duration
	// Warmup comes before Duration, and is not counted.
	Warmup, Duration time.Duration
	// Count, if it is not 0, ends the run after so many requests, those of the warm-up not counted. Then Duration may be 0.
	Count int
	// Timeout is how long an answer may take, and how long the last ones are waited for. 0 means 30 s.
	Timeout time.Duration
}

// Request is a message as it goes over the wire, and what must come back.
type Request struct {
	Raw []byte
	// Status is that of the answer. 0 means 200.
	Status int
	// Body is that of the answer, if Any is not set.
	Body []byte
	// Any takes whatever body comes.
	Any bool
}

// NewRequest makes a request of its parts. A body of nil is none, and then there is no Content-Length either.
func NewRequest(method, host, path string, body []byte, headers ...string) Request {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if body != nil {
		b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	b.WriteString("\r\n")
	return Request{Raw: append([]byte(b.String()), body...)}
}

// ParseURL gives the address and the path of an http URL.
func ParseURL(text string) (address, path string, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", "", err
	}
	if u.Scheme != "http" || u.Host == "" || u.User != nil {
		return "", "", fmt.Errorf("%q is not of the form http://HOST[:PORT]/PATH", text)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port), u.RequestURI(), nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Conns == 0 {
		c.Conns = 1
	}
	if c.InFlight == 0 || c.InFlight > c.Conns {
		c.InFlight = c.Conns
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	switch {
	case len(c.Requests) == 0:
		return c, errors.New("load: no request to send")
	case c.Duration <= 0 && c.Count <= 0:
		return c, errors.New("load: neither a duration nor a count")
	case c.Conns < 0 || c.InFlight < 0 || c.Rate < 0 || c.Think < 0 || c.Warmup < 0 || c.Timeout < 0:
		return c, errors.New("load: negative setting")
	case c.Rate > 0 && c.Think > 0:
		return c, errors.New("load: an open loop does not think")
	}
	return c, nil
}
