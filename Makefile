# Two commands do everything: `make deterministic-run` and `make test`. `make help` lists the rest.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
EXPERIMENT ?= determinism_test
IMAGE ?= cpu
RUNS ?= 1
RELEASE ?=
BASELINE ?=
ARGS ?=

VENV = .venv
HARNESS = $(VENV)/bin/harness
INSIDE = build/inside

ifneq ($(filter release-check,$(MAKECMDGOALS)),)
ifeq ($(strip $(RELEASE)),)
$(error name the release: make release-check RELEASE=v1.3)
endif
endif

.DELETE_ON_ERROR:
.PHONY: help deterministic-run test lint types imports test-outside test-inside test-gpu engine release-check bench clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

# No engine is installed for an image that cannot run here.
deterministic-run: $(VENV)/.ready ## Build the image, train on real data inside it, print verdicts (RUNS=2 to repeat, IMAGE=, EXPERIMENT=, ARGS=)
	$(HARNESS) image runnable $(IMAGE)
	docker/ensure-engine.sh
	$(HARNESS) run --experiment-config $(EXPERIMENT) --image $(IMAGE) --runs $(RUNS) $(ARGS)

test: lint types imports test-outside test-inside ## Run everything: linters, types, import rules, all tests with the real engine

lint: $(VENV)/.ready-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.ready-dev
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy -p harness.strict -p harness.training --follow-imports=silent --python-executable "$$($(HARNESS) host-environment)"

imports: $(VENV)/.ready-dev
	$(VENV)/bin/lint-imports

# Two at a time (tests/conftest.py says which stay together), but for those that another run would disturb.
test-outside: $(VENV)/.ready-dev engine
	$(HARNESS) lock --check
	$(VENV)/bin/python -m pytest --ignore tests/strict --ignore tests/training -n 2 -m "not alone"
	$(VENV)/bin/python -m pytest tests/integration -m alone

# The rooms that run inside are tested with the libraries of the image's lock, in the host engine's environment.
test-inside: $(VENV)/.ready-dev $(INSIDE)/.ready
	HARNESS_TEST_PANEL="$$($(HARNESS) dataset sp500)" \
	PYTHONPATH=$(CURDIR):$(abspath $(INSIDE)) PYTHONDONTWRITEBYTECODE=1 "$$($(HARNESS) host-environment)" -m pytest -n 2 tests/strict tests/training tests/record/test_hashing.py

# With whichever python has torch for CUDA, XGBoost and pytest: make test-gpu PYTHON=/path/to/python
test-gpu: ## Test on this machine's NVIDIA GPU, without an engine (PYTHON= one with torch for CUDA and pytest)
	PYTHONPATH=$(CURDIR) "$(PYTHON)" -m pytest -rs tests/gpu

engine: $(VENV)/.ready
	docker/ensure-engine.sh

release-check: $(VENV)/.ready engine ## Check a release and write the page that its manager signs (RELEASE=v1.3, BASELINE=v1.2, ARGS=--first)
	$(HARNESS) release-check --release "$(RELEASE)" $(if $(BASELINE),--baseline "$(BASELINE)") $(ARGS)

bench: $(VENV)/.ready-dev engine ## Print the README's figures, as ratios
	$(VENV)/bin/python -m benchmarks

clean: ## Remove our containers and images from the engine, and the checkout's own environments
	[ ! -x $(HARNESS) ] || $(HARNESS) clean
	rm -rf $(VENV) build

$(VENV)/.ready: lockfiles/host.txt bin/make-environment.sh
	PYTHON="$(PYTHON)" bin/make-environment.sh
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready lockfiles/dev.txt
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --require-hashes -r lockfiles/dev.txt
	touch $@

$(INSIDE)/.ready: $(VENV)/.ready lockfiles/inside-test.txt
	rm -rf $(INSIDE)
	$(VENV)/bin/uv pip install --quiet --python "$$($(HARNESS) host-environment)" --target $(INSIDE) --compile-bytecode --require-hashes -r lockfiles/inside-test.txt
	touch $@
