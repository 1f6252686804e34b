package invoke

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dragonchain/dc-provider/pkg/dc1"
	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// maxCallbackURL bounds what is kept of a callback's address.
	maxCallbackURL = 2048
	// callbackTimeout bounds one delivery.
	callbackTimeout = 30 * time.Second
	dialTimeout     = 10 * time.Second
	// maxCallbackAnswer is how much of a receiver's answer is read, so that its connection can be used again.
	maxCallbackAnswer = 64 << 10
)

// errCallbackAddress: the receiver's name leads to an address that none may have.
var errCallbackAddress = errors.New("callbacks do not go to this address")

// Callbacks says where answers may be sent to. Never sent to are loopback, link-local (where clouds keep their credentials),
// multicast and unspecified addresses, whatever name leads there.
type Callbacks struct {
	// Allow are host names (receiver.example.com, or *.example.com for all below), addresses and networks (10.0.0.0/8) of which a
	// receiver must be one. None means that every other one may be.
	Allow []string
}

// compile checks c once.
func (c Callbacks) compile() (*receivers, error) {
	r := &receivers{}
	for _, entry := range c.Allow {
		entry = strings.ToLower(strings.TrimSpace(entry))
		if network, err := netip.ParsePrefix(entry); err == nil {
			r.networks = append(r.networks, network.Masked())
		} else if address, err := netip.ParseAddr(entry); err == nil {
			r.networks = append(r.networks, netip.PrefixFrom(address, address.BitLen()))
		} else if name := strings.TrimPrefix(entry, "*."); name == "" || strings.ContainsAny(name, "*/:@ ") {
			return nil, fmt.Errorf("callbacks to %.80q: give a host name, *.domain, an address or a network", entry)
		} else {
			r.names = append(r.names, entry)
		}
	}
	return r, nil
}

// receivers are Callbacks, read.
type receivers struct {
	names    []string
	networks []netip.Prefix
	// local lets addresses of this machine be receivers, in tests.
	local bool
}

// check refuses a callback's URL that can never be used.
func (r *receivers) check(text string) error {
	if len(text) > maxCallbackURL {
		return function.Invalidf("%s has %d bytes; at most %d are allowed", headerCallback, len(text), maxCallbackURL)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Opaque != "":
		return function.Invalidf("%s=%.80q: give an absolute URL of http or https", headerCallback, text)
	case u.User != nil:
		return function.Invalidf("%s: give a URL without user and password", headerCallback)
	}
	if address, err := netip.ParseAddr(u.Hostname()); err == nil {
		if !r.allowed("", address) {
			return function.Invalidf("%s=%.80q: callbacks do not go to this address", headerCallback, text)
		}
	} else if !r.named(u.Hostname()) && len(r.names) > 0 && len(r.networks) == 0 {
		return function.Invalidf("%s=%.80q: callbacks do not go to this host", headerCallback, text)
	}
	return nil
}

// named reports whether a name is one of those that are allowed.
func (r *receivers) named(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	for _, name := range r.names {
		if domain, below := strings.CutPrefix(name, "*"); host == name || below && strings.HasSuffix(host, domain) {
			return true
		}
	}
	return false
}

// allowed reports whether a connection may be made to an address that host led to.
func (r *receivers) allowed(host string, address netip.Addr) bool {
	address = address.Unmap()
	if !r.local && (address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsMulticast() || address.IsUnspecified()) {
		return false
	}
	if len(r.names)+len(r.networks) == 0 || r.named(host) {
		return true
	}
	for _, network := range r.networks {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// client sends messages. The address is looked at when the connection is made, behind the name's resolution: a name that is
// resolved twice may lead elsewhere the second time. Redirects would be another way round, and are not followed.
func (r *receivers) client() *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			dialer := net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
				to, err := netip.ParseAddrPort(address)
				if err != nil || !r.allowed(host, to.Addr()) {
					return fmt.Errorf("%w: %s", errCallbackAddress, address)
				}
				return nil
			}}
			return dialer.DialContext(ctx, network, address)
		},
		TLSHandshakeTimeout: dialTimeout, MaxIdleConnsPerHost: 16, MaxIdleConns: 256, IdleConnTimeout: 30 * time.Second,
		DisableCompression: true,
	}
	return &http.Client{
		Transport: transport, Timeout: callbackTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// deliver makes one attempt to send a message. The receiver's answer counts as its taking it unless it says that it could not.
func (i *Invoker) deliver(ctx context.Context, m Message) error {
	to, client := m.URL, i.client
	if m.Chain {
		to, client = i.cfg.Chain.URL, i.chainClient
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, nil)
	if err != nil {
		return err
	}
	r.Header = m.Header
	setBody(r, m.Body)
	if m.Chain {
		to := i.cfg.Chain
		dc1.Sign(r, m.Body, to.ID, dc1.Key{ID: to.KeyID, Text: to.Key}, time.Now())
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	// What it says does not matter, and how it ends neither.
	_, _ = io.CopyN(io.Discard, answer.Body, maxCallbackAnswer)
	if m.Chain && answer.StatusCode >= 300 {
		// A chain takes it or not; what it refuses is for an operator to see.
		return fmt.Errorf("the chain answered %d", answer.StatusCode)
	}
	switch answer.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
	default:
		if answer.StatusCode < http.StatusInternalServerError {
			return nil
		}
	}
	return fmt.Errorf("the receiver answered %d", answer.StatusCode)
}

// notOfCallback are headers of an answer that are not those of a message.
var notOfCallback = []string{"Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Trailer", "Upgrade", "Te",
	"Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection"}

// callback returns the message that tells a caller how his invocation ended, if he wants one.
func (i *Invoker) callback(f *function.Function, c QueuedCall, callID string, end ending, took time.Duration) ([]function.Item, error) {
	if c.Callback == "" {
		return nil, nil
	}
	header := end.answer.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	for _, name := range notOfCallback {
		header.Del(name)
	}
	header.Set("X-Duration-Seconds", strconv.FormatFloat(took.Seconds(), 'f', 6, 64))
	header.Set("X-Function-Status", strconv.Itoa(end.status))
	header.Set("X-Function-Name", c.Name)
	header.Set(headerCallID, callID)
	if start := c.Header.Get("X-Start-Time"); start != "" {
		header.Set("X-Start-Time", start)
	}
	header.Set("User-Agent", "dc-provider/"+i.cfg.Version)
	payload, err := encode(Message{URL: c.Callback, Header: header}, end.answer.body)
	now := time.Now()
	return []function.Item{{Function: f.Heap(), Kind: function.ItemMessage, CallID: callID, Accepted: now, Due: now, Payload: payload}}, err
}
