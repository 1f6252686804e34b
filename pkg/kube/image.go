package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	registryv1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/singleflight"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// freshFor is how long an answer of a registry is used again. It only has to serve a burst of deploys: a tag that was
	// pushed again must be seen by the next deploy.
	freshFor = 2 * time.Second
	// downFor is how long a registry that cannot be reached is not asked again, so that on a cluster without any way out
	// one deploy waits for it, and not every one.
	downFor = 15 * time.Second
	// maxRegistryAnswer bounds a manifest or a configuration.
	maxRegistryAnswer = 8 << 20
)

// imageForm is the grammar by which container runtimes read references, which is narrower than that of the library that
// asks registries (https://pkg.go.dev/github.com/distribution/reference). Its group is the registry's port.
var imageForm = func() *regexp.Regexp {
	const (
		label     = `[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?`
		registry  = `(?:` + label + `(?:\.` + label + `)*|\[[a-fA-F0-9:]+\])(?::([0-9]+))?`
		component = `[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`
		tag       = `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
	)
	return regexp.MustCompile(`^(?:` + registry + `/)?` + component + `(?:/` + component + `)*(?::` + tag + `)?(?:@sha256:[a-f0-9]{64})?$`)
}()

const maxPort = 1<<16 - 1

// parseImage reads an image reference as container runtimes do.
func parseImage(image string) (name.Reference, error) {
	form := imageForm.FindStringSubmatch(image)
	if form == nil {
		return nil, function.Invalidf("image %.200q: give [REGISTRY[:PORT]/]NAME[:TAG][@sha256:DIGEST], where NAME has a-z, 0-9 and, between those, -, _, . and /", image)
	}
	if port, err := strconv.Atoi(form[1]); form[1] != "" && (err != nil || port > maxPort) {
		return nil, function.Invalidf("image %.200q: the registry's port is above %d", image, maxPort)
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		// What is left: a name in capitals that is no registry's, or one that is too long.
		return nil, function.Invalidf("image %.200q: its registry has to be a host, such as ghcr.io or localhost:5000, and its name at most 255 of a-z, 0-9, -, _, . and /", image)
	}
	return ref, nil
}

// pinned gives the same image by digest, spelled with the registry and repository that the user wrote.
func pinned(image, digest string) string {
	repository, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(repository, ':'); i > strings.LastIndexByte(repository, '/') {
		repository = repository[:i]
	}
	return repository + "@" + digest
}

// found is what registries told of an image.
type found struct {
	digest  string
	command []string
	user    *int64
	// configured means that the image's configuration was read.
	configured bool
}

// resolver asks registries what an image is. It is safe for concurrent use.
type resolver struct {
	mirrors   map[string]name.Repository
	timeout   time.Duration
	transport http.RoundTripper

	flights singleflight.Group
	mu      sync.Mutex
	known   map[string]answer
	down    map[string]answer
}

type answer struct {
	found   found
	err     error
	expires time.Time
}

// newResolver makes a resolver. mirrors maps a registry's host to the base URL of a mirror.
func newResolver(mirrors map[string]string, timeout time.Duration) (*resolver, error) {
	// http.DefaultTransport's proxy and dial settings, without sharing its connections.
	base := http.DefaultTransport.(*http.Transport).Clone()
	r := &resolver{
		mirrors:   make(map[string]name.Repository),
		timeout:   timeout,
		transport: boundedTransport{base},
		known:     make(map[string]answer),
		down:      make(map[string]answer),
	}
	for _, host := range slices.Sorted(maps.Keys(mirrors)) {
		mirror, err := parseMirror(mirrors[host])
		if err != nil {
			return nil, fmt.Errorf("mirror of registry %s: %w", host, err)
		}
		r.mirrors[canonicalRegistry(host)] = mirror
	}
	return r, nil
}

// parseMirror reads http(s)://HOST[:PORT][/PREFIX]; the prefix comes before the repository, as Harbor's proxies want it.
func parseMirror(base string) (name.Repository, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return name.Repository{}, fmt.Errorf("%q: give http://HOST[:PORT] or https://HOST[:PORT]", base)
	}
	var options []name.Option
	if u.Scheme == "http" {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(u.Host, options...)
	if err != nil {
		return name.Repository{}, err
	}
	return registry.Repo(strings.Trim(u.Path, "/")), nil
}

// canonicalRegistry gives the one spelling of a registry's host: Docker's has several.
func canonicalRegistry(host string) string {
	switch host {
	case "docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return name.DefaultRegistry
	}
	return host
}

// resolve asks for an image's digest and configuration, the mirror first, with the credentials that keys hold. An error is
// one line fit for a function's status; what was found before it is returned as well. It takes the resolver's timeout at
// most, or as long as ctx lasts.
func (r *resolver) resolve(ctx context.Context, image string, keys keyring, arch string) (found, error) {
	ref, err := parseImage(image)
	if err != nil {
		return found{}, err
	}
	key := strings.Join([]string{ref.String(), keys.fingerprint(), arch}, "\n")
	if a, ok := r.recall(r.known, key); ok {
		return a.found, a.err
	}
	// The flight is shared, so it has a deadline of its own and does not end with whoever began it.
	flight := r.flights.DoChan(key, func() (any, error) {
		var a answer
		a.found, a.err = r.ask(context.WithoutCancel(ctx), ref, keys, arch)
		r.remember(r.known, key, a, freshFor)
		return a, nil
	})
	select {
	case result := <-flight:
		a := result.Val.(answer)
		return a.found, a.err
	case <-ctx.Done():
		return found{}, fmt.Errorf("image %s: no answer from its registry in time", image)
	}
}

// ask tries the mirror, then the registry itself.
func (r *resolver) ask(ctx context.Context, ref name.Reference, keys keyring, arch string) (found, error) {
	var problems []string
	var best found
	candidates := r.candidates(ref)
	for _, candidate := range candidates {
		f, err := r.askInTime(ctx, r.timeout/time.Duration(len(candidates)), candidate, keys, arch)
		if err == nil {
			return f, nil
		}
		if best.digest == "" {
			best = f
		}
		problems = append(problems, candidate.Context().RegistryStr()+": "+err.Error())
	}
	return best, fmt.Errorf("image %s: %s", ref, oneLine(strings.Join(problems, "; ")))
}

func (r *resolver) candidates(ref name.Reference) []name.Reference {
	mirror, ok := r.mirrors[ref.Context().RegistryStr()]
	if !ok {
		return []name.Reference{ref}
	}
	repository := mirror.Registry.Repo(strings.TrimPrefix(mirror.RepositoryStr()+"/"+ref.Context().RepositoryStr(), "/"))
	var mirrored name.Reference = repository.Tag(ref.Identifier())
	if _, ok := ref.(name.Digest); ok {
		mirrored = repository.Digest(ref.Identifier())
	}
	return []name.Reference{mirrored, ref}
}

func (r *resolver) askInTime(ctx context.Context, limit time.Duration, ref name.Reference, keys keyring, arch string) (found, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return r.askOne(ctx, ref, keys, arch)
}

func (r *resolver) askOne(ctx context.Context, ref name.Reference, keys keyring, arch string) (found, error) {
	host := ref.Context().RegistryStr()
	if a, ok := r.recall(r.down, host); ok {
		return found{}, a.err
	}
	f, err := r.fetch(ctx, ref, keys, arch)
	var unreachable *url.Error
	if errors.As(err, &unreachable) || errors.Is(err, context.DeadlineExceeded) {
		if unreachable != nil {
			err = unreachable.Err // without the method and the URL
		}
		err = fmt.Errorf("cannot be reached: %w", err)
		r.remember(r.down, host, answer{err: err}, downFor)
		return f, err
	}
	var status *transport.Error
	switch {
	case err == nil:
		return f, nil
	case !errors.As(err, &status):
		return f, err
	case status.StatusCode == http.StatusUnauthorized, status.StatusCode == http.StatusForbidden:
		if keys.find(ref.Context()) == nil {
			return f, fmt.Errorf("access denied (status %d), and no secret of the function has credentials for it", status.StatusCode)
		}
		return f, fmt.Errorf("the credentials in the function's secrets were refused (status %d)", status.StatusCode)
	case status.StatusCode == http.StatusNotFound:
		return f, errors.New("no such image (status 404)")
	}
	return f, fmt.Errorf("answered with status %d", status.StatusCode)
}

func (r *resolver) fetch(ctx context.Context, ref name.Reference, keys keyring, arch string) (found, error) {
	authenticator := authn.Anonymous
	if credentials := keys.find(ref.Context()); credentials != nil {
		authenticator = authn.FromConfig(*credentials)
	}
	descriptor, err := remote.Get(ref,
		remote.WithContext(ctx),
		remote.WithTransport(r.transport),
		remote.WithAuth(authenticator),
		remote.WithPlatform(registryv1.Platform{OS: "linux", Architecture: arch}),
		remote.WithUserAgent("dc-provider"),
		// Whoever waits decides on retries; this one would sleep a second between them.
		remote.WithRetryPredicate(func(error) bool { return false }),
		remote.WithRetryStatusCodes(),
	)
	if err != nil {
		return found{}, err
	}
	f := found{digest: descriptor.Digest.String()}
	img, err := descriptor.Image()
	if err != nil {
		return f, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return f, err
	}
	f.configured = true
	f.command = slices.Concat(config.Config.Entrypoint, config.Config.Cmd)
	f.user = numericUser(config.Config.User)
	return f, nil
}

// numericUser gives the user of an image if a pod that must not run as root may run as it: a number, and not 0.
func numericUser(user string) *int64 {
	id, _, _ := strings.Cut(user, ":")
	n, err := strconv.ParseInt(id, 10, 32)
	if err != nil || n <= 0 {
		return nil
	}
	return &n
}

func (r *resolver) recall(from map[string]answer, key string) (answer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := from[key]
	return a, ok && time.Now().Before(a.expires)
}

func (r *resolver) remember(in map[string]answer, key string, a answer, life time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(in, func(_ string, old answer) bool { return now.After(old.expires) })
	a.expires = now.Add(life)
	in[key] = a
}

// boundedTransport cuts answers that are longer than any manifest: a registry is not trusted with our memory.
type boundedTransport struct{ base http.RoundTripper }

func (t boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxRegistryAnswer), resp.Body}
	return resp, nil
}
