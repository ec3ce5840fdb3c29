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

.PHONY: help venv runtime demo demo-down check test test-all scenario bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

venv: ## make .venv with all tools
	@$(TOOLS)/venv.sh .venv requirements-dev.txt

runtime: # what the demo needs of .venv
	@$(TOOLS)/venv.sh .venv requirements-demo.txt
