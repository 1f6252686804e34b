package config

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/pki"
)

// File is one rendered file.
type File struct {
	Path string
	Data []byte
	Mode fs.FileMode
}

// registryPorts are the ports of the nodes' addresses at which containerd takes a registry to speak plain HTTP.
const (
	firstRegistryPort = 5000
	registryPorts     = 10
)

// Render writes every file of the cluster. The keys must exist.
func Render(c layout.Cluster) error {
	files, err := Files(c)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := layout.WriteFile(f.Path, f.Data, f.Mode); err != nil {
			return err
		}
	}
	return nil
}

// Files gives every file of the cluster.
func Files(c layout.Cluster) ([]File, error) {
	files, err := kubeconfigs(c)
	if err != nil {
		return nil, err
	}
	files = append(files, File{c.Path("resolv.conf"), []byte(resolvConf), 0o644})
	for _, n := range c.AllNodes() {
		nodeFiles, err := nodeFiles(n)
		if err != nil {
			return nil, err
		}
		files = append(files, nodeFiles...)
	}
	control, err := controlPlaneFiles(c)
	return append(files, control...), err
}

// resolvConf serves the nodes and whoever enters one; pods get theirs from the kubelet. The cluster's DNS refuses outside
// names at once, where the machine's own name server would be out of reach and time out.
var resolvConf = fmt.Sprintf("nameserver %s\nsearch svc.%s %s\noptions ndots:5 timeout:2\n",
	layout.DNSServiceIP, layout.Domain, layout.Domain)

func nodeFiles(n layout.Node) ([]File, error) {
	files := []File{
		{n.Etc("containerd.toml"), []byte(containerdConfig(n)), 0o644},
		{n.Etc("resolv.conf"), nil, 0o644}, // pods inherit no outside name server
	}
	for name, object := range map[string]any{
		"kubelet.json":               kubeletConfig(n),
		"kube-proxy.json":            kubeProxyConfig(n),
		"cni/net.d/10-pods.conflist": podNetwork(n),
	} {
		data, err := json.MarshalIndent(object, "", "  ")
		if err != nil {
			return nil, err
		}
		files = append(files, File{n.Etc(name), data, 0o644})
	}
	files = append(files, File{n.Etc("certs.d", "docker.io", "hosts.toml"), []byte(mirror(n.Cluster)), 0o644})
	for _, other := range n.AllNodes() {
		for port := firstRegistryPort; port < firstRegistryPort+registryPorts; port++ {
			host := fmt.Sprintf("%s:%d", other.IP(), port)
			files = append(files, File{n.Etc("certs.d", host, "hosts.toml"), fmt.Appendf(nil, "server = %q\n", "http://"+host), 0o644})
		}
	}
	return files, nil
}

// mirror sends pulls of images without a host to node 0, which has what was loaded into it: a digest is not a name that
// loading gives, and the kubelet asks for it all the same.
func mirror(c layout.Cluster) string {
	return fmt.Sprintf("server = \"https://registry-1.docker.io\"\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", "http://"+c.Registry())
}

func controlPlaneFiles(c layout.Cluster) ([]File, error) {
	scheduler, err := json.MarshalIndent(schedulerConfig(c), "", "  ")
	return []File{
		{c.Path("etc", "scheduler.json"), scheduler, 0o644},
		{c.Path("etc", "Corefile"), []byte(corefile(c)), 0o644},
	}, err
}

// Kubeconfig is the path of a component's or the administrator's access to the API from inside.
func Kubeconfig(c layout.Cluster, identity string) string {
	return c.Path("etc", identity+".kubeconfig")
}

// kubeconfigs gives one for every component, and the administrator's two: for the host and for inside.
func kubeconfigs(c layout.Cluster) ([]File, error) {
	inside := "https://" + c.APIServer()
	var files []File
	for _, id := range pki.Identities(c) {
		if id.File == pki.APIServer || id.File == pki.APIServerClient || id.File == pki.Admin {
			continue
		}
		data, err := kubeconfig(c, inside, id.File)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Kubeconfig(c, id.File), data, 0o600})
	}
	for path, server := range map[string]string{
		c.Path("kubeconfig"):        fmt.Sprintf("https://127.0.0.1:%d", c.APIPort),
		c.Path("kubeconfig.inside"): inside,
	} {
		data, err := kubeconfig(c, server, pki.Admin)
		if err != nil {
			return nil, err
		}
		files = append(files, File{path, data, 0o600})
	}
	return files, nil
}

func kubeconfig(c layout.Cluster, server, identity string) ([]byte, error) {
	var encoded [3]string
	for i, file := range []string{pki.CA + ".crt", identity + ".crt", identity + ".key"} {
		raw, err := os.ReadFile(filepath.Join(c.Path("pki"), file))
		if err != nil {
			return nil, err
		}
		encoded[i] = base64.StdEncoding.EncodeToString(raw)
	}
	return json.MarshalIndent(object{
		"apiVersion": "v1", "kind": "Config", "current-context": c.Name,
		"clusters": []object{{"name": c.Name, "cluster": object{"server": server, "certificate-authority-data": encoded[0]}}},
		"users":    []object{{"name": identity, "user": object{"client-certificate-data": encoded[1], "client-key-data": encoded[2]}}},
		"contexts": []object{{"name": c.Name, "context": object{"cluster": c.Name, "user": identity}}},
	}, "", "  ")
}

// object is a JSON object.
type object = map[string]any

// corefile answers for the cluster's own zones, and with NXDOMAIN at once for every other name: there is no way out, and
// a client should not wait to learn so.
func corefile(c layout.Cluster) string {
	return strings.NewReplacer("<ip>", c.Node(0).IP().String(), "<domain>", layout.Domain, "<kubeconfig>", Kubeconfig(c, "coredns")).Replace(
		`<domain>:53 in-addr.arpa:53 ip6.arpa:53 {
    bind <ip>
    errors
    kubernetes <domain> in-addr.arpa ip6.arpa {
        kubeconfig <kubeconfig>
        ttl 5
    }
}
.:53 {
    bind <ip>
    errors
    template ANY ANY . {
        rcode NXDOMAIN
    }
}
`)
}
