package handlers

import (
	"crypto/sha256"
	"crypto/subtle"
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

// authentic takes the same time whichever of the two is wrong, and however much of it is right.
func (a *API) authentic(r *http.Request) bool {
	givenUser, givenPassword, _ := r.BasicAuth()
	user, password := a.cfg.Credentials()
	same := sameSecret(givenUser, user) & sameSecret(givenPassword, password)
	return same == 1 && user != "" && password != ""
}

// sameSecret compares digests, since ConstantTimeCompare gives away a difference in length.
func sameSecret(given, want string) int {
	g, w := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(g[:], w[:])
}
