package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/openfaas/faas-provider/types"
	"github.com/openfaas/go-sdk"
)

// platform is the provider as its users see it: the SDK for what the SDK knows, HTTP for invocations and the heap.
type platform struct {
	client         *sdk.Client
	gateway        *url.URL
	user, password string
}

func newPlatform(gateway *url.URL, user, password string) *platform {
	auth := &sdk.BasicAuth{Username: user, Password: password}
	return &platform{
		client:   sdk.NewClient(gateway, auth, http.DefaultClient),
		gateway:  gateway,
		user:     user,
		password: password,
	}
}

// deploy updates the function, or makes it if it is new.
func (p *platform) deploy(ctx context.Context, f types.FunctionDeployment) error {
	status, err := p.client.Update(ctx, f)
	if status == http.StatusNotFound {
		status, err = p.client.Deploy(ctx, f)
	}
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("status %d, want 202", status)
	}
	if err != nil {
		return fmt.Errorf("deploy %q: %w", f.Service, err)
	}
	return nil
}

// invoke calls a function and returns its answer, which must have the status that is wanted.
func (p *platform) invoke(ctx context.Context, name string, body []byte, want int) (string, error) {
	target := p.gateway.JoinPath("function", name)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	status, answer, err := do(req)
	if err != nil {
		return "", fmt.Errorf("invoke %q: %w", name, err)
	}
	if status != want {
		return "", fmt.Errorf("invoke %q: status %d, want %d: %s", name, status, want, strings.TrimSpace(answer))
	}
	return answer, nil
}

// heapValue returns the value of a key in a contract's heap, and false if there is none.
func (p *platform) heapValue(ctx context.Context, contract, key string) (string, bool, error) {
	status, value, err := p.getHeap(ctx, p.gateway.JoinPath("heap", contract, key))
	if err != nil {
		return "", false, err
	}
	switch status {
	case http.StatusOK:
		return value, true, nil
	case http.StatusNotFound:
		return "", false, nil
	default:
		return "", false, fmt.Errorf("heap of %q: key %q: status %d: %s", contract, key, status, strings.TrimSpace(value))
	}
}

// heapKeys returns the keys of a contract's heap that begin with prefix.
func (p *platform) heapKeys(ctx context.Context, contract, prefix string) ([]string, error) {
	var keys []string
	for after := ""; ; {
		target := p.gateway.JoinPath("heap", contract)
		target.RawQuery = url.Values{"prefix": {prefix}, "after": {after}}.Encode()
		status, body, err := p.getHeap(ctx, target)
		if err != nil {
			return nil, err
		}
		if status != http.StatusOK {
			return nil, fmt.Errorf("heap of %q: list: status %d: %s", contract, status, strings.TrimSpace(body))
		}
		var page struct {
			Keys []string `json:"keys"`
			Next string   `json:"next"`
		}
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			return nil, fmt.Errorf("heap of %q: list: %w", contract, err)
		}
		keys = append(keys, page.Keys...)
		if page.Next == "" {
			return keys, nil
		}
		after = page.Next
	}
}

func (p *platform) getHeap(ctx context.Context, target *url.URL) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return 0, "", err
	}
	req.SetBasicAuth(p.user, p.password)
	return do(req)
}

func do(req *http.Request) (status int, body string, err error) {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close() // read to its end below, so there is nothing left to say
	data, err := io.ReadAll(res.Body)
	return res.StatusCode, string(data), err
}
