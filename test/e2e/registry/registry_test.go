package registry

import (
	"errors"
	"net"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

func TestRegistry(t *testing.T) {
	r := start(t)
	tests := []struct {
		name, image string
		auth        authn.Authenticator
		status      int
	}{
		{"open without a password", r.Open("probe:one"), authn.Anonymous, 0},
		{"private with the password", r.Private("probe:one"), &authn.Basic{Username: r.User, Password: r.Password}, 0},
		{"private without a password", r.Private("probe:one"), authn.Anonymous, http.StatusUnauthorized},
		{"private with a wrong password", r.Private("probe:one"), &authn.Basic{Username: r.User, Password: "guess"}, http.StatusUnauthorized},
	}
	img, err := random.Image(1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pushed, err := r.Push(tt.image, img)
			if err != nil {
				t.Fatal(err)
			}
			ref, err := name.ParseReference(tt.image)
			if err != nil {
				t.Fatal(err)
			}
			got, err := remote.Head(ref, remote.WithAuth(tt.auth))
			var refused *transport.Error
			switch {
			case tt.status == 0 && err != nil:
				t.Fatal(err)
			case tt.status == 0 && got.Digest != pushed:
				t.Errorf("digest %s, pushed %s", got.Digest, pushed)
			case tt.status != 0 && (!errors.As(err, &refused) || refused.StatusCode != tt.status):
				t.Errorf("got %v, want status %d", err, tt.status)
			}
		})
	}
}

func start(t *testing.T) *Registry {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	r, err := Start(address, "reader", "a pass:word")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}
