package contest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticks is USER_HZ, in which the kernel tells processor time. It is 100 on every architecture that Go has.
const ticks = 100

// member is one process as /proc shows it.
type member struct {
	pid, parent int
	// began tells it from a later process with its number.
	began uint64
	// cpu includes that of children which ended and were waited for.
	cpu time.Duration
}

// readMember reads /proc/PID/stat; ok is false if there is no such process.
func readMember(pid int) (m member, ok bool) {
	content, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return m, false
	}
	// The name, in brackets, may contain anything.
	_, after, found := cutLast(content, ')')
	fields := strings.Fields(after)
	if !found || len(fields) < 20 {
		return m, false
	}
	number := func(i int) uint64 {
		n, _ := strconv.ParseUint(fields[i], 10, 64) // the kernel writes numbers; -1 does not occur in these fields
		return n
	}
	m.pid, m.parent, m.began = pid, int(number(1)), number(19)
	m.cpu = time.Duration(number(11)+number(12)+number(13)+number(14)) * time.Second / ticks
	return m, fields[0] != "Z"
}

func cutLast(content []byte, at byte) (before, after string, found bool) {
	i := bytes.LastIndexByte(content, at)
	if i < 0 {
		return "", "", false
	}
	return string(content[:i]), string(content[i+1:]), true
}

func (m member) alive() bool {
	now, ok := readMember(m.pid)
	return ok && now.began == m.began
}

// tree lists a process and its descendants, the process first. It is empty if the process is gone.
func tree(pid int) []member {
	root, ok := readMember(pid)
	if !ok {
		return nil
	}
	children := map[int][]member{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return []member{root}
	}
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			if m, ok := readMember(n); ok {
				children[m.parent] = append(children[m.parent], m)
			}
		}
	}
	all := []member{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].pid]...)
	}
	return all
}

// Children is how many processes descend from p.
func (p *Process) Children() int { return max(len(tree(p.PID))-1, 0) }

// CPU is the processor time of the whole tree so far, in hundredths of a second.
func (p *Process) CPU() time.Duration {
	var sum time.Duration
	for _, m := range tree(p.PID) {
		sum += m.cpu
	}
	return sum
}

// Memory is the resident memory of the process alone, in bytes.
func (p *Process) Memory() (int64, error) { return resident(p.PID) }

// TreeMemory is that of the process and its descendants. Pages that they share count for each.
func (p *Process) TreeMemory() (int64, error) {
	var sum int64
	for _, m := range tree(p.PID) {
		n, err := resident(m.pid)
		if err != nil && m.alive() {
			return 0, err
		}
		sum += n
	}
	if sum == 0 {
		return 0, p.failure("is gone")
	}
	return sum, nil
}

// WatchMemory looks at TreeMemory every so often until stop is called, which returns the most that was seen.
func (p *Process) WatchMemory(every time.Duration) (stop func() int64) {
	done, most := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		seen := int64(0)
		for {
			// A process that has gone is found by Check.
			if now, err := p.TreeMemory(); err == nil {
				seen = max(seen, now)
			}
			select {
			case <-tick.C:
			case <-done:
				most <- seen
				return
			}
		}
	}()
	return func() int64 { close(done); return <-most }
}

// resident reads VmRSS.
func resident(pid int) (int64, error) {
	name := "/proc/" + strconv.Itoa(pid) + "/status"
	content, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s: no VmRSS", name)
}
