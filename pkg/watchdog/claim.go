package watchdog

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

// ErrNoClaim is wrapped by errors of a container of the warm pool that has nothing to run here, and will not get it by being
// started again.
var ErrNoClaim = errors.New("this pod of the warm pool has nothing to run")

const (
	// assignedFile is what a spare was assigned, and readyTokenFile the token of the first ready push, which is taken away before
	// the function could read it.
	assignedFile   = "assignment"
	readyTokenFile = "ready-token"
	// tempPrefix begins the names of files that are not whole yet. No secret has such a name.
	tempPrefix = "..new-"

	defaultMark   = "/" + Program
	maxReadyToken = 256
)

// PoolConfig is what a container of the warm pool knows of itself, before and after its claim. ParsePoolEnv fills it.
type PoolConfig struct {
	// Pod and UID are the name and the uid of the pod. Needed.
	Pod, UID string
	// Key is the provider's public key, as assignment.ProviderKey writes it. Needed.
	Key string
	// URL is where the provider is called. Empty means that it is waited for.
	URL string
	// Port is the TCP port served, on all addresses, where the pod's probes ask before its claim and after. 0 means
	// readypush.ProbePort.
	Port int
	// Dir is the folder of the assignment, in memory and not on a disk. Empty means assignment.Dir.
	Dir string
	// SecretsDir is the same for the function's secrets. Empty means assignment.SecretsDir.
	SecretsDir string
	// TokenFile is the pod's service-account token. Empty means where package assignment says.
	TokenFile string
	// Mark is a file that the image of spares has and those of functions have not. Empty means /dc-watchdog.
	Mark string
}

// ParsePoolEnv reads what is the pool's of a container's environment. All that is wrong with it is in the one error.
func ParsePoolEnv(environ []string) (PoolConfig, error) {
	set := environMap(environ)
	v := &vars{set: set, dialect: Native}
	cfg := PoolConfig{
		Pod: set[assignment.EnvPod], UID: set[assignment.EnvUID], Key: set[assignment.EnvKey], URL: set[assignment.EnvURL],
		Port: v.number("DC_SPARE_PORT", 0), Dir: set["DC_SPARE_DIR"], SecretsDir: set["DC_SPARE_SECRETS_DIR"],
		TokenFile: set["DC_SPARE_TOKEN_FILE"], Mark: set["DC_SPARE_MARK"],
	}
	for _, name := range []string{assignment.EnvPod, assignment.EnvUID} {
		if set[name] == "" {
			v.fail(fmt.Errorf("%s is missing: the provider sets it in its spare pods", name))
		}
	}
	return cfg.withDefaults(), errors.Join(v.errs...)
}

func (c PoolConfig) withDefaults() PoolConfig {
	c.Port = cmp.Or(c.Port, readypush.ProbePort)
	c.Dir = cmp.Or(c.Dir, assignment.Dir)
	c.SecretsDir = cmp.Or(c.SecretsDir, assignment.SecretsDir)
	c.TokenFile = cmp.Or(c.TokenFile, filepath.Join(assignment.TokenDir, assignment.TokenName))
	c.Mark = cmp.Or(c.Mark, defaultMark)
	return c
}

// OwnImage tells whether this container still runs the image of a spare.
func (c PoolConfig) OwnImage() bool {
	_, err := os.Stat(c.Mark)
	return err == nil
}

// Assigned reads what this pod was assigned; nil if it is free. What was assigned to another pod, or cannot be read, is an error
// that wraps ErrNoClaim.
func (c PoolConfig) Assigned() (*assignment.Assignment, error) {
	text, err := readFile(filepath.Join(c.Dir, assignedFile), assignment.MaxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoClaim, err)
	}
	a, err := assignment.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoClaim, err)
	}
	if a.Pod != c.Pod || a.UID != c.UID {
		return nil, fmt.Errorf("%w: the assignment is for pod %s (uid %s), and this is %s (uid %s)", ErrNoClaim, a.Pod, a.UID, c.Pod, c.UID)
	}
	return a, nil
}

// keep writes an assignment so that it is there as a whole or not at all, whatever ends this process, and never in place of another: then
// the error is fs.ErrExist.
func (c PoolConfig) keep(a assignment.Assignment) error {
	token := a.Env[assignment.EnvReadyToken]
	a.Env = maps.Clone(a.Env)
	delete(a.Env, assignment.EnvReadyToken)
	text, err := a.Encode()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(c.Dir, assignedFile)); err == nil {
		return fs.ErrExist // before its token is touched
	}
	if err := writeFile(c.Dir, readyTokenFile, []byte(token), 0o400); err != nil {
		return err
	}
	temp, err := writeTemp(c.Dir, text, 0o400)
	if err != nil {
		return err
	}
	linked := os.Link(temp, filepath.Join(c.Dir, assignedFile))
	if err := os.Remove(temp); linked == nil {
		return err
	}
	return linked
}

// Claim makes this container the replica that was assigned: it places the secrets, takes the token of the ready push away from where
// the function could read it, and returns the environment to run with. environ is the container's, with what its image sets;
// what was assigned goes before that. It may be called again when the container has started again, then without that token.
func (c PoolConfig) Claim(a *assignment.Assignment, environ []string) ([]string, error) {
	if user := int64(os.Getuid()); a.User != nil && *a.User != user {
		return nil, fmt.Errorf("%w: the function is to run as user %d, and a pod that runs as user %d cannot", ErrNoClaim, *a.User, user)
	}
	token, err := c.takeReadyToken()
	if err != nil {
		return nil, err
	}
	if err := c.placeSecrets(a.Secrets); err != nil {
		return nil, err
	}
	environ = slices.Clone(environ)
	for _, name := range slices.Sorted(maps.Keys(a.Env)) {
		environ = append(environ, name+"="+a.Env[name])
	}
	environ = append(environ, assignment.EnvPod+"="+c.Pod, "DC_PROBE_PORT="+strconv.Itoa(c.Port))
	if token != "" {
		return append(environ, assignment.EnvReadyToken+"="+token), nil
	}
	// The token went with the first start. Kubernetes' own probe tells of this one.
	return slices.DeleteFunc(environ, func(entry string) bool {
		return strings.HasPrefix(entry, "DC_READY_URL=") || strings.HasPrefix(entry, assignment.EnvReadyToken+"=")
	}), nil
}

// takeReadyToken returns the token and removes it; empty if that was done before.
func (c PoolConfig) takeReadyToken() (string, error) {
	path := filepath.Join(c.Dir, readyTokenFile)
	token, err := readFile(path, maxReadyToken)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if removed := os.Remove(path); removed != nil {
		return "", fmt.Errorf("keep the pod's token from the function: %w", removed)
	}
	if err != nil {
		return "", err
	}
	if _, err := hex.DecodeString(string(token)); err != nil {
		return "", fmt.Errorf("%s is not hexadecimal", path)
	}
	return string(token), nil
}

// placeSecrets writes the function's secrets, readable for whatever it runs as, as they are in an ordinary pod.
func (c PoolConfig) placeSecrets(secrets map[string][]byte) error {
	if err := removeTemps(c.SecretsDir); err != nil && len(secrets) > 0 {
		return fmt.Errorf("place secrets: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		if err := writeFile(c.SecretsDir, name, secrets[name], 0o444); err != nil {
			return fmt.Errorf("place secret %s: %w", name, err)
		}
	}
	return nil
}

// readFile reads a file of at most maxBytes. After a claim the function may have put anything in its place, which must not hold us up.
func readFile(path string, maxBytes int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > int64(maxBytes):
		return nil, fmt.Errorf("%s is not a file of at most %d bytes", path, maxBytes)
	}
	return io.ReadAll(io.LimitReader(f, int64(maxBytes)))
}

// writeFile makes dir/name hold data, as a whole or not at all.
func writeFile(dir, name string, data []byte, mode fs.FileMode) error {
	temp, err := writeTemp(dir, data, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// writeTemp writes a file that has no name yet to be found by. The folder is memory: there is no disk to wait for.
func writeTemp(dir string, data []byte, mode fs.FileMode) (path string, err error) {
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// removeTemps removes what a process left that was killed while it wrote.
func removeTemps(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
