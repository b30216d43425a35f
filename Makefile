# The verbs of the project: CI runs these very ones.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv

.PHONY: help inplace
help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

inplace: ## compile the C into the tree, for whoever works on it
	flock .git/inplace.lock sh -c '$(PYTHON) setup.py -q build_ext --inplace && $(PYTHON) setup.py -q build_guest --inplace'
