package proxy

import (
	"net/http"
	"strings"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const asyncPrefix = "/async-function/"

// ServeAsync answers /async-function/NAME[.NAMESPACE][/rest] by Config.Async, which gets the request as ServeHTTP's contracts do
// and the name as the caller wrote it. Nothing is counted as a call: that is what is made of it later.
func (p *Proxy) ServeAsync(w http.ResponseWriter, r *http.Request) {
	id := identify(r)
	rt, f, out, err := p.admitAsync(r, id)
	if err != nil {
		p.fail(w, r, id, err)
		return
	}
	p.tell(w.Header(), id)
	p.cfg.Async(w, out, f, rt.name)
}

func (p *Proxy) admitAsync(r *http.Request, id identity) (rt route, f *function.Function, out *http.Request, err error) {
	tail, found := strings.CutPrefix(r.URL.EscapedPath(), asyncPrefix)
	if !found || p.cfg.Async == nil {
		return rt, nil, nil, function.NotFoundf("no such path")
	}
	if rt, err = parseRoute(routePrefix + tail); err != nil {
		return rt, nil, nil, err
	}
	ref := rt.ref(p.cfg.DefaultNamespace, p.cfg.Managed)
	f, found = p.cfg.Lookup(ref)
	if !found {
		return rt, nil, nil, notFound(ref)
	}
	out, err = outgoing(r, rt, id)
	return rt, f, out, err
}
