package kube

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
)

// keyring holds the credentials of a function's pull secrets, the most specific first.
type keyring []registryKey

type registryKey struct {
	host, path string
	auth       authn.AuthConfig
}

// isPullSecret reports whether a secret holds credentials for registries, rather than files for the function.
func isPullSecret(s *corev1.Secret) bool {
	return s.Type == corev1.SecretTypeDockerConfigJson || s.Type == corev1.SecretTypeDockercfg
}

// newKeyring reads pull secrets. They match as the kubelet matches them: by host, of which a part may be *, and the
// beginning of the path (https://kubernetes.io/docs/concepts/containers/images/#config-json).
func newKeyring(secrets []*corev1.Secret) (keyring, error) {
	var keys keyring
	for _, s := range secrets {
		entries, err := registryEntries(s)
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", s.Name, err)
		}
		for _, where := range slices.Sorted(maps.Keys(entries)) {
			auth, err := entries[where].auth()
			if err != nil {
				return nil, fmt.Errorf("secret %s: credentials for %s: %w", s.Name, where, err)
			}
			host, path := splitRegistry(where)
			keys = append(keys, registryKey{host: host, path: path, auth: auth})
		}
	}
	slices.SortStableFunc(keys, func(a, b registryKey) int { return len(b.host+b.path) - len(a.host+a.path) })
	return keys, nil
}

type registryEntry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

func registryEntries(s *corev1.Secret) (map[string]registryEntry, error) {
	if s.Type == corev1.SecretTypeDockercfg {
		var entries map[string]registryEntry
		if err := json.Unmarshal(s.Data[corev1.DockerConfigKey], &entries); err != nil {
			return nil, fmt.Errorf("its %s is not what Docker writes: %w", corev1.DockerConfigKey, err)
		}
		return entries, nil
	}
	var config struct {
		Auths map[string]registryEntry `json:"auths"`
	}
	if err := json.Unmarshal(s.Data[corev1.DockerConfigJsonKey], &config); err != nil {
		return nil, fmt.Errorf("its %s is not what Docker writes: %w", corev1.DockerConfigJsonKey, err)
	}
	return config.Auths, nil
}

func (e registryEntry) auth() (authn.AuthConfig, error) {
	auth := authn.AuthConfig{
		Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken,
	}
	if e.Auth == "" {
		return auth, nil
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimRight(e.Auth, "\x00"))
	if err != nil {
		return authn.AuthConfig{}, fmt.Errorf("auth is not base64: %w", err)
	}
	user, password, ok := strings.Cut(string(text), ":")
	if !ok {
		return authn.AuthConfig{}, fmt.Errorf("auth is not USER:PASSWORD in base64")
	}
	auth.Username, auth.Password = user, password
	return auth, nil
}

// splitRegistry reads the many spellings of a registry in Docker's files: with a scheme, with /v1/ or /v2/ behind it.
func splitRegistry(where string) (host, path string) {
	where = strings.TrimPrefix(strings.TrimPrefix(where, "https://"), "http://")
	host, path, _ = strings.Cut(where, "/")
	path = strings.Trim(path, "/")
	if path == "v1" || path == "v2" {
		path = ""
	}
	return canonicalRegistry(host), path
}

// find returns the credentials for a repository, or nil.
func (k keyring) find(repository name.Repository) *authn.AuthConfig {
	host, repo := repository.RegistryStr(), repository.RepositoryStr()
	for i := range k {
		if matchHost(k[i].host, host) && (k[i].path == "" || repo == k[i].path || strings.HasPrefix(repo, k[i].path+"/")) {
			return &k[i].auth
		}
	}
	return nil
}

// matchHost matches part by part, so that * stands for one part and never for a dot.
func matchHost(pattern, host string) bool {
	want, got := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], got[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// fingerprint tells keyrings apart without being of use to anybody who sees it.
func (k keyring) fingerprint() string {
	h := sha256.New()
	for _, key := range k {
		fmt.Fprintf(h, "%q %q %q %q %q %q\n", key.host, key.path, key.auth.Username, key.auth.Password, key.auth.IdentityToken, key.auth.RegistryToken)
	}
	return hex.EncodeToString(h.Sum(nil))
}
