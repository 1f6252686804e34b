package proxy

import (
	"math/rand/v2"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// pick returns the endpoint with fewer calls in flight of two drawn at random from a list that is not empty. Two choices
// come close to the best without looking at all, and do not send every call of a moment to the same newcomer.
func pick(endpoints []function.Endpoint, inFlight map[string]int) function.Endpoint {
	n := len(endpoints)
	if n == 1 {
		return endpoints[0]
	}
	i := rand.IntN(n)
	j := rand.IntN(n - 1)
	if j >= i {
		j++
	}
	if inFlight[endpoints[j].Address] < inFlight[endpoints[i].Address] {
		return endpoints[j]
	}
	return endpoints[i]
}
