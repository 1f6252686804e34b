package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pullSecret makes a secret of type dockerconfigjson with the registry's password, as kubectl would.
func pullSecret(t *testing.T) string {
	t.Helper()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: unique(t, "pull")},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: images.start(t).DockerConfig()},
	}
	secrets := cluster.CoreV1().Secrets(functionNamespace)
	if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := secrets.Delete(context.WithoutCancel(t.Context()), secret.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return secret.Name
}

func TestPrivate_WithThePassword(t *testing.T) {
	t.Parallel()
	d := deployment{Image: images.start(t).Private(unique(t, "probe") + ":dev"), Secrets: []string{pullSecret(t)}}
	images.push(t, d.Image, "private")
	f := deploy(t, d)
	if a := f.get(t, "/env?name=VERSION").is(t, "call", http.StatusOK); a.body != "private" {
		t.Errorf("answer %q", a.body)
	}
	if s, _ := f.status(t); len(s.Secrets) != 1 || s.Secrets[0] != d.Secrets[0] {
		t.Errorf("secrets read back as %q", s.Secrets)
	}
}

// TestPrivate_OwnEntrypointInTheWatchdog needs the image's configuration, which is behind the password too.
func TestPrivate_OwnEntrypointInTheWatchdog(t *testing.T) {
	t.Parallel()
	d := annotate(deployment{
		Image: images.start(t).Private(unique(t, "probe") + ":dev"), Secrets: []string{pullSecret(t)},
		EnvVars: map[string]string{"PORT": "3000", "upstream_url": "http://127.0.0.1:3000"},
	}, annotationMode, "http")
	images.push(t, d.Image, "watched")
	f := deploy(t, d)
	if a := f.get(t, "/env?name=VERSION").is(t, "call", http.StatusOK); a.body != "watched" {
		t.Errorf("answer %q", a.body)
	}
}

func TestPrivate_WithoutThePassword(t *testing.T) {
	t.Parallel()
	d := deployment{Image: images.start(t).Private(unique(t, "probe") + ":dev"), Service: unique(t, "f")}
	images.push(t, d.Image, "private")
	f := function{name: d.Service}
	t.Cleanup(func() { f.remove(t) })
	a := gateway.do(t, "POST", "/system/functions", encode(t, d))
	if a.status == http.StatusBadRequest {
		// Told at once. It has to be the password that the line is about.
		if !strings.Contains(a.body, d.Image) {
			t.Errorf("refused with %q, which does not name the image", a.body)
		}
		return
	}
	a.is(t, "deploy", http.StatusAccepted)
	eventually(t, "the status names the image that cannot be pulled", func() (bool, string) {
		said := f.statusText(t)
		return strings.Contains(said, d.Image), said
	})
}

// TestPrivate_DigestIsPinned moves the tag. Replicas that come later still run the bytes of the deployment, until an update.
func TestPrivate_DigestIsPinned(t *testing.T) {
	t.Parallel()
	d := deployment{Image: images.start(t).Private(unique(t, "probe") + ":dev"), Secrets: []string{pullSecret(t)}}
	first := images.push(t, d.Image, "first")
	f := deploy(t, d)
	version := func() string { return f.get(t, "/env?name=VERSION").is(t, "call", http.StatusOK).body }
	if got := version(); got != "first" {
		t.Fatalf("version %q", got)
	}
	second := images.push(t, d.Image, "second")
	if first == second {
		t.Fatal("the versions have one digest")
	}
	f.scale(t, 0)
	f.awaitZero(t)
	if got := version(); got != "first" {
		t.Errorf("woke as version %q, want the one deployed", got)
	}
	if s, _ := f.status(t); s.Image != d.Image {
		t.Errorf("the image reads back as %q, sent %q", s.Image, d.Image)
	}
	f.update(t, d)
	eventually(t, "an update takes the tag's new image", func() (bool, string) {
		got := version()
		return got == "second", got
	})
}
