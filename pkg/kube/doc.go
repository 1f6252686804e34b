// Package kube keeps functions in Kubernetes: their records, what they run as, their secrets, namespaces and logs. It is
// the only package that knows Kubernetes or container registries.
//
// # Words
//
// The record of a function is one Function object (functions.openfaas.com/v1) and the only truth about it; REST calls and
// kubectl write it alike. A mirror is a cache of one kind of object that keeps only what is of use. The workload is what a
// record makes: a Deployment, a Service and their pods. A resolution is what a registry told of an image, kept in the
// record's status. A rollout is one more start of all pods, asked for by an update. A spare is a pod of the warm pool; one
// that was claimed is a pod of its function from then on.
//
// # How a change travels
//
//	POST, PUT, DELETE, scale ─► check ─► API server ──┐ answer ──► mirror of records ─► Lookup, List
//	kubectl apply ────────────────────► API server ───┴ watch  ──►        │
//	                                                                      ▼
//	Deployments, Services, pods, namespaces ─► watch ─► mirrors ─► queue of Refs ─► workers: reconcile one function
//	                                                      │
//	ready pushes ─────────────────────────────────────────┴─► table of replicas ─► OnEndpoints, Endpoints
//
// One round of reconcile, whatever event asked for it:
//
//	deleted? ──yes─► remove workload ─► OnDelete ─► let go of the finalizer: the name is free
//	   │no
//	valid, in a namespace for functions? ──no─► Stalled says what to mend; what runs is left running
//	   │yes
//	our finalizer ─► OnDeploy ─► replicas wanted? ──no─► remove workload: the record is all that is left
//	                                 │yes
//	     claimed or lone pods are enough? ──yes─► status
//	                                 │no
//	     resolve the image, look at the secrets ─► Deployment and Service ─► status
//	                                                        │serves
//	                                                        ▼
//	                                              claimed pods drain and go
//
// A function that was just woken is given a spare, if it can be (its condition Claimable tells why not) and one is free: the
// pod's labels, owner and image change in one step, and what it is to run has been told its watchdog before. It has no
// Deployment and no Service then, until its demand is steady (Steady), it is to have more replicas than were claimed, it is
// updated, a secret of it changes (by whomever: those of claimed pods are looked at every half minute, and compared by their
// versions), or the claimed pod does not serve as it should. One that ends as soon as it begins in a spare is given no other for ten
// minutes, and Claimable tells what it said. A claimed pod belongs to the record, has no
// label by which a Deployment could take it for its own, gets the function's requests and limits in place, and is deleted when
// the function goes to zero.
//
// A function that was just woken and gets no spare is given a lone pod: one as its Deployment would make, without the Deployment, its
// ReplicaSet, the Service and what Kubernetes makes of that, which take several times the pod's own work of the control plane. It ends
// as a claimed pod does, and is counted with them in all that follows. If Kubernetes does not allow it the Deployment is made, and says
// why.
//
// A spare counts as ready until it is assigned something, because a probe that fails is an event every two seconds. Whoever goes by
// Kubernetes' readiness and not by ours may take a claimed pod for ready until the kubelet has started its function, some tenths of a
// second: a Service of the same name, in the rare case that a Deployment is there as well.
//
// An image that serves by itself has port 8080 for itself. In a spare the watchdog runs what the image would, its ENTRYPOINT and CMD as
// the registry told them, and stands beside it: it sees no call, asks the function's port or ready path, pushes readiness, and holds
// the end back as long as the kubelet would elsewhere. A pod's probes cannot change, so those of every spare ask a port of the
// watchdog's own (readypush.ProbePort), before the claim and after, whatever runs there. The other ways were worse: a watchdog that
// forwards cannot have the port that the function listens on, a probe that runs a program costs a process every two seconds, and
// spares of a second shape would be twice as many.
//
// The keeper makes as many spares as each namespace is to have, but none beside pods that come up for calls, or one each second where no
// spare is left, from their fourth second on. The status of a function that was woken waits for such pods, too, for two seconds at
// most. At most four spares are on their way at a time, of those that take no longer than they should; namespaces that miss some get
// them in turn. The keeper takes away spares that are of no use: of an earlier shape, started again, never registered, or given up in
// the middle of a claim. A claim is given up, too, if the
// API server does not answer in time; if the pod has become the function's all the same it is one too many beside the next, and drains.
// Spares belong to a ClusterRole of the chart (Pool.Owner): objects of a namespace can have no owner in another, and when the chart is
// uninstalled they are to go.
//
// Where images are pulled ahead (Config.PrePull), every node that may run a function pulls its image when the function is deployed or
// the node is added, by a pod of some seconds: see prepull.go. The condition ImagePulled tells how far that is.
//
// Stuck tells of a function that cannot start: what is to be mended in its record, what Kubernetes refuses, or that all its pods have
// a problem which has lasted for longer than such problems do: see stuck.go. Whoever waits for it is told then, in those words.
//
// Of every replica it is noted when it reached what on its way to serve, as the watch and the watchdog's push tell: see
// coldstart.go. Kubernetes' own times would have whole seconds.
//
// An update is Kubernetes' rolling one, with no replica missing at any time: a version that never gets ready leaves the
// old one serving, and Status says why in the pods' own words. A pod that is to end is no endpoint from the moment that the
// watch tells so, and keeps its calls: the watchdog drains, and the container of an image that runs by itself, which may die
// of SIGTERM, is held back by a pre-stop hook for as long as a call may take (Kubernetes 1.30 and later).
//
// Where there are to be fewer replicas, those with the fewest calls in flight are marked, are endpoints of no provider any
// more, and only then is the Deployment made smaller; their calls go on, as those of every pod that is to end.
//
// A pod whose node is lost is replaced elsewhere some seconds after Kubernetes has noticed, which takes it most of a minute: pods
// tolerate such nodes for five seconds and not for the five minutes that are usual. Calls notice sooner: a function of which none of
// the replicas can be reached (Unreached), and whose addresses answer nothing when they are looked at, is given a spare of another node
// beside them, or a lone pod, which goes when there is a new replica, or after two minutes. The provider that leads does so, and hears of
// calls at the others from them (IsUnreached). Such nodes, and those whose spares take no
// assignment, get no spares and no lone pods for half a minute, where there are others. See rescue.go.
//
// # Guarantees
//
// Methods marked memory only never wait for the API server: with it gone, all that is known goes on being served, and the
// watches recover by themselves. After Create, Update, Scale or Delete has returned nil, Lookup shows it. Rounds for one
// function never overlap; those for different functions run in parallel. Every round may be cut off anywhere and begun
// again: a crash leaves nothing behind that the next round does not find, and a record goes last. Of several providers one
// reconciles; the others watch, and serve what they see. Pods of an earlier record of the same name are never endpoints of
// the present one. Installing another version of the provider restarts no function, and one that runs goes on being served
// though its record is not valid, or is not any more. A function at zero costs no object but its record and, in memory,
// 2.5 KiB.
//
// Images are resolved to digests once per rollout, so all replicas run the same bytes. A registry out of reach is no
// error unless the image's own command is needed, which nobody else can tell: Kubernetes does not show the configuration
// of an image that is on a node. Clusters without a way out name a mirror (Config.RegistryMirrors), the same one that
// their nodes pull from.
//
// Pods pass the restricted Pod Security Standard. They run as the image's own user if that is a number other than 0 and a
// registry told it, else as 1000.
//
// # What it leaves to others
//
// Which requests are let in, and what an error looks like in HTTP: pkg/handlers. When to go to zero or wake: pkg/scaler,
// which calls Scale. Verifying a ready push before MarkReady: whoever serves it.
//
// # Stored data
//
//	Function NAME in NAMESPACE, schema in chart/crds/function.yaml
//	  metadata.finalizers                        dragonchain.com/cleanup
//	  metadata.annotations["com.openfaas.uid"]   another value after every update
//	  metadata.annotations["dragonchain.com/scaled"]  why there are as many replicas as there are, if no user said so
//	  spec                                       what the user sent, and replicas
//	  status.image                               the resolution, and which image and rollout it is of
//	Deployment, Service, ReplicaSets, pods
//	  metadata.labels["faas_function"]           the function's name
//	  metadata.labels["dragonchain.com/record"]  the record's UID
//	pods that are to go
//	  metadata.annotations["dragonchain.com/leaving"], and Kubernetes' own deletion cost
//	Lease dc-provider, in the provider's namespace  which provider leads, of those that share a database
//	Deployment
//	  metadata.annotations["dragonchain.com/inputs"]  hash of what it was rendered from
//	Pod of the warm pool
//	  metadata.labels["dragonchain.com/spare"]        the shape that it was made in; gone once it is claimed
//	  metadata.annotations["dragonchain.com/claimed"] when it was claimed
//	  metadata.annotations["dragonchain.com/secrets"] hash of which versions of its secrets it was given
//	Namespace
//	  metadata.annotations["com.dragonchain.pool.size"], .cpu, .memory  its spares: how many, and what each requests
//
// # Sources
//
// Objects are shaped as OpenFaaS users know them (https://docs.openfaas.com/architecture/stack/). Status conditions follow
// the kstatus conventions (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus).
package kube
