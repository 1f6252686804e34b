package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// setting is what the figures depend on besides the code.
type setting struct {
	OS         string `json:"goos"`
	Arch       string `json:"goarch"`
	CPU        string `json:"cpu"`
	CPUs       int    `json:"cpus"`
	Kernel     string `json:"kernel"`
	Kubernetes string `json:"kubernetes"`
	Container  string `json:"containerRuntime"`
	Nodes      int    `json:"nodes"`
	Provider   string `json:"provider"`
	// Busy is the machine's load average as the run began: what else ran is in the figures.
	Busy string `json:"loadAverage"`
}

func (t *target) setting(ctx context.Context) (setting, error) {
	s := setting{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), CPU: processor(), Busy: loadAverage()}
	nodes, err := t.cluster.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("ask the cluster what it is: %w", err)
	}
	s.Nodes = len(nodes.Items)
	for _, node := range nodes.Items {
		i := node.Status.NodeInfo
		s.Kernel, s.Kubernetes, s.Container = i.KernelVersion, i.KubeletVersion, i.ContainerRuntimeVersion
	}
	raw, err := t.connectOnce(ctx)
	if err != nil {
		return s, fmt.Errorf("ask the provider what it is: %w", err)
	}
	var info struct {
		Version struct{ Release, SHA string }
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		return s, fmt.Errorf("the provider's info: %w", err)
	}
	s.Provider = strings.TrimSpace(info.Version.Release + " " + info.Version.SHA)
	return s, nil
}

// processor is what the kernel calls the first one. Empty where it does not say.
func processor() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// loadAverage is the machine's over one, five and fifteen minutes. Empty where the kernel does not say.
func loadAverage() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(content))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// print writes s as the configuration lines of Go's benchmark format.
func (s setting) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, `goos: %s
goarch: %s
pkg: github.com/dragonchain/dc-provider/bench
cpu: %s
cpus: %d
load-average: %s
kernel: %s
kubernetes: %s
container-runtime: %s
nodes: %d
provider: %s
load: %s
`, s.OS, s.Arch, s.CPU, s.CPUs, s.Busy, s.Kernel, s.Kubernetes, s.Container, s.Nodes, s.Provider, loadModel)
	return err
}
