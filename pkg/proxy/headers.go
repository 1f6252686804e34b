package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	headerCallID    = "X-Call-Id"
	headerStartTime = "X-Start-Time"
	headerServedBy  = "X-Served-By"
	// headerInternal marks answers that the platform made; retry logic tells them by it from a function's own.
	headerInternal = "X-OpenFaaS-Internal"
	internal       = "proxy"
)

// hopByHop are the headers of one connection, not of the message (RFC 9110, section 7.6.1).
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
}

// identity is what a call is known by: its call id, and its start in Unix nanoseconds.
type identity struct {
	callID, start string
	// came is when the call came to us.
	came time.Time
}

// identify takes the identity that a caller, or a gateway before us, gave to r, or makes one.
func identify(r *http.Request) identity {
	id := identity{callID: r.Header.Get(headerCallID), start: r.Header.Get(headerStartTime), came: time.Now()}
	if id.callID == "" {
		id.callID = newCallID()
	}
	if id.start == "" {
		id.start = strconv.FormatInt(id.came.UnixNano(), 10)
	}
	return id
}

// newCallID returns a random UUID (RFC 9562, version 4).
func newCallID() string {
	var b [16]byte
	rand.Read(b[:]) // never returns an error
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	text := make([]byte, 0, 36)
	for i, part := range [][]byte{b[:4], b[4:6], b[6:8], b[8:10], b[10:]} {
		if i > 0 {
			text = append(text, '-')
		}
		text = hex.AppendEncode(text, part)
	}
	return string(text)
}

// outgoing is r as the function is to see it: with a path of its own, and headers that tell whence it came. The Host stays
// the caller's, because websocket clients compare it with Origin. Headers of one connection are left to the forwarder.
func outgoing(r *http.Request, rt route, id identity) (*http.Request, error) {
	out := r.Clone(r.Context())
	// A trailer's values are filled in by the server as the body ends, so the map must be the same one.
	out.Trailer = r.Trailer
	if err := rt.rewrite(out.URL); err != nil {
		return nil, err
	}
	out.Header.Set(headerCallID, id.callID)
	out.Header.Set(headerStartTime, id.start)
	setForwarded(out.Header, r)
	return out, nil
}

// setForwarded appends the peer to X-Forwarded-For, and fills in host and scheme for the first proxy on the way.
func setForwarded(h http.Header, r *http.Request) {
	if peer, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		h.Set("X-Forwarded-For", strings.Join(append(h["X-Forwarded-For"], peer), ", "))
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	setDefault(h, "X-Forwarded-Host", r.Host)
	setDefault(h, "X-Forwarded-Proto", scheme)
}

func setDefault(h http.Header, name, value string) {
	if h.Get(name) == "" {
		h.Set(name, value)
	}
}

// stripHopByHop removes what concerns one connection.
func stripHopByHop(h http.Header) {
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
}

// setContentType names the type of an answer that has none, as OpenFaaS does: the request's, because a function that
// echoes or transforms seldom says.
func setContentType(answer *http.Response, request http.Header) {
	if _, ok := answer.Header["Content-Type"]; ok {
		return
	}
	switch answer.StatusCode {
	case http.StatusSwitchingProtocols, http.StatusNoContent, http.StatusNotModified:
		return
	}
	contentType := request.Get("Content-Type")
	if contentType == "" {
		contentType = "text/plain"
	}
	answer.Header.Set("Content-Type", contentType)
}
