package contest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tool is a program, or the reason why it is not there.
type Tool struct {
	Path    string `json:"path,omitempty"`
	Version string `json:"version,omitempty"`
	Bytes   int64  `json:"bytes,omitempty"`
	Missing string `json:"missing,omitempty"`
}

// Tools are all tools by name.
type Tools map[string]Tool

const manifest = "tools.json"

// upstream are the watchdogs that ours is compared with. Their tags have no v, so the module proxy gives pseudo-versions for them.
var upstream = map[string]string{
	"of-watchdog":      "github.com/openfaas/of-watchdog@0.11.6",
	"classic-watchdog": "github.com/openfaas/classic-watchdog@0.3.9",
}

// packaged come from the distribution, with the argument that makes them tell their version.
var packaged = map[string]string{"nginx": "-v", "haproxy": "-v", "wrk": "-v", "python3": "-V", "redis-server": "--version"}

// Open reads what Prepare left in the folder.
func Open(folder string) (Tools, error) {
	content, err := os.ReadFile(filepath.Join(folder, manifest))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("nothing is prepared in %s: run bench -prepare first", folder)
	}
	if err != nil {
		return nil, err
	}
	tools := Tools{}
	if err := json.Unmarshal(content, &tools); err != nil {
		return nil, fmt.Errorf("%s: %w", manifest, err)
	}
	return tools, nil
}

// Prepare puts the tools into the folder. root is that of the repository; with names programs to be used for tools as they are.
// That our own cannot be built is an error; that another's cannot is written down.
func Prepare(ctx context.Context, root, folder string, with map[string]string, log io.Writer) (Tools, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	tools := Tools{}
	version := output(ctx, root, "git", "describe", "--tags", "--always", "--dirty")
	for _, build := range []struct {
		dir, what string
		names     []string
	}{
		{root, "./cmd/dc-watchdog", []string{"dc-watchdog"}},
		{filepath.Join(root, "bench"), "./cmd/...", []string{"hello", "baseline", "faasproxy", "ourproxy", "ourcontracts", "heapload"}},
	} {
		fmt.Fprintf(log, "building %s\n", strings.Join(build.names, ", "))
		out, err := goCommand(ctx, build.dir, nil, "build", "-trimpath", "-ldflags", "-s -w", "-o", folder+"/", build.what)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w: %s", build.what, err, out)
		}
		for _, name := range build.names {
			tools[name] = found(filepath.Join(folder, name), version)
		}
	}
	for name, module := range upstream {
		if with[name] != "" {
			continue
		}
		fmt.Fprintf(log, "building %s\n", module)
		out, err := goCommand(ctx, folder, []string{"GOBIN=" + folder, "GOFLAGS="}, "install", "-trimpath", "-ldflags", "-s -w", module)
		if err != nil {
			tools[name] = Tool{Missing: reason(module, out, err)}
			fmt.Fprintf(log, "  not there: %s\n", tools[name].Missing)
			continue
		}
		_, version, _ := strings.Cut(module, "@")
		tools[name] = found(filepath.Join(folder, name), version)
	}
	for name, argument := range packaged {
		path, err := lookPath(name)
		if err != nil {
			tools[name] = Tool{Missing: "not installed"}
			continue
		}
		tools[name] = found(path, firstLine(output(ctx, root, path, argument)))
	}
	for name, path := range with {
		if path, err = filepath.Abs(path); err != nil {
			return nil, err
		}
		tool := found(path, "as given: "+path)
		if tool.Missing != "" {
			return nil, fmt.Errorf("%s: %s", name, tool.Missing)
		}
		tools[name] = tool
	}
	content, err := json.MarshalIndent(tools, "", "  ")
	if err != nil {
		return nil, err
	}
	return tools, os.WriteFile(filepath.Join(folder, manifest), append(content, '\n'), 0o644)
}

func found(path, version string) Tool {
	info, err := os.Stat(path)
	if err != nil {
		return Tool{Missing: err.Error()}
	}
	return Tool{Path: path, Version: version, Bytes: info.Size()}
}

func goCommand(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// output is what a program says of itself. Empty if it says nothing: a version is not worth a failure.
func output(ctx context.Context, dir, name string, args ...string) string {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, _ := cmd.CombinedOutput() // wrk exits with 1 when asked for its version
	return strings.TrimSpace(string(out))
}

// reason says why a module cannot be installed, in the first line that go said, without the module's name over and over.
func reason(module, out string, err error) string {
	line := firstLine(out)
	if i := strings.LastIndex(line, module); i >= 0 {
		line = strings.TrimPrefix(line[i+len(module):], ": ")
	}
	if line == "" {
		line = err.Error()
	}
	return fmt.Sprintf("go install %s: %s", module, line)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(line)
}

// lookPath finds the distribution's own program first: what stands for it on somebody's PATH may be a shell script.
func lookPath(name string) (string, error) {
	for _, dir := range []string{"/usr/bin/", "/usr/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}
