package report

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Machine is what the figures depend on besides the programs.
type Machine struct {
	OS     string `json:"goos"`
	Arch   string `json:"goarch"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Memory int64  `json:"memoryBytes"`
	Go     string `json:"go"`
	// Busy is the load average as the run began: what else ran is in the figures.
	Busy string `json:"loadAverage"`
}

// ThisMachine reads what the kernel tells. What it does not tell is left empty.
func ThisMachine() Machine {
	return Machine{
		OS: runtime.GOOS, Arch: runtime.GOARCH, CPU: field("/proc/cpuinfo", "model name"), CPUs: runtime.NumCPU(),
		Kernel: words("/proc/sys/kernel/osrelease", 1), Memory: memory(), Go: runtime.Version(), Busy: words("/proc/loadavg", 3),
	}
}

// field is the first value of a key in a file of lines KEY: VALUE.
func field(name, key string) string {
	file, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if k, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func memory() int64 {
	kib, _ := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64) // 0 if it is not told
	return kib << 10
}

// words are the first n of a file.
func words(name string, n int) string {
	content, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(content))
	return strings.Join(fields[:min(n, len(fields))], " ")
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d CPUs, %s of memory, Linux %s, %s; load average at the start %s",
		m.CPU, m.CPUs, Format("bytes", float64(m.Memory)), m.Kernel, m.Go, m.Busy)
}
