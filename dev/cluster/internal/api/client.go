package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/network"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/pki"
)

// ErrNotFound means that the object does not exist.
var ErrNotFound = errors.New("not found")

// Object is a Kubernetes object.
type Object = map[string]any

// Client talks to one cluster's API server as its administrator. It is safe for concurrent use.
type Client struct {
	base string
	http *http.Client
}

// New gives a client of the cluster. Its keys must exist; the API server need not run yet.
func New(c layout.Cluster) (*Client, error) {
	authority, err := os.ReadFile(c.Path("pki", pki.CA+".crt"))
	if err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(c.Path("pki", pki.Admin+".crt"), c.Path("pki", pki.Admin+".key"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s: no certificate in it", c.Path("pki", pki.CA+".crt"))
	}
	return &Client{
		base: "https://" + c.APIServer(),
		http: &http.Client{
			Timeout: 10 * time.Second,
			Transport: &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}},
				DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
					return network.Dial(ctx, c.Node(0).NetnsFile(), address)
				},
				IdleConnTimeout: 30 * time.Second,
			},
		},
	}, nil
}

// Ready reports why the API server cannot be used yet, nil if it can.
func (c *Client) Ready(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, "/readyz", "", nil, nil)
}

// Read decodes what is at path into object.
func (c *Client) Read(ctx context.Context, path string, object any) error {
	return c.do(ctx, http.MethodGet, path, "", nil, object)
}

// Apply makes the object at path what object says, whether it exists or not (server-side apply).
func (c *Client) Apply(ctx context.Context, path string, object Object) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPatch, path+"?fieldManager=dev-cluster&force=true", "application/apply-patch+yaml", body, nil)
}

// Delete deletes the object at path.
func (c *Client) Delete(ctx context.Context, path string) error {
	return c.do(ctx, http.MethodDelete, path, "", nil, nil)
}

func (c *Client) do(ctx context.Context, method, path, contentType string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("%s %s: %w", method, path, err)
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s %s: %w", method, path, ErrNotFound)
	case resp.StatusCode >= 300:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(answer))
	case into == nil:
		return nil
	}
	return json.Unmarshal(answer, into)
}
