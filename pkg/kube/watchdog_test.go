package kube

import "testing"

func TestChooseWatchdog(t *testing.T) {
	able := node{kubelet: "v1.36.3", runtime: "containerd://2.2.1+unknown"}
	with := func(edit func(*node)) node { n := able; edit(&n); return n }
	oldRuntime := with(func(n *node) { n.runtime = "containerd://1.7.28" })
	for _, test := range []struct {
		name     string
		server   string
		nodes    []node
		selector map[string]string
		want     WatchdogMethod
	}{
		{"all can", "v1.36.3", []node{able, able}, nil, WatchdogByImageVolume},
		{"the oldest that can", "v1.35.0-gke.100", []node{{kubelet: "v1.35.1", runtime: "containerd://2.1.0"}}, nil, WatchdogByImageVolume},
		{"an older server", "v1.34.9", []node{able}, nil, WatchdogByInitContainer},
		{"an older kubelet", "v1.36.3", []node{able, with(func(n *node) { n.kubelet = "v1.33.2" })}, nil, WatchdogByInitContainer},
		{"an older containerd", "v1.36.3", []node{able, oldRuntime}, nil, WatchdogByInitContainer},
		{"a runtime that may mount noexec", "v1.36.3", []node{with(func(n *node) { n.runtime = "cri-o://1.35.0" })}, nil, WatchdogByInitContainer},
		{"an unreadable version", "v1.36.3", []node{with(func(n *node) { n.runtime = "containerd://main" })}, nil, WatchdogByInitContainer},
		{"the older node is out of question", "v1.36.3",
			[]node{with(func(n *node) { n.labels = map[string]string{"disk": "ssd"} }), oldRuntime}, map[string]string{"disk": "ssd"}, WatchdogByImageVolume},
		{"no node yet", "v1.36.3", nil, nil, WatchdogByInitContainer},
		{"no node matches", "v1.36.3", []node{able}, map[string]string{"disk": "ssd"}, WatchdogByInitContainer},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := chooseWatchdog(test.server, test.nodes, test.selector); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
