package watchdog

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/readypush"
	"github.com/dragonchain/dc-provider/pkg/watchdog/lambda"
)

// ModeName is a way to run a function.
type ModeName string

const (
	// ForkMode starts a process for every invocation: the request's body is its stdin, its stdout is the answer.
	ForkMode ModeName = "fork"
	// StreamingMode is ForkMode with both bodies passed on as they come, however long they are.
	StreamingMode ModeName = "streaming"
	// SerializingMode is ForkMode by the rules of the of-watchdog.
	SerializingMode ModeName = "serializing"
	// HTTPMode starts one process that serves HTTP, and forwards to it.
	HTTPMode ModeName = "http"
	// LambdaMode starts processes that were made for AWS Lambda, and hands them their events.
	LambdaMode ModeName = "lambda"
	// StaticMode starts nothing, and serves the files of a folder.
	StaticMode ModeName = "static"
)

var modes = []ModeName{ForkMode, StreamingMode, SerializingMode, HTTPMode, LambdaMode, StaticMode}

const (
	defaultPort         = 8080
	defaultMetricsPort  = 8081
	defaultUpstreamPort = "8082" // not 8081, where both OpenFaaS watchdogs serve metrics
	defaultReadTimeout  = 30 * time.Second
	defaultLameDuck     = time.Second
	defaultDrain        = 25 * time.Second // with the grace of a process, inside the 30 s that Kubernetes gives a pod
	defaultLineBytes    = 64 << 10
	maxLineBytes        = 1 << 20
	defaultForkBytes    = 32 << 20
	defaultStaticPath   = "/home/app/public"
)

// Config is how one function is run. ParseEnv fills it from a container's environment.
type Config struct {
	// Command is the function's program and its arguments. Needed, except in StaticMode.
	Command []string
	// Environ is the environment of the function's processes, as "NAME=value".
	Environ []string
	// Mode is how Command is run. Empty means ForkMode.
	Mode ModeName
	// Dialect decides where the OpenFaaS watchdogs disagree. Empty means Native.
	Dialect Dialect
	// Upstream is where the process of HTTPMode serves; its path is put before that of every request. Needed in HTTPMode.
	Upstream *url.URL

	// StaticPath is the folder that StaticMode serves. Needed there.
	StaticPath string

	// Port is the TCP port served, on all addresses. 0 means 8080.
	Port int
	// ProbePort is a TCP port, on all addresses, where only our own paths are served, beside Port. 0, or Port, means none.
	ProbePort int
	// Beside has the process of HTTPMode take its callers' connections itself, at Upstream: Port serves our own paths alone.
	Beside bool
	// MetricsPort is the TCP port of the metrics, on all addresses. 0 means that there are none.
	MetricsPort int
	// HeapPort is the TCP port, on the loopback address, where a contract finds its heap. 0 means that it has none. It needs the
	// token of Push.
	HeapPort int
	// ReadyPath is a path of the function that answers 2xx to a GET while the function can serve. Empty means that it always can,
	// in HTTPMode whenever its process listens.
	ReadyPath string
	// LockFile is written when the port is open and removed when shutdown begins; without it the function counts as
	// unhealthy. Empty means no file.
	LockFile string

	// ReadTimeout bounds reading one request, headers and body. 0 means that only the headers are bounded, by 30 s.
	ReadTimeout time.Duration
	// WriteTimeout bounds one answer, and is the drain deadline. 0 means no bound, and 25 s to drain.
	WriteTimeout time.Duration
	// ExecTimeout is how long an invocation may run. 0 means as long as its caller waits.
	ExecTimeout time.Duration
	// LameDuck is how long requests are still taken after the end was announced. 0 means none.
	LameDuck time.Duration
	// MaxInFlight is how many invocations may run at once. 0 means any number.
	MaxInFlight int

	// Park is how long the process of HTTPMode, or those of LambdaMode, may have nothing to do before they are ended; the next request
	// starts them again. 0 means for ever.
	Park time.Duration

	// Prefork is how many processes ForkMode, SerializingMode and StreamingMode start ahead, to wait for a request each. 0 means none.
	Prefork int

	// Lambda is what only LambdaMode knows. Its Handler, Environ and Timeout are filled in.
	Lambda lambda.Config

	// LambdaTimeout is how long an invocation of LambdaMode may run where ExecTimeout is 0. 0 means lambda.DefaultTimeout.
	LambdaTimeout time.Duration
	// LambdaReports writes the lines START, END and REPORT of each invocation of LambdaMode to stdout.
	LambdaReports bool

	// BodyBytes is the longest body that ForkMode and SerializingMode take, which is held in memory as a whole. 0 means 32 MiB.
	BodyBytes int
	// OutputBytes is the longest output of a process there, held in memory too. One that writes more is killed. 0 means 32 MiB.
	OutputBytes int
	// BufferBody makes HTTPMode read the whole body of a request before it is forwarded, with its length.
	BufferBody bool
	// BufferBytes is the longest body that is taken then. What is above 256 KiB is in a file meanwhile. 0 means 256 MiB.
	BufferBytes int
	// TempDir is the folder of that file. Empty means os.TempDir.
	TempDir string
	// ContentType is that of the answers of forked processes. Empty means that of the request, else a guess from the answer.
	ContentType string
	// CombineOutput puts a forked process's stderr into the answer and not into the log.
	CombineOutput bool
	// NoHeaders leaves the request's headers out of a forked process's environment.
	NoHeaders bool
	// MarshalRequest hands a process of ForkMode headers and body as JSON.
	MarshalRequest bool

	// AccessLog logs the invocations of forked processes and of HTTPMode at level info, with their call ids.
	AccessLog bool
	// Debug logs every invocation and copies the answers of ForkMode to stdout.
	Debug bool
	// DebugHeaders prints the headers of every request and answer of ForkMode on stdout.
	DebugHeaders bool
	// PrefixLogs puts the time and the name of the stream before each of the function's lines.
	PrefixLogs bool
	// LineBytes is where a line of the function's log is split. 0 means 64 KiB.
	LineBytes int

	// Reap takes the exit of every process that was adopted. Set it when this is process 1, or a subreaper.
	Reap bool

	// Cgroup is where processor time and memory of this container are counted. The zero value means that they are not known.
	Cgroup Cgroup

	// Push is whom to tell when the function can serve. The zero value means nobody.
	Push PushConfig

	warnings []string // what was odd in the environment; logged when the watchdog starts
}

// PushConfig is what a ready push needs.
type PushConfig struct {
	URL      string // where to post; empty means no push
	Function string // NAME.NAMESPACE
	Pod      string
	Token    readypush.Token
}

// settings are the variables that speak to a watchdog and not to the function.
var settings = []string{
	"fprocess", "function_process", "mode", "upstream_url", "http_upstream_url", "port", "read_timeout", "write_timeout",
	"exec_timeout", "healthcheck_interval", "content_type", "suppress_lock", "max_inflight", "write_debug", "combine_output",
	"cgi_headers", "marshal_request", "debug_headers", "http_buffer_req_body", "buffer_http", "http_buffer_bytes", "static_path", "prefix_logs",
	"log_buffer_size", "log_callid", "log_call_id", "ready_path", "jwt_auth", "jwt_auth_debug", "jwt_auth_local",
	"lambda_concurrency", "lambda_queue", "lambda_init_timeout", "lambda_payload_bytes",
	"lambda_event", "lambda_reports", "metrics_port", "fork_body_bytes", "fork_output_bytes",
}

// effects are the settings that only some modes heed. Where one does not, saying so beats silence.
var effects = []struct {
	name  string
	modes []ModeName
}{
	{"static_path", []ModeName{StaticMode}},
	{"upstream_url", []ModeName{HTTPMode}},
	{"http_upstream_url", []ModeName{HTTPMode}},
	{"http_buffer_req_body", []ModeName{HTTPMode}},
	{"buffer_http", []ModeName{HTTPMode}},
	{"http_buffer_bytes", []ModeName{HTTPMode}},
	{"marshal_request", []ModeName{ForkMode}},
	{"content_type", []ModeName{ForkMode, StreamingMode, SerializingMode}},
	{"log_callid", []ModeName{ForkMode, StreamingMode, SerializingMode, HTTPMode}},
	{"log_call_id", []ModeName{ForkMode, StreamingMode, SerializingMode, HTTPMode}},
}

// ParseEnv reads the settings in an environment, and what of it the function shall see. All that is wrong with it is in the
// one error. Variables named DC_* are the provider's; the others are those of the OpenFaaS watchdogs.
func ParseEnv(environ []string) (Config, error) {
	set := environMap(environ)
	dialect, err := dialectOf(set)
	if err != nil {
		return Config{}, err
	}
	v := &vars{set: set, dialect: dialect}
	if set["DC_BESIDE"] != "" {
		cfg := v.beside(environ)
		if err := errors.Join(v.errs...); err != nil {
			return Config{}, err
		}
		return cfg, cfg.check()
	}
	cfg := Config{
		Dialect:        dialect,
		Mode:           v.mode(),
		Command:        v.command(),
		Port:           v.number("port", defaultPort),
		ProbePort:      v.number("DC_PROBE_PORT", 0),
		MetricsPort:    v.number("metrics_port", defaultMetricsPort),
		HeapPort:       v.number("DC_HEAP_PORT", 0),
		ReadTimeout:    v.duration("read_timeout", v.readTimeout()),
		WriteTimeout:   v.duration("write_timeout", 0),
		ExecTimeout:    v.duration("exec_timeout", v.execTimeout()),
		LameDuck:       v.duration("healthcheck_interval", defaultLameDuck),
		MaxInFlight:    v.number("max_inflight", 0),
		ReadyPath:      v.path("ready_path"),
		BodyBytes:      v.number("fork_body_bytes", 0),
		OutputBytes:    v.number("fork_output_bytes", 0),
		NoHeaders:      !v.boolean("cgi_headers", true),
		MarshalRequest: v.boolean("marshal_request", false),
		BufferBytes:    v.number("http_buffer_bytes", 0),
		TempDir:        v.set["TMPDIR"],
		Debug:          v.boolean("write_debug", false),
		DebugHeaders:   v.boolean("debug_headers", false),
		PrefixLogs:     v.parsedBoolean("prefix_logs", dialect == Of),
		LineBytes:      v.lineBytes(),
		Park:           v.park(),
		Prefork:        v.prefork(),
		Push:           v.push(),
	}
	cfg.ContentType = v.contentType(cfg.Mode)
	cfg.CombineOutput = v.boolean("combine_output", dialect == Classic && cfg.Mode == ForkMode)
	cfg.AccessLog = v.accessLog(cfg.Mode)
	one, other := v.boolean("http_buffer_req_body", false), v.boolean("buffer_http", false) // both, so that each is checked
	cfg.BufferBody = one || other
	if cfg.Mode == StaticMode {
		cfg.StaticPath = v.staticPath()
	}
	if !v.boolean("suppress_lock", false) {
		cfg.LockFile = v.lockFile()
	}
	visible := dialect
	if cfg.Mode == LambdaMode {
		visible = Native // Lambda's runtimes never see what is meant for a watchdog
	}
	cfg.Environ = childEnviron(environ, visible)
	if cfg.Mode == LambdaMode {
		cfg.Lambda = v.lambda()
		cfg.LambdaTimeout = v.duration("AWS_LAMBDA_FUNCTION_TIMEOUT", 0)
		cfg.LambdaReports = v.boolean("lambda_reports", false)
	}
	if cfg.Mode == HTTPMode {
		cfg.Upstream = v.upstream(&cfg)
	}
	if v.boolean("jwt_auth", false) {
		v.fail(errors.New("jwt_auth is not supported: refusing to serve without the authentication it asks for"))
	}
	for _, e := range effects {
		if v.set[e.name] != "" && !slices.Contains(e.modes, cfg.Mode) {
			cfg.warnings = append(cfg.warnings, fmt.Sprintf("%s has no effect in mode %s", e.name, cfg.Mode))
		}
	}
	if cfg.WriteTimeout > 0 && (cfg.ExecTimeout == 0 || cfg.ExecTimeout >= cfg.WriteTimeout) {
		cfg.warnings = append(cfg.warnings, "write_timeout is not above exec_timeout: it is what ends a long invocation")
	}
	if err := errors.Join(v.errs...); err != nil {
		return Config{}, err
	}
	return cfg, cfg.check()
}

// check finds what no default can mend.
func (c *Config) check() error {
	switch {
	case c.Mode == HTTPMode && c.Upstream == nil:
		return errors.New("mode http needs an upstream")
	case c.Mode == StaticMode && c.StaticPath == "":
		return errors.New("mode static needs a folder: set static_path")
	case c.Mode == inprocMode || c.Mode == afterburnMode:
		return fmt.Errorf("mode %s runs code that was linked into the of-watchdog, or never existed: use one of: %s", c.Mode, modeNames())
	case !slices.Contains(modes, c.Mode):
		return fmt.Errorf("mode %q is not one of: %s", string(c.Mode), modeNames())
	}
	if err := c.checkLife(); err != nil {
		return err
	}
	if c.Mode == StaticMode {
		return c.checkPorts()
	}
	if len(c.Command) == 0 || c.Command[0] == "" {
		return errors.New("no command: set fprocess to the function's program and its arguments")
	}
	return c.checkPorts()
}

// checkLife looks at what is said of the time in which a process has nothing to do.
func (c *Config) checkLife() error {
	stays := c.Mode == HTTPMode || c.Mode == LambdaMode
	switch {
	case c.Park < 0:
		return fmt.Errorf("DC_PARK: %v is negative", c.Park)
	case c.Park > 0 && !stays:
		return fmt.Errorf("DC_PARK: mode %s has no process that could be parked", c.Mode)
	case c.Prefork < 0 || c.Prefork > maxPrefork:
		return fmt.Errorf("DC_PREFORK: %d is not a number from 0 to %d", c.Prefork, maxPrefork)
	case c.Prefork > 0 && (stays || c.Mode == StaticMode):
		return fmt.Errorf("DC_PREFORK: mode %s starts no process for an invocation, so that none can be started ahead", c.Mode)
	}
	return nil
}

func (c *Config) checkPorts() error {
	if c.Port > 65535 {
		return fmt.Errorf("port %d is above 65535", c.Port)
	}
	if c.HeapPort > 65535 || c.HeapPort > 0 && c.Push.Token == (readypush.Token{}) {
		return fmt.Errorf("DC_HEAP_PORT %d: give a port up to 65535, and DC_READY_TOKEN", c.HeapPort)
	}
	if c.ProbePort > 65535 {
		return fmt.Errorf("DC_PROBE_PORT %d is above 65535", c.ProbePort)
	}
	if c.MetricsPort > 65535 {
		return fmt.Errorf("metrics_port %d is above 65535", c.MetricsPort)
	}
	return nil
}

// Modes of the of-watchdog that nothing can run in here.
const (
	inprocMode    ModeName = "inproc"    // of programs that had it linked in
	afterburnMode ModeName = "afterburn" // a reserved name
)

func modeNames() string {
	names := make([]string, len(modes))
	for i, m := range modes {
		names[i] = string(m)
	}
	return strings.Join(names, ", ")
}

// mode is fork unless it is set, or the rules are those of the of-watchdog, whose default is another.
func (v *vars) mode() ModeName {
	if v.dialect == Of {
		return ModeName(v.text("mode", string(StreamingMode)))
	}
	return ModeName(v.text("mode", string(ForkMode)))
}

// contentType has a default in the two modes that the of-watchdog gave one, unless it was set to nothing on purpose.
func (v *vars) contentType(mode ModeName) string {
	text, set := v.set["content_type"]
	if !set && v.dialect == Of && (mode == StreamingMode || mode == SerializingMode) {
		return "application/octet-stream"
	}
	return text
}

// accessLog is asked for by whoever wants call ids in it, under the name that the of-watchdog documents or the one that it knows. In its
// own modes it always has one.
func (v *vars) accessLog(mode ModeName) bool {
	asked := v.parsedBoolean("log_callid", false) || v.parsedBoolean("log_call_id", false)
	return asked || v.dialect == Of && (mode == StreamingMode || mode == SerializingMode || mode == HTTPMode)
}

// staticPath set to nothing is a mistake that the of-watchdog refuses too.
func (v *vars) staticPath() string {
	if text, set := v.set["static_path"]; set && v.dialect == Of {
		return text
	}
	return v.text("static_path", defaultStaticPath)
}

// command is the function's argv. fprocess is split at every blank, with no quoting: two blanks make an empty argument.
// Functions in the field depend on it. DC_COMMAND, from the provider, can say anything.
func (v *vars) command() []string {
	if v.set["DC_COMMAND"] != "" {
		return v.assignedCommand()
	}
	text := v.text("function_process", v.set["fprocess"])
	if text == "" {
		return nil
	}
	return strings.Split(text, " ")
}

func (v *vars) assignedCommand() []string {
	var argv []string
	if err := json.Unmarshal([]byte(v.set["DC_COMMAND"]), &argv); err != nil {
		v.fail(fmt.Errorf("DC_COMMAND is not a JSON array of strings: %w", err))
	}
	return argv
}

func (v *vars) readTimeout() time.Duration {
	if v.dialect == Native {
		return 0
	}
	return defaultReadTimeout
}

// execTimeout is the default. The of-watchdog has one; elsewhere an invocation ends when its caller goes, at the latest.
func (v *vars) execTimeout() time.Duration {
	if v.dialect == Of {
		return 30 * time.Second
	}
	return 0
}

// lineBytes is strict in every dialect, as it is upstream; negative there means no limit, here the most that we hold.
func (v *vars) lineBytes() int {
	text := v.set["log_buffer_size"]
	if text == "" {
		return defaultLineBytes
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		v.fail(fmt.Errorf("log_buffer_size %q is not a whole number", text))
		return 0
	case n == 0:
		return defaultLineBytes
	case n < 0 || n > maxLineBytes:
		return maxLineBytes
	}
	return n
}

// park is strict in every dialect, as all that is ours is.
func (v *vars) park() time.Duration {
	text := v.set["DC_PARK"]
	if text == "" {
		return 0
	}
	d, err := parseDuration(text)
	if err != nil || d < 0 {
		v.fail(fmt.Errorf("DC_PARK %q is not seconds or a duration such as 30s", text))
	}
	return d
}

// prefork is as strict.
func (v *vars) prefork() int {
	text := v.set["DC_PREFORK"]
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxPrefork {
		v.fail(fmt.Errorf("DC_PREFORK %q is not a number from 0 to %d", text, maxPrefork))
	}
	return n
}

func (v *vars) lockFile() string {
	return strings.TrimSuffix(v.text("TMPDIR", "/tmp"), "/") + "/.lock"
}

// upstream is where the process serves. Without upstream_url, which the of-watchdog demands, it is told by PORT where to
// listen, as programs made for other platforms expect.
func (v *vars) upstream(cfg *Config) *url.URL {
	text := v.text("http_upstream_url", v.set["upstream_url"])
	if text == "" {
		port := v.text("PORT", defaultUpstreamPort)
		cfg.Environ = withVariable(cfg.Environ, "PORT", port)
		text = "http://127.0.0.1:" + port
	}
	u, err := parseUpstream(text)
	switch {
	case err != nil:
		v.fail(fmt.Errorf("upstream_url %q: %w", text, err))
	case isLoopback(u.Hostname()) && u.Port() == strconv.Itoa(cfg.Port):
		v.fail(fmt.Errorf("%s is the watchdog itself: set PORT or upstream_url to where the function listens", text))
	}
	return u
}

func parseUpstream(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http":
		return nil, errors.New("want http://HOST:PORT")
	case u.Hostname() == "":
		return nil, errors.New("no host")
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, errors.New("may have no user, query or fragment")
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "80")
	}
	return u, nil
}

func (v *vars) path(name string) string {
	path := v.set[name]
	if path == "" {
		return ""
	}
	if _, err := url.ParseRequestURI(path); err != nil || path[0] != '/' {
		v.fail(fmt.Errorf("%s %q is not a path, such as /ready", name, path))
	}
	return path
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func (v *vars) push() PushConfig {
	p := PushConfig{URL: v.set["DC_READY_URL"], Function: v.set["DC_FUNCTION"], Pod: v.set["DC_POD"]}
	text := v.set["DC_READY_TOKEN"]
	if p.URL == "" && text == "" {
		return p
	}
	token, err := readypush.ParseToken(text)
	if err != nil {
		v.fail(fmt.Errorf("DC_READY_TOKEN: %w", err))
	}
	p.Token = token
	if p.URL != "" && (p.Function == "" || p.Pod == "") {
		v.fail(errors.New("DC_READY_URL needs DC_FUNCTION and DC_POD too"))
	}
	return p
}

// childEnviron is what of the environment the function sees: never what is the provider's (DC_*, with a secret among it),
// and the watchdog's own settings only in the dialects where functions always saw them. Of a name that is there twice the last
// counts, as it does for our own settings: programs would take the first.
func childEnviron(environ []string, dialect Dialect) []string {
	hidden := map[string]bool{}
	if dialect == Native {
		for _, name := range settings {
			hidden[name] = true
		}
	}
	kept := make([]string, 0, len(environ)+1)
	for _, entry := range slices.Backward(environ) {
		name, _, found := strings.Cut(entry, "=")
		if found && !hidden[name] && !strings.HasPrefix(name, "DC_") {
			kept = append(kept, entry)
			hidden[name] = true
		}
	}
	slices.Reverse(kept)
	return kept
}

func withVariable(environ []string, name, value string) []string {
	for i, entry := range environ {
		if strings.HasPrefix(entry, name+"=") {
			environ[i] = name + "=" + value
			return environ
		}
	}
	return append(environ, name+"="+value)
}
