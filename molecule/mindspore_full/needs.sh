#!/usr/bin/env bash
# What the scenario takes from the control node, into $FEDLEARN_ROLE_STATE: the worker's application.
set -euo pipefail
cd "$(dirname "$0")"
cp learn.py "$FEDLEARN_ROLE_STATE/"
