#!/usr/bin/env bash
# What the scenario takes from the control node, into $FEDLEARN_ROLE_STATE: python.json, the Python 3.9 that the suite's
# hosts run on (their own, or an archive of this machine's), an initial model with its sum, and an application.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "$FEDLEARN_ROLE_SUITE" = bullseye ]; then
    echo '{"source": "system"}' >"$FEDLEARN_ROLE_STATE/python.json"
else
    archive=$(.venv/bin/python molecule/shared/python39.py)
    echo "{\"source\": \"archive\", \"archive\": $archive}" >"$FEDLEARN_ROLE_STATE/python.json"
fi
model=$FEDLEARN_ROLE_STATE/model.npz
.venv/bin/python molecule/mindspore/model.py "$model"
printf '{"source": "%s", "sha256": "%s"}\n' "$model" "$(sha256sum <"$model" | cut -d' ' -f1)" >"$FEDLEARN_ROLE_STATE/model.json"
cp molecule/mindspore/learn.py "$FEDLEARN_ROLE_STATE/"
