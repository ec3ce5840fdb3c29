#!/usr/bin/env bash
# MinIO is built by Go on the control node, xaynet-server by Cargo with OpenSSL's headers.
set -euo pipefail
command -v go >/dev/null || { echo "go isn't there, and MinIO is built by it" >&2; exit 77; }
command -v cargo >/dev/null || { echo "cargo isn't there, and xaynet-server is built by it" >&2; exit 77; }
pkg-config --atleast-version=3 openssl || { echo "OpenSSL 3 and its headers aren't there, and xaynet-server is built with them" >&2; exit 77; }
