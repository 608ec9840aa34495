# `make help` lists the targets. Everything runs in .venv; the lab installs its servers by apt.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUITES ?= bookworm trixie
ARCH ?= amd64
STAMP := $(VENV)/.installed
# Python 3.13 or later where the machine has one, else the Python at hand.
NEWEST := $(or $(lastword $(sort $(wildcard /usr/bin/python3.1[3-9] \
	$(HOME)/.pyenv/versions/3.1[3-9].*/bin/python3))),$(PYTHON))

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ [ "$$(id -u)" = 0 ] || { echo "needs root once, to install python3-venv" >&2; exit 1; }; \
		  apt-get -qq update && apt-get -qq install -y python3-venv; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --editable '.[unit,test,lint]'
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

.PHONY: coverage
coverage: $(STAMP) ## coverage of the unit tests, by file
	$(BIN)/python -m pytest -q tests/unit --cov=evolvex_api --cov-report=term:skip-covered

# The versions of Debian 12, the least that setup.cfg admits.
.PHONY: unit-oldest
unit-oldest: ## the unit tests on the oldest library versions that are supported
	$(PYTHON) -m venv --clear build/oldest
	build/oldest/bin/pip install --quiet --constraint tests/oldest.txt '.[unit]'
	build/oldest/bin/python -m pytest -q tests/unit

.PHONY: unit-newest
unit-newest: ## the unit tests on the newest Python found, and the newest library versions
	$(NEWEST) -m venv --clear build/newest
	build/newest/bin/pip install --quiet --upgrade --upgrade-strategy eager '.[unit]'
	build/newest/bin/python -m pytest -q tests/unit

.PHONY: record-events
record-events: $(STAMP) ## record anew the AMI events that the unit tests replay (root)
	$(BIN)/python -m tests.lab.record_events

.PHONY: lint
lint: $(STAMP) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(STAMP) ## format the code and make ruff's safe fixes
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

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
