package contest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestGroupCPU(t *testing.T) {
	for _, r := range []struct {
		name, file, content string
		want                time.Duration
		ok                  bool
	}{
		{name: "version 1", file: "cpuacct.usage", content: "1500\n", want: 1500, ok: true},
		{name: "version 2", file: "cpu.stat", content: "usage_usec 7\nuser_usec 5\n", want: 7 * time.Microsecond, ok: true},
		{name: "version 1, another controller", file: "cpu.stat", content: "nr_periods 0\n"},
		{name: "no number", file: "cpuacct.usage", content: "?"},
		{name: "nothing", file: "tasks"},
	} {
		t.Run(r.name, func(t *testing.T) {
			folder := t.TempDir()
			if err := os.WriteFile(filepath.Join(folder, r.file), []byte(r.content), 0o644); err != nil {
				t.Fatal(err)
			}
			if got, ok := GroupCPU(folder); got != r.want || ok != r.ok {
				t.Errorf("%v, %t, want %v, %t", got, ok, r.want, r.ok)
			}
		})
	}
}

func TestGroupOf_NoSuchPod(t *testing.T) {
	if folder, err := GroupOf("00000000-0000-4000-8000-000000000000"); folder != "" || err != nil && !os.IsNotExist(err) {
		t.Errorf("%q, %v", folder, err)
	}
}
