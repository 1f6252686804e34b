package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// content writes data where containerd would and returns its digest.
func content(t *testing.T, dir, data string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(data))
	name := hex.EncodeToString(sum[:])
	if err := os.MkdirAll(filepath.Join(dir, "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sha256", name), []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
	return "sha256:" + name
}

func TestRegistry(t *testing.T) {
	dir := t.TempDir()
	const typed, untyped, index, blob = `{"mediaType":"application/x-its-own"}`, `{"layers":[]}`, `{"manifests":[]}`, "0123456789"
	digests := map[string]string{
		"docker.io/some/image:1":   content(t, dir, typed),
		"docker.io/some/image:2":   content(t, dir, untyped),
		"example.com:5000/other:3": content(t, dir, index),
		"docker.io/not/json:1":     content(t, dir, blob),
	}
	blobDigest := digests["docker.io/not/json:1"]
	server := httptest.NewServer(New(dir, func(_ context.Context, image string) (string, error) {
		if image == "docker.io/broken:1" {
			return "", errors.New("containerd is away")
		}
		return digests[image], nil
	}))
	defer server.Close()

	const ociManifest, ociIndex = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
	for _, test := range []struct {
		name, method, path string
		status             int
		contentType, body  string
	}{
		{"the API's version", "GET", "/v2/", 200, "", ""},
		{"a tag", "GET", "/v2/some/image/manifests/1", 200, "application/x-its-own", typed},
		{"a manifest that does not say its type", "GET", "/v2/some/image/manifests/2", 200, ociManifest, untyped},
		{"an index of another host", "GET", "/v2/other/manifests/3?ns=example.com:5000", 200, ociIndex, index},
		{"a manifest by digest", "GET", "/v2/some/image/manifests/" + digests["docker.io/some/image:1"], 200, "application/x-its-own", typed},
		{"only the head", "HEAD", "/v2/some/image/manifests/1", 200, "application/x-its-own", ""},
		{"a blob", "GET", "/v2/some/image/blobs/" + blobDigest, 200, "application/octet-stream", blob},
		{"an unknown tag", "GET", "/v2/some/image/manifests/9", 404, "", ""},
		{"an unknown digest", "GET", "/v2/some/image/blobs/sha256:" + strings.Repeat("0", 64), 404, "", ""},
		{"a blob that is no manifest", "GET", "/v2/not/json/manifests/1", 404, "", ""},
		{"a path that would leave the folder", "GET", "/v2/some/image/blobs/..%2f..%2fpasswd", 404, "", ""},
		{"another algorithm", "GET", "/v2/some/image/blobs/sha512:00", 404, "", ""},
		{"containerd in trouble", "GET", "/v2/broken/manifests/1", 500, "", ""},
		{"a push", "POST", "/v2/some/image/blobs/uploads/", 405, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequest(test.method, server.URL+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != test.status {
				t.Fatalf("status %d, %v, want %d: %s", resp.StatusCode, err, test.status, body)
			}
			if test.status != 200 {
				return
			}
			if got := resp.Header.Get("Content-Type"); test.contentType != "" && got != test.contentType {
				t.Errorf("type %q, want %q", got, test.contentType)
			}
			if string(body) != test.body {
				t.Errorf("body %q, want %q", body, test.body)
			}
		})
	}
}

func TestRegistry_ABlobInParts(t *testing.T) {
	dir := t.TempDir()
	digest := content(t, dir, "0123456789")
	server := httptest.NewServer(New(dir, nil))
	defer server.Close()
	req, err := http.NewRequest("GET", server.URL+"/v2/image/blobs/"+digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Range", "bytes=4-6")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 206 || string(body) != "456" {
		t.Errorf("status %d, %q, %v", resp.StatusCode, body, err)
	}
}
