package kube

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// The label of secrets that the API made. Others may be used by functions, and are neither listed nor touched.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "openfaas"
)

// ListSecrets lists the names of the secrets that the API made in a namespace, sorted.
func (c *Cluster) ListSecrets(ctx context.Context, namespace string) ([]string, error) {
	list, err := c.core.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{LabelSelector: labelManagedBy + "=" + managedBy})
	if err != nil {
		return nil, translate(err, "secrets of namespace", namespace)
	}
	names := make([]string, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	slices.Sort(names)
	return names, nil
}

// CreateSecret makes a secret with one key, named like the secret.
func (c *Cluster) CreateSecret(ctx context.Context, namespace, name string, value []byte) error {
	if err := c.checkSecret(namespace, name); err != nil {
		return err
	}
	_, err := c.core.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{labelManagedBy: managedBy}},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{name: value},
	}, metav1.CreateOptions{})
	if err == nil {
		c.secretCame(namespace, name)
	}
	return translate(err, "secret", name)
}

// secretCame has the functions looked at again that name a secret: they may have waited for it.
func (c *Cluster) secretCame(namespace, name string) {
	var waiting []function.Ref
	c.records.each(namespace, func(ref function.Ref, r *record) {
		if r.fn.Replicas > 0 && slices.Contains(r.fn.Secrets, name) {
			waiting = append(waiting, ref)
		}
	})
	for _, ref := range waiting {
		c.rounds().Add(ref)
	}
}

// UpdateSecret gives a secret that the API made another value.
func (c *Cluster) UpdateSecret(ctx context.Context, namespace, name string, value []byte) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		secret, err := c.managedSecret(ctx, namespace, name)
		if err != nil {
			return err
		}
		secret.Data = map[string][]byte{name: value}
		_, err = c.core.CoreV1().Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{})
		return err
	})
	if err == nil {
		c.replaceClaims(namespace, name)
	}
	return translate(err, "secret", name)
}

// DeleteSecret deletes a secret that the API made.
func (c *Cluster) DeleteSecret(ctx context.Context, namespace, name string) error {
	secret, err := c.managedSecret(ctx, namespace, name)
	if err != nil {
		return err
	}
	err = c.core.CoreV1().Secrets(namespace).Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &secret.UID}})
	return translate(err, "secret", name)
}

// managedSecret gets a secret that the API made; any other is not found.
func (c *Cluster) managedSecret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	if err := c.checkSecret(namespace, name); err != nil {
		return nil, err
	}
	secret, err := c.core.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, translate(err, "secret", name)
	}
	if secret.Labels[labelManagedBy] != managedBy {
		return nil, function.NotFoundf("secret %q not found", name)
	}
	return secret, nil
}

func (c *Cluster) checkSecret(namespace, name string) error {
	if err := function.CheckSecretName(name); err != nil {
		return err
	}
	if !c.Managed(namespace) {
		return errUnmanaged(namespace)
	}
	return nil
}

// secretsOf gets the secrets that a function names, in its order and each once; one that is missing is invalid input.
func (c *Cluster) secretsOf(ctx context.Context, fn *function.Function) ([]*corev1.Secret, error) {
	var names []string
	for _, name := range fn.Secrets {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	secrets := make([]*corev1.Secret, len(names))
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		g.Go(func() error {
			secret, err := c.core.CoreV1().Secrets(fn.Namespace).Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return function.Invalidf("secret %q does not exist in namespace %q", name, fn.Namespace)
			}
			if err != nil {
				return fmt.Errorf("secret %q: %w", name, err)
			}
			secrets[i] = secret
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return secrets, nil
}

// splitSecrets separates credentials for the image from files for the function.
func splitSecrets(secrets []*corev1.Secret) (mounted []string, pull []*corev1.Secret) {
	for _, s := range secrets {
		if isPullSecret(s) {
			pull = append(pull, s)
		} else {
			mounted = append(mounted, s.Name)
		}
	}
	return mounted, pull
}
