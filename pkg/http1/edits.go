package http1

import "strconv"

// Edits are changes to the fields of a message on its way. The zero value changes nothing. It cannot change the message's framing:
// Connection, Content-Length, Transfer-Encoding, Trailer and Upgrade are the engine's.
type Edits struct {
	drop  []string
	add   []byte
	dated bool // a Date is among what is added
}

func (e *Edits) reset() {
	e.drop, e.add, e.dated = e.drop[:0], e.add[:0], false
}

// Drop removes every field of that name, in any case, that the message came with.
func (e *Edits) Drop(name string) { e.drop = append(e.drop, name) }

// Add adds a field. What must not stand in a value becomes a blank.
func (e *Edits) Add(name, value string) {
	e.begin(name)
	from := len(e.add)
	e.add = append(e.add, value...)
	blank(e.add[from:])
	e.end()
}

// AddBytes is Add for a value that is not kept.
func (e *Edits) AddBytes(name string, value []byte) {
	e.begin(name)
	from := len(e.add)
	e.add = append(e.add, value...)
	blank(e.add[from:])
	e.end()
}

// AddInt is Add for a number.
func (e *Edits) AddInt(name string, value int64) {
	e.begin(name)
	e.add = strconv.AppendInt(e.add, value, 10)
	e.end()
}

// Set is Drop and Add.
func (e *Edits) Set(name, value string) {
	e.Drop(name)
	e.Add(name, value)
}

func (e *Edits) begin(name string) {
	if len(name) == len("Date") && equalFold(name, "Date") {
		e.dated = true
	}
	e.add = append(e.add, name...)
	e.add = append(e.add, ": "...)
}

// blank makes a blank of what must not stand in a value.
func blank(value []byte) {
	if isContent(value) {
		return
	}
	for i, c := range value {
		if !content[c] {
			value[i] = ' '
		}
	}
}

func (e *Edits) end() { e.add = append(e.add, "\r\n"...) }

// drops tells whether a field of that name is to go.
func (e *Edits) drops(name []byte) bool {
	for _, d := range e.drop {
		if equalFold(name, d) {
			return true
		}
	}
	return false
}
