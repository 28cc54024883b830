# Everything a person does here, by name. `make` alone lists it.
# Nothing is needed beforehand but a Python from 3.11 on; what is missing is installed, aloud.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
STAMP := $(VENV)/.installed
# Celery and the others bring much that is not ours: they never come into .venv.
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.installed

# How long chaos lasts, and from which seed (empty: a new one, printed).
SECONDS ?= 60
SEED ?=
# Tests wait more than they work: more processes than cores.
TEST_PROCESSES ?= 3
PYTEST_ARGS ?=
BENCH_ARGS ?=
CHAOS_ARGS ?=

.PHONY: help venv demo sandbox test test-long lint format unit bench bench-peers chaos docs clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## make .venv and install everything that is missing

$(STAMP): pyproject.toml constraints.txt scripts/make-venv
	@scripts/make-venv $(VENV)
	@touch $@

demo: venv ## show one input's whole life on a real broker, with a kill -9 in the middle
	@$(BIN)/meerkat-worker demo

sandbox: venv ## a broker, a worker and the echo agent until Ctrl-C, to try things on
	@$(BIN)/meerkat-worker sandbox

test: venv ## everything that must hold before a change goes in
	@$(PYTHON) -m worker.sandbox ensure rabbitmq postgresql chromium node
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

test-long: venv ## what proves the proofs: planted bugs are found, every benchmark runs; minutes
	@$(PYTHON) -m worker.sandbox ensure rabbitmq postgresql
	@$(BIN)/pytest -n 2 -m long $(PYTEST_ARGS)

lint: venv ## style, types, the direction of imports, generated files that have gone stale
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/meerkat-worker schemas check
	@$(PYTHON) -m worker.documentation --check
	@$(PYTHON) -m benchmarks.page --check

format: venv ## rewrite the code in the house style
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

unit: venv ## the tests that need no service
	@$(BIN)/pytest -n 2 tests/unit tests/property $(PYTEST_ARGS)

bench: venv ## how fast we are beside the bare client and the bare transaction, as ratios
	@$(PYTHON) -m benchmarks $(BENCH_ARGS)

bench-peers: $(PEERS_STAMP) ## the same work done by Celery, Dramatiq and others
	@$(PEERS)/bin/python -m benchmarks.peers $(BENCH_ARGS)

$(PEERS_STAMP): pyproject.toml constraints.txt scripts/make-venv
	@scripts/make-venv $(PEERS) peers
	@touch $@

chaos: venv ## kill things at random for SECONDS (60) from SEED, then check every promise
	@$(PYTHON) -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(CHAOS_ARGS)

docs: venv ## write again what is generated: schemas, settings, commands, state diagrams
	@$(BIN)/meerkat-worker schemas export
	@$(PYTHON) -m worker.documentation
	@$(PYTHON) -m benchmarks.page

clean: ## remove what was built and cached; keeps environments and demo databases
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov build dist screenshots
	@find . -name __pycache__ -not -path './$(VENV)/*' -not -path './$(PEERS)/*' -prune -exec rm -rf {} +
