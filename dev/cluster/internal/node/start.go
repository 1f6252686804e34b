package node

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
)

// Start begins the node by running program with args, which is to call Run, as the first process of new namespaces. It does
// not wait for anything; the caller waits for the process.
func Start(n layout.Node, program string, args ...string) (*exec.Cmd, error) {
	out, err := os.OpenFile(n.Path("logs", n.Short()+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	// nsenter and not `ip netns exec`: that mounts a fresh /sys, which hides the control groups from the kubelet. It
	// replaces itself by the program, so the program is the first process.
	cmd := exec.Command("nsenter", append([]string{"--net=" + n.NetnsFile(), program}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Setsid:     true, // a Ctrl-C at the terminal that started it all is not for the node
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", n.Name(), err)
	}
	return cmd, nil
}

// hostPID is this process's number outside its PID namespace. /proc is still the host's when it is asked.
func hostPID() (int, error) {
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(self)
}
