package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
)

// Names of the files, without their endings .crt and .key.
const (
	CA              = "ca"
	APIServer       = "apiserver"
	APIServerClient = "apiserver-kubelet-client"
	Admin           = "admin"
	ServiceAccount  = "service-account"
)

// lifetime outlasts any checkout: nothing in a dev cluster renews certificates.
const lifetime = 10 * 365 * 24 * time.Hour

// Identity is one certificate to be signed by the cluster's authority.
type Identity struct {
	File   string // without ending
	User   string // common name: the user that Kubernetes sees
	Groups []string
	// Hosts are the names and addresses that a server answers to; none for a pure client.
	Hosts []string
}

// Identities lists every certificate of the cluster.
func Identities(c layout.Cluster) []Identity {
	const masters = "system:masters"
	ids := []Identity{
		{File: APIServer, User: "kube-apiserver", Hosts: []string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + layout.Domain,
			"localhost", "127.0.0.1", layout.APIServiceIP, c.Node(0).IP().String(),
		}},
		{File: APIServerClient, User: "kube-apiserver-kubelet-client", Groups: []string{masters}},
		{File: Admin, User: "admin", Groups: []string{masters}},
		{File: "kube-controller-manager", User: "system:kube-controller-manager"},
		{File: "kube-scheduler", User: "system:kube-scheduler"},
		{File: "kube-proxy", User: "system:kube-proxy"},
		{File: "coredns", User: "system:coredns"},
	}
	for _, n := range c.AllNodes() {
		ids = append(ids, Identity{
			File: "kubelet-" + n.Short(), User: "system:node:" + n.Name(), Groups: []string{"system:nodes"},
			Hosts: []string{n.Name(), n.IP().String()},
		})
	}
	return ids
}

// Ensure makes what is missing of the cluster's keys and certificates under its folder pki.
func Ensure(c layout.Cluster) error {
	dir := c.Path("pki")
	ca, err := ensureAuthority(dir)
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	for _, id := range Identities(c) {
		if err := ca.ensure(dir, id); err != nil {
			return fmt.Errorf("certificate of %s: %w", id.User, err)
		}
	}
	return ensureKeyPair(dir, ServiceAccount)
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func ensureAuthority(dir string) (*authority, error) {
	cert, key, err := load(dir, CA)
	if err == nil {
		return &authority{cert: cert, key: key}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "dev cluster"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	if err := sign(dir, CA, template, template, key, key); err != nil {
		return nil, err
	}
	cert, key, err = load(dir, CA)
	return &authority{cert: cert, key: key}, err
}

// ensure makes the identity's certificate unless it exists and was signed by this authority.
func (a *authority) ensure(dir string, id Identity) error {
	cert, _, err := load(dir, id.File)
	if err == nil && cert.CheckSignatureFrom(a.cert) == nil {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: id.User, Organization: id.Groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, host := range id.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if len(id.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	return sign(dir, id.File, template, a.cert, key, a.key)
}

// sign writes the key first: a crash in between leaves a key without a certificate, which ensure makes anew.
func sign(dir, file string, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour) // a clock set back a little must not break the cluster
	template.NotAfter = time.Now().Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return err
	}
	if err := writeKey(dir, file, key); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, file+".crt"), "CERTIFICATE", der, 0o644)
}

func load(dir, file string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certDER, err := readPEM(filepath.Join(dir, file+".crt"))
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := readPEM(filepath.Join(dir, file+".key"))
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(keyDER)
	return cert, key, err
}

// ensureKeyPair makes the pair NAME.key and NAME.pub.
func ensureKeyPair(dir, name string) error {
	pub := filepath.Join(dir, name+".pub")
	if _, err := os.Stat(pub); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := writeKey(dir, name, key); err != nil {
		return err
	}
	return writePEM(pub, "PUBLIC KEY", der, 0o644)
}

func writeKey(dir, file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, file+".key"), "EC PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode fs.FileMode) error {
	return layout.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

func readPEM(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM in it", path)
	}
	return block.Bytes, nil
}
