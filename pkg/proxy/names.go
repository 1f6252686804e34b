package proxy

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// nameCount is how many names are remembered: more than functions are hot at a time, so that few share a place.
const nameCount = 2048

// names remembers what names in paths mean, so that no string need be made of a name that was called before. It says nothing of
// whether there is such a function. A name has one place, and takes it from whatever was there.
type names struct {
	seed  maphash.Seed
	known [nameCount]atomic.Pointer[knownName]
}

type knownName struct {
	name string
	ref  function.Ref
}

func newNames() *names { return &names{seed: maphash.MakeSeed()} }

// find returns what is remembered of a name, or nil.
func (n *names) find(name []byte) *knownName {
	if k := n.place(name).Load(); k != nil && k.name == string(name) {
		return k
	}
	return nil
}

// add remembers a name of a function that there is. Others would only fill the memory.
func (n *names) add(k *knownName) { n.place([]byte(k.name)).Store(k) }

func (n *names) place(name []byte) *atomic.Pointer[knownName] {
	return &n.known[maphash.Bytes(n.seed, name)%nameCount]
}
