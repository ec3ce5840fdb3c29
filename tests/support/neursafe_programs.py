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
    "click==7.1.2",
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
    """`bin/python3.7` of a folder that has them, made once: as it may be laid on hosts of the same Debian."""
    python = ROOM / "bin" / "python3.7"
    if (ROOM / "whole").exists():
        return python
    shutil.rmtree(ROOM, ignore_errors=True)
    _copy_python()
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--prefer-binary", *NEEDED], check=True)
    site = ROOM / "lib" / "python3.7" / "site-packages"
    shutil.copytree(LIBRARY / "neursafe_fl", site / "neursafe_fl")
    protocols = [str(path.relative_to(site)) for path in site.glob("neursafe_fl/proto/*.proto")]
    compile_ = ["-m", "grpc_tools.protoc", "-I", ".", "--python_out=.", "--grpclib_python_out=.", *protocols]
    path = {**os.environ, "PATH": f"{ROOM / 'bin'}:{os.environ['PATH']}"}
    subprocess.run([str(python), *compile_], cwd=site, env=path, check=True)
    (ROOM / "whole").touch()
    return python


STARTER = """\
#!/bin/sh
home=$(dirname "$(dirname "$(readlink -f "$0")")")
LD_LIBRARY_PATH=$home/lib exec "$home/bin/python3.7-program" "$@"
"""
"""Finds its own library wherever the folder lies."""


def _copy_python() -> None:
    """The interpreter and its library, without what others installed."""
    found = _python()
    assert found is not None, missing()
    where = "import sys; print(sys.base_prefix)"
    prefix = Path(subprocess.run([found, "-c", where], capture_output=True, text=True, check=True).stdout.strip())
    (ROOM / "bin").mkdir(parents=True)
    shutil.copy(prefix / "bin" / "python3.7", ROOM / "bin" / "python3.7-program")
    (ROOM / "bin" / "python3.7").write_text(STARTER)
    (ROOM / "bin" / "python3.7").chmod(0o755)
    unwanted = shutil.ignore_patterns("test", "tests", "__pycache__", "site-packages", "*.a")
    shutil.copytree(prefix / "lib" / "python3.7", ROOM / "lib" / "python3.7", ignore=unwanted)
    for library in (prefix / "lib").glob("libpython*.so*"):
        shutil.copy(library, ROOM / "lib", follow_symlinks=False)
    (ROOM / "lib" / "python3.7" / "site-packages").mkdir()
    subprocess.run([str(ROOM / "bin" / "python3.7"), "-m", "ensurepip"], check=True, capture_output=True)
