package http1

import "encoding/binary"

// lower maps the characters of a token (RFC 9110, section 5.6.2) to lower case, and all others to 0.
var lower = func() (t [256]byte) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz" {
		t[c] = byte(c)
	}
	for c := byte('A'); c <= 'Z'; c++ {
		t[c] = c + 'a' - 'A'
	}
	return t
}()

// content tells what may stand in the value of a field: everything but control characters, of which a tab is allowed.
var content = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != 0x7f || c == '\t'
	}
	return t
}()

// inTarget tells what may stand in a request's target. As in net/http that is more than RFC 3986 lets stand unescaped, for clients
// send it; not blanks, control characters and the mark of a fragment.
var inTarget = func() (t [256]bool) {
	for c := range t {
		t[c] = c > ' ' && c != 0x7f && c != '#'
	}
	return t
}()

// inHost tells what may stand in a Host: a name, an address, the brackets of an IPv6 address, and a port (RFC 3986, section 3.2.2).
var inHost = func() (t [256]bool) {
	for _, c := range "-._~!$&'()*+,;=:[]%0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] = true
	}
	return t
}()

// isToken tells whether b is a token.
func isToken(b []byte) bool {
	for _, c := range b {
		if lower[c] == 0 {
			return false
		}
	}
	return len(b) > 0
}

func all(b []byte, allowed *[256]bool) bool {
	for _, c := range b {
		if !allowed[c] {
			return false
		}
	}
	return true
}

// isContent is all(b, &content), eight characters at a time: most of a head is values.
func isContent(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		// The high bit of each character that is below a blank, or DEL, becomes set; and perhaps that of one above such a one, which the
		// table then finds to be none.
		word := binary.LittleEndian.Uint64(b)
		low := (word - ones*' ') & ^word
		del := word ^ ones*0x7f
		if (low | (del-ones) & ^del)&highs != 0 && !all(b[:8], &content) {
			return false
		}
		b = b[8:]
	}
	return all(b, &content)
}

// equalFold compares tokens without regard to case.
func equalFold[A, B []byte | string](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower[a[i]] != lower[b[i]] || lower[a[i]] == 0 {
			return false
		}
	}
	return true
}

// trim cuts blanks and tabs off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// eachToken calls f with each element of a comma-separated list.
func eachToken(list []byte, f func(token []byte)) {
	for len(list) > 0 {
		end := 0
		for end < len(list) && list[end] != ',' {
			end++
		}
		if token := trim(list[:end]); len(token) > 0 {
			f(token)
		}
		list = list[min(end+1, len(list)):]
	}
}
