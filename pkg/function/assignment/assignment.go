package assignment

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Where things are, in a spare's pod.
const (
	// Path is where a spare answers on readypush.ProbePort: who it is (GET) and an assignment (POST).
	Path = "/_/spare"
	// CallPath is where the provider is called, beside the ready push.
	CallPath = "/dc/spare"
	// Command is the argument by which dc-watchdog is a spare, and runs what was assigned after the container has started again.
	Command = "spare"
	// Dir is a tmpfs for the assignment, and SecretsDir one for the function's secrets.
	Dir, SecretsDir = "/.dc-assignment", "/var/openfaas/secrets"
	// TokenDir is where the pod's service-account token is mounted, in a file of the name TokenName, for Audience.
	TokenDir, TokenName, Audience = "/.dc-token", "token", "dc-provider"
)

// Variables of a spare's environment.
const (
	// EnvKey is the provider's public key: see ProviderKey.Public.
	EnvKey = "DC_SPARE_KEY"
	// EnvURL is where the provider is called. Without it a spare waits to be asked.
	EnvURL = "DC_SPARE_URL"
	// EnvPod and EnvUID are the pod's name and uid, from Kubernetes (downward API).
	EnvPod, EnvUID = "DC_POD", "DC_POD_UID"
	// EnvIP is the pod's address, from there too.
	EnvIP = "DC_POD_IP"
	// EnvReadyToken is the one variable of an assignment that the function may not see: see package readypush.
	EnvReadyToken = "DC_READY_TOKEN"
)

// MaxBytes bounds an assignment's JSON. A function that needs more than a spare can take goes the ordinary way.
const MaxBytes = 4 << 20

// maxEntryBytes is what the kernel takes as one string of an environment, with its NUL.
const maxEntryBytes = 128 << 10

// ErrTooLarge is wrapped by errors about an assignment that is longer than MaxBytes.
var ErrTooLarge = errors.New("assignment is too large")

// Assignment is what makes a spare a replica of a function.
type Assignment struct {
	// Function is NAME.NAMESPACE, and Record the uid of the function's record.
	Function string `json:"function"`
	Record   string `json:"record"`
	// Pod and UID are the pod's; Seal sets them.
	Pod string `json:"pod"`
	UID string `json:"uid"`
	// Env is all that the environment of an ordinary replica's container holds, byte for byte, with the watchdog's variables (fprocess,
	// DC_COMMAND, DC_FUNCTION, DC_READY_URL, DC_READY_TOKEN and so on) and without DC_POD and DC_POD_IP. It goes before the image's own.
	Env map[string]string `json:"env,omitempty"`
	// User is whom the function has to run as. A pod's user cannot change: the watchdog refuses to run as another. nil is any.
	User *int64 `json:"user,omitempty"`
	// MemoryLimitBytes is the function's limit, which the container gets a moment later. 0 means none, or not known.
	MemoryLimitBytes int64 `json:"memoryLimitBytes,omitempty"`
	// Secrets are the files of SecretsDir: a name and what is in it.
	Secrets map[string][]byte `json:"secrets,omitempty"`
}

// Encode is the assignment's JSON, which Parse reads. It refuses what Parse would.
func (a *Assignment) Encode() ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("assignment: %w", err)
	}
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes are above %d", ErrTooLarge, len(text), MaxBytes)
	}
	return text, nil
}

// Parse reads an assignment and checks it. Members that it does not know are ignored, so that an older watchdog understands a
// newer provider.
func Parse(text []byte) (*Assignment, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, MaxBytes)
	}
	a := &Assignment{}
	if err := json.Unmarshal(text, a); err != nil {
		return nil, fmt.Errorf("assignment: %w", err)
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	return a, nil
}

// check refuses what could not be applied. No value is in an error: it may be a secret.
func (a *Assignment) check() error {
	switch {
	case !isName(a.Function) || !strings.Contains(a.Function, "."):
		return errors.New("assignment: function is not NAME.NAMESPACE")
	case !isUID(a.Record):
		return errors.New("assignment: record is not a uid")
	case !isName(a.Pod) || !isUID(a.UID):
		return errors.New("assignment: pod has no name, or no uid")
	case a.MemoryLimitBytes < 0:
		return errors.New("assignment: the memory limit is negative")
	}
	for name, value := range a.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.IndexByte(value, 0) >= 0 {
			return fmt.Errorf("assignment: environment variable %.80q cannot be one", name)
		}
		if len(name)+len("=")+len(value)+1 > maxEntryBytes {
			return fmt.Errorf("assignment: environment variable %.80q is longer than %d bytes", name, maxEntryBytes)
		}
	}
	for name := range a.Secrets {
		if !isFileName(name) {
			return fmt.Errorf("assignment: secret %.80q cannot be a file", name)
		}
	}
	return nil
}

// isFileName takes what Kubernetes takes as keys of secrets.
func isFileName(s string) bool {
	if s == "" || len(s) > maxNameBytes || s == "." || strings.HasPrefix(s, "..") {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
