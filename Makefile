# dc-provider: build, run and test. `make help` lists the targets.
#
# With KUBECONFIG set, up, test-e2e, install, demo and down use that cluster and make none. `make load` then needs LOAD_CMD, a
# command that takes an image archive as its last argument, such as `kind load image-archive`. HELM_ARGS goes to helm as it is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# --- choices, to be given on the command line ---------------------------------------------------------------------------
NODES        ?= 1
CLUSTER      ?= dc
GATEWAY_PORT ?= 8080
API_PORT     ?= 6443
FUZZTIME     ?= 5s
SCENARIOS    ?= .*
ROUNDS       ?=

# --- pinned versions; Kubernetes, etcd, CoreDNS and helm are pinned by dev/kubernetes/go.mod ------------------------------
CONTAINERD_VERSION  := v2.2.1
STATICCHECK_VERSION := v0.8.2

ifneq ($(filter $(CLUSTER),bench bin cache external images stamp),)
$(error CLUSTER=$(CLUSTER): .dev/$(CLUSTER) is used for something else)
endif

DEV   := $(CURDIR)/.dev
BIN   := $(DEV)/bin
STAMP := $(DEV)/stamp
export PATH := $(BIN):$(PATH)
export CLUSTER GATEWAY_PORT LOAD_CMD HELM_ARGS

# A kubeconfig from .dev/env is that of our own cluster, not one that the user brought.
export EXTERNAL := $(filter-out $(DEV)/%,$(KUBECONFIG))

DEVCLUSTER := $(BIN)/devcluster
VERSION    := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT     := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
MODULES     = $(shell find . -name go.mod -not -path './.dev/*' -printf '%h\n' | sort)
# dev/kubernetes has a few lines and no test, and to vet or race them would compile all of Kubernetes anew, ten minutes of it.
OWN         = $(filter-out ./dev/kubernetes,$(MODULES))

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- everything ---------------------------------------------------------------------------------------------------------

.PHONY: up
up: packages tools build images cluster load-images install demo ## everything, from a bare machine to invoked examples
	@dev/hints.sh

.PHONY: down
down: ## take all of it away; caches stay
	@dev/down.sh

.PHONY: clean
clean: down ## down, and the caches and binaries too
	rm -rf $(DEV) bin

# --- building -----------------------------------------------------------------------------------------------------------

.PHONY: build
build: ## compile static bin/dc-provider and bin/dc-watchdog
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)" -o bin/ ./cmd/...
	@ls -l bin | awk 'NR > 1 {printf "  bin/%-12s %6.1f MB\n", $$NF, $$5 / 1e6}'

.PHONY: images
images: build ## build the images of the provider and the examples, without Docker
	cd dev/images && CGO_ENABLED=0 go run . -C $(CURDIR)

# --- the dev cluster ----------------------------------------------------------------------------------------------------

.PHONY: packages
packages: ## install the Debian packages that are missing
	@dev/packages.sh

.PHONY: test-packages
test-packages:
	@dev/packages.sh --tests

.PHONY: cluster
cluster: packages tools ## a real Kubernetes and nothing on it; NODES=2, CLUSTER=name
ifeq ($(EXTERNAL),)
	$(DEVCLUSTER) up --root $(DEV) --name $(CLUSTER) --nodes $(NODES) --gateway-port $(GATEWAY_PORT) --api-port $(API_PORT)
else
	@echo "using the cluster of KUBECONFIG=$(KUBECONFIG)"
endif

.PHONY: status
status: ## what of the cluster runs
	@$(DEVCLUSTER) status --root $(DEV) --name $(CLUSTER)

.PHONY: load
load: ## import an image archive (docker or OCI) into every node: TAR=file
	@test -n "$(TAR)" || { echo "usage: make load TAR=image.tar" >&2; exit 2; }
	@dev/load.sh $(TAR)

.PHONY: load-images
load-images:
	@dev/load.sh $(DEV)/images/*.tar

.PHONY: install
install: ## install or upgrade the chart
	@dev/install.sh

.PHONY: demo
demo: ## deploy the examples and invoke them
	@dev/demo.sh

.PHONY: exec
exec: ## run a command inside the cluster's network: CMD='curl -s $OPENFAAS_URL/healthz'
	@# The value as it was typed: make would take the command's dollars for its own.
	@dev/exec.sh '$(subst ','\'',$(value CMD))'

# --- tests --------------------------------------------------------------------------------------------------------------

.PHONY: test
test: test-packages lint test-unit test-fuzz test-dev test-e2e ## all tests, unit to end to end, on clusters of their own

.PHONY: lint
lint: tools $(STAMP)/staticcheck-$(STATICCHECK_VERSION) ## gofmt, go vet, staticcheck and helm lint
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
		test -z "$$unformatted" || { echo "not gofmt'd:" $$unformatted >&2; exit 1; }
	@for m in $(OWN); do echo "==> vet, staticcheck $$m"; (cd $$m && go vet ./... && staticcheck ./...); done
	helm lint --quiet chart
	@! helm template chart --set replicas=2 >/dev/null 2>&1 || { echo "the chart takes two providers on one file" >&2; exit 1; }

.PHONY: test-unit
test-unit: test-packages ## unit tests of every module, with the race detector
	@for m in $(OWN); do echo "==> test $$m"; (cd $$m && \
		CGO_ENABLED=1 go test -race -timeout 20m $$(go list ./... | grep -v -e '/test/e2e$$')); done
	@echo "==> test pkg/http1 with its own system calls, and what is not so with the race detector"; \
		go test ./pkg/http1 && go test -run AllocatesNothing ./pkg/proxy
	@echo "==> test examples/balance"; python3 -B -m unittest discover -s examples/balance

.PHONY: test-fuzz
test-fuzz: ## every fuzz target for FUZZTIME
	@dev/fuzz.sh $(FUZZTIME)

.PHONY: test-dev
test-dev: packages tools ## the dev cluster itself: two nodes, kill -9 of each process, no trace
	cd dev/cluster && go test -count=1 -timeout 10m -tags cluster -run TestCluster -v . -root $(DEV)

.PHONY: test-soak
test-soak: ## the watchdog under 10,000 invocations of every kind, and with bodies of 1 GiB; providers and stores under 250 kills each, and power cuts; test-books
	go test -C test/model -count=1 -timeout 60m -v . -bolt 200 -postgres 50
	BOLT_POWER_CUTS=10000 go test -count=1 -timeout 60m -run TestPowerLoss -v ./pkg/heapstore/bolt
	HEAPSTORETEST_QUEUE_ROUNDS=200 go test -count=1 -timeout 60m -run 'TestBolt/queue:_a_kill' -v ./pkg/heapstore/bolt
	HEAPSTORETEST_QUEUE_ROUNDS=50 go test -count=1 -timeout 60m -run 'TestPostgres/queue:_a_kill' -v ./pkg/heapstore/postgres
	go test -count=1 -timeout 10m -run 'TestSoak|LongBodies' -v ./pkg/watchdog -soak 10000 -long
	@$(MAKE) test-books

.PHONY: test-books
test-books: ## 10,000 transfers of the balance sheet and 40 kills, serial and with compare-and-set: the books are balanced
	BOOKS_TRANSFERS=10000 BOOKS_KILLS=40 BOOKS_HTTP=1 go test -count=1 -timeout 60m -run 'TestBooks$$' -v ./cmd/dc-provider

.PHONY: bench
bench: ## measure ours beside theirs, 10 minutes, with a cluster 30: SCENARIOS='watchdog/.*' ROUNDS=5, BENCH_FLAGS='-d 3s', -list, -full (an hour)
	@dev/packages.sh bench
	@dev/bench.sh -run '$(SCENARIOS)' $(if $(ROUNDS),-n $(ROUNDS)) $(BENCH_FLAGS)

.PHONY: test-e2e
test-e2e: test-packages tools images ## end to end, on a cluster that comes and goes with the test
	@dev/e2e.sh

# --- tools, compiled once into .dev/bin -----------------------------------------------------------------------------------
# A stamp's name carries the version, so that a new pin compiles and nothing else does.

KUBERNETES_STAMP := $(STAMP)/kubernetes
CONTAINERD_STAMP := $(STAMP)/containerd-$(CONTAINERD_VERSION)

.PHONY: tools
tools: $(KUBERNETES_STAMP) $(CONTAINERD_STAMP) $(DEVCLUSTER) ## compile what the dev cluster consists of

# One build for the servers and their clients: they share most of what there is to compile.
$(KUBERNETES_STAMP): $(wildcard dev/kubernetes/*.go dev/kubernetes/*/*.go dev/kubernetes/go.*) dev/kubernetes/build.sh
	@echo "==> compiling etcd, Kubernetes, CoreDNS, kubectl and helm: about five minutes, once"
	@mkdir -p $(BIN) $(STAMP)
	@dev/progress.sh dev/kubernetes/build.sh $(BIN)
	@touch $@

$(CONTAINERD_STAMP):
	@echo "==> compiling containerd: about a minute, once"
	@mkdir -p $(BIN) $(STAMP)
	@CGO_ENABLED=0 GOBIN=$(BIN) dev/progress.sh go install -trimpath -ldflags "-s -w" -tags no_btrfs,no_devmapper,no_zfs \
		$(foreach c,containerd containerd-shim-runc-v2 ctr,github.com/containerd/containerd/v2/cmd/$(c)@$(CONTAINERD_VERSION))
	@touch $@

$(STAMP)/staticcheck-$(STATICCHECK_VERSION):
	@mkdir -p $(BIN) $(STAMP)
	CGO_ENABLED=0 GOBIN=$(BIN) go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	@touch $@

$(DEVCLUSTER): $(shell find dev/cluster -name '*.go' -not -name '*_test.go') dev/cluster/go.mod
	@mkdir -p $(BIN)
	cd dev/cluster && CGO_ENABLED=0 go build -trimpath -o $@ . && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $(BIN)/pause ./pause
