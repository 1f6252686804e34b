package debian

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Contents returns the files of the package as a tar stream, held in memory.
func (p Package) Contents(ctx context.Context) (io.Reader, error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", p.File)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("package %s: dpkg-deb: %w: %s", p.Name(), err, strings.TrimSpace(stderr.String()))
	}
	return &stdout, nil
}
