package dc1

// Limit sets how many requests are remembered.
func (v *Verifier) Limit(n int) { v.seen.limit = n }
