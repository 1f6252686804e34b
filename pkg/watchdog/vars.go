package watchdog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// vars reads settings from an environment by the rules of one dialect. In the native dialect a value that cannot be read is
// an error, and all of them are reported at once; in the others it means the default, as their functions expect.
type vars struct {
	set     map[string]string
	dialect Dialect
	errs    []error
}

// environMap turns "NAME=value" entries into a map. An entry is split at its first '=', so a value may contain more of them.
func environMap(environ []string) map[string]string {
	set := make(map[string]string, len(environ))
	for _, entry := range environ {
		if name, value, found := strings.Cut(entry, "="); found {
			set[name] = value
		}
	}
	return set
}

func (v *vars) text(name, otherwise string) string {
	if value := v.set[name]; value != "" {
		return value
	}
	return otherwise
}

// duration reads whole seconds ("30") or a Go duration ("1m30s"). A negative one counts as 0.
func (v *vars) duration(name string, otherwise time.Duration) time.Duration {
	text := v.set[name]
	if text == "" {
		return otherwise
	}
	d, err := parseDuration(text)
	if err != nil {
		v.refuse(name, text, "seconds or a duration such as 1m30s")
		return otherwise
	}
	if d < 0 {
		v.refuse(name, text, "a duration that is not negative")
	}
	return max(d, 0)
}

func parseDuration(text string) (time.Duration, error) {
	if seconds, err := strconv.Atoi(text); err == nil {
		if seconds < 0 || seconds > int(maxSeconds) {
			return 0, errors.New("out of range")
		}
		return time.Duration(seconds) * time.Second, nil
	}
	return time.ParseDuration(text)
}

// maxSeconds is the longest time.Duration.
const maxSeconds = int64((1<<63 - 1) / time.Second)

// boolean reads a flag. What counts as true differs: "true" alone for the classic watchdog, "1" too for the of-watchdog.
func (v *vars) boolean(name string, otherwise bool) bool {
	text := v.set[name]
	if text == "" {
		return otherwise
	}
	switch v.dialect {
	case Classic:
		return text == "true"
	case Of:
		return text == "true" || text == "1"
	}
	return v.parsedBoolean(name, otherwise)
}

// parsedBoolean reads a flag as Go does, which the of-watchdog does for prefix_logs too.
func (v *vars) parsedBoolean(name string, otherwise bool) bool {
	text := v.set[name]
	if text == "" {
		return otherwise
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		v.refuse(name, text, "true or false")
		return otherwise
	}
	return value
}

// number reads a whole number that is at least 0.
func (v *vars) number(name string, otherwise int) int {
	text := v.set[name]
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		v.refuse(name, text, "a whole number, 0 or more")
		return otherwise
	}
	return n
}

func (v *vars) refuse(name, text, want string) {
	if v.dialect == Native {
		v.fail(fmt.Errorf("%s %q is not %s", name, text, want))
	}
}

func (v *vars) fail(err error) { v.errs = append(v.errs, err) }
