package handlers

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// parseLogQuery reads all but the namespace.
func parseLogQuery(r *http.Request) (function.LogQuery, error) {
	query, err := parseQuery(r)
	if err != nil {
		return function.LogQuery{}, err
	}
	var q function.LogQuery
	q.Name, q.Instance = query.last("name"), query.last("instance")
	if q.Name == "" {
		return function.LogQuery{}, function.Invalidf("name the function: ?name=NAME")
	}
	if v := query.last("tail"); v != "" {
		tail, err := strconv.Atoi(v)
		if err != nil {
			return function.LogQuery{}, fmt.Errorf("%w: tail=%.40q: give a whole number", errQuery, v)
		}
		q.Tail = max(tail, 0)
	}
	if v := query.last("since"); v != "" {
		since, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return function.LogQuery{}, fmt.Errorf("%w: since=%.40q: give a time such as 2006-01-02T15:04:05Z", errQuery, v)
		}
		q.Since = &since
	}
	// What cannot be read as a truth value is false in OpenFaaS too.
	q.Follow, _ = strconv.ParseBool(query.last("follow"))
	return q, nil
}
