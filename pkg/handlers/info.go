package handlers

import (
	"fmt"
	"net/http"
	"runtime"

	"github.com/openfaas/faas-provider/types"
)

// gatewayInfo is what clients read. Its provider is an object where a provider's own answer has a string, so that no one
// document serves both listeners. faas-cli crashes when one of its objects is missing.
type gatewayInfo struct {
	Provider types.ProviderInfo `json:"provider"`
	Version  types.VersionInfo  `json:"version"`
	Arch     string             `json:"arch"`
}

func (a *API) gatewayInfo(w http.ResponseWriter, _ *http.Request) error {
	return answerJSON(w, gatewayInfo{Provider: a.info(), Version: a.cfg.Version, Arch: runtime.GOARCH})
}

func (a *API) providerInfo(w http.ResponseWriter, _ *http.Request) error {
	return answerJSON(w, a.info())
}

func (a *API) info() types.ProviderInfo {
	return types.ProviderInfo{Name: "dc-provider", Version: &a.cfg.Version, Orchestration: "kubernetes"}
}

func (a *API) health(w http.ResponseWriter, r *http.Request) error {
	if err := a.cfg.Healthy(r.Context()); err != nil {
		return fmt.Errorf("%w: %w", ErrUnhealthy, err)
	}
	return answered(w, http.StatusOK, nil)
}
