package peers

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Handler answers the leader with this provider's report. It answers nobody who has not the providers' key.
func (p *Peers) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !p.key.asked(r, time.Now()) {
			http.Error(w, "this is for the other providers", http.StatusForbidden)
			return
		}
		since, err := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
		if err != nil {
			http.Error(w, "since is no number", http.StatusBadRequest)
			return
		}
		text, err := json.Marshal(p.report(time.Unix(0, since)))
		if err != nil {
			http.Error(w, "the report cannot be written", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set(macHeader, p.key.seal(r.Header.Get(nonceHeader), text))
		_, _ = w.Write(text) // a leader that has gone asks no more
	})
}

// report tells of the functions that have a call, or had one since.
func (p *Peers) report(since time.Time) report {
	now := time.Now()
	made := report{Process: p.process, Now: now.UnixNano(), Functions: []figure{}}
	p.cfg.Loads(since, func(ref function.Ref, l Load) {
		made.Functions = append(made.Functions, figure{
			Name: ref.Name, Namespace: ref.Namespace, InFlight: l.InFlight, Waiting: l.Waiting, Unreached: l.Unreached,
			Ago: int64(max(0, now.Sub(l.Last))), Started: l.Started, CallTime: int64(l.CallTime),
		})
	})
	return made
}
