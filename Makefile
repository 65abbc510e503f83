# Every target installs what it needs first (scripts/bootstrap says what and why).
# `make demo` and `make test` are the two that a newcomer runs; both clean up the lab hosts they booted.

SHELL := /bin/bash
VENV := .venv/bin
LLMPROV := $(VENV)/llmprov
INVENTORY ?= inventories/lab
K ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-lab demo bundle test lint unit contract lab-test test-nodes test-faults bench molecule wheel clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Python environment with the pinned dependencies
	@scripts/bootstrap python

setup-lab: setup
	@scripts/bootstrap lab bundle

bundle: setup-lab ## Everything an offline install needs, cached by digest
	@PATH="$(CURDIR)/$(VENV):$(PATH)" $(LLMPROV) bundle build --catalog registries

demo: setup-lab ## Three bare lab hosts to a chat answer; leaves the lab running
	@PATH="$(CURDIR)/$(VENV):$(PATH)" scripts/demo

lint: setup ## ruff, mypy, import-linter, ansible-lint, yamllint
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports
	@$(VENV)/yamllint --strict .
	@PATH="$(CURDIR)/$(VENV):$(PATH)" ANSIBLE_CONFIG=ansible.cfg $(VENV)/ansible-lint --offline --strict

unit: setup ## Tests that need nothing but Python, with coverage of llmprov/; K=expression chooses
	@$(VENV)/pytest tests/unit tests/golden -n 4 $(if $(K),-k "$(K)",--cov --cov-report=term --cov-fail-under=85)

contract: bundle ## Roles, manifests, alerts and the lab against the real programs and this machine; K=expression chooses
	@$(VENV)/pytest tests/contract -n 2 $(if $(K),-k "$(K)")

lab-test: bundle ## Tests on lab hosts, two labs at a time, then those on the installed cluster; K=expression chooses
	@scripts/lab-pytest tests/lab tests/device -n 2 --no-loadscope-reorder --verbose --durations=15 $(if $(K),-k "$(K)")

molecule: bundle ## Role scenarios on lab hosts; K="base node" chooses
	@scripts/molecule $(K)

test-nodes: bundle ## Nodes that come, go and lose power, under load; K=expression chooses
	@scripts/lab-pytest tests/nodes --durations=15 $(if $(K),-k "$(K)")

test-faults: bundle ## Faults on an installed cluster of their own; K=expression chooses
	@scripts/lab-pytest tests/faults --durations=15 $(if $(K),-k "$(K)")

bench: bundle ## Speed as ratios within one run
	@$(VENV)/python -m tests.bench.install
	@$(VENV)/python -m tests.bench.second_run
	@$(VENV)/python -m tests.bench.second_run --hosts 100
	@$(VENV)/python -m tests.bench.node_add

test: lint bundle unit contract lab-test ## The whole suite

wheel: setup ## Build dist/*.whl
	@$(VENV)/python -m build --wheel --no-isolation --outdir dist

clean: ## Remove the lab and what was built in the checkout; caches by digest stay
	@if [ -x $(LLMPROV) ]; then $(LLMPROV) lab destroy; fi
	@rm -rf dist build .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
