# Each target sets up what it needs; `make` alone lists them. What a recipe does lies in tests/tools/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

TOOLS := tests/tools
PYTHON := .venv/bin/python
HOSTS := $(PYTHON) molecule/shared/hosts.py
PART ?=
NAME ?=

# Everything that ansible writes goes into build/, also of a user who has settings of their own.
export ANSIBLE_HOME := $(CURDIR)/build/ansible-home
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export ANSIBLE_INJECT_FACT_VARS := false
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help venv runtime demo demo-down check test test-all scenario bench

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

venv: ## make .venv with all tools
	@$(TOOLS)/venv.sh .venv requirements-dev.txt

runtime: # what the demo needs of .venv
	@$(TOOLS)/venv.sh .venv requirements-demo.txt

demo: runtime ## three systemd hosts train a model whose numbers are known; build/demo/verify.json
	@$(PYTHON) $(TOOLS)/demo.py up

demo-down: runtime ## remove the demo's hosts
	@$(PYTHON) $(TOOLS)/demo.py down

check: venv ## ruff, mypy, yamllint, unit tests; three minutes
	@$(TOOLS)/check.sh

test: venv ## what continuous integration runs; an hour or more on two cores
	@$(TOOLS)/test.sh

test-all: venv ## everything else, in parts (PART=name for one); done parts of this tree are not run again
	@$(PYTHON) $(TOOLS)/parts.py test-all $(PART)

scenario: venv ## one Molecule scenario: make scenario NAME=redis
	@$(TOOLS)/scenario.sh "$(NAME)"

bench: venv ## benchmarks, as ratios, into build/bench/ (NAME=fresh for one)
	@$(TOOLS)/venv.sh .venv requirements-bench.txt
	@$(PYTHON) -m tests.benchmarks $(NAME)
