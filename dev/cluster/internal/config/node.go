package config

import (
	"fmt"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
)

// ContainerdSocket is where containerd listens, as a node sees it.
const ContainerdSocket = "/run/containerd/containerd.sock"

// maxPods must stay below what a node's share of the pod network holds.
const maxPods = 500

// containerdConfig renders containerd's configuration.
//   - restrict_oom_score_adj: without CAP_SYS_RESOURCE a container that asks for a lower score than its parent's fails with
//     "can't get final child's PID from pipe".
//   - netns_mounts_under_state_dir: a pod's namespace is then a mount under /run/containerd, which is the node's own.
//   - volatile: what a container writes beside its volumes goes with it. Otherwise the kernel writes all that it holds of the whole disk when
//     a container's root is unmounted, etcd's data included, and the end of every container waits for that: 5 ms on a disk that rests.
//   - the opt plugin would make /opt/containerd on the machine.
func containerdConfig(n layout.Node) string {
	return fmt.Sprintf(`version = 3
root = "%[1]s/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
  address = "%[2]s"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  max_concurrent_downloads = 8
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "%[3]s"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "%[4]s"

[plugins."io.containerd.snapshotter.v1.overlayfs"]
  mount_options = ["volatile"]

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "%[5]s"
    use_internal_loopback = true
`, layout.NodeDir, ContainerdSocket, layout.PauseImage, n.Etc("certs.d"), n.Etc("cni", "net.d"))
}

// podNetwork routes every pod on a veth of its own. A bridge would send the answer of a pod on the same node past
// connection tracking, which then could not undo a Service's address, unless the answer were made to hide the caller's
// address or br_netfilter is at hand.
func podNetwork(n layout.Node) object {
	return object{
		"cniVersion": "1.0.0", "name": "pods",
		"plugins": []object{{
			"type": "ptp",
			"ipam": object{
				"type":    "host-local",
				"ranges":  [][]object{{{"subnet": n.PodCIDR().String()}}},
				"routes":  []object{{"dst": "0.0.0.0/0"}},
				"dataDir": "/run/cni", // lost with the node's processes, as are the pods that have the addresses
			},
		}},
	}
}

func kubeletConfig(n layout.Node) object {
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true},
			"x509":      object{"clientCAFile": n.Path("pki", "ca.crt")},
		},
		"authorization":            object{"mode": "Webhook"},
		"tlsCertFile":              n.Path("pki", "kubelet-"+n.Short()+".crt"),
		"tlsPrivateKeyFile":        n.Path("pki", "kubelet-"+n.Short()+".key"),
		"containerRuntimeEndpoint": "unix://" + ContainerdSocket,
		"clusterDNS":               []string{layout.DNSServiceIP},
		"clusterDomain":            layout.Domain,
		"resolvConf":               n.Etc("resolv.conf"),
		"podLogsDir":               "/run/node/pods",
		"volumePluginDir":          "/run/node/volume-plugins",
		"maxPods":                  maxPods,

		// Many pods at once: the defaults are for clusters that must protect a far larger API server.
		"kubeAPIQPS":   300,
		"kubeAPIBurst": 600,
		// Each is written down by the API server. Those of many pods that start at once are told by and by: they would be
		// the largest part of what is written then.
		"eventRecordQPS":        5,
		"eventBurst":            10,
		"registryPullQPS":       0,
		"serializeImagePulls":   false,
		"maxParallelImagePulls": 8,

		// What small machines need: see the package comment.
		"failCgroupV1":                  false,
		"cgroupDriver":                  "cgroupfs",
		"cgroupRoot":                    n.Cgroup(),
		"enforceNodeAllocatable":        []string{}, // needs what control groups of version 1 may lack
		"localStorageCapacityIsolation": false,
		"failSwapOn":                    false,
		"oomScoreAdj":                   0,
		"makeIPTablesUtilChains":        false,

		// A container that was killed comes back within seconds however often that happens. The default, up to five
		// minutes, would make every test that kills something wait.
		"crashLoopBackOff": object{"maxContainerRestartPeriod": "2s"},

		// The disk is the developer's own. That it is nearly full must neither evict pods nor delete images which no
		// registry could give back.
		"evictionHard": object{
			"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
			"imagefs.available": "0%", "imagefs.inodesFree": "0%",
		},
		"imageGCHighThresholdPercent": 100,
		"imageGCLowThresholdPercent":  99,
	}
}

func kubeProxyConfig(n layout.Node) object {
	return object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode":             "nftables",
		"clusterCIDR":      layout.PodCIDR,
		"hostnameOverride": n.Name(),
		"clientConnection": object{"kubeconfig": Kubeconfig(n.Cluster, "kube-proxy"), "qps": 100, "burst": 200},
		"nftables":         object{"minSyncPeriod": "50ms", "syncPeriod": "30s"},
		"oomScoreAdj":      0,
		"conntrack": object{
			"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
			"udpTimeout": "0s", "udpStreamTimeout": "0s",
		},
		"healthzBindAddress": "127.0.0.1:10256",
		"metricsBindAddress": "127.0.0.1:10249",
	}
}

func schedulerConfig(c layout.Cluster) object {
	return object{
		"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
		"clientConnection":         object{"kubeconfig": Kubeconfig(c, "kube-scheduler"), "qps": 300, "burst": 600},
		"leaderElection":           object{"leaderElect": false},
		"podInitialBackoffSeconds": 1,
		"podMaxBackoffSeconds":     2,
	}
}
