// Command devcluster runs a real Kubernetes on one Linux machine, isolated in namespaces and gone without a trace
// afterwards. The Makefile calls it; it needs root.
//
//	devcluster up      [--nodes N] [--gateway-port P] [--api-port P]   make it run, wait until it is ready
//	devcluster down                                                    remove it and all that it made
//	devcluster status                                                  what runs
//	devcluster load    ARCHIVE...                                      import image archives into every node
//	devcluster exec    -- COMMAND...                                   run a command inside node 0's network
//	devcluster get     netns|kubeconfig|kubeconfig-inside|registry|gateway-url         one fact, for scripts
//
// Every command takes --root, the folder of binaries and state (.dev), and --name (dc). guard, supervise, node and registry are
// processes of a running cluster, started by the program itself.
//
// Read layout for what a cluster is made of, cluster for its life, node for why it leaves no trace, config for the settings.
package main
