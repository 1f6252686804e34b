package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
)

func newCluster(t *testing.T) layout.Cluster {
	t.Helper()
	return layout.Cluster{Name: "dc", Nodes: 2, Dir: t.TempDir()}
}

func ensure(t *testing.T, c layout.Cluster) {
	t.Helper()
	if err := Ensure(c); err != nil {
		t.Fatal(err)
	}
}

func leaf(t *testing.T, c layout.Cluster, file string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.Path("pki", file+".crt"), c.Path("pki", file+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func TestEnsure_EveryCertificateVerifies(t *testing.T) {
	c := newCluster(t)
	ensure(t, c)
	roots := x509.NewCertPool()
	roots.AddCert(leaf(t, c, CA))
	for _, id := range Identities(c) {
		cert := leaf(t, c, id.File)
		options := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if _, err := cert.Verify(options); err != nil {
			t.Errorf("%s as a client: %v", id.File, err)
		}
		if cert.Subject.CommonName != id.User {
			t.Errorf("%s is for %q, want %q", id.File, cert.Subject.CommonName, id.User)
		}
		for _, host := range id.Hosts {
			options := x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
			if _, err := cert.Verify(options); err != nil {
				t.Errorf("%s as the server %s: %v", id.File, host, err)
			}
		}
	}
}

func TestEnsure_KeepsWhatIsThereAndCompletesTheRest(t *testing.T) {
	c := newCluster(t)
	ensure(t, c)
	before := map[string]string{}
	files, err := os.ReadDir(c.Path("pki"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		before[f.Name()] = read(t, c.Path("pki", f.Name()))
	}
	// As a crash between a key and its certificate leaves it.
	if err := os.Remove(c.Path("pki", "admin.crt")); err != nil {
		t.Fatal(err)
	}
	ensure(t, c)
	for name, data := range before {
		kept := read(t, c.Path("pki", name)) == data
		if made := name == "admin.crt" || name == "admin.key"; kept == made {
			t.Errorf("%s: kept %v", name, kept)
		}
	}
	leaf(t, c, Admin) // key and certificate belong together
}

func TestEnsure_NewAuthorityMeansNewCertificates(t *testing.T) {
	c := newCluster(t)
	ensure(t, c)
	if err := os.Remove(c.Path("pki", CA+".crt")); err != nil {
		t.Fatal(err)
	}
	ensure(t, c)
	if err := leaf(t, c, Admin).CheckSignatureFrom(leaf(t, c, CA)); err != nil {
		t.Errorf("the administrator's certificate is of the old authority: %v", err)
	}
}

func TestEnsure_RefusesADamagedFile(t *testing.T) {
	c := newCluster(t)
	ensure(t, c)
	if err := os.WriteFile(c.Path("pki", "admin.crt"), []byte("not PEM"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(c); err == nil {
		t.Error("no error")
	}
}

func TestEnsure_KeysAreForTheOwnerOnly(t *testing.T) {
	c := newCluster(t)
	ensure(t, c)
	keys, err := filepath.Glob(c.Path("pki", "*.key"))
	if err != nil || len(keys) == 0 {
		t.Fatalf("keys: %v, %v", keys, err)
	}
	for _, key := range keys {
		info, err := os.Stat(key)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", key, info.Mode(), err)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
