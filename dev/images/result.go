package main

import (
	"encoding/json"
	"os"
	"strings"
)

// result is what is known of a built image. It is kept beside the archive as JSON.
type result struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Bytes  int64  `json:"bytes"`
	// Inputs is the hash of all that the archive was made from.
	Inputs string `json:"inputs"`

	archive   string
	unchanged bool
}

func resultFile(archive string) string { return strings.TrimSuffix(archive, ".tar") + ".json" }

// readResult returns what is known of the archive, and false if that or the archive itself is missing or broken: then it is built.
func readResult(archive string) (result, bool) {
	var res result
	data, err := os.ReadFile(resultFile(archive))
	if err != nil || json.Unmarshal(data, &res) != nil {
		return result{}, false
	}
	info, err := os.Stat(archive)
	return res, err == nil && info.Size() == res.Bytes
}

func writeResult(res result) error {
	data, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(resultFile(res.archive), data, 0o644)
}
