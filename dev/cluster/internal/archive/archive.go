package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
)

// Pack writes an image called name, whose only file and entrypoint is /FILE with the content of binary, run as user.
func Pack(w io.Writer, name, file string, user int, binary []byte) error {
	var layer bytes.Buffer
	if err := pack(&layer, entry{file, 0o755, binary}); err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/" + file}, "User": fmt.Sprint(user)},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer.Bytes())}},
	})
	if err != nil {
		return err
	}
	configName := digest(config) + ".json"
	manifest, err := json.Marshal([]map[string]any{{
		"Config": configName, "RepoTags": []string{name}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return err
	}
	return pack(w, entry{"manifest.json", 0o644, manifest}, entry{configName, 0o644, config}, entry{"layer.tar", 0o644, layer.Bytes()})
}

type entry struct {
	name string
	mode int64
	data []byte
}

func pack(w io.Writer, entries ...entry) error {
	out := tar.NewWriter(w)
	for _, e := range entries {
		if err := out.WriteHeader(&tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.data)), Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		if _, err := out.Write(e.data); err != nil {
			return err
		}
	}
	return out.Close()
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
