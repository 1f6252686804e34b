package invoke

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// rawKey is the key of answers that are no JSON object.
	rawKey = "rawResponse"
	// heapSwitch is the member that keeps an answer out of the heap when it is false.
	heapSwitch = "OUTPUT_TO_HEAP"
	// maxMembers bounds the keys of one commit. All contracts share the store's disk, and a commit of an answer full of tiny
	// members would take it for many seconds.
	maxMembers = 1 << 16
)

// parseAnswer returns what an answer writes, in the order of the answer and each key once. An error wraps ErrUnstorable or
// ErrAnswerTooLarge.
// Values may share memory with each other.
func parseAnswer(body []byte) ([]function.HeapWrite, error) {
	if !utf8.Valid(body) {
		return nil, fmt.Errorf("%w: it is not UTF-8", ErrUnstorable)
	}
	// Compacting validates as well, and leaves no blanks for parseMembers to care about.
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err != nil || compact.Bytes()[0] != '{' {
		return parseRaw(body)
	}
	return parseMembers(compact.Bytes())
}

// parseRaw keeps a whole text as one JSON string.
func parseRaw(body []byte) ([]function.HeapWrite, error) {
	var value bytes.Buffer
	encoder := json.NewEncoder(&value)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(string(body)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnstorable, err)
	}
	return []function.HeapWrite{{Key: rawKey, Value: bytes.TrimSuffix(value.Bytes(), []byte("\n"))}}, nil
}

// parseMembers splits a valid and compact JSON object into its members.
func parseMembers(object []byte) ([]function.HeapWrite, error) {
	var writes []function.HeapWrite
	position := map[string]int{}
	var name, value []byte
	for rest := object[1 : len(object)-1]; len(rest) > 0; {
		name, rest = cutValue(rest)
		value, rest = cutValue(rest)
		key, err := parseKey(name)
		if err != nil {
			return nil, err
		}
		if at, again := position[key]; again {
			writes[at].Value = value
			continue
		}
		if len(writes) == maxMembers {
			return nil, fmt.Errorf("%w: at most %d members are allowed", ErrAnswerTooLarge, maxMembers)
		}
		position[key] = len(writes)
		writes = append(writes, function.HeapWrite{Key: key, Value: value})
	}
	if at, found := position[heapSwitch]; found && string(writes[at].Value) == "false" {
		return nil, nil
	}
	return writes, nil
}

// cutValue splits valid and compact JSON after its first value, and drops the comma or colon between. It counts brackets
// instead of calling itself, so that depth costs nothing.
func cutValue(text []byte) (value, rest []byte) {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',', ':':
			if depth == 0 {
				return text[:i], text[i+1:]
			}
		}
	}
	return text, nil
}

// parseKey decodes a member's name. It refuses half a surrogate pair, which the decoder would replace: two names could
// then become one key.
func parseKey(name []byte) (string, error) {
	if !bytes.ContainsRune(name, '\\') {
		// Most names have no escapes; the decoder would take half of the time for them (BenchmarkParseAnswer).
		return string(name[1 : len(name)-1]), nil
	}
	if !paired(name) {
		return "", fmt.Errorf("%w: member %.80s has half a surrogate pair in its name", ErrUnstorable, name)
	}
	var key string
	if err := json.Unmarshal(name, &key); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnstorable, err)
	}
	return key, nil
}

// paired reports whether every escaped surrogate of a valid JSON string has its other half.
func paired(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		first, ok := escapedUnit(text[i:])
		if !ok {
			i++ // an escape of one character, such as \n or \\
			continue
		}
		i += unitLength - 1
		if !utf16.IsSurrogate(first) {
			continue
		}
		second, ok := escapedUnit(text[i+1:])
		if !ok || utf16.DecodeRune(first, second) == utf8.RuneError {
			return false
		}
		i += unitLength
	}
	return true
}

// unitLength is the length of \uXXXX.
const unitLength = 6

// escapedUnit reads the \uXXXX that text begins with.
func escapedUnit(text []byte) (rune, bool) {
	if len(text) < unitLength || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(text[2:unitLength]), 16, 16)
	return rune(unit), err == nil
}
