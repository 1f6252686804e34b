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
	user, password := a.cfg.Credentials()
	k := a.key.Load()
	if k == nil || k.user != user || k.password != password {
		k = newKey(user, password)
		a.key.Store(k)
	}
	given := sha256.Sum256([]byte(r.Header.Get("Authorization")))
	same := subtle.ConstantTimeCompare(given[:], k.header[:])
	if same == 0 {
		givenUser, givenPassword, _ := r.BasicAuth()
		same = sameSecret(givenUser, k.userSum) & sameSecret(givenPassword, k.passwordSum)
	}
	return same == 1 && user != "" && password != ""
}

// key is what opens the API: digests, since ConstantTimeCompare gives away a difference in length.
type key struct {
	user, password               string
	header, userSum, passwordSum [sha256.Size]byte
}

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
