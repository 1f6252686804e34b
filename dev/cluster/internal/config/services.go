package config

import (
	"fmt"
	"os"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/pki"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/proc"
)

// etcdURL is plain HTTP on the loopback of node 0's namespace, which only that node's own processes share.
const etcdURL = "http://127.0.0.1:2379"

// Services lists what runs on the node.
func Services(n layout.Node) []proc.Service {
	services := []proc.Service{containerd(n), kubelet(n), kubeProxy(n)}
	if n.Index == 0 {
		services = append(services, etcd(n), apiServer(n), controllerManager(n), scheduler(n), coreDNS(n), registry(n))
	}
	for i := range services {
		services[i].Log = LogFile(n, services[i].Name)
		services[i].Env = env(n)
	}
	return services
}

// LogFile is where a node's component logs.
func LogFile(n layout.Node, service string) string {
	return n.Path("logs", n.Short()+"-"+service+".log")
}

func env(n layout.Node) []string {
	return []string{
		"PATH=" + n.Bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + layout.NodeDir,
		"TMPDIR=" + os.TempDir(),
	}
}

func (k kube) service(n layout.Node, waitFor ...string) proc.Service {
	return proc.Service{Name: k[0], Args: append([]string{n.Bin + "/kubernetes"}, k...), WaitFor: waitFor}
}

// kube is the arguments of the multi-call binary: a component and its flags.
type kube []string

func waitAPI(n layout.Node) string { return "tcp:" + n.APIServer() }

func containerd(n layout.Node) proc.Service {
	return proc.Service{Name: "containerd", Args: []string{n.Bin + "/containerd", "--config", n.Etc("containerd.toml")}}
}

func kubelet(n layout.Node) proc.Service {
	s := kube{
		"kubelet",
		"--config=" + n.Etc("kubelet.json"),
		"--kubeconfig=" + Kubeconfig(n.Cluster, "kubelet-"+n.Short()),
		"--root-dir=" + layout.NodeDir + "/kubelet",
		"--cert-dir=" + layout.NodeDir + "/kubelet/pki",
		"--hostname-override=" + n.Name(),
		"--node-ip=" + n.IP().String(),
	}.service(n, "unix:"+ContainerdSocket, waitAPI(n))
	// No registry has the pause image: it must be there before the first pod is.
	s.Prepare = [][]string{{n.Bin + "/ctr", "--namespace=k8s.io", "images", "import", n.Path("pause.tar")}}
	return s
}

func kubeProxy(n layout.Node) proc.Service {
	return kube{"kube-proxy", "--config=" + n.Etc("kube-proxy.json")}.service(n, waitAPI(n))
}

func etcd(n layout.Node) proc.Service {
	return kube{
		"etcd",
		"--name=node0",
		"--data-dir=" + n.Path("etcd"),
		"--listen-client-urls=" + etcdURL,
		"--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=node0=http://127.0.0.1:2380",
		"--auto-compaction-retention=1h",
		"--quota-backend-bytes=4294967296",
		"--log-level=warn",
	}.service(n)
}

func apiServer(n layout.Node) proc.Service {
	key := func(name string) string { return n.Path("pki", name) }
	return kube{
		"kube-apiserver",
		"--etcd-servers=" + etcdURL,
		"--advertise-address=" + n.IP().String(),
		"--bind-address=" + n.IP().String(),
		fmt.Sprintf("--secure-port=%d", layout.APIServerPort),
		"--service-cluster-ip-range=" + layout.ServiceCIDR,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--client-ca-file=" + key(pki.CA+".crt"),
		"--tls-cert-file=" + key(pki.APIServer+".crt"),
		"--tls-private-key-file=" + key(pki.APIServer+".key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--kubelet-certificate-authority=" + key(pki.CA+".crt"),
		"--kubelet-client-certificate=" + key(pki.APIServerClient+".crt"),
		"--kubelet-client-key=" + key(pki.APIServerClient+".key"),
		"--service-account-issuer=https://kubernetes.default.svc." + layout.Domain,
		"--service-account-key-file=" + key(pki.ServiceAccount+".pub"),
		"--service-account-signing-key-file=" + key(pki.ServiceAccount+".key"),
		"--allow-privileged=true",
		"--profiling=false",
	}.service(n, "tcp:127.0.0.1:2379")
}

func controllerManager(n layout.Node) proc.Service {
	config := Kubeconfig(n.Cluster, "kube-controller-manager")
	return kube{
		"kube-controller-manager",
		"--kubeconfig=" + config,
		"--authentication-kubeconfig=" + config,
		"--authorization-kubeconfig=" + config,
		"--bind-address=127.0.0.1",
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--root-ca-file=" + n.Path("pki", pki.CA+".crt"),
		"--service-account-private-key-file=" + n.Path("pki", pki.ServiceAccount+".key"),
		"--cluster-signing-cert-file=" + n.Path("pki", pki.CA+".crt"),
		"--cluster-signing-key-file=" + n.Path("pki", pki.CA+".key"),
		"--flex-volume-plugin-dir=/run/node/volume-plugins",
		"--kube-api-qps=300",
		"--kube-api-burst=600",
		"--concurrent-deployment-syncs=20",
		"--concurrent-replicaset-syncs=20",
		"--concurrent-service-endpoint-syncs=20",
		"--concurrent-gc-syncs=40",
		"--concurrent-namespace-syncs=20",
		"--concurrent-serviceaccount-token-syncs=20",
	}.service(n, waitAPI(n))
}

func scheduler(n layout.Node) proc.Service {
	config := Kubeconfig(n.Cluster, "kube-scheduler")
	return kube{
		"kube-scheduler",
		"--config=" + n.Path("etc", "scheduler.json"),
		"--authentication-kubeconfig=" + config,
		"--authorization-kubeconfig=" + config,
		"--bind-address=127.0.0.1",
	}.service(n, waitAPI(n))
}

func coreDNS(n layout.Node) proc.Service {
	return proc.Service{
		Name:    "coredns",
		Args:    []string{n.Bin + "/coredns", "-conf", n.Path("etc", "Corefile")},
		WaitFor: []string{waitAPI(n)},
	}
}

func registry(n layout.Node) proc.Service {
	return proc.Service{
		Name:    "registry",
		Args:    []string{n.Bin + "/devcluster", "registry", "--root=" + n.Root(), "--name=" + n.Cluster.Name},
		WaitFor: []string{"unix:" + ContainerdSocket},
	}
}
