package function

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// quantityForm is Kubernetes' quantity grammar without the sign: no resource of a function can be negative.
var quantityForm = regexp.MustCompile(`^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$`)

// ParseDuration reads a duration as OpenFaaS does: a whole number is seconds, anything else is Go's syntax. It reports
// false for what is neither, and for negative durations.
func ParseDuration(s string) (time.Duration, bool) {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return time.Duration(n) * time.Second, true
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0
}

// ParseBytes reads a positive number of bytes, plain or with the suffix Ki, Mi or Gi.
func ParseBytes(s string) (int64, error) {
	digits, unit := s, int64(1)
	for suffix, size := range map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30} {
		if d, ok := strings.CutSuffix(s, suffix); ok {
			digits, unit = d, size
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n == 0 || n > uint64(math.MaxInt64/unit) {
		return 0, Invalidf("%.40q is no number of bytes", s)
	}
	return int64(n) * unit, nil
}
