package kube

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestTranslate(t *testing.T) {
	functions := schema.GroupResource{Group: "openfaas.com", Resource: "functions"}
	status := func(code int32, reason metav1.StatusReason, message string) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Code: code, Reason: reason, Message: message}}
	}
	for _, test := range []struct {
		name string
		err  error
		want error // nil: none of ours
		text string
	}{
		{"none", nil, nil, ""},
		{"absent", apierrors.NewNotFound(functions, "cow"), function.ErrNotFound, `function "cow" not found`},
		{"in a namespace that is absent", apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "dev"), function.ErrInvalid, `namespace "dev" does not exist`},
		{"taken", apierrors.NewAlreadyExists(functions, "cow"), function.ErrExists, `function "cow" exists`},
		{"lost a race", apierrors.NewConflict(functions, "cow", errors.New("modified")), function.ErrConflict, "changed by somebody else"},
		{"refused by the schema", status(422, metav1.StatusReasonInvalid, "spec.name:\n too long"), function.ErrInvalid, "spec.name: too long"},
		{"over the quota", status(403, metav1.StatusReasonForbidden, "exceeded quota: small"), function.ErrInvalid, "exceeded quota"},
		{"refused by an admission rule", status(403, metav1.StatusReasonForbidden, `admission webhook "x" denied the request: no`), function.ErrInvalid, "denied the request"},
		{"a permission that the provider lacks", status(403, metav1.StatusReasonForbidden, "cannot create resource"), nil, "cannot create resource"},
		{"out of order", status(http.StatusInternalServerError, metav1.StatusReasonInternalError, "etcd"), function.ErrUnavailable, "etcd"},
		{"busy", status(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "later"), function.ErrUnavailable, "later"},
		{"no answer", context.DeadlineExceeded, function.ErrUnavailable, "deadline"},
		{"ours already", function.Invalidf("mend this"), function.ErrInvalid, "mend this"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := translate(test.err, "function", "cow")
			if (got == nil) != (test.err == nil) {
				t.Fatalf("got %v", got)
			}
			if got == nil {
				return
			}
			if test.want != nil && !errors.Is(got, test.want) || test.want == nil && ours(got) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if !strings.Contains(got.Error(), test.text) || strings.Contains(got.Error(), "\n") {
				t.Errorf("got %q, want %q", got, test.text)
			}
		})
	}
}
