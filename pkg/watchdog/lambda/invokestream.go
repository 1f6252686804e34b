package lambda

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
)

// eventStreamType is the type of an answer in AWS's event stream encoding.
const eventStreamType = "application/vnd.amazon.eventstream"

// serveInvokeStream is Lambda's InvokeWithResponseStream: POST /2021-11-15/functions/NAME/response-streaming-invocations. Whatever the
// function answers goes into PayloadChunk events as it comes, and InvokeComplete tells how it ended.
func (p *Pool) serveInvokeStream(w http.ResponseWriter, r *http.Request) {
	p.serveAPI(w, r, func(inv *invocation) error {
		switch wish := r.Header.Get("X-Amz-Invocation-Type"); wish {
		case "", "RequestResponse":
			return p.responseStream(w, r, inv)
		case "DryRun":
			w.WriteHeader(http.StatusNoContent)
			return nil
		default:
			return fmt.Errorf("X-Amz-Invocation-Type %.80q is not one of RequestResponse, DryRun", wish)
		}
	})
}

func (p *Pool) responseStream(w http.ResponseWriter, r *http.Request, inv *invocation) error {
	o, err := p.invoke(r.Context(), inv)
	if err != nil {
		return err
	}
	defer o.done()
	p.note(inv, http.StatusOK)
	w.Header().Set("Content-Type", eventStreamType)
	if o.stream == nil {
		defer p.boundReply(w, inv, &o)()
	}
	w.WriteHeader(http.StatusOK)
	end, err := p.sendChunks(w, inv, &o)
	if err != nil {
		return nil // the caller has left: there is nobody to tell
	}
	if text, ok := inv.logResult(end); ok {
		err = sendComplete(w, end, text)
	} else {
		err = sendComplete(w, end, "")
	}
	if err != nil {
		p.log.Debug("caller went away", "call_id", inv.id, "err", err)
	}
	return nil
}

// sendChunks passes on what there is of an answer, and returns how it has ended. The error is the caller's departure.
func (p *Pool) sendChunks(w http.ResponseWriter, inv *invocation, o *outcome) (end *outcome, err error) {
	if o.stream == nil {
		for body := o.body; o.kind == answered && len(body) > 0 && err == nil; {
			n := min(len(body), copyBytes)
			err = sendStreamEvent(w, "PayloadChunk", "application/octet-stream", body[:n])
			body = body[n:]
		}
		return o, err
	}
	flush, buffer := http.NewResponseController(w), make([]byte, copyBytes)
	for {
		n, readErr := o.stream.Read(buffer)
		if n > 0 {
			if err := sendStreamEvent(w, "PayloadChunk", "application/octet-stream", buffer[:n]); err != nil {
				return nil, err
			}
			if err := flush.Flush(); err != nil {
				return nil, err
			}
		}
		if readErr == io.EOF {
			return &outcome{kind: answered}, nil
		}
		if readErr != nil {
			return brokenAnswer(inv, readErr), nil
		}
	}
}

// sendComplete sends the last event, with the function's error if there is one.
func sendComplete(w io.Writer, end *outcome, log string) error {
	complete := struct {
		ErrorCode    string `json:"ErrorCode,omitempty"`
		ErrorDetails string `json:"ErrorDetails,omitempty"`
		LogResult    string `json:"LogResult,omitempty"`
	}{LogResult: log}
	if end.kind != answered {
		var fault struct {
			Type string `json:"errorType"`
		}
		// The error is the function's, and may be of any shape.
		if err := json.Unmarshal(end.body, &fault); err != nil || fault.Type == "" {
			fault.Type = unhandled
		}
		complete.ErrorCode, complete.ErrorDetails = fault.Type, string(end.body)
	}
	return sendStreamEvent(w, "InvokeComplete", "application/json", mustJSON(complete))
}

// sendStreamEvent writes one message of AWS's event stream encoding: the lengths of all and of the headers with their checksum, the
// headers, the payload, and the checksum of everything before.
func sendStreamEvent(w io.Writer, event, contentType string, payload []byte) error {
	var headers []byte
	for _, h := range [][2]string{{":event-type", event}, {":content-type", contentType}, {":message-type", "event"}} {
		const text = 7
		headers = append(append(append(headers, byte(len(h[0]))), h[0]...), text)
		headers = append(binary.BigEndian.AppendUint16(headers, uint16(len(h[1]))), h[1]...)
	}
	const preludeSize, checksumSize = 12, 4
	total := preludeSize + len(headers) + len(payload) + checksumSize
	message := make([]byte, 0, total)
	message = binary.BigEndian.AppendUint32(message, uint32(total))
	message = binary.BigEndian.AppendUint32(message, uint32(len(headers)))
	message = binary.BigEndian.AppendUint32(message, crc32.ChecksumIEEE(message))
	message = append(append(message, headers...), payload...)
	message = binary.BigEndian.AppendUint32(message, crc32.ChecksumIEEE(message))
	_, err := w.Write(message)
	return err
}
