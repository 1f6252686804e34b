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
	limit := lesser(cfg.ExecTimeout, cfg.WriteTimeout)
	if text := r.Header.Get("X-Timeout"); text != "" {
		if asked, err := time.ParseDuration(text); err == nil {
			limit = lesser(limit, asked)
		}
	}
	return limit
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
