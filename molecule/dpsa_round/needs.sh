#!/usr/bin/env bash
# The published client is compiled for CPython 3.9 and 3.10 only.
[ "$FEDLEARN_ROLE_SUITE" = bullseye ] || { echo "dpsa_round: Debian 11 alone has a Python that the client is for"; exit 1; }
