# dc-provider: build, run and test. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# --- choices -----------------------------------------------------------------------------------------------------------
NODES        ?= 1
CLUSTER      ?= dc
GATEWAY_PORT ?= 8080
API_PORT     ?= 6443

# --- pinned versions ---------------------------------------------------------------------------------------------------
# Kubernetes, etcd and CoreDNS are pinned by dev/kubernetes/go.mod.
CONTAINERD_VERSION  := v2.2.1
HELM_VERSION        := v3.19.0
KUBERNETES_VERSION  := v1.36.3

DEV     := $(CURDIR)/.dev
BIN     := $(DEV)/bin
STAMP   := $(DEV)/stamp
export PATH := $(BIN):$(PATH)
export CGO_ENABLED ?= 0

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- tools, built once into .dev/bin ------------------------------------------------------------------------------------
# A stamp carries the version, so a new pin rebuilds and nothing else does.

KUBERNETES_STAMP := $(STAMP)/kubernetes-$(KUBERNETES_VERSION)
CONTAINERD_STAMP := $(STAMP)/containerd-$(CONTAINERD_VERSION)
HELM_STAMP       := $(STAMP)/helm-$(HELM_VERSION)

.PHONY: tools
tools: $(KUBERNETES_STAMP) $(CONTAINERD_STAMP) $(HELM_STAMP) $(BIN)/devcluster ## compile what the dev cluster runs (once)

KUBE_LDFLAGS := -s -w $(foreach p,k8s.io/component-base/version k8s.io/client-go/pkg/version,\
	-X $(p).gitVersion=$(KUBERNETES_VERSION) -X $(p).gitMajor=1 -X $(p).gitMinor=$(word 2,$(subst ., ,$(KUBERNETES_VERSION))))

$(KUBERNETES_STAMP): $(shell find dev/kubernetes -name '*.go' -o -name 'go.*')
	@echo "==> compiling Kubernetes, etcd, CoreDNS, kubectl (minutes the first time)"
	@mkdir -p $(BIN) $(STAMP)
	cd dev/kubernetes && go build -trimpath -ldflags "$(KUBE_LDFLAGS)" -o $(BIN)/ . ./kubectl ./coredns
	@touch $@

CONTAINERD_TAGS := no_btrfs,no_devmapper,no_zfs
$(CONTAINERD_STAMP):
	@echo "==> compiling containerd"
	@mkdir -p $(BIN) $(STAMP)
	GOBIN=$(BIN) go install -trimpath -ldflags "-s -w" -tags $(CONTAINERD_TAGS) \
		$(foreach c,containerd containerd-shim-runc-v2 ctr,github.com/containerd/containerd/v2/cmd/$(c)@$(CONTAINERD_VERSION))
	@touch $@

$(HELM_STAMP):
	@echo "==> compiling helm"
	@mkdir -p $(BIN) $(STAMP)
	GOBIN=$(BIN) go install -trimpath -ldflags "-s -w" helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)
	@touch $@

$(BIN)/devcluster: $(shell find dev/cluster -name '*.go' -o -name 'go.*')
	@mkdir -p $(BIN)
	cd dev/cluster && go build -trimpath -o $(BIN)/ . ./pause
	@mv $(BIN)/cluster $@
