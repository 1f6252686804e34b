package heapstore

import (
	"fmt"
	"unicode/utf8"
)

// CheckKey refuses a key that no heap may have, with ErrBadKey or ErrKeyTooLarge.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: a key has at least one byte", ErrBadKey)
	case len(key) > MaxKeyBytes:
		return fmt.Errorf("%w: %.40q... has %d bytes; at most %d are allowed", ErrKeyTooLarge, key, len(key), MaxKeyBytes)
	case !utf8.ValidString(key):
		return fmt.Errorf("%w: %.40q is not UTF-8", ErrBadKey, key)
	}
	return nil
}
