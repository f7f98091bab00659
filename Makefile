# Every verb of the project. `make` alone lists them.

SETUP := python3 tools/setup.py
VENV_PYTHON = "$$($(SETUP) where python)"
PYTEST_ARGS ?=
# REGISTRY, TAG, VERSION and CHART reach the tools in the environment: in a recipe, a quote in one of them would end the string.
CHART ?= envoy/chart
export CHART
# The oldest and two between; the package of 1.38.3 has no V8, that of 1.38.2 has.
VERSIONS ?= 1.36.4 1.38.2 1.39.3

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup build wasm cli seal observability setup-observability no-std run stop rotate-demo test vectors test-all test-packages test-release test-core test-wasm e2e e2e-quick e2e-versions e2e-software e2e-matrix e2e-aws e2e-kubernetes e2e-istio e2e-envoy-gateway cluster cluster-shell matrix lint deny fuzz mutants miri fmt clean setup-python setup-quick setup-wasm setup-envoy setup-peers setup-aws preflight-aws preflight-packages setup-kubernetes setup-istio setup-envoy-gateway judge bench bench-core test-bench setup-bench bench-module hostile testing-modules faults soak size image image-reproducible image-digests push registry-login test-image setup-image chart-package chart-push release-notes release-files release-check published-digests github-release lint-workflows lint-packages packages setup-lint-packages

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the other verbs need; once is enough, and they do it themselves
	@$(SETUP)

build: ## compile the workspace for this machine
	cargo build --workspace
	@echo "build: the workspace compiles; the module for Envoy is made by 'make wasm', the operator's command by 'make cli'"

wasm: setup-wasm ## compile the module: build/jwt_reissuer.wasm
	@python3 tools/wasm.py build

cli: ## compile the operator's command: build/jwt-reissuer
	@cargo build --quiet --release --package jwt-reissuer-cli
	@mkdir -p build && cp "$${CARGO_TARGET_DIR:-target}/release/jwt-reissuer" build/jwt-reissuer.new && mv build/jwt-reissuer.new build/jwt-reissuer
	@echo "build/jwt-reissuer: $$(build/jwt-reissuer --version)"

image: setup-image ## build the OCI images, without a container engine: build/image; PINNED=1: only by the compiler and the optimizer of a release
	@python3 tools/image.py build $(if $(filter 1,$(PINNED)),pinned)

image-digests: ## the digests of the images of 'make image', as NAME=DIGEST
	@python3 tools/image.py digests

image-reproducible: setup-image ## build the images of the commit here and in two clones with homes of their own, and compare their digests
	@python3 tools/reproducible.py

push: ## push the images of 'make image', and read them back; REGISTRY=host/path, OVERWRITE=1 for a trial
	@$(SETUP) package-tools
	@python3 tools/push.py images $(if $(filter 1,$(OVERWRITE)),overwrite)

registry-login: ## log in to a registry with a password from standard input; REGISTRY=host/path REGISTRY_USER=name
	@$(SETUP) package-tools
	@python3 tools/push.py login

test-image: setup-python image ## push the images to a registry of this machine, read them back and run their programs
	@$(SETUP) package-tools qemu
	@$(VENV_PYTHON) -m pytest -c tests/image/pytest.ini tests/image $(PYTEST_ARGS)
	@echo "test-image: passed, with a registry of this machine"

chart-package: ## package the chart into build/; CHART=directory
	@$(SETUP) package-tools
	@mkdir -p build && "$$($(SETUP) where helm)" package "$$CHART" --destination build

chart-push: ## push the packaged chart to charts/ of a registry, and read it back; REGISTRY=host/path CHART=directory, OVERWRITE=1 for a trial
	@$(SETUP) package-tools
	@python3 tools/push.py chart $(if $(filter 1,$(OVERWRITE)),overwrite)

release-notes: ## the section of a version in CHANGELOG.md; VERSION=0.2.0
	@python3 tools/release.py notes

release-files: ## the files of a release with their SHA256SUMS: build/release
	@python3 tools/release.py files

release-check: ## check that a tag is the version's, the files are those of a commit, and the commit is on main; TAG=v0.2.0
	@python3 tools/release.py check

.PHONY: release-tools take-release-tools
release-tools: ## pack the tools that push, for a job that compiles nothing: build/release-tools.tar
	@$(SETUP) package-tools >&2
	@python3 tools/release.py tools

take-release-tools: ## install the tools of build/release-tools.tar; TOOLS_SHA256=its SHA-256
	@python3 tools/release.py take-tools

published-digests: ## the digests that were built, as NAME=DIGEST; a registry with others is an error; REGISTRY=host/path CHART=directory
	@$(SETUP) package-tools >&2
	@python3 tools/push.py digests

github-release: ## make a GitHub release of a tag with build/release, in the release workflow alone; TAG=v0.2.0
	@python3 tools/release.py github

size: wasm ## what takes the space in the module, by section, crate and function
	@python3 tools/size.py

seal: ## seal a keyring with $REISSUER_SEALING_KEY: openssl genrsa 2048 | make -s seal > signing-keys
	@cargo run --quiet --package seal

no-std: setup-wasm ## compile the core for a target without std
	@python3 tools/wasm.py no-std

run: $(if $(filter 1,$(KUBE)),setup-peers,setup-envoy) wasm judge ## a token reissued by a real Envoy, left up to play with; KUBE=1: a real API server's; CONFIG=file: your configuration
	@$(VENV_PYTHON) tests/e2e/demo.py run $(if $(filter 1,$(KUBE)),--kube) $(if $(CONFIG),--config '$(CONFIG)')

stop: ## stop what 'make run' left running
	@python3 tests/e2e/processes_of_run.py stop

rotate-demo: setup-envoy wasm ## a rotation of the signing key in fast motion, by the clock of a real Envoy
	@cd tests/e2e && $$(cd ../.. && $(SETUP) where python) rotation_demo.py

test: test-core no-std e2e-quick ## core, host, and a real Envoy with a stand-in for the cluster
	@echo "test: passed: core, host, the core without std, and the quick end-to-end tests; 'make test-all' adds the core in wasm, a real kube-apiserver, AWS and alerts"

test-all: lint deny test-core test-wasm no-std e2e test-bench vectors observability e2e-aws ## 'test' with every peer real: kube-apiserver and AWS; vectors, alerts, lint and licences
	@echo "test-all: passed; 'make test-packages' adds images, charts and control planes, 'make test-release' older Envoys, software crypto, long fuzzing, mutants, hostile load, soak and benches"

test-packages: lint-packages lint-workflows test-image e2e-kubernetes e2e-istio e2e-envoy-gateway ## the chart on each real control plane, its checks without a cluster, the images and the workflows
	@echo "test-packages: passed"

test-release: test-all test-packages matrix e2e-software e2e-matrix fuzz mutants miri hostile soak bench ## 'test-all' and what takes hours: older Envoys, fuzzing, mutants, Miri, hostile load, soak, benches
	@echo "test-release: passed"

test-core: ## tests that need no server
	cargo test --workspace
	@echo "test-core: passed"

test-wasm: setup-wasm setup-envoy ## the core's tests compiled to wasm, as the module is
	@python3 tools/wasm.py test
	@echo "test-wasm: passed"

e2e-quick: setup-quick wasm cli testing-modules judge ## the quick part of 'e2e', with a stand-in for the cluster
	@cd tests/e2e && $$(cd ../.. && $(SETUP) where python) -m pytest -q --stand-in -m "not full" $(PYTEST_ARGS)
	@echo "e2e-quick: passed, on a real Envoy with a stand-in for the cluster"

e2e: setup-peers wasm cli testing-modules judge ## a real Envoy against a real kube-apiserver; PYTEST_ARGS="-k name" for some of it
	@cd tests/e2e && $$(cd ../.. && $(SETUP) where python) -m pytest $(PYTEST_ARGS)
	@echo "e2e: passed, on a real Envoy and a real kube-apiserver"

e2e-versions: ## 'e2e' on older Envoys, which sign nothing (1.36) or have an older engine; VERSIONS="1.36.4" for one
	@for version in $(VERSIONS); do echo "Envoy $$version"; ENVOY_VERSION=$$version $(MAKE) --no-print-directory e2e || exit 1; done
	@echo "e2e-versions: passed on Envoy $(VERSIONS)"

# Tests of signatures, keys and the bootstrap.
MATRIX := test_reissue.py test_refusals.py test_vectors.py test_wycheproof.py test_rotation.py test_signing_keys.py

e2e-software: ## those of 'e2e' about signatures and keys, without Envoy's own crypto
	@REISSUER_CRYPTO=software $(MAKE) --no-print-directory e2e PYTEST_ARGS="$(MATRIX)"
	@echo "e2e-software: passed, with every signature made and checked in the module"

e2e-matrix: ## those of 'e2e' about signatures and keys, on older Envoys
	@$(MAKE) --no-print-directory e2e-versions PYTEST_ARGS="$(MATRIX)"

# Envoys that `make matrix` tries.
MATRIX_VERSIONS ?= 1.36.4 1.37.0 1.38.2 1.39.3 1.40.0

matrix: setup-envoy wasm testing-modules ## what works on each Envoy from 1.36 on, by trying it; WRITE=1 for docs/older-envoys.md
	@for version in $(MATRIX_VERSIONS); do ENVOY_VERSION=$$version $(SETUP) envoy > /dev/null || exit 1; done
	@cd tests/e2e && $$(cd ../.. && $(SETUP) where python) matrix.py $(if $(filter 1,$(WRITE)),write) $(MATRIX_VERSIONS)
	@echo "matrix: tried on Envoy $(MATRIX_VERSIONS)"

faults: setup-envoy wasm ## those of 'e2e' that inject faults A01 to A12 into a real Envoy, and a table of what came of each
	@cd tests/e2e && $$(cd ../.. && $(SETUP) where python) -m pytest -q --every-fault test_faults_*.py $(PYTEST_ARGS)
	@echo "faults: every one came to what it should"

vectors: setup-wasm setup-peers wasm testing-modules ## count every test vector: in the core, in wasm, in a real Envoy
	@python3 tools/vectors.py $(if $(filter 1,$(WRITE)),write)

e2e-aws: preflight-aws setup-aws wasm judge ## the whole walk to AWS, by unmodified clients and servers that verify; prints each step
	@exec $(VENV_PYTHON) tests/aws/namespace.py -c tests/aws/pytest.ini tests/aws $(PYTEST_ARGS)
	@echo "e2e-aws: passed, with the aws CLI and boto3 against versitygw and MinIO, and a second kube-apiserver"

e2e-kubernetes: preflight-packages setup-kubernetes image cli judge ## the chart's own Envoy: docs/envoy.md, split installs, an issuer that is a bucket; and a dry run of every variant; prints each step
	@exec $(VENV_PYTHON) tests/packages/namespace.py -c tests/packages/pytest.ini tests/packages/test_cluster.py tests/packages/test_envoy.py tests/packages/test_dry_run.py $(PYTEST_ARGS)
	@echo "e2e-kubernetes: passed, on a real Envoy and a real kube-apiserver"

e2e-envoy-gateway: preflight-packages setup-envoy-gateway image cli testing-modules judge ## docs/envoy-gateway.md on the real controller, a real kube-apiserver and a real Envoy; prints each step
	@exec $(VENV_PYTHON) tests/packages/namespace.py -c tests/packages/pytest.ini tests/packages/test_envoy_gateway.py tests/packages/test_envoy_gateway_failures.py tests/packages/test_envoy_gateway_tenants.py $(PYTEST_ARGS)
	@echo "e2e-envoy-gateway: passed, by the chart as it is shipped"

e2e-istio: preflight-packages setup-istio image cli testing-modules judge ## the chart on a real Istio: docs/istio.md, a shared gateway, an attack, AWS; prints each step
	@exec $(VENV_PYTHON) tests/packages/namespace.py -c tests/packages/pytest.ini tests/packages/test_istio.py tests/packages/test_istio_shared.py tests/packages/test_istio_kubernetes_gateway.py $(PYTEST_ARGS)
	@echo "e2e-istio: passed, on a real istiod, its gateways and a real kube-apiserver"

cluster: preflight-packages setup-$(or $(WITH),kubernetes) image cli ## a cluster on this machine to try the chart on, until Ctrl-C; WITH=istio, WITH=envoy-gateway
	@exec $(VENV_PYTHON) tests/packages/up.py $(or $(WITH),kubernetes)

cluster-shell: ## enter the cluster of 'make cluster', with kubectl, helm and jwt-reissuer; RUN='command' for one command
	@pid=$$(pgrep -n -f '[p]ackages/up.py inside') || { echo "no cluster is up: run 'make cluster'"; exit 1; }; \
		exec nsenter -t "$$pid" -n -m -p --wd="$$PWD" bash -c '. run/cluster/env; $(or $(RUN),exec bash)'

observability: setup-observability wasm ## rules and dashboard: promtool, and a real Prometheus over a real Envoy; WRITE=1 draws docs/operations.svg anew
	@$(VENV_PYTHON) -m pytest -c tests/observability/pytest.ini tests/observability $(PYTEST_ARGS)
	@PYTHONPATH=tests/e2e $(VENV_PYTHON) tests/observability/picture.py $(if $(filter 1,$(WRITE)),write)
	@echo "observability: passed, by promtool and a real Prometheus"

lint: setup-python ## formatting and warnings
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo fmt --manifest-path tests/eavesdropper/Cargo.toml --check
	cargo fmt --manifest-path tests/host_verifier/Cargo.toml --check
	cargo fmt --manifest-path benches/host_crypto/Cargo.toml --check
	cargo fmt --manifest-path benches/software_crypto/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --package jwt-reissuer-envoy --features trap -- -D warnings
	cargo clippy --manifest-path fuzz/Cargo.toml --target-dir target/fuzz-lint --all-targets -- -D warnings
	cargo clippy --manifest-path tests/eavesdropper/Cargo.toml --target-dir target/testing -- -D warnings
	cargo clippy --manifest-path tests/host_verifier/Cargo.toml --target-dir target/testing -- -D warnings
	cargo clippy --manifest-path benches/host_crypto/Cargo.toml --target-dir target/testing -- -D warnings
	cargo clippy --manifest-path benches/software_crypto/Cargo.toml --target-dir target/testing -- -D warnings
	$(VENV_PYTHON) -m ruff check --quiet --select F tools tests
	@echo "lint: formatted, and no warnings"

lint-workflows: ## the workflows of GitHub Actions, by actionlint and zizmor
	@$(SETUP) package-tools zizmor
	@"$$($(SETUP) where actionlint)" -color=false .github/workflows/*.yml
	@"$$($(SETUP) where zizmor)" --offline --no-progress --persona=pedantic .github
	@echo "lint-workflows: nothing to mend"

lint-packages: setup-lint-packages ## chart, bases and samples, without a cluster: helm lint, schemas of each version, istioctl, kustomize
	@$(VENV_PYTHON) -m pytest -c tests/manifests/pytest.ini tests/manifests $(PYTEST_ARGS)
	@echo "lint-packages: passed, by helm, kubeconform, istioctl and kustomize"

packages: ## render the kustomize bases under envoy/ from the chart
	@$(SETUP) package-tools
	@python3 tools/packages.py write

deny: ## licences, sources and known vulnerabilities of what is depended on
	@$(SETUP) cargo-deny
	@python3 tools/deny.py

fuzz: ## search for inputs that break a rule, with a nightly Rust; FUZZ_SECONDS=60 each, FUZZ_TARGET=token for one, keep to keep what was found
	@python3 tools/fuzz.py check
	@$(SETUP) cargo-fuzz
	@python3 tools/fuzz.py $(FUZZ_TARGET)

mutants: ## break the core in one place at a time and see whether a test notices; MUTANTS_FILE=src/token.rs for one
	@$(SETUP) cargo-mutants
	@python3 tools/mutants.py $(MUTANTS_FILE)

miri: ## tests of the core in Miri, which sees undefined behaviour in what is depended on; with a nightly Rust
	@python3 tools/miri.py

bench: setup-bench wasm bench-module ## what a request costs in a real Envoy, beside its targets; ten minutes; QUICK=1, ROUNDS=n, SECONDS=n, SUBJECTS=1000000, SEED=the original's sources, WRITE=1 for docs/performance.md
	@PYTHONPATH=tests/e2e $(VENV_PYTHON) tests/bench/bench.py rounds=$(ROUNDS) seconds=$(SECONDS) subjects=$(SUBJECTS) 'seed=$(SEED)' quick=$(QUICK) write=$(WRITE)

test-bench: setup-bench ## that what 'bench' computes is right
	@$(VENV_PYTHON) -m pytest -q -c tests/bench/pytest.ini tests/bench $(PYTEST_ARGS)
	@echo "test-bench: passed"

bench-core: ## time and memory of the parts of a reissue in the core, and of hostile requests that are refused beside it
	cargo bench --package jwt-reissuer --bench reissue --bench refusals

hostile: setup-wasm setup-envoy wasm ## a million hostile requests to a real Envoy, whose memory must not grow; REQUESTS=100000 for fewer
	@$(VENV_PYTHON) tests/e2e/hostile.py $(REQUESTS)

soak: setup-envoy wasm judge $(if $(filter 1,$(TRAP)),testing-modules) ## load, faults and rotations at random on a real Envoy, and a model that judges every answer; MINUTES=30, SEED=n, TRAP=1
	@cd tests/e2e && $$(cd ../.. && $(SETUP) where python) soak.py minutes=$(MINUTES) seed=$(SEED) rate=$(RATE) trap=$(TRAP)

fmt: ## format the Rust code
	cargo fmt --all
	@echo "fmt: done"

clean: stop ## remove what was built here; what 'make setup' installed stays
	rm -rf target build run
	@echo "clean: target, build and run are gone"

setup-python:
	@$(SETUP) python

setup-wasm:
	@$(SETUP) wasm-toolchain binaryen

setup-image:
	@$(SETUP) wasm-toolchain binaryen image-toolchain cargo-cyclonedx

setup-envoy:
	@$(SETUP) python envoy

setup-quick:
	@$(SETUP) python envoy judges-node

setup-peers:
	@$(SETUP) python envoy kubernetes judges-node

# First of all, since the builds take minutes.
preflight-aws:
	@python3 tests/aws/namespace.py preflight

preflight-packages:
	@python3 tests/packages/namespace.py preflight

setup-lint-packages:
	@$(SETUP) python package-tools istiod package-schemas

setup-kubernetes:
	@$(SETUP) python envoy kubernetes package-tools package-schemas judges-node judges-go judges-java

setup-envoy-gateway:
	@$(SETUP) python envoy kubernetes istiod envoy-gateway package-tools judges-node judges-go judges-java

setup-istio:
	@$(SETUP) python envoy kubernetes package-tools istiod versitygw judges-node judges-go judges-java

setup-observability:
	@$(SETUP) python envoy prometheus

setup-aws:
	@$(SETUP) python envoy kubernetes versitygw minio judges-node judges-go judges-java

setup-bench:
	@$(SETUP) python envoy wrk

bench-module: setup-wasm
	@python3 tools/wasm.py bench

testing-modules: setup-wasm
	@python3 tools/wasm.py testing

judge:
	@cargo build --package judge
