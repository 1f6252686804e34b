package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"testing"
)

func unpack(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for in := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := in.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPack_IsWhatDockerSaveWrites(t *testing.T) {
	var image bytes.Buffer
	if err := Pack(&image, "localhost/pause:1", "pause", 65532, []byte("a program")); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, image.Bytes())
	var manifests []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifests); err != nil || len(manifests) != 1 {
		t.Fatalf("manifest.json: %v, %s", err, files["manifest.json"])
	}
	m := manifests[0]
	if len(m.RepoTags) != 1 || m.RepoTags[0] != "localhost/pause:1" || len(m.Layers) != 1 {
		t.Fatalf("manifest %+v", m)
	}
	var config struct {
		Config struct {
			Entrypoint []string
			User       string
		}
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(files[m.Config], &config); err != nil {
		t.Fatalf("config: %v, %s", err, files[m.Config])
	}
	if e := config.Config.Entrypoint; len(e) != 1 || e[0] != "/pause" || config.Config.User != "65532" {
		t.Errorf("config %+v", config.Config)
	}
	layer := files[m.Layers[0]]
	if d := config.RootFS.DiffIDs; len(d) != 1 || d[0] != "sha256:"+digest(layer) {
		t.Errorf("layers %v, want the digest of what is there", d)
	}
	if got := unpack(t, layer); string(got["pause"]) != "a program" || len(got) != 1 {
		t.Errorf("layer holds %v", got)
	}
}

func TestPack_SameProgramSameBytes(t *testing.T) {
	var a, b bytes.Buffer
	for _, w := range []io.Writer{&a, &b} {
		if err := Pack(w, "localhost/pause:1", "pause", 65532, []byte("a program")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("they differ")
	}
}
