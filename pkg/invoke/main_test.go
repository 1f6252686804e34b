package invoke_test

import (
	"testing"

	"go.uber.org/goleak"
)

// An invocation starts no goroutine that outlives it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
