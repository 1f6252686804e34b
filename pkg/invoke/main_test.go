package invoke_test

import (
	"testing"

	"github.com/dragonchain/dc-provider/test/leaktest"
)

// An invocation starts no goroutine that outlives it.
func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }
