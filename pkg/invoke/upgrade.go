package invoke

import (
	"net/http"
	"strings"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// checkUpgrade refuses a request for another protocol: who asks for a websocket cannot use a plain answer. An offer of
// HTTP/2 is only an offer, which curl --http2 makes with every request.
func checkUpgrade(h http.Header) error {
	for _, list := range h.Values("Upgrade") {
		for protocol := range strings.SplitSeq(list, ",") {
			if protocol = strings.TrimSpace(protocol); protocol != "" && !strings.EqualFold(protocol, "h2c") {
				return function.Invalidf("a contract gives one answer and cannot be upgraded to %.40q: call it with plain HTTP", protocol)
			}
		}
	}
	return nil
}
