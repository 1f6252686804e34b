package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/http1"
)

// writeCertificate puts a certificate for 127.0.0.1 into folder, and returns who trusts it.
func writeCertificate(t *testing.T, folder string, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, content := range map[string][]byte{"tls.crt": cert, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(filepath.Join(folder, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pool
}

// told is a handler that answers how it was asked.
func told(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s tls=%v %s %v", r.Proto, r.TLS != nil, body, err)
}

// post returns what is answered, or nothing after an error.
func post(t *testing.T, client *http.Client, url string) string {
	answer, err := client.Post(url, "text/plain", strings.NewReader("moo"))
	if err != nil {
		t.Error(err)
		return ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// speaking is a client of one protocol.
func speaking(t *testing.T, set func(*http.Protocols), roots *x509.CertPool) *http.Client {
	protocols := new(http.Protocols)
	set(protocols)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func http1Alone(p *http.Protocols)   { p.SetHTTP1(true) }
func http2Alone(p *http.Protocols)   { p.SetHTTP2(true) }
func http2InClear(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }

func TestListen_HTTP2InClear(t *testing.T) {
	for name, calls := range map[string]func(*http1.Exchange){netHTTP: nil, passedOn: (*http1.Exchange).Pass} {
		t.Run(name, func(t *testing.T) {
			s, err := listen(quietLog, "127.0.0.1:0", http.HandlerFunc(told), calls)
			if err != nil {
				t.Fatal(err)
			}
			defer s.end()
			url := "http://" + s.listener.Addr().String()
			if got := post(t, speaking(t, http2InClear, nil), url); got != "HTTP/2.0 tls=false moo <nil>" {
				t.Errorf("answered %q", got)
			}
			if got := post(t, speaking(t, http1Alone, nil), url); got != "HTTP/1.1 tls=false moo <nil>" {
				t.Errorf("answered %q", got)
			}
		})
	}
}

func TestListenTLS(t *testing.T) {
	folder := t.TempDir()
	roots := writeCertificate(t, folder, 1)
	arrived, release := make(chan struct{}), make(chan struct{})
	s, err := listenTLS(quietLog, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			close(arrived)
			<-release
		}
		told(w, r)
	}), folder)
	if err != nil {
		t.Fatal(err)
	}
	defer s.end()
	url := "https://" + s.listener.Addr().String()
	for want, set := range map[string]func(*http.Protocols){"HTTP/1.1 tls=true moo <nil>": http1Alone, "HTTP/2.0 tls=true moo <nil>": http2Alone} {
		if got := post(t, speaking(t, set, roots), url); got != want {
			t.Errorf("answered %q, want %q", got, want)
		}
	}
	if _, err := speaking(t, http1Alone, x509.NewCertPool()).Get(url); err == nil {
		t.Error("a client that does not trust the certificate was served")
	}
	// A call in flight is answered as the listener drains.
	answer := make(chan string, 1)
	client := speaking(t, http2Alone, roots)
	go func() { answer <- post(t, client, url+"/wait") }()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	drained := make(chan error, 1)
	s.announce()
	go func() { drained <- s.drain(ctx) }()
	close(release)
	if got := <-answer; got != "HTTP/2.0 tls=true moo <nil>" {
		t.Errorf("answered %q", got)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestCertificate(t *testing.T) {
	folder := t.TempDir()
	if _, err := newCertificate(quietLog, folder); err == nil {
		t.Error("no certificate, and no error")
	}
	writeCertificate(t, folder, 1)
	c, err := newCertificate(quietLog, folder)
	if err != nil {
		t.Fatal(err)
	}
	first, now := c.pair, c.read
	writeCertificate(t, folder, 2)
	if c.at(now.Add(certificateAge-1)) != first {
		t.Error("the files were read before their time")
	}
	now = now.Add(certificateAge)
	second := c.at(now)
	if second == first {
		t.Error("the new certificate is not used")
	}
	if err := os.WriteFile(filepath.Join(folder, "tls.crt"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c.at(now.Add(certificateAge)) != second {
		t.Error("the certificate was lost to one that cannot be used")
	}
	if _, err := newCertificate(quietLog, folder); err == nil {
		t.Error("nonsense was taken for a certificate")
	}
}
