package model

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
)

// chain takes output transactions, and now and then does not.
type chain struct {
	mu  sync.Mutex
	got []transaction
}

type transaction struct {
	Header struct {
		TxnType string `json:"txn_type"`
		TxnID   string `json:"txn_id"`
		Invoker string `json:"invoker"`
	} `json:"header"`
	Payload string `json:"payload"`
}

func (c *chain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var got transaction
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // its sender was killed: what it did not send whole it sends again
	}
	if json.Unmarshal(body, &got) != nil || got.Header.TxnID == "" {
		w.WriteHeader(http.StatusBadRequest) // becomes a dead letter, which is looked for
		return
	}
	if rand.IntN(500) == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	c.mu.Lock()
	c.got = append(c.got, got)
	c.mu.Unlock()
	if rand.IntN(500) == 0 {
		w.WriteHeader(http.StatusServiceUnavailable) // taken, and yet it comes again
	}
}

// of returns the transactions of a contract, in the order in which they came.
func (c *chain) of(contract string) []transaction {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.got), func(t transaction) bool { return t.Header.TxnType != contract })
}
