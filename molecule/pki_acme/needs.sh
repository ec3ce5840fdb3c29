#!/usr/bin/env bash
# Pebble, the ACME server, is built by Go on the control node.
set -euo pipefail
command -v go >/dev/null || { echo "go isn't there, and Pebble is built by it" >&2; exit 77; }
