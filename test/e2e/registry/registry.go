package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd" // the configurations below name it
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // and this
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"
)

// openPrefix begins the repositories that need no password.
const openPrefix = "open/"

// Registry is one that serves.
type Registry struct {
	// Address is host and port as they stand in an image's name.
	Address        string
	User, Password string

	server *http.Server
	served sync.WaitGroup
	dir    string

	mu       sync.Mutex
	fetching map[string]int // how often containerd has asked, by path
}

// Start serves at address, HOST:PORT.
func Start(address, user, password string) (*Registry, error) {
	logrus.SetOutput(io.Discard) // a line for each blob
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	r := &Registry{Address: address, User: user, Password: password, fetching: map[string]int{}}
	mux, err := r.routes()
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	r.server = &http.Server{Handler: r.counted(mux)}
	r.served.Go(func() { r.server.Serve(listener) }) // its error is always that Close was called
	return r, nil
}

func (r *Registry) routes() (http.Handler, error) {
	var err error
	if r.dir, err = os.MkdirTemp("", "registry-"); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(r.Password), bcrypt.MinCost)
	if err != nil {
		return nil, fmt.Errorf("registry: hash password: %w", err)
	}
	users := filepath.Join(r.dir, "htpasswd")
	if err := os.WriteFile(users, fmt.Appendf(nil, "%s:%s\n", r.User, hash), 0o600); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/v2/"+openPrefix, app(nil))
	mux.Handle("/", app(configuration.Auth{"htpasswd": {"realm": "test", "path": users}}))
	return mux, nil
}

func app(auth configuration.Auth) http.Handler {
	config := &configuration.Configuration{
		Storage: configuration.Storage{"inmemory": nil, "maintenance": {"uploadpurging": map[any]any{"enabled": false}}},
		Auth:    auth,
	}
	config.HTTP.Secret = "one process, so no other has to know it"
	config.Catalog.MaxEntries = 1000
	return handlers.NewApp(context.Background(), config)
}

// counted counts what containerd asks for, which tells its name.
func (r *Registry) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.UserAgent(), "containerd/") {
			r.mu.Lock()
			r.fetching[req.URL.Path]++
			r.mu.Unlock()
		}
		next.ServeHTTP(w, req)
	})
}

// Fetches is how often nodes have asked for anything of an image's repository, be it only whether the image is still the same.
func (r *Registry) Fetches(image string) (n int) {
	repository, _, _ := strings.Cut(strings.TrimPrefix(image, r.Address+"/"), ":")
	r.mu.Lock()
	defer r.mu.Unlock()
	for path, times := range r.fetching {
		if strings.HasPrefix(path, "/v2/"+repository+"/") {
			n += times
		}
	}
	return n
}

// Close ends the server and drops the images.
func (r *Registry) Close() error {
	err := r.server.Close()
	r.served.Wait()
	return errors.Join(err, os.RemoveAll(r.dir))
}

// Open names an image that anybody may pull.
func (r *Registry) Open(repository string) string { return r.Address + "/" + openPrefix + repository }

// Private names an image that needs the password.
func (r *Registry) Private(repository string) string { return r.Address + "/private/" + repository }

// Push puts an image under one of the registry's names and returns its digest.
func (r *Registry) Push(image string, img v1.Image) (v1.Hash, error) {
	ref, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("push: %w", err)
	}
	if err := remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: r.User, Password: r.Password})); err != nil {
		return v1.Hash{}, fmt.Errorf("push %s: %w", image, err)
	}
	return img.Digest()
}

// DockerConfig is the file of credentials that a secret of type kubernetes.io/dockerconfigjson holds.
func (r *Registry) DockerConfig() []byte {
	return fmt.Appendf(nil, `{"auths":{%q:{"username":%q,"password":%q}}}`, r.Address, r.User, r.Password)
}
