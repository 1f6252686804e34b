package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tlsHost is what the certificates are for.
const tlsHost = "gateway.openfaas"

// secured is the gateway with TLS, and the Secret that its certificate is from.
func secured(t *testing.T) (listener, *corev1.Secret) {
	t.Helper()
	installed, err := cluster.AppsV1().Deployments(providerNamespace).Get(t.Context(), "dc-provider", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range installed.Spec.Template.Spec.Volumes {
		if v.Name != "tls" || v.Secret == nil {
			continue
		}
		secret, err := cluster.CoreV1().Secrets(providerNamespace).Get(t.Context(), v.Secret.SecretName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		service, err := cluster.CoreV1().Services(providerNamespace).Get(t.Context(), "gateway", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		l := gateway
		l.url = fmt.Sprintf("https://%s:8443", service.Spec.ClusterIP)
		return l, secret
	}
	t.Skip("no certificate is installed: make test-e2e installs one in a pass of its own")
	return listener{}, nil
}

// trusting is for clients that trust one certificate and no other.
func trusting(t *testing.T, certificate []byte) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(certificate) {
		t.Fatalf("no certificate: %.100q", certificate)
	}
	return &tls.Config{RootCAs: roots, ServerName: tlsHost}
}

// speaking is the way of a client of one protocol.
func speaking(t *testing.T, set func(*http.Protocols), trusts *tls.Config) *http.Transport {
	way := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: trusts.Clone()} // the transport adds to it
	set(way.Protocols)
	t.Cleanup(way.CloseIdleConnections)
	return way
}

func http1Alone(p *http.Protocols) { p.SetHTTP1(true) }
func http2Alone(p *http.Protocols) { p.SetHTTP2(true) }

// by sends q by a client's way and reads the answer.
func (l listener) by(t *testing.T, way http.RoundTripper, q request) (protocol string, a answer, err error) {
	t.Helper()
	r, err := l.request(within(t, callTimeout), q)
	if err != nil {
		return "", answer{}, err
	}
	res, err := way.RoundTrip(r)
	if err != nil {
		return "", answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.Proto, answer{res.StatusCode, res.Header, string(body)}, err
}

// newCertificate makes one for tlsHost that signs itself, as the two values of a Secret.
func newCertificate(t *testing.T) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: tlsHost}, DNSNames: []string{tlsHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}
}

// awaitCertificate waits until l uses a certificate that the Secret has.
func (l listener) awaitCertificate(t *testing.T, certificate []byte) {
	t.Helper()
	// A pod that changes has its Secrets looked at by the kubelet at once, and not within a minute or two.
	touch := []byte(fmt.Sprintf(`{"metadata":{"annotations":{"touched":%q}}}`, time.Now()))
	for _, p := range providerPods(t) {
		if _, err := cluster.CoreV1().Pods(p.Namespace).Patch(t.Context(), p.Name, types.MergePatchType, touch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the certificate is used", func() (bool, string) {
		way := speaking(t, http1Alone, trusting(t, certificate))
		defer way.CloseIdleConnections()
		_, a, err := l.by(t, way, request{method: "GET", path: "/healthz", auth: nobody})
		return err == nil && a.status == http.StatusOK, fmt.Sprint(a.status, err)
	})
}

// TestTLS calls functions with TLS, by HTTP/1.1 and HTTP/2. Then the certificate is renewed: new connections get the new one, without
// a restart, and a call that is under way goes on.
func TestTLS(t *testing.T) {
	l, secret := secured(t)
	trusts := trusting(t, secret.Data[corev1.TLSCertKey])
	f := deploy(t, probe(t))
	l.awaitCertificate(t, secret.Data[corev1.TLSCertKey]) // it may have been made anew for this run
	gateway.ask(t, request{method: "GET", path: f.path("/"), auth: nobody}).is(t, "the first call", http.StatusOK)
	tests := []struct {
		protocol string
		set      func(*http.Protocols)
	}{{"HTTP/1.1", http1Alone}, {"HTTP/2.0", http2Alone}}
	for _, tt := range tests {
		way := speaking(t, tt.set, trusts)
		protocol, a, err := l.by(t, way, request{method: "POST", path: f.path("/sub?q=1"), body: "moo", auth: nobody})
		if err != nil {
			t.Fatal(err)
		}
		saw := decode[struct {
			URI, Body string
			Header    http.Header
		}](t, a.is(t, "call by "+tt.protocol, http.StatusOK))
		if protocol != tt.protocol || saw.URI != "/sub?q=1" || saw.Body != "moo" || saw.Header.Get("X-Forwarded-Proto") != "https" {
			t.Errorf("by %s, want %s: the function saw %+v", protocol, tt.protocol, saw)
		}
		if _, a, err = l.by(t, way, request{method: "GET", path: "/system/functions", auth: nobody}); err != nil || a.status != http.StatusUnauthorized {
			t.Errorf("list without credentials by %s: %d, %v", tt.protocol, a.status, err)
		}
		if _, a, err = l.by(t, way, request{method: "GET", path: "/system/functions"}); err != nil || a.status != http.StatusOK {
			t.Errorf("list by %s: %d, %v", tt.protocol, a.status, err)
		}
	}
	if _, _, err := l.by(t, speaking(t, http1Alone, &tls.Config{ServerName: tlsHost}), request{method: "GET", path: "/healthz"}); err == nil {
		t.Error("a client was served that does not trust the certificate")
	}
	wantWebsocket(t, l, f, trusts)

	feed, body := io.Pipe()
	defer body.Close()
	r, err := l.request(within(t, callTimeout+settleLimit), request{method: "POST", path: f.path("/duplex"), auth: nobody})
	if err != nil {
		t.Fatal(err)
	}
	r.Body, r.ContentLength = io.NopCloser(feed), -1
	underWay, err := speaking(t, http2Alone, trusts).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer underWay.Body.Close()

	before := providerPods(t)
	renewed := newCertificate(t)
	secret.Data = renewed
	if _, err := cluster.CoreV1().Secrets(providerNamespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	l.awaitCertificate(t, renewed[corev1.TLSCertKey])
	if _, _, err := l.by(t, speaking(t, http1Alone, trusts), request{method: "GET", path: "/healthz"}); err == nil {
		t.Error("the certificate of before is used still")
	}
	for i, p := range providerPods(t) {
		if p.UID != before[i].UID || p.Status.ContainerStatuses[0].RestartCount != before[i].Status.ContainerStatuses[0].RestartCount {
			t.Errorf("the provider was restarted: %s", p.Name)
		}
	}

	if _, err := io.WriteString(body, "moo\n"); err != nil {
		t.Fatal(err)
	}
	body.Close()
	if answer, err := io.ReadAll(underWay.Body); err != nil || string(answer) != "MOO\n" || underWay.Trailer.Get("X-Lines") != "1" {
		t.Errorf("the call under way was answered %q with %v, %v", answer, underWay.Trailer, err)
	}
}

// wantWebsocket speaks through f by TLS.
func wantWebsocket(t *testing.T, l listener, f function, trusts *tls.Config) {
	t.Helper()
	u, err := url.Parse(l.url + f.path("/ws"))
	if err != nil {
		t.Fatal(err)
	}
	u.Scheme = "wss"
	config, err := websocket.NewConfig(u.String(), l.url)
	if err != nil {
		t.Fatal(err)
	}
	config.TlsConfig = trusts
	conn, err := config.DialContext(within(t, callTimeout))
	if err != nil {
		t.Fatalf("open a websocket: %v", err)
	}
	defer conn.Close()
	var got string
	if err := websocket.Message.Send(conn, "moo"); err != nil {
		t.Fatal(err)
	}
	if err := websocket.Message.Receive(conn, &got); err != nil || got != "moo" {
		t.Errorf("the websocket says %q, %v", got, err)
	}
}
