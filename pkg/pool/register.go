package pool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	// askTimeout bounds a request to a spare that has just told that it listens, and all that is asked of it.
	askTimeout = 2 * time.Second
	// asksAtOnce bounds how many spares are asked at a time: anybody in the cluster can have one asked.
	asksAtOnce = 16
)

var (
	// ErrUnknown: the pod is no spare of ours, or not any more.
	ErrUnknown = errors.New("not a spare")
	// ErrAsking: as many spares as may be are being asked already.
	ErrAsking = errors.New("too many spares register at a time")
)

// Pod is what Kubernetes says of a spare that has registered.
type Pod struct {
	ID, Namespace, Node string
}

// RegistrarConfig joins a Registrar to the rest. All fields are needed.
type RegistrarConfig struct {
	Key *assignment.ProviderKey
	// Confirm asks Kubernetes whether a token is that of an unclaimed spare's pod of this name and identity. It asks no cache:
	// the pod may have been claimed a moment ago, and have its function in it. An error wraps ErrUnknown if it is none.
	Confirm func(ctx context.Context, of assignment.Spare, token string) (Pod, error)
	// Assignment is what makes a spare a replica of a function.
	Assignment func(context.Context, *function.Function) (assignment.Assignment, error)
}

// Registrar speaks with the watchdogs of spares: it finds out who they are, and assigns functions to them. It is safe for
// concurrent use.
type Registrar struct {
	cfg    RegistrarConfig
	port   uint16
	client *http.Client
	asking chan struct{}
}

// NewRegistrar checks cfg.
func NewRegistrar(cfg RegistrarConfig) (*Registrar, error) {
	if cfg.Key == nil || cfg.Confirm == nil || cfg.Assignment == nil {
		return nil, errors.New("pool: Key, Confirm and Assignment are needed")
	}
	return &Registrar{
		cfg: cfg, port: readypush.ProbePort, asking: make(chan struct{}, asksAtOnce),
		client: &http.Client{
			// The address has to prove itself; one that it points to is none of ours. Nor is a proxy.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10},
		},
	}, nil
}

// Ask finds out which spare is at ip. One that was assigned a function already has its name in Identity.Function. An error
// wraps ErrUnknown if it is none, and ErrAsking if it has to come again.
func (r *Registrar) Ask(ctx context.Context, ip netip.Addr) (Spare, error) {
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	default:
		return Spare{}, ErrAsking
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	ip = ip.Unmap()
	challenge := readypush.NewChallenge()
	sealed, err := r.fetch(ctx, ip, challenge)
	if err != nil {
		return Spare{}, err
	}
	identity, token, err := r.cfg.Key.OpenIdentity(challenge, ip, sealed)
	if err != nil {
		return Spare{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	pod, err := r.cfg.Confirm(ctx, identity, token)
	if err != nil {
		return Spare{}, err
	}
	return Spare{ID: pod.ID, Namespace: pod.Namespace, Pod: identity.Pod, Node: pod.Node, IP: ip, Identity: identity}, nil
}

func (r *Registrar) fetch(ctx context.Context, ip netip.Addr, challenge string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url(ip), nil)
	if err != nil {
		return nil, fmt.Errorf("ask spare at %s: %w", ip, err)
	}
	request.Header.Set(readypush.ChallengeHeader, challenge)
	response, err := r.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask spare: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // what is wanted of it was read by then
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask spare at %s: status %d", ip, response.StatusCode)
	}
	sealed, err := io.ReadAll(io.LimitReader(response.Body, assignment.MaxIdentityBytes+1))
	if err != nil {
		return nil, fmt.Errorf("ask spare at %s: %w", ip, err)
	}
	return sealed, nil
}

// Assign has a spare keep what makes it a replica of f. When it has returned nil the spare takes no other.
func (r *Registrar) Assign(ctx context.Context, s Spare, f *function.Function) error {
	a, err := r.cfg.Assignment(ctx, f)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotAssignable, err)
	}
	sealed, err := r.cfg.Key.Seal(s.Identity, a)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotAssignable, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url(s.IP), bytes.NewReader(sealed))
	if err != nil {
		return fmt.Errorf("spare at %s: %w", s.IP, err)
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	response, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it has nothing to say but its status
	if response.StatusCode != http.StatusNoContent {
		return fmt.Errorf("spare at %s: status %d", s.IP, response.StatusCode)
	}
	return nil
}

func (r *Registrar) url(ip netip.Addr) string {
	return "http://" + netip.AddrPortFrom(ip, r.port).String() + assignment.Path
}
