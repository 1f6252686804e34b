package invoke

import (
	"log/slog"
	"time"
)

// outage is since when something fails that is tried several times a second: that it does is worth one line, and its end
// another. The zero value is none.
type outage struct{ since time.Time }

// note takes the outcome of a try. fails and works are what is said when that changes.
func (o *outage) note(log *slog.Logger, err error, fails, works string) {
	switch {
	case err != nil && o.since.IsZero():
		o.since = time.Now()
		log.Warn(fails, "err", err)
	case err == nil && !o.since.IsZero():
		log.Info(works, "duration_seconds", time.Since(o.since).Seconds())
		o.since = time.Time{}
	}
}
