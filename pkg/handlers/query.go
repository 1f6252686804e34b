package handlers

import (
	"net/http"
	"net/url"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// parameters are a query's. Of a repeated key the last one counts.
type parameters url.Values

func parseQuery(r *http.Request) (parameters, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, function.Invalidf("the query cannot be read: %v", err)
	}
	return parameters(values), nil
}

// last is empty when the key is absent.
func (p parameters) last(key string) string {
	values := p[key]
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
