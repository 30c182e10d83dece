# Thin: one command per line. Every build has the same features, so that the AWS SDK is compiled once (README, "What a build costs").
SHELL := /bin/bash
# Property tests draw the same in every run; another number looks elsewhere: `make test PROPTEST_RNG_SEED=2`.
export PROPTEST_RNG_SEED ?= 1
.DEFAULT_GOAL := help

SAWHORSE = $(or $(CARGO_TARGET_DIR),target)/debug/sawhorse
# What tests need that run on real programs.
REAL = sawhorse-e2e/real-kubernetes,sawhorse/real-kubernetes
SCENARIOS = $(sort $(wildcard e2e/scenarios/*.yaml))

# What the scenarios run on: `make e2e CONTROL_PLANE=binaries` for real programs, which are built if none are given; `kind` for clusters in docker.
CONTROL_PLANE ?= embedded
CACHE = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sawhorse
PROGRAMS = $(CACHE)/kubernetes
ifeq ($(origin KUBEBUILDER_ASSETS), undefined)
export KUBEBUILDER_ASSETS := $(PROGRAMS)
BUILT_PROGRAMS = kubernetes
endif
RUN = $(SAWHORSE) run --control-plane $(CONTROL_PLANE)
# Further options of `sawhorse run`: `make e2e OPTIONS="--jobs 1"`.
OPTIONS ?=
ifeq ($(CONTROL_PLANE), kind)
RUN = e2e/control-plane/kind/with-docker e2e/control-plane/kind/suite $(SAWHORSE) $(PROGRAMS)
endif

.PHONY: help build e2e e2e-large test check lint fmt crds bench bench-cost bench-moto problem reference kubernetes manifests test-kubernetes judge scale test-clients

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## The binary, with the features that the tests have
	cargo build --workspace --lib --bins --test scenarios

e2e: ## The whole loop: every scenario, then a table; CONTROL_PLANE=binaries or kind for a real one
	@# Side by side: a crate that keeps one core busy for minutes is on the way to the binary.
	$(MAKE) --jobs=2 build $(if $(filter binaries,$(CONTROL_PLANE)),$(BUILT_PROGRAMS))
	$(RUN) $(OPTIONS) $(SCENARIOS)

e2e-large: SCENARIOS = $(sort $(wildcard e2e/scenarios/large/*.yaml))
e2e-large: e2e ## Those with hundreds of machines, a thousand pods or a night to wait for, in virtual time (two minutes or three)

kubernetes: ## Builds etcd, the control plane's programs, kubectl and helm from their Go modules (some 10 CPU minutes, once)
	e2e/control-plane/build $(KUBEBUILDER_ASSETS)

test: ## Every test
	cargo test --workspace

lint: ## Formatting, clippy and, where cargo-deny is there, the dependency policy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features $(REAL) -- -D warnings
	@# It is no test, so that it is not among all targets.
	cargo clippy --workspace --features $(REAL) --test scale -- -D warnings
	$(if $(shell command -v cargo-deny),cargo deny check bans licenses sources,@echo "skipped: the dependency policy (cargo-deny is not there)")

check: lint test ## What must hold before a commit

fmt: ## Formats everything
	cargo fmt --all

crds: build ## Writes controller/crds from the types
	$(SAWHORSE) crds --out controller/crds

# The reference as a Go program, where Go is there; without it the tables have ours alone and say so.
REFERENCE = $(abspath $(or $(CARGO_TARGET_DIR),target))/reference/karpenter
BESIDE = $(if $(shell command -v go),--reference $(REFERENCE))

reference:
	$(if $(BESIDE),cd controller/benches/karpenter && go build -o $(REFERENCE) .,@echo "skipped: the reference (Go is not there)")

bench: reference ## Figures of the core, beside the reference's, of the API server, and of the fake cloud, beside moto_server's
	cargo bench -p sawhorse-core --bench problems -- speed $(BESIDE) $(ARGS)
	cargo bench -p sawhorse-core --bench problems -- disruption $(BESIDE) $(ARGS)
	cargo bench -p sawhorse-core --bench solve
	cargo bench -p sawhorse-kwok --bench apiserver
	cargo bench -p sawhorse-fake-cloud --bench requests
	$(MAKE) bench-moto

bench-cost: reference ## Prices of 400 problems, and of 40 clusters at a standstill, beside the lower bound and the reference's; ARGS="--only spread --worst 5"
	cargo bench -p sawhorse-core --bench problems -- cost $(BESIDE) $(ARGS)
	cargo bench -p sawhorse-core --bench problems -- standstill $(BESIDE) $(ARGS)

problem: ## Prints a problem for `sawhorse solve`: make -s problem NAME=spread-17
	@cargo run --quiet -p sawhorse-problems -- $(NAME)

manifests: $(BUILT_PROGRAMS) ## Writes controller/deploy/controller.yaml from the Helm chart
	controller/deploy/render $(KUBEBUILDER_ASSETS)/helm > controller/deploy/controller.yaml

test-kubernetes: $(BUILT_PROGRAMS) ## Tests on a real control plane, of the chart and of the manifests
	cargo test --workspace --features $(REAL) --test kubernetes
	cargo test --workspace --features $(REAL) --test kube_scheduler -- --skip kube_scheduler_accepts
	time cargo test --workspace --features $(REAL) --test kubectl -- --nocapture
	time cargo test --workspace --features $(REAL) --test differential -- --nocapture
	time cargo test --workspace --no-fail-fast --features $(REAL) --test leader_election

judge: $(BUILT_PROGRAMS) ## kube-scheduler judges 200 worlds that the core decided; JUDGE_SEED=1 for others
	cargo test --workspace --features $(REAL) --test kube_scheduler -- --nocapture kube_scheduler_accepts

scale: $(BUILT_PROGRAMS) ## A thousand pods out and back, 5,000 nodes held beside KWOK: figures (some 20 minutes; PARTS="--part held --seconds 60" for less)
	e2e/control-plane/build $(PROGRAMS) kwok
	cargo test --workspace --features $(REAL) --test scale -- --kwok $(PROGRAMS) $(PARTS)

bench-moto: ## The fake cloud beside moto_server in one run, both in throw-away surroundings; needs a release build
	cargo build --release -p sawhorse
	fake-cloud/tests/clients/beside_moto.sh $(or $(CARGO_TARGET_DIR),target)/release/sawhorse

test-clients: build ## boto3, aws, aws-sdk-go-v2 and a browser against the fake cloud, in throw-away surroundings
	fake-cloud/tests/clients/run.sh $(SAWHORSE)
