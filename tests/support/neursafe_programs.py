# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Neursafe's own programs on a Python 3.7 of this machine, where a checkout of them is given: without images and bazel.

The checkout is neursafe/ below FEDLEARN_UPSTREAM_DIR; it is copied, and its protocols are compiled in the copy. Python
3.7 is FEDLEARN_PYTHON37, `python3.7` of the PATH, or one of pyenv's. What it needs comes from the package index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
ROOM = CHECKOUT / "build" / "neursafe-programs"
UPSTREAM = os.environ.get("FEDLEARN_UPSTREAM_DIR", "")
LIBRARY = Path(UPSTREAM) / "neursafe"
NEEDED = (
    "absl-py==0.11.0",
    "boto3==1.17.67",
    "cgroupspy==0.1.6",
    "cryptography==3.3.1",
    "diffiehellman==0.13.3",
    "grpcio-tools==1.29.0",
    "grpclib==0.4.1",
    "h2==3.2.0",
    "kubernetes==12.0.1",
    "lmdb==1.0.0",
    "numpy==1.19.5",
    "nvidia-ml-py==11.450.51",
    "protobuf==3.14.0",
    "psutil==5.8.0",
    "psycopg2-binary==2.9.9",
    "pycryptodome==3.10.1",
    "pymongo==3.11.3",
    "pyOpenSSL==20.0.1",
    "secret-sharing==0.2.7",
    "tornado==6.1",
    "urllib3==1.26.4",
    "watchdog==0.10.3",
)
"""As their BUILD files say, but for psycopg2 with a libpq of its own, and without TensorFlow and PyTorch."""


def _python() -> str | None:
    """A Python 3.7; a shim that leads to none isn't one."""
    homes = sorted((Path.home() / ".pyenv" / "versions").glob("3.7.*/bin/python3.7"))
    for found in (os.environ.get("FEDLEARN_PYTHON37"), *map(str, homes), shutil.which("python3.7")):
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    return None


def missing() -> str:
    """What isn't there; empty where the programs can be run."""
    if not (LIBRARY / "neursafe_fl").is_dir():
        return "FEDLEARN_UPSTREAM_DIR names no folder with a checkout of Neursafe as neursafe/"
    return "" if _python() else "there is no Python 3.7: name one by FEDLEARN_PYTHON37"


def brought() -> Path:
    """A folder with `bin/python3.7` that has them, made once."""
    python = ROOM / "bin" / "python3.7"
    if (ROOM / "whole").exists():
        return python
    shutil.rmtree(ROOM, ignore_errors=True)
    found = _python()
    assert found is not None, missing()
    subprocess.run([found, "-m", "venv", str(ROOM)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--prefer-binary", *NEEDED], check=True)
    (site,) = ROOM.glob("lib/python3.7/site-packages")
    shutil.copytree(LIBRARY / "neursafe_fl", site / "neursafe_fl")
    protocols = [str(path.relative_to(site)) for path in site.glob("neursafe_fl/proto/*.proto")]
    compile_ = ["-m", "grpc_tools.protoc", "-I", ".", "--python_out=.", "--grpclib_python_out=.", *protocols]
    path = {**os.environ, "PATH": f"{ROOM / 'bin'}:{os.environ['PATH']}"}
    subprocess.run([str(python), *compile_], cwd=site, env=path, check=True)
    (ROOM / "whole").touch()
    return python
