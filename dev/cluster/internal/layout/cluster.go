package layout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
)

// Addresses are the same in every cluster: each has namespaces of its own, so they cannot meet.
const (
	ServiceCIDR   = "10.96.0.0/16"
	PodCIDR       = "10.244.0.0/16"
	APIServiceIP  = "10.96.0.1"
	DNSServiceIP  = "10.96.0.10"
	Domain        = "cluster.local"
	APIServerPort = 6443
	RegistryPort  = 5050
	MaxNodes      = 16
	// Volumes is how many persistent volumes a cluster offers.
	Volumes = 16
	// VolumeOwner is the user and group that persistent volumes belong to: "nonroot" by convention.
	VolumeOwner = 65532
	// PauseImage holds a pod's namespaces open. It is imported into every node and pinned.
	PauseImage = "localhost/pause:1"
)

// Cluster is the choices that define one cluster.
type Cluster struct {
	Name  string `json:"name"`
	Nodes int    `json:"nodes"`
	// GatewayPort and APIPort are where the forwarder listens on the host's loopback.
	GatewayPort int `json:"gatewayPort"`
	APIPort     int `json:"apiPort"`
	// Dir is the absolute state folder, Bin the absolute folder of the binaries.
	Dir string `json:"-"`
	Bin string `json:"-"`
}

// The name goes into host names and interface lists; the limit keeps "<name>-node15" within 63 characters with room.
var validName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)

// Validate reports the first choice that cannot work.
func (c Cluster) Validate() error {
	if !validName.MatchString(c.Name) {
		return fmt.Errorf("cluster name %q: want lower-case letters, digits and dashes, at most 32", c.Name)
	}
	if c.Nodes < 1 || c.Nodes > MaxNodes {
		return fmt.Errorf("%d nodes: want 1 to %d", c.Nodes, MaxNodes)
	}
	return nil
}

// At gives the cluster called name whose state is under root, with no choices made yet.
func At(root, name string) (Cluster, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return Cluster{}, err
	}
	return Cluster{Name: name, Dir: filepath.Join(abs, name), Bin: filepath.Join(abs, "bin")}, nil
}

// Load reads the choices of a cluster that was made before. The error is fs.ErrNotExist if there is none.
func Load(root, name string) (Cluster, error) {
	c, err := At(root, name)
	if err != nil {
		return Cluster{}, err
	}
	raw, err := os.ReadFile(c.Path("cluster.json"))
	if err != nil {
		return Cluster{}, err
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return Cluster{}, fmt.Errorf("read %s: %w", c.Path("cluster.json"), err)
	}
	return c, c.Validate()
}

// Save writes the choices for Load.
func (c Cluster) Save() error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(c.Path("cluster.json"), raw, 0o644)
}

// Wanted tells whether the cluster should be running.
func (c Cluster) Wanted() bool {
	_, err := os.Stat(c.Path("wanted"))
	return err == nil
}

// SetWanted records whether the cluster should be running. Guard and supervisor end by themselves once it should not.
func (c Cluster) SetWanted(wanted bool) error {
	if wanted {
		return os.WriteFile(c.Path("wanted"), nil, 0o644)
	}
	err := os.Remove(c.Path("wanted"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Root is the folder that holds the state folders and the binaries.
func (c Cluster) Root() string { return filepath.Dir(c.Dir) }

// ID names the cluster on the machine: see the package comment.
func (c Cluster) ID() string {
	sum := sha256.Sum256([]byte(c.Dir))
	return c.Name + "-" + hex.EncodeToString(sum[:3])
}

// Path joins elem to the state folder.
func (c Cluster) Path(elem ...string) string {
	return filepath.Join(append([]string{c.Dir}, elem...)...)
}

// UpDownLock is held by whoever brings the cluster up or takes it down. It lies outside the state folder because down
// removes that while it holds the lock.
func (c Cluster) UpDownLock() string { return c.Dir + ".lock" }

// Cgroup is the control group that all containers of the cluster live under.
func (c Cluster) Cgroup() string { return "/dev-" + c.ID() }

// LAN is the network namespace of the bridge that joins the nodes.
func (c Cluster) LAN() string { return c.ID() + "-lan" }

// Registry is where node 0 offers the images that were loaded into it, as seen from inside.
func (c Cluster) Registry() string {
	return fmt.Sprintf("%s:%d", c.Node(0).IP(), RegistryPort)
}

// AllNodes lists the nodes in order.
func (c Cluster) AllNodes() []Node {
	nodes := make([]Node, c.Nodes)
	for i := range nodes {
		nodes[i] = Node{Cluster: c, Index: i}
	}
	return nodes
}

// Node gives node i.
func (c Cluster) Node(i int) Node { return Node{Cluster: c, Index: i} }

// APIServer is where the API server listens, as seen from inside.
func (c Cluster) APIServer() string {
	return fmt.Sprintf("%s:%d", c.Node(0).IP(), APIServerPort)
}

// Node is one node of a cluster.
type Node struct {
	Cluster
	Index int
}

// Name is the node's name in Kubernetes.
func (n Node) Name() string { return fmt.Sprintf("%s-node%d", n.Cluster.Name, n.Index) }

// Short names the node within its cluster: folders, logs and locks.
func (n Node) Short() string { return fmt.Sprintf("node%d", n.Index) }

// Netns is the name of the node's network namespace.
func (n Node) Netns() string { return n.ID() + "-" + n.Short() }

// NetnsFile is the file that holds the node's network namespace open.
func (n Node) NetnsFile() string { return NetnsFile(n.Netns()) }

// NetnsFile is where iproute2 keeps the namespace of that name.
func NetnsFile(name string) string { return filepath.Join("/run/netns", name) }

// IP is the node's address on the bridge.
func (n Node) IP() netip.Addr { return netip.AddrFrom4([4]byte{172, 31, 0, byte(10 + n.Index)}) }

// PodCIDR is the node's share of the pod network: 1022 addresses, so that maxPods and not the network is the limit.
func (n Node) PodCIDR() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(4 * n.Index), 0}), 22)
}

// Dir is the node's own folder, seen as NodeDir inside.
func (n Node) Dir() string { return n.Path(n.Short()) }

// Etc is where the node's rendered configuration lies.
func (n Node) Etc(elem ...string) string {
	return n.Path(append([]string{"etc", n.Short()}, elem...)...)
}

// Cgroup is the control group that the node's containers live under.
func (n Node) Cgroup() string { return n.Cluster.Cgroup() + "/" + n.Short() }

// Lock is held by the node's first process as long as the node runs.
func (n Node) Lock() string { return n.Path(n.Short() + ".lock") }

// NodeDir is where a node sees its own folder. It is short because Unix socket paths end at 107 bytes, and a checkout may
// lie deep.
const NodeDir = "/run/node"

// WriteFile replaces path in one step, so that a reader never sees half a file, and makes its folder.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once renamed, as it should
	if _, err := tmp.Write(data); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Chmod(mode); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
