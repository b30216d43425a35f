# The verbs of the project: CI runs these very ones.  `make run` and `make test` set everything up by themselves.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
JOBS ?= $(shell nproc)
PYTEST_FLAGS ?=

COMPONENTS := cabi gofer netstackd sentry supervisor urpc
SOURCES := pyproject.toml setup.py MANIFEST.in src/pysc/__init__.py src/pysc/__main__.py \
	$(shell find $(COMPONENTS) -type f \( -name '*.py' -o -name '*.pyi' -o -name '*.[chS]' -o -name '*.ld' -o -name py.typed \) -not -name '_*.c')
BIN := $(VENV)/bin
BUILT := $(VENV)/.built
TOOLS := $(VENV)/.tools
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_FLAGS)

# What `make run` shows: a program that finds itself on a machine of its own.
define SHOW
echo "kernel:    $$(uname -srv)"
echo "host name: $$(uname -n)"
echo "identity:  $$(id)"
echo "root:      $$(ls / | tr '\n' ' ')"
touch /i-was-here && echo "written:   $$(ls /i-was-here), in memory only"
echo "processes: $$(cat /proc/[0-9]*/comm | tr '\n' ' ')"
endef
export SHOW

.PHONY: help run build test test-all conformance check format bench bench-smoke generated inplace clean

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: $(BUILT) ## set up, build, and run a program in a sandbox whose root is this machine's, under a memory overlay
	@$(BIN)/pysc do -- /bin/sh -c "$$SHOW"
	@test ! -e /i-was-here && echo "and the host has no /i-was-here"

build: $(BUILT) ## build pysc and install it into .venv

test: $(TOOLS) $(BUILT) ## run all tests in the default mode, the guest programs in every mode
	$(PYTEST) -m 'not hour' --modes=guests tests

test-all: $(TOOLS) $(BUILT) ## run all tests in every mode: the product of fast paths and direct file access, on and off
	$(PYTEST) --modes=all tests

conformance: $(TOOLS) $(BUILT) ## run others' test suites: make conformance LTP=DIR CPYTHON=DIR
	@test -n '$(LTP)$(CPYTHON)' || { echo 'say where there is one: LTP=DIR, CPYTHON=DIR'; exit 1; }
	$(PYTEST) $(if $(LTP),--ltp '$(LTP)') $(if $(CPYTHON),--cpython '$(CPYTHON)') tests/conformance

check: $(TOOLS) ## lint and type-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases benchmarks tests/conformance tests/support tests/typing

format: $(TOOLS) ## let ruff reformat and repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(TOOLS) $(BUILT) ## measure the bare host, pysc, and runc and runsc where they are installed
	$(BIN)/python -m benchmarks

bench-smoke: $(TOOLS) $(BUILT) ## run every benchmark once, to see that it runs
	$(BIN)/python -m benchmarks --quick

generated: $(TOOLS) $(BUILT) ## write what is generated: docs/syscalls.md, sentry/state/schema.py
	$(BIN)/python -P docs/syscalls.py > docs/syscalls.md.new && mv docs/syscalls.md.new docs/syscalls.md
	$(BIN)/python -m tests.support.state_schema

inplace: ## compile the C into the tree, for whoever works on it
	flock .git/inplace.lock sh -c '$(PYTHON) setup.py -q build_ext --inplace && $(PYTHON) setup.py -q build_guest --inplace'

clean: ## remove everything that was built
	rm -rf build dist $(VENV) src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@.ci/packages run '$(PYTHON)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'

$(BUILT): $(BIN)/python $(SOURCES)
	rm -rf build
	$(BIN)/pip install -q --disable-pip-version-check .
	$(BIN)/python -P -m pysc.supervisor.export_filters
	@touch $@

$(TOOLS): $(BIN)/python pyproject.toml
	@.ci/packages test '$(PYTHON)'
	$(BIN)/pip install -q --disable-pip-version-check --group dev
	@touch $@
