package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
)

// contentDir is where containerd keeps content, by digest, below its root.
const contentDir = layout.NodeDir + "/containerd/io.containerd.content.v1.content/blobs"

// Serve runs the registry on the node that it is called in until ctx ends.
func Serve(ctx context.Context, c layout.Cluster) error {
	server := &http.Server{Addr: c.Registry(), Handler: New(contentDir, loaded(c)), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}

// loaded asks containerd for the digest of an image, "" if it has none of that name.
func loaded(c layout.Cluster) func(ctx context.Context, image string) (string, error) {
	return func(ctx context.Context, image string) (string, error) {
		out, err := exec.CommandContext(ctx, filepath.Join(c.Bin, "ctr"), "--namespace=k8s.io", "images", "list", "name=="+image).Output()
		if err != nil {
			return "", fmt.Errorf("list images: %w", err)
		}
		for line := range strings.Lines(string(out)) {
			if fields := strings.Fields(line); len(fields) > 2 && fields[0] == image {
				return fields[2], nil
			}
		}
		return "", nil
	}
}

// New gives the registry over the content in dir. resolve gives the digest of a full image name, "" if there is none.
func New(dir string, resolve func(ctx context.Context, image string) (string, error)) http.Handler {
	return &registry{dir: dir, resolve: resolve}
}

type registry struct {
	dir     string
	resolve func(ctx context.Context, image string) (string, error)
}

var (
	pullPath    = regexp.MustCompile(`^/v2/([a-z0-9][a-z0-9._/-]*)/(manifests|blobs)/([A-Za-z0-9._:-]+)$`)
	validDigest = regexp.MustCompile(`^sha256:([0-9a-f]{64})$`)
)

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "images get here by `make load`")
		return
	}
	if req.URL.Path == "/v2/" || req.URL.Path == "/v2" {
		w.WriteHeader(http.StatusOK)
		return
	}
	match := pullPath.FindStringSubmatch(req.URL.Path)
	if match == nil {
		refuse(w, http.StatusNotFound, "NAME_INVALID", "no such route")
		return
	}
	name, kind, reference := match[1], match[2], match[3]
	digest := reference
	if kind == "manifests" && !validDigest.MatchString(reference) {
		var err error
		if digest, err = r.resolve(req.Context(), imageName(req.URL.Query().Get("ns"), name, reference)); err != nil {
			refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
			return
		}
	}
	r.serve(w, req, kind, digest)
}

func imageName(host, name, tag string) string {
	if host == "" {
		host = "docker.io"
	}
	return host + "/" + name + ":" + tag
}

func (r *registry) serve(w http.ResponseWriter, req *http.Request, kind, digest string) {
	sum := validDigest.FindStringSubmatch(digest)
	if sum == nil {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "not loaded")
		return
	}
	file, err := os.Open(filepath.Join(r.dir, "sha256", sum[1]))
	if err != nil {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "not loaded")
		return
	}
	defer file.Close()
	mediaType := "application/octet-stream"
	if kind == "manifests" {
		if mediaType, err = manifestType(file); err != nil {
			refuse(w, http.StatusNotFound, "MANIFEST_INVALID", err.Error())
			return
		}
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest)
	http.ServeContent(w, req, "", time.Time{}, file)
}

// manifestType tells an index from a manifest where the content does not say what it is, which the OCI allows.
func manifestType(file *os.File) (string, error) {
	var manifest struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := json.NewDecoder(file).Decode(&manifest); err != nil {
		return "", fmt.Errorf("not a manifest: %w", err)
	}
	if _, err := file.Seek(0, 0); err != nil {
		return "", err
	}
	switch {
	case manifest.MediaType != "":
		return manifest.MediaType, nil
	case manifest.Manifests != nil:
		return "application/vnd.oci.image.index.v1+json", nil
	}
	return "application/vnd.oci.image.manifest.v1+json", nil
}

// refuse answers in the form that the specification gives for errors.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}}) // a caller that is gone is its own loss
}
