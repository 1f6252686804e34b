package invoke

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Chain is where the output transactions of contracts go that are to be put on a chain.
type Chain struct {
	// URL takes them, each by a POST. Empty means that there is none.
	URL string
	// ID is the chain's public id; KeyID and Key sign what is sent.
	ID, KeyID, Key string
}

func (c Chain) check() error {
	if c == (Chain{}) {
		return nil
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil:
		return fmt.Errorf("chain %.80q: give an absolute URL of http or https", c.URL)
	case c.ID == "" || c.KeyID == "" || c.Key == "":
		return fmt.Errorf("chain %.80q: its id, a key id and a key are needed", c.URL)
	}
	return nil
}

const (
	// chainSwitch is the member that keeps an answer off the chain when it is false, and tagMember the one that tags it.
	chainSwitch = "OUTPUT_TO_CHAIN"
	tagMember   = "tag"
)

// output is the transaction that a contract's answer becomes.
type output struct {
	Version string            `json:"version"`
	DCRN    string            `json:"dcrn"`
	Header  transactionHeader `json:"header"`
	// Payload is the answer as text.
	Payload string `json:"payload"`
}

// newOutput makes the transaction of an answer, as Dragonchain's invoker does. report false means that there is to be none. What the
// invoking transaction says of itself is kept; a call that is no transaction has its call id in place of one's.
func newOutput(f *function.Function, callID string, request []byte, got answer, limit int64, now time.Time) (o output, report bool, err error) {
	text, err := got.text(limit)
	if err != nil {
		return o, false, err
	}
	var invoking struct {
		Header transactionHeader `json:"header"`
	}
	// A call may be anything.
	if json.Unmarshal(request, &invoking) != nil || invoking.Header.TxnID == "" {
		invoking.Header = transactionHeader{
			TxnID: callID, TxnType: orDefault(f.Env["SMART_CONTRACT_NAME"], f.Name), DCID: f.Env["DRAGONCHAIN_ID"], Timestamp: strconv.FormatInt(now.Unix(), 10),
		}
	}
	payload, tag, report, err := outputPayload(text)
	if err != nil || !report {
		return o, false, err
	}
	header := invoking.Header
	header.Invoker, header.TxnID, header.BlockID = header.TxnID, outputID(f, callID), nil
	if tag != nil {
		header.Tag = *tag
	}
	return output{Version: "2", DCRN: "Transaction::L1::FullTransaction", Header: header, Payload: payload}, true, nil
}

// outputPayload is what of an answer goes on the chain. tag is nil if it has none of its own.
func outputPayload(text []byte) (payload string, tag *string, report bool, err error) {
	var compact bytes.Buffer
	if json.Compact(&compact, text) != nil || compact.Bytes()[0] != '{' {
		raw, err := json.Marshal(map[string]string{rawKey: string(text)})
		return string(raw), nil, true, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(compact.Bytes(), &members); err != nil {
		return "", nil, false, fmt.Errorf("%w: %w", ErrUnstorable, err)
	}
	if string(members[chainSwitch]) == "false" {
		return "", nil, false, nil
	}
	var own string
	if value, there := members[tagMember]; !there || json.Unmarshal(value, &own) != nil || value[0] != '"' {
		return compact.String(), nil, true, nil
	}
	delete(members, tagMember)
	rest, err := json.Marshal(members)
	return string(rest), &own, true, err
}

// outputID is a UUID that is made of the call, so that a run of it that is repeated has the same.
func outputID(f *function.Function, callID string) string {
	sum := sha256.Sum256([]byte("output\n" + f.ID + "\n" + callID))
	id := sum[:16]
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // RFC 9562, version 8
	text := hex.EncodeToString(id)
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// chainMessages returns the message that puts a contract's answer on the chain, if it is to.
func (i *Invoker) chainMessages(f *function.Function, r *http.Request, c call, got answer) ([]function.Item, error) {
	callID, request := r.Header.Get(headerCallID), c.body
	if i.cfg.Chain.URL == "" || !f.Policy.Chain || got.status < 200 || got.status > 299 || got.bodiless {
		return nil, nil
	}
	now := time.Now()
	o, report, err := newOutput(f, callID, request, got, i.cfg.MaxAnswerBytes, now)
	if err != nil || !report {
		return nil, err
	}
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	payload, err := encode(Message{Chain: true, Header: http.Header{headerCallID: {callID}}}, body)
	return []function.Item{{
		Function: f.Heap(), Kind: function.ItemMessage, CallID: callID, Accepted: now, Due: now, Serial: f.Policy.Serial, Payload: payload,
	}}, err
}
