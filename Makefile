# Everything a person does here, by name. `make` alone lists it.
# Nothing is needed beforehand but a Python from 3.11 on; what is missing is installed, aloud.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
STAMP := $(VENV)/.installed

# Chaos: how long, and from which seed (empty: a new one, printed).
SECONDS_OF_CHAOS := $(or $(SECONDS_),60)
SEED ?=
# Two test processes keep two cores busy; more only fight over the broker.
TEST_PROCESSES ?= 4
PYTEST_ARGS ?=

.PHONY: help venv demo test lint format unit bench bench-peers chaos docs clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## make .venv and install everything that is missing

$(STAMP): pyproject.toml constraints.txt scripts/make-venv
	@scripts/make-venv $(VENV)
	@touch $@

demo: venv ## show one input's whole life on a real broker, with a kill -9 in the middle
	@$(BIN)/meerkat-worker demo

test: venv ## everything that must hold before a change goes in
	@$(PYTHON) -m worker.sandbox ensure rabbitmq postgresql
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest -n $(TEST_PROCESSES) $(PYTEST_ARGS)

lint: venv ## style, types, the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: venv ## rewrite the code in the house style
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

unit: venv ## the tests that need no service
	@$(BIN)/pytest -n 2 tests/unit tests/property $(PYTEST_ARGS)

clean: ## remove what was built and cached; keeps .venv and demo databases
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov build dist
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
