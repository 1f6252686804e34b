package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const (
	etherIPv4    = 0x0800
	protocolTCP  = 6
	captureSpace = 16 << 20
)

// capture is what passes an interface of this process's network: all that TCP carries, by connection and direction, in order.
type capture struct {
	socket *os.File
	reader sync.WaitGroup

	mu    sync.Mutex
	flows map[string][]byte
	err   error
}

// capturePod sees what a pod of this node sends and is sent, as whoever is on the pods' network can. It ends with the test.
func capturePod(t *testing.T, ip string) *capture {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", "-o", "route", "get", ip).Output()
	_, device, ok := strings.Cut(string(out), " dev ")
	if err != nil || !ok {
		t.Fatalf("route to %s: %q, %v: run the tests by make test-e2e", ip, out, err)
	}
	link, err := net.InterfaceByName(strings.Fields(device)[0])
	if err != nil {
		t.Fatal(err)
	}
	const all = syscall.ETH_P_ALL << 8 // in the order of the network, on a machine with the other
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("capture packets: %v", err)
	}
	c := &capture{socket: os.NewFile(uintptr(fd), "packets"), flows: make(map[string][]byte)}
	err = errors.Join(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, captureSpace),
		syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: all, Ifindex: link.Index}))
	if err != nil {
		c.socket.Close()
		t.Fatalf("capture packets of %s: %v", link.Name, err)
	}
	c.reader.Go(c.read)
	t.Cleanup(c.end)
	return c
}

func (c *capture) read() {
	packet := make([]byte, 1<<17)
	for {
		n, err := c.socket.Read(packet)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		c.mu.Lock()
		// An interface that goes, with its pod, says so once.
		if err != nil && !errors.Is(err, syscall.ENETDOWN) {
			c.err = err
		}
		if flow, payload := tcp(packet[:max(n, 0)]); len(payload) > 0 {
			c.flows[flow] = append(c.flows[flow], payload...)
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// end ends the capture, if it has not ended.
func (c *capture) end() {
	c.socket.Close() // twice is no matter
	c.reader.Wait()
}

// has reports whether some connection carried this.
func (c *capture) has(text []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, stream := range c.flows {
		if bytes.Contains(stream, text) {
			return true
		}
	}
	return false
}

// tcp is the connection and direction, and what is carried, of an Ethernet frame with IPv4 and TCP in it. Others carry nothing.
func tcp(frame []byte) (flow string, payload []byte) {
	if len(frame) < 14+20 || binary.BigEndian.Uint16(frame[12:]) != etherIPv4 {
		return "", nil
	}
	packet := frame[14:]
	head, total := int(packet[0]&15)*4, int(binary.BigEndian.Uint16(packet[2:]))
	if packet[9] != protocolTCP || head < 20 || total > len(packet) || total < head+20 {
		return "", nil
	}
	segment := packet[head:total]
	offset := int(segment[12]>>4) * 4
	if offset < 20 || offset > len(segment) {
		return "", nil
	}
	return fmt.Sprintf("%x %x %x", packet[12:16], packet[16:20], segment[:4]), segment[offset:]
}
