package kube

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/assignment"
)

// What Kubernetes says of the pod that a token was made for.
const (
	tokenPodName = "authentication.kubernetes.io/pod-name"
	tokenPodUID  = "authentication.kubernetes.io/pod-uid"
	userPrefix   = "system:serviceaccount:"
)

// errNotSpare: a pod is no spare, or not any more.
var errNotSpare = errors.New("not a spare")

// HasSpare reports whether a pod of this name is a spare, and at this address as far as that is known. Memory only.
func (c *Cluster) HasSpare(pod string, ip netip.Addr) bool {
	found := false
	c.spares.each("", func(key function.Ref, s *spare) {
		if key.Name == pod && !s.over && (s.ip == "" || s.ip == ip.Unmap().String()) {
			found = true
		}
	})
	return found
}

// ConfirmSpare asks Kubernetes whether a token is that of the pod of this name and identity, and whether that is a spare which
// nobody has claimed, and tells its namespace and node. It asks no cache: a pod that was claimed has a function in it, which
// can read the token, and the function starts after its pod has been changed. is is false, with an error that says why, if
// Kubernetes denies it; with it true an error is one of asking.
func (c *Cluster) ConfirmSpare(ctx context.Context, name, uid, token string) (namespace, node string, is bool, err error) {
	namespace, err = c.reviewToken(ctx, name, uid, token)
	if err == nil {
		node, err = c.lookAtSpare(ctx, namespace, name, uid)
	}
	return namespace, node, !errors.Is(err, errNotSpare), err
}

// reviewToken asks whose token it is, and gives the pod's namespace.
func (c *Cluster) reviewToken(ctx context.Context, name, uid, token string) (namespace string, err error) {
	review, err := c.core.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{assignment.Audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("review the token of %q: %w", name, err)
	}
	user := review.Status.User
	is := func(key, want string) bool { return slices.Equal(user.Extra[key], []string{want}) }
	namespace, _, ok := strings.Cut(strings.TrimPrefix(user.Username, userPrefix), ":")
	switch {
	case !review.Status.Authenticated || !slices.Contains(review.Status.Audiences, assignment.Audience):
		return "", fmt.Errorf("%w: Kubernetes does not know the token of %q: %s", errNotSpare, name, oneLine(review.Status.Error))
	case !strings.HasPrefix(user.Username, userPrefix) || !ok || !is(tokenPodName, name) || !is(tokenPodUID, uid):
		return "", fmt.Errorf("%w: the token is not that of pod %q", errNotSpare, name)
	}
	return namespace, nil
}

// lookAtSpare asks for a pod and gives its node.
func (c *Cluster) lookAtSpare(ctx context.Context, namespace, name, uid string) (node string, err error) {
	o, err := c.core.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("%w: pod %q is gone", errNotSpare, name)
	}
	if err != nil {
		return "", fmt.Errorf("look at spare %q: %w", name, err)
	}
	switch s := newSpare(o, nil); {
	case string(o.UID) != uid, s.shape == "", o.Labels[labelFunction] != "", o.Annotations[annotationClaimed] != "":
		return "", fmt.Errorf("%w: pod %q is something else", errNotSpare, name)
	case s.over:
		return "", fmt.Errorf("%w: pod %q ends, or was started again", errNotSpare, name)
	}
	if err := c.spares.observe(o); err != nil {
		return "", err
	}
	return o.Spec.NodeName, nil
}
