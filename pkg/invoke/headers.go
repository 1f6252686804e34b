package invoke

import (
	"net/http"
	"strings"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// hopByHop are the headers of one connection, not of the message (RFC 9110, section 7.6.1).
var hopByHop = []string{
	"Connection", "Http2-Settings", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// stripHopByHop removes what concerns a connection that ends with us.
func stripHopByHop(h http.Header) {
	for _, name := range tokens(h, "Connection") {
		h.Del(name)
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
}

// checkUpgrade refuses a request for another protocol: who asks for a websocket cannot use a plain answer. An offer of
// HTTP/2 is only an offer, which curl --http2 makes with every request.
func checkUpgrade(h http.Header) error {
	for _, protocol := range tokens(h, "Upgrade") {
		if !strings.EqualFold(protocol, "h2c") {
			return function.Invalidf("a contract gives one answer and cannot be upgraded to %.40q: call it with plain HTTP", protocol)
		}
	}
	return nil
}

// tokens splits a header that is a list.
func tokens(h http.Header, name string) []string {
	var list []string
	for _, value := range h.Values(name) {
		for token := range strings.SplitSeq(value, ",") {
			if token = strings.TrimSpace(token); token != "" {
				list = append(list, token)
			}
		}
	}
	return list
}
