package leaktest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end when the tests have.
const patience = 20 * time.Second

// VerifyTestMain runs the tests of a package and exits.
func VerifyTestMain(m *testing.M) { goleak.VerifyTestMain(patient{m}) }

// patient are tests that end when nothing is left of them, or patience is over.
type patient struct{ *testing.M }

func (p patient) Run() int {
	code := p.M.Run()
	for deadline := time.Now().Add(patience); code == 0 && goleak.Find() != nil && time.Now().Before(deadline); {
	}
	return code
}
