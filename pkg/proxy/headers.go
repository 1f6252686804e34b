package proxy

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
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

	headerForwardedFor   = "X-Forwarded-For"
	headerForwardedHost  = "X-Forwarded-Host"
	headerForwardedProto = "X-Forwarded-Proto"
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
	// given says that the call id came with the call.
	given bool
	// came is when the call came to us.
	came time.Time
}

// identify takes the identity that a caller, or a gateway before us, gave to r, or makes one.
func identify(r *http.Request) identity {
	id := identity{callID: r.Header.Get(headerCallID), start: r.Header.Get(headerStartTime), came: time.Now()}
	if id.given = id.callID != ""; !id.given {
		id.callID = newCallID()
	}
	if id.start == "" {
		id.start = strconv.FormatInt(id.came.UnixNano(), 10)
	}
	return id
}

// newCallID returns a random UUID (RFC 9562, version 4).
func newCallID() string {
	return string(appendCallID(nil))
}

// appendCallID takes it from the runtime's ChaCha8, which is seeded by the system: crypto/rand costs more, and a call id keeps no
// secret.
func appendCallID(text []byte) []byte {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(b[8:], rand.Uint64())
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	text = hex.AppendEncode(text, b[:4])
	for i := 4; i < 10; i += 2 {
		text = hex.AppendEncode(append(text, '-'), b[i:i+2])
	}
	return hex.AppendEncode(append(text, '-'), b[10:])
}

// outgoing is r as the function is to see it: with a path of its own, and headers that tell whence it came. The Host stays
// the caller's, because websocket clients compare it with Origin. Headers of one connection are left to the forwarder.
func outgoing(r *http.Request, rt route, id identity) (*http.Request, error) {
	out := r.Clone(r.Context())
	// A trailer's values are filled in by the server as the body ends, so the map must be the same one.
	out.Trailer = r.Trailer
	return out, readdress(out, rt, id)
}

// readdress makes a caller's request what the function is to see.
func readdress(r *http.Request, rt route, id identity) error {
	if err := rt.rewrite(r.URL); err != nil {
		return err
	}
	r.Header.Set(headerCallID, id.callID)
	r.Header.Set(headerStartTime, id.start)
	setForwarded(r.Header, r)
	return nil
}

// setForwarded appends the peer to X-Forwarded-For, and fills in host and scheme for the first proxy on the way.
func setForwarded(h http.Header, r *http.Request) {
	if peer, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		h.Set(headerForwardedFor, strings.Join(append(h[headerForwardedFor], peer), ", "))
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if r.Host != "" { // HTTP/1.0 may have none
		setDefault(h, headerForwardedHost, r.Host)
	}
	setDefault(h, headerForwardedProto, scheme)
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
	if !hasContentType(answer.StatusCode) {
		return
	}
	contentType := request.Get("Content-Type")
	if contentType == "" {
		contentType = plainText
	}
	answer.Header.Set("Content-Type", contentType)
}

const plainText = "text/plain"

// hasContentType tells whether an answer with that status has a body of some type.
func hasContentType(status int) bool {
	switch status {
	case http.StatusSwitchingProtocols, http.StatusNoContent, http.StatusNotModified:
		return false
	}
	return true
}
