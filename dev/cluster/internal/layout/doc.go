// Package layout says what a dev cluster is made of: its names, addresses and folders, worked out from a few choices.
// Everything else (certificates, configurations, namespaces) is derived from here, so that two parts never disagree.
//
// # Words
//
// A cluster has a name, which is unique in its checkout, and an id, which is unique on the machine: the name and a hash of
// the state folder. Whatever is visible outside the state folder (network namespaces, control groups) carries the id, so
// two checkouts may run clusters of the same name side by side.
//
//	host 127.0.0.1:8080, :6443      forwarder, in the supervisor process
//	  │ (dials inside node 0's namespace)
//	ID-node0  172.31.0.10 ─┐
//	ID-node1  172.31.0.11 ─┼─ bridge in ID-lan: no uplink, hence no way out
//	...                    ┘
//	pods of node i          10.244.(4i).0/22, routed, every pod on its own veth
//	Services                10.96.0.0/16, DNS at 10.96.0.10
//
// The state folder, which down removes:
//
//	cluster.json     the choices             pki/        keys and certificates
//	wanted           exists while it should run          etc/nodeN/  rendered configuration
//	*.lock           held by the process that it names   logs/       one file per component
//	kubeconfig, kubeconfig.inside            etcd/       the API's data
//	nodeN/           seen as /run/node in node N         volumes/    the persistent volumes
package layout
