package kube

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	registryv1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// testRegistry is a registry over HTTP, with a password if user is not empty, that counts its requests.
type testRegistry struct {
	*httptest.Server
	host     string
	requests atomic.Int32
}

func newTestRegistry(t *testing.T, user, password string) *testRegistry {
	t.Helper()
	r := new(testRegistry)
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		if u, p, _ := req.BasicAuth(); user != "" && (u != user || p != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		store.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	r.host = strings.TrimPrefix(r.URL, "http://")
	return r
}

// push puts an image with this configuration in the registry and returns its digest.
func (r *testRegistry) push(t *testing.T, image string, config registryv1.Config, auth authn.Authenticator) string {
	t.Helper()
	img, err := mutate.Config(empty.Image, config)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(r.host + "/" + image)
	if err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	if err := remote.Write(ref, img, remote.WithAuth(auth), remote.WithTransport(transport)); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func newTestResolver(t *testing.T, mirrors map[string]string, timeout time.Duration) *resolver {
	t.Helper()
	r, err := newResolver(mirrors, timeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.transport.(boundedTransport).base.(*http.Transport).CloseIdleConnections)
	return r
}

func TestResolver_ReadsDigestAndConfiguration(t *testing.T) {
	reg := newTestRegistry(t, "", "")
	digest := reg.push(t, "games/cowsay:1", registryv1.Config{Entrypoint: []string{"/cowsay"}, Cmd: []string{"-e", "^^"}, User: "10001:5"}, authn.Anonymous)
	r := newTestResolver(t, nil, 30*time.Second)
	for _, image := range []string{reg.host + "/games/cowsay:1", reg.host + "/games/cowsay@" + digest} {
		f, err := r.resolve(t.Context(), image, nil, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		if f.digest != digest || !slices.Equal(f.command, []string{"/cowsay", "-e", "^^"}) || f.user == nil || *f.user != 10001 {
			t.Errorf("%s: %+v", image, f)
		}
	}
}

func TestResolver_Passwords(t *testing.T) {
	reg := newTestRegistry(t, "me", "right")
	digest := reg.push(t, "private:1", registryv1.Config{Cmd: []string{"/x"}}, authn.FromConfig(authn.AuthConfig{Username: "me", Password: "right"}))
	keys := func(host, password string) keyring {
		auth := base64.StdEncoding.EncodeToString([]byte("me:" + password))
		k, err := newKeyring([]*corev1.Secret{{
			Type: corev1.SecretTypeDockerConfigJson,
			Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	r := newTestResolver(t, nil, 30*time.Second)
	for _, test := range []struct {
		name string
		keys keyring
		want string // part of the error
	}{
		{"none", nil, "access denied (status 401), and no secret of the function has credentials"},
		{"of another registry", keys("elsewhere.example", "right"), "no secret of the function has credentials"},
		{"wrong", keys(reg.host, "wrong"), "the credentials in the function's secrets were refused"},
		{"right", keys(reg.host, "right"), ""},
		{"right, spelled as a URL", keys("http://"+reg.host+"/v2/", "right"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := r.resolve(t.Context(), reg.host+"/private:1", test.keys, "amd64")
			switch {
			case test.want == "" && (err != nil || f.digest != digest):
				t.Errorf("got %+v, %v", f, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestResolver_AsksTheMirrorFirst(t *testing.T) {
	mirror, origin := newTestRegistry(t, "", ""), newTestRegistry(t, "", "")
	onMirror := mirror.push(t, "games/cowsay:1", registryv1.Config{Cmd: []string{"/mirror"}}, authn.Anonymous)
	proxied := mirror.push(t, "proxy/games/cowsay:1", registryv1.Config{Cmd: []string{"/proxy"}}, authn.Anonymous)
	onOrigin := origin.push(t, "games/cowsay:2", registryv1.Config{Cmd: []string{"/origin"}}, authn.Anonymous)
	for _, test := range []struct {
		name, mirror, image, want string
	}{
		{"the mirror has it", mirror.URL, origin.host + "/games/cowsay:1", onMirror},
		{"by digest", mirror.URL, origin.host + "/games/cowsay@" + onMirror, onMirror},
		{"under a prefix", mirror.URL + "/proxy/", origin.host + "/games/cowsay:1", proxied},
		{"only the registry has it", mirror.URL, origin.host + "/games/cowsay:2", onOrigin},
		{"the mirror is gone", "http://127.0.0.1:1", origin.host + "/games/cowsay:2", onOrigin},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newTestResolver(t, map[string]string{origin.host: test.mirror}, 30*time.Second)
			f, err := r.resolve(t.Context(), test.image, nil, "amd64")
			if err != nil || f.digest != test.want {
				t.Errorf("got %+v, %v, want %s", f, err, test.want)
			}
		})
	}
	t.Run("docker.io by any of its names", func(t *testing.T) {
		r := newTestResolver(t, map[string]string{"docker.io": mirror.URL}, 30*time.Second)
		for _, image := range []string{"games/cowsay:1", "docker.io/games/cowsay:1", "index.docker.io/games/cowsay:1"} {
			if f, err := r.resolve(t.Context(), image, nil, "amd64"); err != nil || f.digest != onMirror {
				t.Errorf("%s: %+v, %v", image, f, err)
			}
		}
	})
	t.Run("neither has it", func(t *testing.T) {
		r := newTestResolver(t, map[string]string{origin.host: mirror.URL}, 30*time.Second)
		_, err := r.resolve(t.Context(), origin.host+"/absent:1", nil, "amd64")
		if err == nil || strings.Count(err.Error(), "no such image") != 2 || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v", err)
		}
	})
}

func TestResolver_ABurstAsksOnce(t *testing.T) {
	reg := newTestRegistry(t, "", "")
	reg.push(t, "cowsay:1", registryv1.Config{Cmd: []string{"/x"}}, authn.Anonymous)
	r := newTestResolver(t, nil, 30*time.Second)
	before := reg.requests.Load()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if _, err := r.resolve(t.Context(), reg.host+"/cowsay:1", nil, "amd64"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// Hello, manifest and configuration, and perhaps the manifest by its digest.
	if asked := reg.requests.Load() - before; asked > 6 {
		t.Errorf("100 deploys made %d requests", asked)
	}
}

func TestResolver_WaitsOnceForARegistryThatDoesNotAnswer(t *testing.T) {
	var dials atomic.Int32
	release := make(chan struct{})
	dead := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		dials.Add(1)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer dead.Close()
	defer close(release)
	host := strings.TrimPrefix(dead.URL, "http://")
	r := newTestResolver(t, nil, 100*time.Millisecond)
	for i := range 20 {
		_, err := r.resolve(t.Context(), fmt.Sprintf("%s/image%d:1", host, i), nil, "amd64")
		if err == nil || !strings.Contains(err.Error(), "cannot be reached") {
			t.Fatalf("got %v", err)
		}
	}
	if dials.Load() > 2 {
		t.Errorf("asked %d times", dials.Load())
	}
}

func TestResolution_WhatIsAnErrorAndWhatIsNot(t *testing.T) {
	reg := newTestRegistry(t, "", "")
	digest := reg.push(t, "bare:1", registryv1.Config{}, authn.Anonymous)
	reg.push(t, "cowsay:1", registryv1.Config{Entrypoint: []string{"/cowsay"}}, authn.Anonymous)
	c := &Cluster{images: newTestResolver(t, nil, 30*time.Second), nodes: &nodeCache{server: "v1.36.3", asked: time.Now()}}
	whole := map[string]string{function.AnnotationMode: "fork"}
	for _, test := range []struct {
		name    string
		spec    function.Spec
		want    string // part of the error, empty for none
		problem string
		digest  string
	}{
		{"a process is given, no registry", function.Spec{Image: "127.0.0.1:1/x:1", Process: "cat"}, "", "cannot be reached", ""},
		{"the image's own server, no registry", function.Spec{Image: "127.0.0.1:1/x:1"}, "", "cannot be reached", ""},
		{"the image's own command, no registry", function.Spec{Image: "127.0.0.1:1/x:1", Annotations: whole}, "has to be read", "cannot be reached", ""},
		{"the image's own command, which it has not", function.Spec{Image: reg.host + "/bare:1", Annotations: whole}, "neither ENTRYPOINT nor CMD", "", digest},
		{"the image's own command", function.Spec{Image: reg.host + "/cowsay:1", Annotations: whole}, "", "", "sha256:"},
		{"the process by OpenFaaS's own name", function.Spec{Image: "127.0.0.1:1/x:1", Annotations: whole, Env: map[string]string{"fprocess": "cat"}}, "", "cannot be reached", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.spec.Ref = cowRef
			fn, err := function.New(test.spec)
			if err != nil {
				t.Fatal(err)
			}
			image, err := c.resolution(t.Context(), fn, "", nil)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if !strings.Contains(image.Problem, test.problem) || test.problem == "" && image.Problem != "" || !strings.HasPrefix(image.Digest, test.digest) {
				t.Errorf("got %+v", image)
			}
		})
	}
}

// wellFormed and malformed are as container runtimes have it.
var (
	wellFormed = []string{
		"i", "alpine", "alpine:3.20", "foo--bar/a.b_c__d", "ghcr.io/x", "localhost/x", "host:5000/x", "host:65535/x:V_1.0-rc",
		"Host.example/x", "[::1]:5000/x", "10.0.0.5:5000/a/b/c", "alpine:_x", "a:80000",
		"x@sha256:" + strings.Repeat("0a", 32), "ghcr.io/x:1@sha256:" + strings.Repeat("0a", 32),
	}
	malformed = []string{
		"", "a//b", "foo/_bar", ".foo", "foo-", "/alpine", "foo/bar/", "alpine:-x", "alpine:", "host:80000/x", "foo..bar/x",
		"foo___bar", "Foo/bar", "Alpine", "UPPER//:::", "A B", "alpine\n", "http://host/x", "-host/x", "host-.example/x", "[::1/x",
		"x@", "x@sha256:00", "x@md5:" + strings.Repeat("0a", 32), "x@sha256:" + strings.Repeat("0A", 32),
		"x:" + strings.Repeat("t", 129), "host/" + strings.Repeat("x", 256),
	}
)

func TestParseImage(t *testing.T) {
	for _, image := range wellFormed {
		if _, err := parseImage(image); err != nil {
			t.Error(err)
		}
	}
	for _, image := range malformed {
		_, err := parseImage(image)
		if !errors.Is(err, function.ErrInvalid) {
			t.Errorf("%q was taken: %v", image, err)
		} else if text := err.Error(); len(text) > 500 || strings.Contains(text, "\n") || !strings.Contains(text, "registry's port") && !strings.Contains(text, "a-z, 0-9") {
			t.Errorf("%q is refused by %q, which does not say what to mend", image, text)
		}
	}
}

// FuzzParseImage checks that what is accepted can be pinned, and is then the same image.
func FuzzParseImage(f *testing.F) {
	for _, image := range slices.Concat(wellFormed, malformed) {
		f.Add(image)
	}
	digest := "sha256:" + strings.Repeat("0", 64)
	f.Fuzz(func(t *testing.T, image string) {
		ref, err := parseImage(image)
		if err != nil {
			if !errors.Is(err, function.ErrInvalid) || len(err.Error()) > 1200 || strings.Contains(err.Error(), "\n") {
				t.Errorf("no short line: %q", err)
			}
			return
		}
		again, err := parseImage(pinned(image, digest))
		if err != nil || again.Context().Name() != ref.Context().Name() || again.Identifier() != digest {
			t.Errorf("%q, pinned as %q, reads as %v, %v", image, pinned(image, digest), again, err)
		}
	})
}

// The pinned form of an image is the same repository, as the user spelled it, at the digest.
func TestPinned(t *testing.T) {
	digest, old := "sha256:"+strings.Repeat("0", 64), "sha256:"+strings.Repeat("f", 64)
	for image, repository := range map[string]string{
		"cowsay":                        "cowsay",
		"cowsay:1":                      "cowsay",
		"games/cowsay:1":                "games/cowsay",
		"localhost:5000/cowsay":         "localhost:5000/cowsay",
		"localhost:5000/games/cowsay:1": "localhost:5000/games/cowsay",
		"ghcr.io/games/cowsay@" + old:   "ghcr.io/games/cowsay",
		"ghcr.io/cowsay:1@" + old:       "ghcr.io/cowsay",
	} {
		got := pinned(image, digest)
		if want := repository + "@" + digest; got != want {
			t.Errorf("%s: got %s, want %s", image, got, want)
		}
		ref, err := parseImage(image)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseImage(got)
		if err != nil || again.Context().Name() != ref.Context().Name() || again.Identifier() != digest {
			t.Errorf("%s: pinned as %s, which reads as %v, %v", image, got, again, err)
		}
	}
}

func TestNewResolver_RefusesMirrorsThatAreNone(t *testing.T) {
	for _, mirror := range []string{"", "10.0.0.5:5000", "ftp://10.0.0.5", "http://", "http://a b/"} {
		if _, err := newResolver(map[string]string{"docker.io": mirror}, time.Second); err == nil {
			t.Errorf("mirror %q was taken", mirror)
		}
	}
}

func TestNumericUser(t *testing.T) {
	for user, want := range map[string]int64{"": 0, "app": 0, "0": 0, "-1": 0, "99999999999": 0, "100": 100, "1000:50": 1000} {
		got := numericUser(user)
		if want == 0 && got != nil || want != 0 && (got == nil || *got != want) {
			t.Errorf("user %q: got %v, want %d", user, got, want)
		}
	}
}
