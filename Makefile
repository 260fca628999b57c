# Two commands do everything: `make deterministic-run` and `make test`. `make help` lists the rest.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
EXPERIMENT ?= determinism_test
IMAGE ?= cpu
RUNS ?= 1
RELEASE ?=
BASELINE ?=
ARGS ?=

HARNESS = .venv/bin/harness
INSIDE = build/inside

.DELETE_ON_ERROR:
.PHONY: help deterministic-run test lint types imports test-outside test-inside engine release-check bench clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

deterministic-run: .venv/.ready engine ## Build the image, train on real data inside it, print verdicts (RUNS=2 to repeat, IMAGE=, EXPERIMENT=, ARGS=)
	$(HARNESS) run --experiment-config $(EXPERIMENT) --image $(IMAGE) --runs $(RUNS) $(ARGS)

test: lint types imports test-outside test-inside ## Run everything: linters, types, import rules, all tests with the real engine

lint: .venv/.ready-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/.ready-dev
	.venv/bin/mypy
	.venv/bin/mypy -p harness.strict -p harness.training --follow-imports=silent --python-executable "$$($(HARNESS) host-environment)"

imports: .venv/.ready-dev
	.venv/bin/lint-imports

# Two at a time (tests/conftest.py says which stay together), but for those that another run would disturb.
test-outside: .venv/.ready-dev engine
	$(HARNESS) lock --check
	.venv/bin/python -m pytest --ignore tests/strict --ignore tests/training -n 2 -m "not alone"
	.venv/bin/python -m pytest tests/integration -m alone

# The rooms that run inside are tested with the libraries of the image's lock, in the host engine's environment.
test-inside: .venv/.ready-dev $(INSIDE)/.ready
	HARNESS_TEST_PANEL="$$($(HARNESS) dataset sp500)" \
	PYTHONPATH=$(CURDIR):$(INSIDE) PYTHONDONTWRITEBYTECODE=1 "$$($(HARNESS) host-environment)" -m pytest -n 2 tests/strict tests/training tests/record/test_hashing.py

engine: .venv/.ready
	docker/ensure-engine.sh

release-check: .venv/.ready engine ## Check a release and write the page that its manager signs (RELEASE=v1.3, BASELINE=v1.2, ARGS=--first)
	@test -n "$(RELEASE)" || { echo "make: name the release: make release-check RELEASE=v1.3" >&2; exit 2; }
	$(HARNESS) release-check --release "$(RELEASE)" $(if $(BASELINE),--baseline "$(BASELINE)") $(ARGS)

bench: .venv/.ready-dev engine ## Print the README's figures, as ratios
	.venv/bin/python -m benchmarks

clean: ## Remove our containers and images from the engine, and the checkout's own environments
	[ ! -x $(HARNESS) ] || $(HARNESS) clean
	rm -rf .venv build

.venv/.ready: lockfiles/host.txt bin/make-environment.sh
	PYTHON="$(PYTHON)" bin/make-environment.sh
	touch $@

.venv/.ready-dev: .venv/.ready lockfiles/dev.txt
	.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r lockfiles/dev.txt
	touch $@

$(INSIDE)/.ready: .venv/.ready lockfiles/inside-test.txt
	rm -rf $(INSIDE)
	.venv/bin/uv pip install --quiet --python "$$($(HARNESS) host-environment)" --target $(INSIDE) --compile-bytecode --require-hashes -r lockfiles/inside-test.txt
	touch $@
