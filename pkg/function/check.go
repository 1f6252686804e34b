package function

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Limits on names, from Kubernetes: a function's name becomes a Service's and a label's value.
const (
	maxNameLength   = 63
	maxSecretLength = 253
	maxPrefixLength = 253
	// maxQuantityLength has room for any number of bytes that there are.
	maxQuantityLength = 40
	// maxMetadataBytes bounds labels and annotations together. Kubernetes refuses an object with more than 256 KiB, and
	// the provider and kubectl add theirs.
	maxMetadataBytes = 200 << 10
	// maxEnvBytes bounds environment and process together: etcd refuses an object of more than 1.5 MiB.
	maxEnvBytes = 256 << 10
)

var (
	nameForm       = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)
	namespaceForm  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	subdomainForm  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	labelNameForm  = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
	labelValueForm = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`)
	envForm        = regexp.MustCompile(`^[-._a-zA-Z][-._a-zA-Z0-9]*$`)
)

// reservedLabels are the ones by which pods are found; a user who could set them could capture another function's calls.
var reservedLabels = []string{"faas_function", "uid", "pod-template-hash", "controller-revision-hash"}

// ReservedPrefix begins the labels and annotations, on Kubernetes objects, that are the provider's own.
const ReservedPrefix = "dragonchain.com/"

// ReservedEnvPrefix begins the environment variables by which the provider talks to the watchdog.
const ReservedEnvPrefix = "DC_"

// Check reports the first thing in s that has to be mended, as an error that wraps ErrInvalid, or the policy that s asks for.
func Check(s Spec) (Policy, error) {
	for _, check := range []func(Spec) error{
		checkRef, checkImage, checkReserved, checkMetadata, checkEnv, checkSecrets, checkConstraints, checkResources,
	} {
		if err := check(s); err != nil {
			return Policy{}, err
		}
	}
	return parsePolicy(s)
}

// CheckName refuses what cannot be a function's name.
func CheckName(name string) error {
	switch {
	case name == "":
		return Invalidf("a function needs a name")
	case len(name) > maxNameLength:
		return Invalidf("function name %.20q... has %d characters; at most %d are allowed", name, len(name), maxNameLength)
	case !nameForm.MatchString(name):
		return Invalidf("function name %q: use a-z, 0-9 and -, beginning with a letter and ending with a letter or digit", name)
	}
	return nil
}

// CheckNamespace refuses what cannot be the name of a namespace for functions: Kubernetes keeps some to itself.
func CheckNamespace(name string) error {
	if strings.HasPrefix(name, "kube-") {
		return Invalidf("namespace %.80q belongs to Kubernetes", name)
	}
	if len(name) > maxNameLength || !namespaceForm.MatchString(name) {
		return Invalidf("namespace %.80q: use at most %d of a-z, 0-9 and -, beginning and ending with a letter or digit", name, maxNameLength)
	}
	return nil
}

// CheckSecretName refuses what cannot be a secret's name.
func CheckSecretName(name string) error {
	if name == "" {
		return Invalidf("a secret needs a name")
	}
	if len(name) > maxSecretLength || !subdomainForm.MatchString(name) {
		return Invalidf("secret name %.80q: use at most %d of a-z, 0-9, - and ., beginning and ending with a letter or digit", name, maxSecretLength)
	}
	return nil
}

func checkRef(s Spec) error {
	if err := CheckName(s.Name); err != nil {
		return err
	}
	return CheckNamespace(s.Namespace)
}

func checkImage(s Spec) error {
	if s.Image == "" {
		return Invalidf("function %q needs an image", s.Name)
	}
	return nil
}

func checkReserved(s Spec) error {
	for _, key := range slices.Sorted(maps.Keys(s.Labels)) {
		if slices.Contains(reservedLabels, key) || strings.HasPrefix(key, ReservedPrefix) {
			return Invalidf("label %.80q is reserved", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.Annotations)) {
		if strings.HasPrefix(key, ReservedPrefix) {
			return Invalidf("annotation %.80q is reserved", key)
		}
	}
	return nil
}

func checkMetadata(s Spec) error { return CheckMetadata(s.Labels, s.Annotations) }

// CheckMetadata refuses labels and annotations that Kubernetes would not put on an object.
func CheckMetadata(labels, annotations map[string]string) error {
	size := 0
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		value := labels[key]
		if err := checkQualifiedName("label", key); err != nil {
			return err
		}
		if len(value) > maxNameLength || !labelValueForm.MatchString(value) {
			return Invalidf("label %s=%.80q: a value has at most %d of A-Z, a-z, 0-9, -, _ and ., with a letter or digit at both ends", key, value, maxNameLength)
		}
		size += len(key) + len(value)
	}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		// Kubernetes takes capitals in the prefix of an annotation's key, and in no other.
		if err := checkQualifiedName("annotation", strings.ToLower(key)); err != nil {
			return err
		}
		size += len(key) + len(annotations[key])
	}
	if size > maxMetadataBytes {
		return Invalidf("labels and annotations have %d bytes together; at most %d are allowed", size, maxMetadataBytes)
	}
	return nil
}

func checkQualifiedName(kind, key string) error {
	prefix, name, found := strings.Cut(key, "/")
	if !found {
		prefix, name = "", key
	}
	if found && (len(prefix) > maxPrefixLength || !subdomainForm.MatchString(prefix)) ||
		len(name) > maxNameLength || !labelNameForm.MatchString(name) {
		return Invalidf("%s key %.80q: use at most %d of A-Z, a-z, 0-9, -, _ and ., with a letter or digit at both ends", kind, key, maxNameLength)
	}
	return nil
}

func checkEnv(s Spec) error {
	size := len(s.Process)
	for _, key := range slices.Sorted(maps.Keys(s.Env)) {
		switch {
		case !envForm.MatchString(key), key == ".", strings.HasPrefix(key, ".."):
			return Invalidf("environment variable %.80q: use A-Z, a-z, 0-9, -, _ and ., not beginning with a digit or with two dots", key)
		case strings.HasPrefix(key, ReservedEnvPrefix):
			return Invalidf("environment variable %.80q: names beginning %s are reserved", key, ReservedEnvPrefix)
		case strings.ContainsRune(s.Env[key], 0):
			return Invalidf("environment variable %.80q: a value cannot contain a NUL byte", key)
		}
		size += len(key) + len(s.Env[key])
	}
	if strings.ContainsRune(s.Process, 0) {
		return Invalidf("the process to run cannot contain a NUL byte")
	}
	if size > maxEnvBytes {
		return Invalidf("environment variables and process have %d bytes together; at most %d are allowed", size, maxEnvBytes)
	}
	return nil
}

func checkSecrets(s Spec) error {
	listed := make(map[string]bool, len(s.Secrets))
	for _, name := range s.Secrets {
		if err := CheckSecretName(name); err != nil {
			return err
		}
		if listed[name] {
			return Invalidf("secret %q is listed twice", name)
		}
		listed[name] = true
	}
	return nil
}

func checkConstraints(s Spec) error {
	asked := make(map[string]bool, len(s.Constraints))
	for _, constraint := range s.Constraints {
		key, _, err := ParseConstraint(constraint)
		if err != nil {
			return err
		}
		if asked[key] {
			return Invalidf("constraint %.80q: the label is asked for twice", constraint)
		}
		asked[key] = true
	}
	return nil
}

// ParseConstraint splits KEY=VALUE, the label that a node must have.
func ParseConstraint(s string) (key, value string, err error) {
	key, value, found := strings.Cut(s, "=")
	if !found || checkQualifiedName("constraint", key) != nil || len(value) > maxNameLength || !labelValueForm.MatchString(value) {
		return "", "", Invalidf("constraint %.80q: give KEY=VALUE, the label that a node must have", s)
	}
	return key, value, nil
}

func checkResources(s Spec) error {
	for _, part := range []struct {
		kind string
		res  *Resources
	}{{"limits", s.Limits}, {"requests", s.Requests}} {
		if part.res == nil {
			continue
		}
		for _, q := range []struct{ field, value string }{
			{"memory", part.res.Memory}, {"cpu", part.res.CPU},
			{"nvidia.com/gpu", part.res.NvidiaGPU}, {"amd.com/gpu", part.res.AMDGPU}, {"intel.com/gpu", part.res.IntelGPU},
		} {
			if q.value != "" && (len(q.value) > maxQuantityLength || !quantityForm.MatchString(q.value)) {
				return Invalidf("%s.%s=%.40q: give a quantity such as 128Mi or 250m", part.kind, q.field, q.value)
			}
		}
	}
	return nil
}
