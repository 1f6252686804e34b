package handlers

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// logMessage is a line of the answer. No member is ever left out.
type logMessage struct {
	Name      string    `json:"name"`
	Namespace string    `json:"namespace"`
	Instance  string    `json:"instance"`
	Timestamp time.Time `json:"timestamp"`
	Text      string    `json:"text"`
}

// logs streams a function's log, a JSON object per line. The stream ends with the log, with the caller, or with Drain.
func (a *API) logs(w http.ResponseWriter, r *http.Request) error {
	query, err := parseLogQuery(r)
	if err != nil {
		return err
	}
	if query.Namespace, err = a.namespace(r, ""); err != nil {
		return err
	}
	if _, err := a.find(query.Ref); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	lines, err := a.cfg.Logs.Logs(ctx, query)
	if err != nil {
		return err
	}
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	// A caller that follows a silent function needs to see that it was accepted. What cannot flush cannot stream either,
	// and is left to deliver what it was given at the end.
	_ = control.Flush()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.draining:
			return nil
		case line, more := <-lines:
			if !more || writeLine(w, query.Ref, line) != nil {
				return nil
			}
			_ = control.Flush()
		}
	}
}

func writeLine(w http.ResponseWriter, ref function.Ref, line function.LogLine) error {
	return json.NewEncoder(w).Encode(messageOf(ref, line))
}

func messageOf(ref function.Ref, line function.LogLine) logMessage {
	return logMessage{Name: ref.Name, Namespace: ref.Namespace, Instance: line.Instance, Timestamp: line.Time.UTC(), Text: line.Text}
}
