package kube

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// translate turns an error of the API server into one of package function, naming the thing it is about. Errors that are
// ours already, and nil, pass.
func translate(err error, kind, name string) error {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		if err == nil || ours(err) {
			return err
		}
		return unavailable(kind, name, err) // there was no answer
	}
	switch message := oneLine(status.Status().Message); {
	case apierrors.IsNotFound(err) && kind != "namespace" && aboutNamespace(status):
		return function.Invalidf("namespace %q does not exist", status.Status().Details.Name)
	case apierrors.IsNotFound(err), apierrors.IsGone(err):
		return function.NotFoundf("%s %q not found", kind, name)
	case apierrors.IsAlreadyExists(err):
		return function.Existsf("%s %q exists", kind, name)
	case apierrors.IsConflict(err):
		return fmt.Errorf("%s %q: %w", kind, name, function.ErrConflict)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err), refusedByPolicy(err):
		return function.Invalidf("%s %q: %s", kind, name, message)
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err),
		apierrors.IsInternalError(err):
		return unavailable(kind, name, err)
	}
	return fmt.Errorf("%s %q: %w", kind, name, err)
}

func unavailable(kind, name string, err error) error {
	return fmt.Errorf("%s %q: %w: %w", kind, name, function.ErrUnavailable, err)
}

// aboutNamespace tells that it is the namespace of a thing that was not found.
func aboutNamespace(status apierrors.APIStatus) bool {
	details := status.Status().Details
	return details != nil && details.Kind == "namespaces"
}

// refusedByPolicy tells a quota or an admission rule, which the caller can do something about, from permissions that the
// provider lacks.
func refusedByPolicy(err error) bool {
	if !apierrors.IsForbidden(err) {
		return false
	}
	message := err.Error()
	return strings.Contains(message, "exceeded quota") || strings.Contains(message, "denied the request") ||
		strings.Contains(message, "is being terminated")
}

func ours(err error) bool {
	return errors.Is(err, function.ErrInvalid) || errors.Is(err, function.ErrNotFound) ||
		errors.Is(err, function.ErrExists) || errors.Is(err, function.ErrConflict)
}
