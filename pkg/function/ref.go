package function

import "strings"

// Ref names a function. The zero Ref names none.
type Ref struct {
	Name      string
	Namespace string
}

// String gives NAME.NAMESPACE, the spelling of URLs, logs and metric labels.
func (r Ref) String() string { return r.Name + "." + r.Namespace }

// ParseRef splits NAME or NAME.NAMESPACE at the last dot; without a dot the namespace is defaultNamespace. It checks no
// syntax: a name that no function can have is simply never found.
func ParseRef(s, defaultNamespace string) Ref {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return Ref{Name: s[:i], Namespace: s[i+1:]}
	}
	return Ref{Name: s, Namespace: defaultNamespace}
}
