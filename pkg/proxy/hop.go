package proxy

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/http1"
)

// ServeExchange is ServeHTTP without net/http's server, for plain calls of functions. It passes everything else on: other paths,
// methods that no function is called with, escapes where they are odd.
func (p *Proxy) ServeExchange(x *http1.Exchange) {
	name, path, ok := cutRoute(x.Target)
	if !ok || !callable(x.Method) {
		x.Pass()
		return
	}
	known := p.names.find(name)
	isNew := known == nil
	if isNew {
		text := string(name)
		known = &knownName{text, function.ParseRef(text, p.cfg.DefaultNamespace)}
	}
	ref := settle(known.ref, p.cfg.DefaultNamespace, p.cfg.Managed)
	f, ok := p.cfg.Lookup(ref)
	if ok && f.Policy.Heap && p.cfg.Contract != nil {
		p.serveContract(x, f, path)
		return
	}
	h := p.lendHop(x)
	defer h.giveBack()
	if !ok {
		r, err := requestOf(x), notFound(ref)
		h.fail(r, err)
		p.logRefused(r, h.identity(), err)
		return
	}
	if isNew {
		p.names.add(known)
	}
	h.call.begin(p, f, x.Started)
	h.serve(path)
}

// callable tells whether a method is one that functions are called with.
func callable(method []byte) bool {
	for _, m := range methods {
		if string(method) == m {
			return true
		}
	}
	return false
}

// hop is the way of a call through package http1, from its exchange to an endpoint and back. It is lent for one call.
type hop struct {
	call call
	p    *Proxy
	x    *http1.Exchange
	// callID and start are the call's identity, contentType is the request's, forwardedFor the way that it has come. They refer
	// to the exchange, or to text.
	callID, start, contentType, forwardedFor []byte
	// headed is set when the head of an answer has come.
	headed bool
	// target is what the function sees: a part of the exchange's, or of text.
	target []byte
	// text is what the hop itself has made.
	text []byte
}

// lendHop returns a hop for x.
func (p *Proxy) lendHop(x *http1.Exchange) *hop {
	h, ok := p.hops.Get().(*hop)
	if !ok {
		h = &hop{text: make([]byte, 0, hopTextBytes)}
	}
	h.p, h.x = p, x
	x.Data = h
	h.identify()
	return h
}

const (
	// hopTextBytes is room for an identity, a peer's address and a query.
	hopTextBytes = 512
	// mostHopText bounds what a hop keeps from one call to the next.
	mostHopText = 4 << 10
)

// giveBack ends the call, and keeps the hop for another: it is in no queue and at no endpoint, so that nobody refers to it.
func (h *hop) giveBack() {
	if h.call.entry != nil && h.headed {
		h.call.entry.bytes = h.x.AnswerBytes()
	}
	h.call.end()
	h.x.Data = nil
	p, text := h.p, h.text
	if cap(text) > mostHopText {
		return
	}
	*h = hop{text: text[:0]}
	p.hops.Put(h)
}

// identify takes the identity that the request has, or makes one, and notes what else of it is of use. As with net/http the first
// of several fields counts, and all are replaced.
func (h *hop) identify() {
	to := &h.x.ToEndpoint
	var host, proto []byte
	for i := range h.x.Fields {
		f := &h.x.Fields[i]
		switch len(f.Name) {
		case len(headerCallID):
			if is(f, headerCallID) && h.callID == nil {
				h.callID = f.Value
				to.Drop(headerCallID)
			}
		case len(headerStartTime): // and of Content-Type
			if is(f, headerStartTime) && h.start == nil {
				h.start = f.Value
				to.Drop(headerStartTime)
			} else if is(f, "Content-Type") && h.contentType == nil {
				h.contentType = f.Value
			}
		case len(headerForwardedFor):
			if is(f, headerForwardedFor) {
				h.addForwarded(f.Value)
			}
		case len(headerForwardedHost):
			if is(f, headerForwardedHost) && host == nil {
				host = f.Value
			}
		case len(headerForwardedProto):
			if is(f, headerForwardedProto) && proto == nil {
				proto = f.Value
			}
		}
	}
	if len(h.callID) == 0 {
		h.callID = h.compose(appendCallID)
	}
	to.AddBytes(headerCallID, h.callID)
	if len(h.start) == 0 {
		h.start = h.compose(func(b []byte) []byte { return strconv.AppendInt(b, h.x.Started.UnixNano(), 10) })
	}
	to.AddBytes(headerStartTime, h.start)
	if h.forwardedFor != nil {
		to.Drop(headerForwardedFor)
	}
	h.addForwarded([]byte(h.x.RemoteIP()))
	to.AddBytes(headerForwardedFor, h.forwardedFor)
	setForwardedField(to, headerForwardedHost, host, h.x.Host)
	setForwardedField(to, headerForwardedProto, proto, plainScheme)
}

var plainScheme = []byte("http")

// setForwardedField sets a field that came with the value given, or not if that is nil. It is set anew so that Connection cannot
// take it away.
func setForwardedField(to *http1.Edits, name string, given, other []byte) {
	if given != nil {
		to.Drop(name)
	}
	if len(given) == 0 {
		given = other
	}
	if len(given) > 0 {
		to.AddBytes(name, given)
	}
}

// is tells whether a field has that name.
func is(f *http1.Field, name string) bool { return strings.EqualFold(string(f.Name), name) }

// compose appends to text, and returns what was appended. What was composed before stays as it is, though text may move.
func (h *hop) compose(add func([]byte) []byte) []byte {
	begin := len(h.text)
	h.text = add(h.text)
	return h.text[begin:len(h.text):len(h.text)]
}

// addForwarded adds an element to forwardedFor.
func (h *hop) addForwarded(element []byte) {
	before := h.forwardedFor
	h.forwardedFor = h.compose(func(b []byte) []byte {
		if before != nil {
			b = append(append(b, before...), ", "...)
		}
		return append(b, element...)
	})
}

// serve makes the call and answers. path is that of cutRoute.
func (h *hop) serve(path []byte) {
	h.target = path
	if len(path) == 0 || path[0] != '/' {
		h.target = h.compose(func(b []byte) []byte { return append(append(b, '/'), path...) })
	}
	if h.p.logs() {
		h.call.entry = h.newEntry()
	}
	if err := h.call.run(h); err != nil {
		h.fail(requestOf(h.x), err)
	}
}

func (h *hop) newEntry() *accessEntry {
	path, _, _ := bytes.Cut(h.target, []byte("?"))
	return &accessEntry{
		callID: bounded(string(h.callID)), method: bounded(string(h.x.Method)), path: bounded(string(path)),
		caller: h.x.RemoteIP(), forwardedFor: bounded(string(h.forwardedFor)),
	}
}

func (h *hop) caller() context.Context { return h.x.Context() }

func (h *hop) readAhead(deadline time.Time) error {
	if length := h.x.Length(); length <= 0 || length > aheadBytes || h.x.Has("Expect") {
		return nil // a caller that waits to be asked for the body is asked by the function
	}
	if !h.call.keeps(h.x.Length()) {
		return nil
	}
	h.x.SetDeadline(deadline)
	if _, _, err := h.x.ReadBody(aheadBytes); err != nil {
		if callerLeft(err) {
			return canceled(err)
		}
		return unreadable(err)
	}
	h.x.SetDeadline(time.Time{})
	return nil
}

func (h *hop) attempt(c *call) outcome {
	pool, err := h.p.poolOf(c.slot)
	if err != nil {
		return outcome{failed: err, again: true}
	}
	h.x.SetDeadline(c.placed.Add(h.p.cfg.Timeout))
	err = h.x.Forward(pool, h.target, func(x *http1.Exchange, res *http1.Response) { x.Data.(*hop).answer(res) })
	switch {
	case h.headed && (err == nil || h.x.Begun()):
		return outcome{} // if it broke off, the caller sees that by its connection
	case h.headed:
		if ended := h.explain(err); ended != nil {
			return outcome{ended: ended}
		}
		return outcome{ended: unreachable(c.f.Ref, err)}
	}
	again := errors.Is(err, http1.ErrNotReached)
	h.timeAttempt(!again)
	if ended := h.explain(err); ended != nil {
		return outcome{ended: ended}
	}
	h.x.SetDeadline(time.Time{}) // for as long as the call waits
	return outcome{failed: err, again: again}
}

// timeAttempt adds an attempt's time to the phases that it was in.
func (h *hop) timeAttempt(reached bool) {
	c, connect := &h.call, h.x.Dialed()
	c.phases[phaseConnect] += connect
	if reached {
		c.phases[phaseFunction] += time.Since(c.placed) - connect
	}
}

// answer takes the head of an answer, and adds what callers are told of every call.
func (h *hop) answer(res *http1.Response) {
	h.headed = true
	h.timeAttempt(true)
	h.call.answered(res.Status)
	if res.Length() < 0 {
		h.x.SetDeadline(time.Time{}) // what has no foreseeable end has no deadline
	}
	h.setDefault(res, headerCallID, h.callID)
	h.setDefault(res, headerStartTime, h.start)
	h.setDefault(res, headerServedBy, h.p.servedBy)
	if h.call.cold != nil && h.asksForColdStart() {
		h.call.cold.each(h.x.ToClient.Set)
	}
	if res.Has("Content-Type") || !hasContentType(res.Status) {
		return
	}
	if len(h.contentType) > 0 {
		h.x.ToClient.AddBytes("Content-Type", h.contentType)
	} else {
		h.x.ToClient.Add("Content-Type", plainText)
	}
}

// asksForColdStart tells whether the caller wants to know where the time went. Only calls that waited look for it.
func (h *hop) asksForColdStart() bool {
	for i := range h.x.Fields {
		if f := &h.x.Fields[i]; is(f, headerColdStart) {
			return string(f.Value) == "1" // as with net/http the first counts
		}
	}
	return false
}

// setDefault is that of net/http's way.
func (h *hop) setDefault(res *http1.Response, name string, value []byte) {
	had := res.Get(name)
	if len(had) > 0 {
		return
	}
	if had != nil {
		h.x.ToClient.Drop(name)
	}
	h.x.ToClient.AddBytes(name, value)
}

// explain tells why a call was ended that its endpoint did not end, or returns nil.
func (h *hop) explain(err error) error {
	switch {
	case errors.Is(err, http1.ErrDeadline):
		return timedOut(h.call.f.Ref)
	case callerLeft(err):
		return canceled(err)
	case errors.Is(err, http1.ErrBody), errors.Is(err, http1.ErrBodyTimeout):
		return unreadable(err)
	}
	return nil
}

func callerLeft(err error) bool {
	return errors.Is(err, http1.ErrClientGone) || errors.Is(err, http1.ErrServerClosed)
}

func (h *hop) identity() identity {
	return identity{callID: string(h.callID), start: string(h.start), came: h.x.Started}
}

// fail answers for an error as net/http's way does, unless some of an answer was sent.
func (h *hop) fail(r *http.Request, err error) {
	w := &errorAnswer{header: make(http.Header)}
	h.p.fail(w, r, h.identity(), err)
	if h.x.Begun() {
		return
	}
	h.x.ToClient = http1.Edits{} // of the answer that did not come
	for name, values := range w.header {
		for _, value := range values {
			h.x.ToClient.Add(name, value)
		}
	}
	_ = h.x.Answer(w.status, w.body) // a caller that is gone needs none
}

// errorAnswer collects what Config.Error answers.
type errorAnswer struct {
	header http.Header
	status int
	body   []byte
}

func (w *errorAnswer) Header() http.Header { return w.header }

func (w *errorAnswer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *errorAnswer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, p...)
	return len(p), nil
}

// requestOf is the request of x for those who know net/http, without its body.
func requestOf(x *http1.Exchange) *http.Request {
	r := &http.Request{
		Method: string(x.Method), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header), Body: http.NoBody, Host: string(x.Host),
		RemoteAddr: x.RemoteAddr().String(), RequestURI: string(x.Target),
	}
	var err error
	if r.URL, err = url.ParseRequestURI(r.RequestURI); err != nil {
		r.URL = &url.URL{Path: r.RequestURI}
	}
	for _, f := range x.Fields {
		r.Header.Add(string(f.Name), string(f.Value))
	}
	return r.WithContext(x.Context())
}
