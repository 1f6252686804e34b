package kube

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/dragonchain/dc-provider/pkg/function"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The rendered manifests are in testdata; each row names what it is there to show.
func TestPlan_Golden(t *testing.T) {
	user := int64(10001)
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, test := range []struct {
		golden string
		edit   func(*function.Spec)
		plan   plan
	}{
		{"image-serves-itself", func(s *function.Spec) { s.Process = "" }, plan{sleepAction: true}},
		{"process-by-image-volume", func(*function.Spec) {}, plan{watchdog: WatchdogByImageVolume}},
		{"process-by-init-container", func(s *function.Spec) {
			s.Limits = &function.Resources{Memory: "128Mi", CPU: "500m"}
			s.Requests = &function.Resources{Memory: "64Mi", CPU: ""}
			s.Annotations = map[string]string{function.AnnotationHeap: "true"}
		}, plan{watchdog: WatchdogByInitContainer}},
		{"command-of-the-image", func(s *function.Spec) {
			s.Process = ""
			s.Annotations = map[string]string{function.AnnotationMode: "http", function.AnnotationReadyPath: "/healthy", function.AnnotationPark: "90", "topic": "moo"}
			s.Env = map[string]string{"write_timeout": "2m", "PRICE": "$(HOME) costs $5"}
		}, plan{
			watchdog: WatchdogByImageVolume, rollout: "1700000000",
			image: &resolution{Digest: digest, Command: []string{"/server", "-greeting", "moo $(HOME)"}, User: &user},
		}},
		{"everything", func(s *function.Spec) {
			s.Env = map[string]string{"fprocess": "overridden", "mode": "fork"}
			s.Labels = map[string]string{"team": "red", function.LabelScaleMin: "2"}
			s.Annotations = map[string]string{annotationScrape: "true", function.AnnotationPrefork: "2"}
			s.Constraints = []string{"disk=ssd", "zone=a"}
			s.Limits = &function.Resources{Memory: "1Gi", NvidiaGPU: "1"}
			s.ReadOnlyRoot = true
		}, plan{watchdog: WatchdogByInitContainer, mounted: []string{"api-key", "cert"}, pull: []string{"registry"}}},
	} {
		t.Run(test.golden, func(t *testing.T) {
			spec := function.Spec{Ref: cowRef, Image: "registry.example:5000/games/cowsay:1", Process: "/usr/games/cowsay -f tux"}
			test.edit(&spec)
			fn, err := function.New(spec)
			if err != nil {
				t.Fatal(err)
			}
			fn.ID = "3ecdf483-0bb4-4a32-83fc-43fe56942e82"
			p := test.plan
			p.fn, p.inputs, p.watchdogImage = fn, "inputs", "dragonchain/dc-provider:1"
			p.readyURL, p.readyKey = "http://gateway-provider.openfaas:8081/dc/ready", []byte("key")
			if p.image == nil {
				p.image = &resolution{}
			}
			compareGolden(t, test.golden, p.deployment(), p.service())
		})
	}
}

func TestPodTemplate_NoFunctionNameCollides(t *testing.T) {
	for _, name := range []string{watchdogVolume, watchdogInit} {
		spec := cow()
		spec.Name = name
		fn, err := function.New(spec)
		if err != nil {
			continue // no function can have that name
		}
		pod := (&plan{fn: fn, image: &resolution{}, watchdog: WatchdogByInitContainer}).podTemplate().Spec
		if pod.InitContainers[0].Name == pod.Containers[0].Name {
			t.Errorf("function %s: two containers are named %s", name, pod.Containers[0].Name)
		}
	}
}

func compareGolden(t *testing.T, name string, manifests ...any) {
	t.Helper()
	var got []string
	for _, m := range manifests {
		text, err := yaml.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(text))
	}
	file := filepath.Join("testdata", name+".yaml")
	text := strings.Join(got, "---\n")
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("differs from %s (go test -update writes it anew):\n%s", file, text)
	}
}

func TestInputs_ChangeWithWhatRunsAndNotWithReplicas(t *testing.T) {
	base := cow()
	hash := func(spec function.Spec, replicas int, rollout string, image resolution) string {
		fn, err := function.New(spec)
		if err != nil {
			t.Fatal(err)
		}
		fn.Replicas = replicas
		return inputsOf(fn, rollout, &image)
	}
	want := hash(base, 1, "", resolution{})
	if got := hash(base, 7, "", resolution{Problem: "no registry", Reference: "x"}); got != want {
		t.Error("the number of replicas or a note changed the hash: that would restart the function")
	}
	env := base
	env.Env = map[string]string{"a": "b"}
	for name, got := range map[string]string{
		"environment": hash(env, 1, "", resolution{}),
		"rollout":     hash(base, 1, "2", resolution{}),
		"digest":      hash(base, 1, "", resolution{Digest: "sha256:1"}),
		"command":     hash(base, 1, "", resolution{Command: []string{"x"}}),
	} {
		if got == want {
			t.Errorf("another %s has the same hash", name)
		}
	}
}

func TestGrace(t *testing.T) {
	for _, test := range []struct {
		write, exec, wait string
		mode              function.Mode
		sleep             bool
		calls             time.Duration
		hold, seconds     float64
	}{
		{seconds: 32},
		{write: "10", seconds: 12},
		{write: "90s", seconds: 92},
		{write: "1m30s", seconds: 92},
		{write: "bad", seconds: 32},
		{write: "0", seconds: 32},
		{exec: "5s", seconds: 32},
		{exec: "2m", seconds: 122},
		{write: "10s", exec: "2m", seconds: 12},
		{write: "10s", wait: "5s", seconds: 17},
		{write: "10s", mode: function.ModeFork, seconds: 12},
		{write: "10s", mode: function.ModeStreaming, seconds: 12},
		{write: "10s", mode: function.ModeStatic, seconds: 12},
		{write: "10s", mode: function.ModeHTTP, seconds: 23},
		{write: "10s", mode: function.ModeLambda, seconds: 23},
		{write: "10s", mode: function.ModeHTTP, sleep: true, seconds: 23},
		{sleep: true, hold: 30, seconds: 43},
		{sleep: true, write: "10s", hold: 10, seconds: 23},
		{sleep: true, write: "1ms", hold: 2, seconds: 15},
		{sleep: true, exec: "2m", hold: 120, seconds: 133},
		{sleep: true, exec: "2m", calls: time.Minute, hold: 60, seconds: 73},
		{sleep: true, calls: time.Minute, hold: 30, seconds: 43},
		{sleep: true, wait: "5s", hold: 30, seconds: 48},
	} {
		env := map[string]string{"write_timeout": test.write, "exec_timeout": test.exec, "healthcheck_interval": test.wait}
		fn := &function.Function{Spec: function.Spec{Env: env}, Policy: function.Policy{Mode: test.mode}}
		p := plan{fn: fn, sleepAction: test.sleep, callTimeout: test.calls}
		if hold, grace := p.hold().Seconds(), p.grace().Seconds(); hold != test.hold || grace != test.seconds {
			t.Errorf("%+v: held for %v s of %v s", test, hold, grace)
		}
	}
}

func TestNeedsCommand(t *testing.T) {
	for _, test := range []struct {
		name    string
		process string
		mode    function.Mode
		needs   bool
	}{
		{"no watchdog", "", "", false},
		{"a process", "cat", function.ModeFork, false},
		{"the image's own", "", function.ModeFork, true},
		{"the image's own, streaming", "", function.ModeStreaming, true},
		{"files alone", "", function.ModeStatic, false},
	} {
		fn := &function.Function{Spec: function.Spec{Process: test.process}, Policy: function.Policy{Mode: test.mode}}
		if got := needsCommand(fn); got != test.needs {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestCheckResources(t *testing.T) {
	for _, test := range []struct {
		name             string
		limits, requests *function.Resources
		ok               bool
	}{
		{"none", nil, nil, true},
		{"empty ones", &function.Resources{}, &function.Resources{}, true},
		{"within", &function.Resources{Memory: "1Gi", CPU: "1"}, &function.Resources{Memory: "1024Mi", CPU: "1000m"}, true},
		{"above", &function.Resources{CPU: "1"}, &function.Resources{CPU: "1001m"}, false},
		{"no limit", nil, &function.Resources{Memory: "1Ti"}, true},
		{"no quantity", &function.Resources{Memory: "much"}, nil, false},
		{"a GPU", &function.Resources{NvidiaGPU: "2"}, nil, true},
		{"a GPU, requested as well", &function.Resources{AMDGPU: "1"}, &function.Resources{AMDGPU: "1"}, true},
		{"no GPU", &function.Resources{IntelGPU: "0"}, nil, true},
		{"half a GPU", &function.Resources{NvidiaGPU: "500m"}, nil, false},
		{"a GPU and a half", &function.Resources{IntelGPU: "1.5"}, &function.Resources{IntelGPU: "1.5"}, false},
		{"a GPU without a limit", nil, &function.Resources{NvidiaGPU: "1"}, false},
		{"fewer GPUs than the limit", &function.Resources{AMDGPU: "2"}, &function.Resources{AMDGPU: "1"}, false},
		{"another GPU than the limit's", &function.Resources{AMDGPU: "1"}, &function.Resources{IntelGPU: "1"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := checkResources(&function.Function{Spec: function.Spec{Limits: test.limits, Requests: test.requests}})
			if (err == nil) != test.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDeployment_MountsAndPullsByTypeOfSecret(t *testing.T) {
	w := newWorld(t, nil)
	w.secret("file", "Opaque", map[string][]byte{"file": []byte("1")}, nil)
	w.secret("registry", string(corev1.SecretTypeDockerConfigJson), map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)}, nil)
	spec := cow()
	spec.Secrets = []string{"registry", "file"}
	w.create(spec)
	pod := w.deployment("cow").Spec.Template.Spec
	if len(pod.ImagePullSecrets) != 1 || pod.ImagePullSecrets[0].Name != "registry" {
		t.Errorf("pulls with %v", pod.ImagePullSecrets)
	}
	sources := pod.Volumes[0].Projected.Sources
	if len(sources) != 1 || sources[0].Secret.Name != "file" {
		t.Errorf("mounts %+v", sources)
	}
	spec.Secrets = nil
	if err := w.cluster.Update(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	w.eventually("no pull secret", func() string {
		if pull := w.deployment("cow").Spec.Template.Spec.ImagePullSecrets; len(pull) != 0 {
			return pull[0].Name
		}
		return ""
	})
}

func TestSparePod_Golden(t *testing.T) {
	for _, method := range []WatchdogMethod{WatchdogByImageVolume, WatchdogByInitContainer} {
		c := &Cluster{cfg: Config{WatchdogImage: "dragonchain/dc-provider:1", Pool: &Pool{URL: "http://gateway-provider.openfaas:8081/dc/spare", Key: "00ff"}}}
		requests, err := quantities("requests", &function.Resources{CPU: "10m", Memory: "16Mi"})
		if err != nil {
			t.Fatal(err)
		}
		compareGolden(t, "spare-by-"+string(method), c.sparePod(ns, poolOf{size: 1, requests: requests}, method))
	}
}
