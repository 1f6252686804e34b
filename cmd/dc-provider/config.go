package main

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/invoke"
)

// config is what flags, environment and mounted secrets say. Nothing below main reads any of them.
type config struct {
	gatewayListen     string
	providerListen    string
	tlsListen         string
	tlsDir            string
	metricsListen     string
	kubeconfig        string
	ownNamespace      string
	ownPod            string
	ownService        string
	identity          string
	functionNamespace string
	basicAuthDir      string
	readyKeyFile      string
	readyURL          string
	heapAddress       netip.AddrPort
	watchdogImage     string
	watchdog          string
	pool              poolConfig
	prePull           bool
	store             storeConfig
	callTimeout       time.Duration
	wakeTimeout       time.Duration
	successorWait     time.Duration
	lameDuck          time.Duration
	drainTimeout      time.Duration
	queueDepth        int
	heapQuotaBytes    int64
	callRetention     time.Duration
	asyncQueue        int
	asyncQueueTotal   int
	callbackAllow     []string
	chain             invoke.Chain
	chainID           string
	chainKeysDir      string
	registryMirrors   map[string]string
	logLevel          slog.Level
	accessLogShare    float64
	printVersion      bool
}

const help = `dc-provider runs functions and smart contracts on Kubernetes behind the OpenFaaS API.

It is installed by its Helm chart; run by hand it needs a kubeconfig, a folder with the files basic-auth-user and
basic-auth-password, and a file with a key of 16 bytes or more.

Flags:
`

// parseConfig reads args (without the program's name). The error flag.ErrHelp means that help was asked for and printed.
func parseConfig(args []string, getenv func(string) string, output io.Writer) (config, error) {
	var c config
	var store, quota, level string
	flags := flag.NewFlagSet("dc-provider", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), help)
		flags.PrintDefaults()
	}
	flags.StringVar(&c.gatewayListen, "listen", ":8080", "`address` that serves clients as an OpenFaaS gateway does")
	flags.StringVar(&c.providerListen, "provider-listen", ":8081", "`address` that serves a stock OpenFaaS gateway as a provider does")
	flags.StringVar(&c.tlsListen, "tls-listen", "", "`address` that serves clients with TLS, by HTTP/2 and HTTP/1.1; empty means none")
	flags.StringVar(&c.tlsDir, "tls-dir", "/var/secrets/tls", "`folder` with the files tls.crt and tls.key, which are read again when they change")
	flags.StringVar(&c.metricsListen, "metrics-listen", ":8082", "`address` that answers Prometheus at /metrics")
	flags.StringVar(&c.kubeconfig, "kubeconfig", getenv("KUBECONFIG"), "`file` to reach the cluster with; empty means from inside a pod")
	flags.StringVar(&c.ownNamespace, "namespace", orDefault(getenv("POD_NAMESPACE"), "openfaas"), "`namespace` that the provider itself runs in")
	flags.StringVar(&c.ownPod, "pod", getenv("POD_NAME"), "the provider's own `pod`; empty means that it is none, and that nobody takes its place")
	flags.StringVar(&c.ownService, "service", "gateway", "`Service` by which callers come, whose endpoints tell who takes the provider's place")
	flags.StringVar(&c.functionNamespace, "function-namespace", "openfaas-fn", "`namespace` of functions whose requests name none")
	flags.StringVar(&c.basicAuthDir, "basic-auth-dir", "/var/secrets/basic-auth", "`folder` with the files basic-auth-user and basic-auth-password")
	flags.StringVar(&c.readyKeyFile, "ready-key-file", "/var/secrets/dc-provider/ready-key", "`file` with the key behind the functions' readiness tokens")
	flags.StringVar(&c.readyURL, "ready-url", "", "`URL` at which functions tell that they are ready; empty relies on Kubernetes' probes alone")
	flags.StringVar(&c.watchdogImage, "watchdog-image", "dragonchain/dc-provider", "`image` that holds /dc-watchdog: the provider's own")
	flags.StringVar(&c.watchdog, "watchdog", "auto", "`way` to put the watchdog into images: auto, image-volume or init-container")
	flags.StringVar(&c.pool.url, "spare-url", "", "`URL` at which spares of the warm pool tell that they are there; empty means no pool")
	flags.IntVar(&c.pool.size, "pool-size", 0, "how many spares wait in each namespace for functions, unless its annotation com.dragonchain.pool.size says otherwise")
	flags.IntVar(&c.pool.nodeClaims, "pool-node-claims", 8, "how many functions may be starting in spares of one node at a time; more wait a moment, or get pods of their own")
	flags.StringVar(&c.pool.owner, "pool-owner", "", "`name` of the ClusterRole with which spares go, when the provider is uninstalled; empty means that they stay")
	flags.StringVar(&c.pool.requests.CPU, "pool-cpu", "", "`CPU` that a spare requests")
	flags.StringVar(&c.pool.requests.Memory, "pool-memory", "", "`memory` that a spare requests")
	flags.StringVar(&c.pool.limits.CPU, "pool-cpu-limit", "", "`CPU` limit of a spare; functions without a limit of their own then get none")
	flags.StringVar(&c.pool.limits.Memory, "pool-memory-limit", "", "`memory` limit of a spare; functions without a limit of their own then get none")
	flags.BoolVar(&c.prePull, "pre-pull", true, "have every node that may run a function pull its image ahead of a wake")
	flags.StringVar(&store, "store", "", "`store` of the contracts' heaps: bolt:FILE for one provider, postgres://USER@HOST/DATABASE for any number;\n"+
		"empty means the environment's DC_STORE, which keeps a password out of sight, else "+defaultStore)
	flags.DurationVar(&c.callTimeout, "call-timeout", time.Minute, "how long a call may take until its answer begins")
	flags.DurationVar(&c.wakeTimeout, "wake-timeout", time.Minute, "how long a call waits for a replica")
	flags.DurationVar(&c.successorWait, "successor-wait", 30*time.Second, "how long after SIGTERM all is served as before while no other provider is ready; 0 does not look for one")
	flags.DurationVar(&c.lameDuck, "lame-duck", 5*time.Second, "how long new calls are still served then, while callers find the other provider")
	flags.DurationVar(&c.drainTimeout, "drain-timeout", time.Minute, "how long calls in flight may go on after that")
	flags.IntVar(&c.queueDepth, "queue-depth", 1024, "how many calls of one function may `wait` for a replica; more are answered 429")
	flags.StringVar(&quota, "heap-quota", "64Mi", "`bytes` that one contract may keep, unless its annotation says otherwise")
	flags.DurationVar(&c.callRetention, "call-retention", heapstore.DefaultRecordAge, "how long a contract's answer to a call id is kept for repeats of the call")
	flags.IntVar(&c.asyncQueue, "async-queue", heapstore.DefaultQueueItems, "how many asynchronous `invocations` of one function may wait or run; more are answered 429")
	flags.IntVar(&c.asyncQueueTotal, "async-queue-total", heapstore.DefaultTotalItems, "how many `invocations` of all functions together")
	flags.Func("callback-allow", "`HOST`, *.domain, address or network that callbacks may go to; may be repeated, and none allows all but this machine's and link-local ones", func(s string) error {
		c.callbackAllow = append(c.callbackAllow, s)
		return nil
	})
	flags.StringVar(&c.chain.URL, "chain-url", "", "`URL` that contracts' output transactions are posted to, where their annotation asks for it; the environment's DC_CHAIN_KEY_ID\n"+
		"and DC_CHAIN_KEY sign them; empty means none")
	flags.StringVar(&c.chainID, "chain-id", "", "public `id` of that chain, and of the one that clients of a Dragonchain read contracts of at /v1/")
	flags.StringVar(&c.chainKeysDir, "chain-keys-dir", "", "`folder` with the keys that they sign with, a file each, named by the key's id; empty lets in the API's user alone")
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	flags.Float64Var(&c.accessLogShare, "access-log", 0, "`share` of the calls of functions to log, a line each: 0 for none, 0.01 for one in a hundred, 1 for all")
	flags.BoolVar(&c.printVersion, "version", false, "print the version and exit")
	c.registryMirrors = map[string]string{}
	flags.Func("registry-mirror", "`HOST=URL` to ask for images of HOST; may be repeated", func(s string) error {
		host, url, found := strings.Cut(s, "=")
		if !found || host == "" || !strings.HasPrefix(url, "http") {
			return errors.New("give HOST=URL, such as docker.io=http://10.0.0.5:5000")
		}
		c.registryMirrors[host] = url
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	// A process that was started again in the same pod has the name of the one before, and with it the lease.
	c.identity = orDefault(c.ownPod, rand.Text())
	if flags.NArg() > 0 {
		return config{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if c.chainKeysDir != "" && c.chainID == "" {
		return config{}, errors.New("keys of a chain's clients: --chain-id is needed, which they sign too")
	}
	if c.chain.URL != "" {
		c.chain.ID = c.chainID
		c.chain.KeyID, c.chain.Key = getenv("DC_CHAIN_KEY_ID"), getenv("DC_CHAIN_KEY")
	}
	var err error
	if c.store, err = parseStore(orDefault(store, orDefault(getenv("DC_STORE"), defaultStore))); err != nil {
		return config{}, err
	}
	if c.readyURL != "" { // or watchdogs have no secret to ask with
		if c.heapAddress, err = heapAddress(getenv("POD_IP"), c.providerListen); err != nil {
			return config{}, err
		}
	}
	if c.heapQuotaBytes, err = function.ParseBytes(quota); err != nil {
		return config{}, fmt.Errorf("heap quota: %w", err)
	}
	for name, d := range map[string]time.Duration{"call": c.callTimeout, "wake": c.wakeTimeout, "drain": c.drainTimeout} {
		if d <= 0 {
			return config{}, fmt.Errorf("%s timeout %v: give a duration above zero", name, d)
		}
	}
	if !(c.accessLogShare >= 0 && c.accessLogShare <= 1) { // NaN is none either
		return config{}, fmt.Errorf("access log %v: give a share from 0 to 1", c.accessLogShare)
	}
	if c.queueDepth <= 0 {
		return config{}, fmt.Errorf("queue depth %d: give a number above zero", c.queueDepth)
	}
	if c.pool.nodeClaims <= 0 {
		return config{}, fmt.Errorf("pool node claims %d: give a number above zero", c.pool.nodeClaims)
	}
	if c.asyncQueue <= 0 || c.asyncQueueTotal <= 0 {
		return config{}, fmt.Errorf("async queue of %d and %d in all: give numbers above zero", c.asyncQueue, c.asyncQueueTotal)
	}
	if c.callRetention <= 0 {
		return config{}, fmt.Errorf("call retention %v: give a duration above zero", c.callRetention)
	}
	for name, d := range map[string]time.Duration{"lame duck": c.lameDuck, "successor wait": c.successorWait} {
		if d < 0 {
			return config{}, fmt.Errorf("%s %v: give a duration, or 0", name, d)
		}
	}
	if err := c.logLevel.UnmarshalText([]byte(level)); err != nil {
		return config{}, fmt.Errorf("log level %q: give debug, info, warn or error", level)
	}
	return c, nil
}

// defaultStore is on the volume that the chart mounts.
const defaultStore = "bolt:/var/lib/dc-provider/heap.db"

// storeConfig names a store: one of the two is set.
type storeConfig struct {
	boltFile    string
	postgresDSN string
}

// shared reports whether several providers may have the store.
func (c storeConfig) shared() bool { return c.postgresDSN != "" }

// parseStore reads bolt:FILE, or a URL that is the driver's to read. Its error does not repeat what may hold a password.
func parseStore(s string) (storeConfig, error) {
	scheme, file, _ := strings.Cut(s, ":")
	switch {
	case scheme == "bolt" && file != "":
		return storeConfig{boltFile: file}, nil
	case scheme == "postgres", scheme == "postgresql":
		return storeConfig{postgresDSN: s}, nil
	default:
		return storeConfig{}, fmt.Errorf("store %.20q: give bolt:FILE or postgres://USER@HOST/DATABASE", scheme)
	}
}

// minReadyKeyBytes is below what HMAC-SHA256 could use and above what can be guessed.
const minReadyKeyBytes = 16

// secrets are the mounted ones.
type secrets struct {
	user, password string
	readyKey       []byte
}

func (c config) readSecrets() (secrets, error) {
	var s secrets
	for file, value := range map[string]*string{"basic-auth-user": &s.user, "basic-auth-password": &s.password} {
		content, err := os.ReadFile(filepath.Join(c.basicAuthDir, file))
		if err != nil {
			return secrets{}, fmt.Errorf("read credentials: %w", err)
		}
		if *value = strings.TrimSpace(string(content)); *value == "" {
			return secrets{}, fmt.Errorf("read credentials: %s is empty", filepath.Join(c.basicAuthDir, file))
		}
	}
	key, err := os.ReadFile(c.readyKeyFile)
	if err != nil {
		return secrets{}, fmt.Errorf("read ready key: %w", err)
	}
	if len(key) < minReadyKeyBytes {
		return secrets{}, fmt.Errorf("read ready key: %s has %d bytes, at least %d are needed", c.readyKeyFile, len(key), minReadyKeyBytes)
	}
	s.readyKey = key
	return s, nil
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
