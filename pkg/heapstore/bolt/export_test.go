package bolt

// EntryValue is the value in what a key of the file holds.
func EntryValue(held []byte) ([]byte, error) {
	e, err := decodeEntry("", held)
	return e.Value, err
}
