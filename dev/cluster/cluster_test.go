//go:build cluster

// The dev cluster itself, for real: two nodes, pods on both, kill -9 of everything, and nothing left in the end. Run by
// `make test-dev`, as root; the build tag keeps it out of the unit tests.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/api"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/archive"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/network"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/proc"
)

var rootFlag = flag.String("root", "", "folder of binaries and state")

const (
	testName  = "dc-selftest"
	echoImage = "docker.io/dragonchain/selftest-echo:1"
	// recovery is how long anything killed may take to serve again. A node needs the longest: its pods are made anew.
	recovery = 60 * time.Second
)

// harness is the cluster under test.
type harness struct {
	*testing.T
	layout.Cluster
	api  *api.Client
	http *http.Client // from node 0's network
}

func TestCluster(t *testing.T) {
	c, err := layout.At(*rootFlag, testName)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{T: t, Cluster: c}
	h.http = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return network.Dial(ctx, c.Node(0).NetnsFile(), address)
		},
	}}
	h.devcluster("down")
	t.Cleanup(func() { h.devcluster("down") })

	h.upTwiceAtOnce()
	h.loadEcho()
	h.createPods()

	run := func(name string, test func(h *harness)) {
		t.Run(name, func(t *testing.T) {
			sub := *h
			sub.T = t
			test(&sub)
		})
	}
	run("pods of two nodes reach each other", (*harness).testPodToPod)
	run("a service reaches every pod and shows the caller", (*harness).testService)
	run("there is no way out and names say so at once", (*harness).testNoWayOut)
	run("an image volume's program runs", (*harness).testImageVolume)
	run("the registry serves what was loaded by digest", (*harness).testDigest)
	run("the forwarder reaches the gateway", (*harness).testForwarder)
	run("everything comes back after kill -9", (*harness).testKills)
	run("up on a running cluster is quick", (*harness).testUpAgain)
	run("down leaves no trace", (*harness).testDown)
	run("without its state folder it ends by itself", (*harness).testLostState)
}

// devcluster runs the program as the Makefile does.
func (h *harness) devcluster(command string, args ...string) string {
	h.Helper()
	out, err := h.tryDevcluster(command, args...)
	if err != nil {
		h.Fatalf("devcluster %s: %v\n%s", command, err, out)
	}
	return out
}

func (h *harness) tryDevcluster(command string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(h.Bin, "devcluster"), append([]string{command, "--root=" + *rootFlag, "--name=" + testName}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (h *harness) upTwiceAtOnce() {
	h.Helper()
	var ups sync.WaitGroup
	var outs [2]string
	var errs [2]error
	for i := range outs {
		ups.Go(func() { outs[i], errs[i] = h.tryDevcluster("up", "--nodes=2") })
	}
	ups.Wait()
	for i := range outs {
		if errs[i] != nil {
			h.Fatalf("up %d: %v\n%s", i, errs[i], outs[i])
		}
	}
	made, err := layout.Load(*rootFlag, testName)
	if err != nil {
		h.Fatal(err)
	}
	h.Cluster = made
	if h.api, err = api.New(made); err != nil {
		h.Fatal(err)
	}
}

func (h *harness) loadEcho() {
	h.Helper()
	binary := filepath.Join(h.TempDir(), "echo")
	build := exec.Command("go", "build", "-o", binary, "./testdata/echo")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		h.Fatalf("compile echo: %v\n%s", err, out)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		h.Fatal(err)
	}
	var image bytes.Buffer
	if err := archive.Pack(&image, echoImage, "echo", 1000, program); err != nil {
		h.Fatal(err)
	}
	file := filepath.Join(h.TempDir(), "echo.tar")
	if err := os.WriteFile(file, image.Bytes(), 0o644); err != nil {
		h.Fatal(err)
	}
	h.devcluster("load", file)
}

// pod is one that passes the restricted Pod Security Standard, on the given node.
func (h *harness) pod(name string, node layout.Node, change func(spec, container api.Object)) {
	h.Helper()
	container := api.Object{
		"name": "echo", "image": echoImage,
		"env": []api.Object{{"name": "HOSTNAME", "value": name}},
		"securityContext": api.Object{
			"allowPrivilegeEscalation": false, "capabilities": api.Object{"drop": []string{"ALL"}},
		},
	}
	spec := api.Object{
		"nodeName": node.Name(), "containers": []api.Object{container}, "terminationGracePeriodSeconds": 0,
		"automountServiceAccountToken": false,
		"securityContext": api.Object{
			"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": api.Object{"type": "RuntimeDefault"},
		},
	}
	if change != nil {
		change(spec, container)
	}
	h.apply("/api/v1/namespaces/openfaas/pods/"+name, api.Object{
		"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": api.Object{"name": name, "namespace": "openfaas", "labels": api.Object{"app": "echo"}},
	})
}

func (h *harness) apply(path string, object api.Object) {
	h.Helper()
	if err := h.api.Apply(h.Context(), path, object); err != nil {
		h.Fatal(err)
	}
}

// createPods makes a pod on each node and, over both, the Service that the forwarder leads to.
func (h *harness) createPods() {
	h.Helper()
	h.apply("/api/v1/namespaces/openfaas", api.Object{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": api.Object{"name": "openfaas", "labels": api.Object{"pod-security.kubernetes.io/enforce": "restricted"}},
	})
	// Pods are refused until the namespace has its service account, which a controller makes.
	h.eventually("a service account", 30*time.Second, func() error {
		return h.api.Read(h.Context(), "/api/v1/namespaces/openfaas/serviceaccounts/default", new(api.Object))
	})
	for _, n := range h.AllNodes() {
		h.pod("echo"+strconv.Itoa(n.Index), n, nil)
	}
	h.apply("/api/v1/namespaces/openfaas/services/gateway", api.Object{
		"apiVersion": "v1", "kind": "Service", "metadata": api.Object{"name": "gateway", "namespace": "openfaas"},
		"spec": api.Object{"selector": api.Object{"app": "echo"}, "ports": []api.Object{{"port": 8080}}},
	})
	h.eventually("the pods", 30*time.Second, h.serving)
}

func (h *harness) eventually(what string, limit time.Duration, check func() error) {
	h.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			h.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (h *harness) podIP(name string) (string, error) {
	var pod struct {
		Status struct{ Phase, PodIP string }
	}
	if err := h.api.Read(h.Context(), "/api/v1/namespaces/openfaas/pods/"+name, &pod); err != nil {
		return "", err
	}
	if pod.Status.Phase != "Running" || pod.Status.PodIP == "" {
		return "", fmt.Errorf("pod %s is %s", name, pod.Status.Phase)
	}
	return pod.Status.PodIP, nil
}

// get returns the body of a 200 answer to a GET by client.
func (h *harness) get(client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(h.Context(), http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return strings.TrimSpace(string(body)), err
}

// fetch is get from inside a pod.
func (h *harness) fetch(pod, target string) (string, error) {
	ip, err := h.podIP(pod)
	if err != nil {
		return "", err
	}
	return h.get(h.http, "http://"+ip+":8080/fetch?url="+url.QueryEscape(target))
}

// serving reports what keeps the pods from answering through the Service's name, asked by one of them.
func (h *harness) serving() error {
	answers := map[string]bool{}
	for range 20 {
		answer, err := h.fetch("echo0", "http://gateway.openfaas:8080/")
		if err != nil {
			return err
		}
		answers[strings.Fields(answer)[0]] = true
	}
	if !answers["echo0"] || !answers["echo1"] {
		return fmt.Errorf("only %v answer", answers)
	}
	return nil
}

func (h *harness) testPodToPod() {
	for from, to := range map[string]string{"echo0": "echo1", "echo1": "echo0"} {
		fromIP, err := h.podIP(from)
		if err != nil {
			h.Fatal(err)
		}
		toIP, err := h.podIP(to)
		if err != nil {
			h.Fatal(err)
		}
		got, err := h.fetch(from, "http://"+toIP+":8080/")
		if want := to + " " + fromIP; err != nil || got != want {
			h.Errorf("%s asks %s: %q, %v; want %q", from, to, got, err, want)
		}
	}
}

func (h *harness) testService() {
	ip, err := h.podIP("echo0")
	if err != nil {
		h.Fatal(err)
	}
	for range 10 {
		got, err := h.fetch("echo0", "http://gateway.openfaas.svc.cluster.local:8080/")
		if err != nil {
			h.Fatal(err)
		}
		// A pod that reaches itself through a Service is the one case in which the address must change.
		if fields := strings.Fields(got); fields[0] == "echo1" && fields[1] != ip {
			h.Errorf("echo1 sees %s, want the caller's own address %s", fields[1], ip)
		}
	}
}

func (h *harness) testNoWayOut() {
	for _, target := range []string{"http://example.com/", "http://1.1.1.1/"} {
		start := time.Now()
		answer, err := h.fetch("echo0", target)
		if err == nil {
			h.Errorf("GET %s from a pod: %q, want no answer", target, answer)
		} else if !strings.Contains(err.Error(), "no such host") && !strings.Contains(err.Error(), "unreachable") {
			h.Errorf("GET %s from a pod: %v, want it refused by DNS or routing", target, err)
		}
		// The refusal of a packet can arrive while the kernel still holds the socket, and then counts from the second on.
		if took := time.Since(start); took > 3*time.Second {
			h.Errorf("GET %s from a pod took %v to fail", target, took)
		}
	}
}

func (h *harness) testImageVolume() {
	h.pod("volume", h.Node(1), func(spec, container api.Object) {
		spec["volumes"] = []api.Object{{"name": "program", "image": api.Object{"reference": echoImage, "pullPolicy": "IfNotPresent"}}}
		container["volumeMounts"] = []api.Object{{"name": "program", "mountPath": "/program", "readOnly": true}}
		container["command"] = []string{"/program/echo"}
	})
	h.eventually("a pod running a program of an image volume", recovery, func() error {
		ip, err := h.podIP("volume")
		if err != nil {
			return err
		}
		_, err = h.get(h.http, "http://"+ip+":8080/")
		return err
	})
	if err := h.api.Delete(h.Context(), "/api/v1/namespaces/openfaas/pods/volume"); err != nil {
		h.Error(err)
	}
}

// testDigest runs a pod by digest, which no node has under that name: the pull has to come from the cluster's registry.
func (h *harness) testDigest() {
	resp, err := h.http.Get("http://" + h.Registry() + "/v2/dragonchain/selftest-echo/manifests/1")
	if err != nil {
		h.Fatal(err)
	}
	resp.Body.Close()
	digest := resp.Header.Get("Docker-Content-Digest")
	h.pod("digest", h.Node(1), func(_, container api.Object) {
		container["image"] = strings.TrimSuffix(echoImage, ":1") + "@" + digest
	})
	h.eventually("a pod by digest "+digest, recovery, func() error {
		_, err := h.podIP("digest")
		return err
	})
	if err := h.api.Delete(h.Context(), "/api/v1/namespaces/openfaas/pods/digest"); err != nil {
		h.Error(err)
	}
}

func (h *harness) gatewayURL() string { return fmt.Sprintf("http://127.0.0.1:%d/", h.GatewayPort) }

func (h *harness) forwarded() error {
	client := &http.Client{Timeout: 8 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	_, err := h.get(client, h.gatewayURL())
	return err
}

func (h *harness) testForwarder() {
	if err := h.forwarded(); err != nil {
		h.Error(err)
	}
}

// testKills kills every process of the cluster in turn. Those of the host are known by their locks, a node's by their
// command lines.
func (h *harness) testKills() {
	h.apply("/api/v1/namespaces/openfaas/configmaps/kept", api.Object{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": api.Object{"name": "kept", "namespace": "openfaas"},
		"data": api.Object{"key": "value"},
	})
	locks := map[string]string{"guard": h.Path("guard.lock"), "supervise": h.Path("supervise.lock")}
	for _, n := range h.AllNodes() {
		locks[n.Short()] = n.Lock()
	}
	for _, name := range []string{"guard", "supervise", "node1", "node0"} {
		h.kill(name, func() (int, error) {
			pid, held, err := proc.Holder(locks[name])
			if err == nil && !held {
				err = errors.New("its lock is free")
			}
			return pid, err
		})
	}
	for _, component := range []string{
		"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns", "registry",
		"containerd", "kubelet", "kube-proxy", "containerd-shim-runc-v2", "echo", "pause",
	} {
		h.kill(component, func() (int, error) { return h.componentPID(component) })
	}
	if err := h.api.Read(h.Context(), "/api/v1/namespaces/openfaas/configmaps/kept", new(api.Object)); err != nil {
		h.Error(err)
	}
}

// kill kills what find finds and waits until there is another and the cluster serves.
func (h *harness) kill(name string, find func() (int, error)) {
	h.Helper()
	var pid int
	// It may have ended by itself a moment ago, as a controller manager does that has lost its API server, and be about to come back.
	h.eventually("a process of "+name+" to kill", recovery, func() (err error) {
		if pid, err = find(); err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	})
	start := time.Now()
	h.eventually("another "+name, recovery, func() error {
		now, err := find()
		if err == nil && now == pid {
			err = errors.New("still the old process")
		}
		return err
	})
	h.eventually("pods serving without "+name, recovery, h.serving)
	h.eventually("the forwarder without "+name, recovery, h.forwarded)
	h.Logf("%-24s killed, all well after %.1f s", name, time.Since(start).Seconds())
}

// componentPID finds the process of a component on node 0, or of one in a pod there.
func (h *harness) componentPID(name string) (int, error) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, entry := range procs {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || !h.onNode0(pid) {
			continue
		}
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue // gone meanwhile
		}
		args := strings.Split(string(raw), "\x00")
		if slices.ContainsFunc(args[:min(2, len(args))], func(arg string) bool { return filepath.Base(arg) == name }) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process %s", name)
}

// onNode0 tells whether the process lives below node 0's first process. PID namespaces nest: a pod's process has its own.
func (h *harness) onNode0(pid int) bool {
	first, held, err := proc.Holder(h.Node(0).Lock())
	if err != nil || !held {
		return false
	}
	for pid > 1 {
		if pid == first {
			return true
		}
		pid = parent(pid)
	}
	return false
}

func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return ppid
}

// testUpAgain also kills guard and supervisor together, so that neither can start the other: then up does.
func (h *harness) testUpAgain() {
	for _, name := range []string{"guard", "supervise"} {
		pid, held, err := proc.Holder(h.Path(name + ".lock"))
		if err != nil || !held {
			h.Fatalf("%s: held %v, %v", name, held, err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			h.Fatal(err)
		}
	}
	start := time.Now()
	h.devcluster("up", "--nodes=2")
	if took := time.Since(start); took > 10*time.Second {
		h.Errorf("up took %v", took)
	}
	h.eventually("the forwarder", recovery, h.forwarded)
	if out, err := h.tryDevcluster("up", "--nodes=1"); err == nil || !strings.Contains(out, "2 nodes, not 1") {
		h.Errorf("up with another number of nodes: %v, %s", err, out)
	}
}

func (h *harness) testDown() {
	h.devcluster("down")
	if err := h.traces(); err != nil {
		h.Error(err)
	}
}

func (h *harness) testLostState() {
	h.devcluster("up", "--nodes=1")
	h.eventually("the state folder's end", recovery, func() error {
		return os.RemoveAll(h.Dir) // fails as long as somebody writes there
	})
	h.eventually("an end without a trace", recovery, h.traces)
}

// traces reports what there is to see of the cluster outside its state folder.
func (h *harness) traces() error {
	for what, command := range map[string][]string{
		"namespace": {"ip", "netns"}, "interface": {"ip", "-o", "link"}, "mount": {"cat", "/proc/mounts"},
		"process": {"ps", "-eo", "pid,args"}, "control group": {"find", "/sys/fs/cgroup", "-maxdepth", "2", "-name", "dev-*"},
	} {
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%v: %w: %s", command, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, h.ID()) || strings.Contains(line, h.Dir+"/") || strings.Contains(line, "--name="+testName) {
				return fmt.Errorf("a %s is left: %s", what, line)
			}
		}
	}
	if _, err := os.Stat(h.Dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the state folder is left: %v", err)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", h.GatewayPort))
	if err == nil {
		conn.Close()
		return errors.New("the gateway's port is still served")
	}
	return nil
}
