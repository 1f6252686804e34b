package main

import (
	"bytes"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func noEnv(string) string { return "" }

func TestParseConfig_Defaults(t *testing.T) {
	c, err := parseConfig(nil, noEnv, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if c.gatewayListen != ":8080" || c.providerListen != ":8081" || c.metricsListen != ":8082" {
		t.Errorf("listens on %s, %s and %s", c.gatewayListen, c.providerListen, c.metricsListen)
	}
	if c.store != (storeConfig{boltFile: "/var/lib/dc-provider/heap.db"}) || c.heapQuotaBytes != 64<<20 {
		t.Errorf("store %+v with a quota of %d bytes", c.store, c.heapQuotaBytes)
	}
	if c.callRetention != 24*time.Hour {
		t.Errorf("answers are kept for %v", c.callRetention)
	}
	if c.callTimeout != time.Minute || c.logLevel != slog.LevelInfo {
		t.Errorf("call timeout %v, log level %v", c.callTimeout, c.logLevel)
	}
}

func TestParseConfig_Environment(t *testing.T) {
	env := map[string]string{"KUBECONFIG": "/k"}
	c, err := parseConfig(nil, func(key string) string { return env[key] }, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if c.kubeconfig != "/k" {
		t.Errorf("kubeconfig %q", c.kubeconfig)
	}
}

func TestParseConfig_Store(t *testing.T) {
	const url = "postgres://me:hush@db/heaps"
	for _, test := range []struct {
		name, env string
		args      []string
		want      storeConfig
	}{
		{name: "a file", args: []string{"--store=bolt:/data/heap.db"}, want: storeConfig{boltFile: "/data/heap.db"}},
		{name: "a database", args: []string{"--store=" + url}, want: storeConfig{postgresDSN: url}},
		{name: "the environment", env: "postgresql://db/heaps", want: storeConfig{postgresDSN: "postgresql://db/heaps"}},
		{name: "the flag before the environment", args: []string{"--store=bolt:x"}, env: url, want: storeConfig{boltFile: "x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := map[string]string{"DC_STORE": test.env}
			c, err := parseConfig(test.args, func(key string) string { return env[key] }, t.Output())
			if err != nil || c.store != test.want {
				t.Errorf("%+v, %v, want %+v", c.store, err, test.want)
			}
		})
	}
	t.Run("no password is told", func(t *testing.T) {
		var output strings.Builder
		_, err := parseConfig([]string{"--help"}, func(key string) string { return map[string]string{"DC_STORE": url}[key] }, &output)
		_, refused := parseConfig([]string{"--store=mysql://me:hush@db"}, noEnv, &output)
		if told := output.String() + err.Error() + refused.Error(); strings.Contains(told, "hush") {
			t.Errorf("tells %q", told)
		}
	})
}

func TestParseConfig_MirrorsAddUp(t *testing.T) {
	c, err := parseConfig([]string{"--registry-mirror=docker.io=http://10.0.0.5:5000", "--registry-mirror=ghcr.io=https://mirror"}, noEnv, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.registryMirrors) != 2 || c.registryMirrors["docker.io"] != "http://10.0.0.5:5000" || c.registryMirrors["ghcr.io"] != "https://mirror" {
		t.Errorf("mirrors %v", c.registryMirrors)
	}
}

func TestParseConfig_Refuses(t *testing.T) {
	for _, test := range []struct{ name, arg, says string }{
		{"an argument", "serve", `unexpected argument "serve"`},
		{"a flag that is none", "--nope", "nope"},
		{"a store that is none", "--store=redis:x", `store "redis": give bolt:FILE or postgres://`},
		{"a store without a file", "--store=bolt:", "give bolt:FILE"},
		{"a quota that is none", "--heap-quota=lots", "heap quota"},
		{"a log level that is none", "--log-level=loud", "give debug, info, warn or error"},
		{"a mirror without a URL", "--registry-mirror=docker.io", "give HOST=URL"},
		{"a queue that holds nobody", "--queue-depth=0", "queue depth 0"},
		{"a node that starts no claim", "--pool-node-claims=0", "pool node claims 0: give a number above zero"},
		{"a share above all", "--access-log=1.5", "give a share from 0 to 1"},
		{"a share that is none", "--access-log=NaN", "give a share from 0 to 1"},
		{"a negative timeout", "--call-timeout=-1s", "call timeout"},
		{"answers that are not kept", "--call-retention=0s", "call retention 0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseConfig([]string{test.arg}, noEnv, t.Output())
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want it to say %q", err, test.says)
			}
		})
	}
}

func TestRun_HelpAndVersion(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if err := run([]string{"--help"}, noEnv, nil, &stdout, &stderr); err != nil || !strings.Contains(stderr.String(), "-function-namespace") {
		t.Errorf("--help: %v, %q", err, stderr.String())
	}
	if err := run([]string{"--version"}, noEnv, nil, &stdout, &stderr); err != nil || !strings.HasPrefix(stdout.String(), "dev") {
		t.Errorf("--version: %v, %q", err, stdout.String())
	}
	if _, err := parseConfig([]string{"-h"}, noEnv, &stderr); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}

func TestReadSecrets(t *testing.T) {
	write := func(dir, name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ name, user, password, key, says string }{
		{"blanks around credentials are cut", "admin\n", " secret \n", "0123456789abcdef", ""},
		{"an empty password", "admin", "\n", "0123456789abcdef", "is empty"},
		{"a short key", "admin", "secret", "short", "at least 16 are needed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(dir, "basic-auth-user", test.user)
			write(dir, "basic-auth-password", test.password)
			write(dir, "key", test.key)
			s, err := config{basicAuthDir: dir, readyKeyFile: filepath.Join(dir, "key")}.readSecrets()
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("error %v, want it to say %q", err, test.says)
				}
				return
			}
			if err != nil || s.user != "admin" || s.password != "secret" {
				t.Errorf("%q, %q, %v", s.user, s.password, err)
			}
		})
	}
	if _, err := (config{basicAuthDir: t.TempDir()}).readSecrets(); err == nil {
		t.Error("credentials that are not there were read")
	}
}
