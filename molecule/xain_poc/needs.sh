#!/usr/bin/env bash
# xain-fl is built in a root of Debian 11 that mmdebstrap makes, of crates that Cargo brings; what is built lies in build/cargo.
set -euo pipefail
cd "$(dirname "$0")/../.."
compgen -G 'build/cargo/*/xain-fl.tar.gz' >/dev/null && exit 0
command -v cargo >/dev/null || { echo "cargo isn't there, and it brings the crates of xain-fl" >&2; exit 77; }
command -v mmdebstrap >/dev/null || { echo "mmdebstrap isn't there, and xain-fl is built in what it makes" >&2; exit 77; }
[ "$(id -u)" -eq 0 ] || { echo "xain-fl is built by root" >&2; exit 77; }
