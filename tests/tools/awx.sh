#!/usr/bin/env bash
# What is generated for AWX, told by awx.awx to the contract double of AWX's API on loopback: awx.sh [pytest options].
# awx.awx is taken out of the wheel of `ansible`, which is fetched once and kept in build/.
set -euo pipefail
cd "$(dirname "$0")/../.."
room=$PWD/build/awx
requirement=$(grep '^ansible==' requirements-awx.txt)
if [[ ! -e $room/.brought || $(cat "$room/.brought") != "$requirement" ]]; then
    rm -rf "$room" && mkdir -p "$room"
    .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$room" "$requirement"
    .venv/bin/python - "$room" <<'PYTHON'
import sys
from pathlib import Path
from zipfile import ZipFile

room = Path(sys.argv[1])
(wheel,) = room.glob("ansible-*.whl")
with ZipFile(wheel) as archive:
    wanted = [name for name in archive.namelist() if name.startswith("ansible_collections/awx/awx/")]
    archive.extractall(room / "collections", wanted)
wheel.unlink()
PYTHON
    echo "$requirement" > "$room/.brought"
fi
.venv/bin/python -m pytest --quiet "${@:-tests/awx}"
