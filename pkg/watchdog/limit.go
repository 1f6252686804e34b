package watchdog

import (
	"context"
	"net/http"
	"time"
)

// limitOf is how long one invocation may run; 0 means as long as its caller waits. The least of exec_timeout, write_timeout
// (after which no answer would be sent) and the request's own X-Timeout counts. An X-Timeout that is not a positive duration is
// ignored: a caller can only ask for less.
func limitOf(cfg *Config, r *http.Request) time.Duration {
	return lesser(lesser(cfg.ExecTimeout, cfg.WriteTimeout), askedLimit(r))
}

// askedLimit is the request's own X-Timeout, or 0.
func askedLimit(r *http.Request) time.Duration { return parseLimit(r.Header.Get("X-Timeout")) }

func parseLimit(asked string) time.Duration {
	if asked == "" {
		return 0
	}
	limit, err := time.ParseDuration(asked)
	if err != nil {
		return 0
	}
	return max(limit, 0)
}

// lesser is the smaller of two limits, of which one that is not positive means none.
func lesser(a, b time.Duration) time.Duration {
	switch {
	case a <= 0:
		return max(b, 0)
	case b <= 0:
		return a
	}
	return min(a, b)
}

func withLimit(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}
