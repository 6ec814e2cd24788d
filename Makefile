# `make` lists the verbs. Each sets up what it needs in .venv and reuses what is there.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
# Where `go install` puts opa; tests that need it find it on the path.
export PATH := $(PATH):$(HOME)/go/bin

.PHONY: help
help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Make .venv with what runs Ringwall
	@scripts/setup.sh run

.PHONY: dev
dev: ## Make .venv with what tests, types and lints it as well
	@scripts/setup.sh dev

.PHONY: demo
demo: setup ## Attacks on an office on this machine, without and with Ringwall
	@$(BIN)/ringwall demo

.PHONY: test
test: dev ## All tests
	@$(BIN)/python -m pytest -q --durations=15

.PHONY: lint
lint: dev ## Style, types and shell scripts
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@for script in scripts/*.sh .ci/run; do bash -n "$$script"; done

.PHONY: docs
docs: setup ## Write the generated pages of docs/
	@$(BIN)/python scripts/gen_docs.py

.PHONY: full
full: dev lint ## Everything: lint, tests with many examples, the ablation matrix, benchmarks
	@$(BIN)/python scripts/gen_docs.py --check
	@HYPOTHESIS_PROFILE=full $(BIN)/python -m pytest -q --durations=15
	@$(BIN)/ringwall redteam --matrix --claims
	@scripts/benchmarks.sh
