package kube

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
)

func TestKeyring_MatchesAsTheKubeletDoes(t *testing.T) {
	config := `{"auths":{
		"https://index.docker.io/v1/":{"username":"docker","password":"p"},
		"ghcr.io":{"username":"host","password":"p"},
		"ghcr.io/team":{"username":"team","password":"p"},
		"*.dkr.example":{"username":"wild","password":"p"},
		"r.example:5000":{"auth":"cG9ydDpzZTpjcmV0"}}}`
	keys, err := newKeyring([]*corev1.Secret{{
		Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(config)},
	}, {
		Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{corev1.DockerConfigKey: []byte(`{"old.example":{"username":"old","password":"p"}}`)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]string{
		"cowsay":                  "docker",
		"docker.io/games/cowsay":  "docker",
		"ghcr.io/other/cowsay":    "host",
		"ghcr.io/team/cowsay":     "team",
		"ghcr.io/teammate/cowsay": "host",
		"eu.dkr.example/cowsay":   "wild",
		"a.eu.dkr.example/cowsay": "",
		"r.example:5000/cowsay":   "port se:cret",
		"r.example/cowsay":        "",
		"old.example/cowsay":      "old",
		"nobody.example/cowsay":   "",
	} {
		ref, err := name.ParseReference(image)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if auth := keys.find(ref.Context()); auth != nil {
			got = auth.Username
			if auth.Password != "p" {
				got += " " + auth.Password
			}
		}
		if got != want {
			t.Errorf("%s: credentials of %q, want %q", image, got, want)
		}
	}
}

func TestKeyring_RefusesWhatDockerDoesNotWrite(t *testing.T) {
	for _, config := range []string{``, `[]`, `{"auths":[]}`, `{"auths":{"r":{"auth":"*"}}}`, `{"auths":{"r":{"auth":"YQ=="}}}`} {
		_, err := newKeyring([]*corev1.Secret{{
			Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(config)},
		}})
		if err == nil {
			t.Errorf("%q was taken", config)
		}
	}
}

func TestKeyring_FingerprintTellsPasswordsApart(t *testing.T) {
	seen := make(map[string]bool)
	for _, password := range []string{"a", "b"} {
		keys, err := newKeyring([]*corev1.Secret{{Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{
			corev1.DockerConfigKey: fmt.Appendf(nil, `{"r":{"username":"u","password":%q}}`, password),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		seen[keys.fingerprint()] = true
	}
	if len(seen) != 2 {
		t.Error("two keyrings have one fingerprint: a wrong password would be answered from the right one's cache")
	}
}

// FuzzKeyring checks that a secret that anybody may have written is read or refused, and that what was read can be asked.
func FuzzKeyring(f *testing.F) {
	f.Add(`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"*.example":{"username":"u"}}}`, "u/cowsay", false)
	f.Add(`{"r.example:5000/team/":{"auth":"*"}}`, "r.example:5000/team/cowsay", true)
	f.Add(`{"auths":{"[":{},"":{},"http://":{}}}`, "localhost/x", false)
	f.Fuzz(func(t *testing.T, config, image string, old bool) {
		s := &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(config)}}
		if old {
			s = &corev1.Secret{Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{corev1.DockerConfigKey: []byte(config)}}
		}
		keys, err := newKeyring([]*corev1.Secret{s})
		if err != nil {
			return
		}
		for _, key := range keys {
			if strings.Contains(key.host, "/") || strings.HasPrefix(key.path, "/") || strings.HasSuffix(key.path, "/") {
				t.Errorf("host %q, path %q", key.host, key.path)
			}
		}
		if ref, err := parseImage(image); err == nil {
			keys.find(ref.Context())
		}
	})
}
