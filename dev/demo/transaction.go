package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// transaction is what Dragonchain hands to a contract; examples/transaction.json is one.
type transaction struct {
	Version string `json:"version"`
	DCRN    string `json:"dcrn"`
	Header  header `json:"header"`
	Payload any    `json:"payload"`
	Proof   proof  `json:"proof"`
}

type header struct {
	TxnType   string  `json:"txn_type"`
	ChainID   string  `json:"dc_id"`
	TxnID     string  `json:"txn_id"`
	BlockID   *string `json:"block_id"` // null: the transaction is in no block yet
	Timestamp string  `json:"timestamp"`
	Tag       string  `json:"tag"`
	Invoker   string  `json:"invoker"`
}

// proof is empty until the transaction is in a block.
type proof struct {
	Full     *string `json:"full"`
	Stripped *string `json:"stripped"`
}

// newTransaction returns a transaction for a contract, on one line with blanks after separators, as the chain sends it.
func newTransaction(contract string, payload any) ([]byte, error) {
	indented, err := json.MarshalIndent(transaction{
		Version: "2",
		DCRN:    "Transaction::L1::FullTransaction",
		Header: header{
			TxnType:   contract,
			ChainID:   "294sjLHcCc8dMqMUdFzAnqLmiaCMWmoMTspuuYpSeBMvM",
			TxnID:     newID(),
			Timestamp: strconv.FormatInt(time.Now().Unix(), 10),
		},
		Payload: payload,
	}, "", "")
	// A line feed inside a string is escaped in JSON, so each of these is one that indenting made.
	return bytes.ReplaceAll(indented, []byte("\n"), []byte(" ")), err
}

// newID returns a random UUID (RFC 9562, version 4).
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
