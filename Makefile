# `make help` lists the targets. Everything runs in .venv; the lab installs its servers by apt.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUITES ?= bookworm trixie
ARCH ?= amd64
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ [ "$$(id -u)" = 0 ] || { echo "needs root once, to install python3-venv" >&2; exit 1; }; \
		  apt-get -qq update && apt-get -qq install -y python3-venv; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --editable '.[test,lint]'
	@touch $@

.PHONY: demo
demo: $(STAMP) ## a real PBX, a call, a recording and curl lines to paste (root; Ctrl-C ends it)
	@exec $(BIN)/python -m tests.lab.demo

.PHONY: test
test: $(STAMP) ## unit tests, then integration tests against real servers (root)
	$(BIN)/python -m pytest tests/unit tests/integration

.PHONY: unit
unit: $(STAMP) ## unit tests alone: no server, no root
	$(BIN)/python -m pytest tests/unit

.PHONY: record-events
record-events: $(STAMP) ## record anew the AMI events that the unit tests replay (root)
	$(BIN)/python -m tests.lab.record_events

.PHONY: lint
lint: $(STAMP) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: config-docs
config-docs: $(STAMP) ## etc/evolvex.conf, docs/configuration.md and the manual's keys, from config.py
	$(BIN)/python packaging/config_docs.py

.PHONY: bench
bench: $(STAMP) ## speed beside other servers and tools, as a table and build/bench.json (root)
	$(BIN)/python -m bench

.PHONY: deb
deb: $(STAMP) ## dist/evolvex-api_VERSION_ARCH.deb, built and checked in a tree of Debian 12; ARCH=arm64 (root)
	ARCH=$(ARCH) PIP=$(CURDIR)/$(BIN)/pip packaging/build-deb

.PHONY: apt-repo
apt-repo: deb ## dist/apt: a signed repository with the package; KEY=ID signs with a key of your own
	packaging/build-apt-repo $(KEY)

.PHONY: test-deb
test-deb: $(STAMP) ## the package on booted hosts: SUITES="bookworm trixie" (root)
	SUITES="$(SUITES)" $(BIN)/python -m pytest tests/deb

.PHONY: clean
clean: ## remove what was built, the virtual environment and the lab's cached servers
	rm -rf build dist $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache
