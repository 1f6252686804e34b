package handlers

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
)

// The realm and the text are OpenFaaS's; a realm of "IAM function invoke" would make faas-cli start a token exchange.
const realm = `Basic realm="Restricted"`

var errCredentials = errors.New("invalid credentials")

// authenticate lets through who gives the user and the password.
func (a *API) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.authentic(r) {
			w.Header().Set("WWW-Authenticate", realm)
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(errCredentials.Error())) // a caller that is gone needs no answer
			return
		}
		next.ServeHTTP(w, r)
	})
}

// authentic takes the same time whichever of the two is wrong, and however much of it is right. What is right as clients spell it, it
// knows by one digest: see heap/get in bench.
func (a *API) authentic(r *http.Request) bool {
	k := a.currentKey()
	if k.opens([]byte(r.Header.Get("Authorization"))) {
		return true
	}
	user, password, _ := r.BasicAuth()
	same := sameSecret(user, k.userSum) & sameSecret(password, k.passwordSum)
	return same == 1 && k.isSet()
}

// currentKey is that of the credentials as they are now.
func (a *API) currentKey() *key {
	user, password := a.cfg.Credentials()
	k := a.key.Load()
	if k == nil || k.user != user || k.password != password {
		k = newKey(user, password)
		a.key.Store(k)
	}
	return k
}

// key is what opens the API: digests, since ConstantTimeCompare gives away a difference in length.
type key struct {
	user, password               string
	header, userSum, passwordSum [sha256.Size]byte
}

// opens tells whether this is the header that clients make of the user and the password. One that is not may say the same in another way.
func (k *key) opens(authorization []byte) bool {
	given := sha256.Sum256(authorization)
	return subtle.ConstantTimeCompare(given[:], k.header[:]) == 1 && k.isSet()
}

// isSet tells whether anybody is let in at all.
func (k *key) isSet() bool { return k.user != "" && k.password != "" }

func newKey(user, password string) *key {
	return &key{
		user: user, password: password,
		header:  sha256.Sum256([]byte("Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)))),
		userSum: sha256.Sum256([]byte(user)), passwordSum: sha256.Sum256([]byte(password)),
	}
}

func sameSecret(given string, want [sha256.Size]byte) int {
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], want[:])
}
