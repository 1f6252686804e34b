package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/api"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
)

// storageClass is the class of the cluster's volumes, and the default one: a claim that names none gets such a volume.
const storageClass = "local"

const managedBy = "dev-cluster"

// bootstrap makes the objects that every cluster starts with: its DNS service and its volumes.
func bootstrap(ctx context.Context, c layout.Cluster, client *api.Client) error {
	for _, o := range objects(c) {
		// Some wait for others: a binding for its role's API group, a service for the allocator. All come within seconds.
		if err := retry(ctx, func() error { return client.Apply(ctx, o.path, o.object) }); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
	}
	for i := range layout.Volumes {
		if err := ensureVolume(ctx, c, client, i); err != nil {
			return fmt.Errorf("volume %d: %w", i, err)
		}
	}
	return nil
}

type pathObject struct {
	path   string
	object api.Object
}

func objects(c layout.Cluster) []pathObject {
	meta := func(name string, more api.Object) api.Object {
		m := api.Object{"name": name}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	const rbac = "/apis/rbac.authorization.k8s.io/v1"
	dnsPorts := []api.Object{
		{"name": "dns", "protocol": "UDP", "port": 53},
		{"name": "dns-tcp", "protocol": "TCP", "port": 53},
	}
	return []pathObject{
		{"/apis/storage.k8s.io/v1/storageclasses/" + storageClass, api.Object{
			"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
			"metadata": meta(storageClass, api.Object{"annotations": api.Object{
				"storageclass.kubernetes.io/is-default-class": "true",
			}}),
			"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
		}},
		{rbac + "/clusterroles/system:coredns", api.Object{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta("system:coredns", nil),
			"rules": []api.Object{
				{"apiGroups": []string{""}, "resources": []string{"services", "namespaces", "pods", "endpoints"}, "verbs": []string{"list", "watch"}},
				{"apiGroups": []string{"discovery.k8s.io"}, "resources": []string{"endpointslices"}, "verbs": []string{"list", "watch"}},
			},
		}},
		{rbac + "/clusterrolebindings/system:coredns", api.Object{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": meta("system:coredns", nil),
			"roleRef":  api.Object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
			"subjects": []api.Object{{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}},
		}},
		{"/api/v1/namespaces/kube-system/services/kube-dns", api.Object{
			"apiVersion": "v1", "kind": "Service",
			"metadata": meta("kube-dns", api.Object{"namespace": "kube-system", "labels": api.Object{"k8s-app": "kube-dns"}}),
			"spec":     api.Object{"clusterIP": layout.DNSServiceIP, "ports": dnsPorts},
		}},
		{"/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns", api.Object{
			"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
			"metadata": meta("kube-dns", api.Object{"namespace": "kube-system", "labels": api.Object{
				"kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": managedBy,
			}}),
			"addressType": "IPv4", "ports": dnsPorts,
			"endpoints": []api.Object{{"addresses": []string{c.Node(0).IP().String()}, "conditions": api.Object{"ready": true}}},
		}},
	}
}

func volumeDir(c layout.Cluster, i int) string { return c.Path("volumes", volumeName(i)) }

func volumeName(i int) string { return fmt.Sprintf("local-%02d", i) }

// makeVolumes makes the folders behind the persistent volumes, for the user that containers conventionally run as.
func makeVolumes(c layout.Cluster) error {
	for i := range layout.Volumes {
		if err := os.MkdirAll(volumeDir(c, i), 0o770); err != nil {
			return err
		}
		// MkdirAll's mode is cut by the umask.
		if err := os.Chmod(volumeDir(c, i), 0o770); err != nil {
			return err
		}
		if err := os.Chown(volumeDir(c, i), layout.VolumeOwner, layout.VolumeOwner); err != nil {
			return err
		}
	}
	return nil
}

// ensureVolume makes volume i, or makes it anew, empty, if its claim is gone: nothing else would offer it again.
func ensureVolume(ctx context.Context, c layout.Cluster, client *api.Client, i int) error {
	path := "/api/v1/persistentvolumes/" + volumeName(i)
	var volume struct {
		Status struct{ Phase string }
	}
	err := client.Read(ctx, path, &volume)
	switch {
	case errors.Is(err, api.ErrNotFound):
	case err != nil:
		return err
	case volume.Status.Phase != "Released":
		return nil
	default:
		if err := client.Delete(ctx, path); err != nil {
			return err
		}
		if err := os.RemoveAll(volumeDir(c, i)); err != nil {
			return err
		}
		if err := makeVolumes(c); err != nil {
			return err
		}
	}
	// Deletion takes a moment, while the object can still be applied to and then vanishes; ask until it is another one.
	return retry(ctx, func() error {
		if err := client.Apply(ctx, path, volumeObject(c, i)); err != nil {
			return err
		}
		if err := client.Read(ctx, path, &volume); err != nil {
			return err
		}
		if volume.Status.Phase == "Released" {
			return errors.New("the old volume is not gone yet")
		}
		return nil
	})
}

func volumeObject(c layout.Cluster, i int) api.Object {
	return api.Object{
		"apiVersion": "v1", "kind": "PersistentVolume",
		"metadata": api.Object{"name": volumeName(i)},
		"spec": api.Object{
			"capacity":                      api.Object{"storage": "10Gi"},
			"accessModes":                   []string{"ReadWriteOnce"},
			"persistentVolumeReclaimPolicy": "Retain",
			"storageClassName":              storageClass,
			"local":                         api.Object{"path": volumeDir(c, i)},
			"nodeAffinity": api.Object{"required": api.Object{"nodeSelectorTerms": []api.Object{{
				"matchExpressions": []api.Object{{
					"key": "kubernetes.io/hostname", "operator": "In", "values": []string{c.Node(0).Name()},
				}},
			}}}},
		},
	}
}
