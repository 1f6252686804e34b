package handlers

import (
	"context"
	"net/http"
	"slices"

	"github.com/openfaas/faas-provider/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func (a *API) listSecrets(w http.ResponseWriter, r *http.Request) error {
	namespace, err := a.namespace(r, "")
	if err != nil {
		return err
	}
	names, err := a.cfg.Secrets.ListSecrets(r.Context(), namespace)
	if err != nil {
		return err
	}
	// Not nil: clients need [] where there is none.
	secrets := []types.Secret{}
	for _, name := range slices.Sorted(slices.Values(names)) {
		secrets = append(secrets, types.Secret{Name: name, Namespace: namespace})
	}
	return answerJSON(w, secrets)
}

func (a *API) createSecret(w http.ResponseWriter, r *http.Request) error {
	return a.writeSecret(w, r, a.cfg.Secrets.CreateSecret)
}

func (a *API) updateSecret(w http.ResponseWriter, r *http.Request) error {
	return a.writeSecret(w, r, a.cfg.Secrets.UpdateSecret)
}

func (a *API) writeSecret(w http.ResponseWriter, r *http.Request, write func(ctx context.Context, namespace, name string, value []byte) error) error {
	secret, namespace, err := a.secret(w, r)
	if err != nil {
		return err
	}
	// faas-cli secret create --from-file sends both: the raw bytes, and what is left of them as text.
	value := secret.RawValue
	if len(value) == 0 {
		value = []byte(secret.Value)
	}
	return answered(w, http.StatusAccepted, write(r.Context(), namespace, secret.Name, value))
}

func (a *API) deleteSecret(w http.ResponseWriter, r *http.Request) error {
	secret, namespace, err := a.secret(w, r)
	if err != nil {
		return err
	}
	return answered(w, http.StatusAccepted, a.cfg.Secrets.DeleteSecret(r.Context(), namespace, secret.Name))
}

// secret reads the secret that a request is about, with its name checked, and the namespace.
func (a *API) secret(w http.ResponseWriter, r *http.Request) (types.Secret, string, error) {
	secret, err := decodeUpTo[types.Secret](w, r, maxSecretBodyBytes)
	if err != nil {
		return types.Secret{}, "", err
	}
	namespace, err := a.namespace(r, secret.Namespace)
	if err != nil {
		return types.Secret{}, "", err
	}
	return secret, namespace, function.CheckSecretName(secret.Name)
}
