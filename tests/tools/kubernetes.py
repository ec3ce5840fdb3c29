# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Kubernetes control plane for tests, built once from the Go module proxy: kubernetes.py [PROGRAM...].

Prints the folder that has etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and kwok. A cold build
takes ten minutes on two cores; what is built is kept by its versions in ``~/.cache/fedlearn-infra/kubernetes``
(``FEDLEARN_KUBERNETES_CACHE``). With ``--have`` nothing is built: it ends with 1 where a program is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

KUBERNETES = "1.34.4"
ETCD = "3.6.5"
KWOK = "0.7.0"
GO = ["nice", "-n", "10", "go"]

COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
PROGRAMS = ("etcd", *COMMANDS, "kwok")

_ETCD_MAIN = """\
package main

import (
    "os"

    "go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
"""


def folder() -> Path:
    """Where programs of these versions are kept."""
    home = os.environ.get("FEDLEARN_KUBERNETES_CACHE") or Path.home() / ".cache" / "fedlearn-infra" / "kubernetes"
    digest = hashlib.sha256(" ".join((KUBERNETES, ETCD, KWOK)).encode()).hexdigest()
    return Path(home) / digest[:12]


def missing() -> list[str]:
    """The programs that aren't built yet."""
    return [name for name in PROGRAMS if not (folder() / name).exists()]


def _go(room: Path, *arguments: str) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=mod"}
    done = subprocess.run([*GO, *arguments], cwd=room, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"kubernetes.py: go {' '.join(arguments)}:\n{done.stderr[-4000:]}")
    return done.stdout


def _kubernetes_module(room: Path) -> None:
    """A module that requires Kubernetes, and has its staged modules as they were released with it."""
    found = json.loads(_go(room, "mod", "download", "-json", f"k8s.io/kubernetes@v{KUBERNETES}"))
    theirs = Path(found["GoMod"]).read_text()
    staged = re.findall(r"^\s*(k8s\.io/\S+) => \./staging/", theirs, re.MULTILINE)
    minor = KUBERNETES.partition(".")[2]
    lines = ["module fedlearn.test/kubernetes", re.findall(r"^go .*$", theirs, re.MULTILINE)[0]]
    lines += re.findall(r"^godebug .*$", theirs, re.MULTILINE)
    lines += [f"require k8s.io/kubernetes v{KUBERNETES}"]
    lines += [f"replace {name} => {name} v0.{minor}" for name in staged]
    (room / "go.mod").write_text("\n".join(lines) + "\n")
    (room / "go.sum").write_bytes((Path(found["Dir"]) / "go.sum").read_bytes())
    imports = "\n".join(f'    _ "k8s.io/kubernetes/cmd/{name}"' for name in COMMANDS)
    (room / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\nimport (\n{imports}\n)\n")
    _go(room, "mod", "tidy")


def _build(room: Path, name: str, out: Path) -> None:
    if name == "etcd":
        (room / "main.go").write_text(_ETCD_MAIN)
        (room / "go.mod").write_text(f"module fedlearn.test/etcd\nrequire go.etcd.io/etcd/server/v3 v{ETCD}\n")
        _go(room, "mod", "tidy")
        _go(room, "build", "-trimpath", "-ldflags=-s -w", "-o", str(out), ".")
    elif name == "kwok":
        (room / "go.mod").write_text(f"module fedlearn.test/kwok\nrequire sigs.k8s.io/kwok v{KWOK}\n")
        (room / "tools.go").write_text('//go:build tools\n\npackage tools\n\nimport _ "sigs.k8s.io/kwok/cmd/kwok"\n')
        _go(room, "mod", "tidy")
        _go(room, "build", "-trimpath", "-ldflags=-s -w", "-o", str(out), "sigs.k8s.io/kwok/cmd/kwok")
    else:
        if not (room / "go.mod").exists():
            _kubernetes_module(room)
        major, minor, _patch = KUBERNETES.split(".")
        version = "k8s.io/component-base/version"
        told = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor}
        flags = " ".join(["-s -w", *(f"-X {version}.{key}={value}" for key, value in told.items())])
        _go(room, "build", "-trimpath", f"-ldflags={flags}", "-o", str(out), f"k8s.io/kubernetes/cmd/{name}")


def build() -> None:
    """Build what is missing; who asks meanwhile waits."""
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder()) as partial:
            for name in missing():
                # one module for all of Kubernetes' commands: what one compiles the next has
                room = Path(partial) / ("kubernetes" if name in COMMANDS else name)
                room.mkdir(exist_ok=True)
                print(f"kubernetes.py: building {name}", file=sys.stderr, flush=True)
                made = Path(partial) / f"made-{name}"
                _build(room, name, made)
                made.rename(folder() / name)


def main(arguments: list[str]) -> int:
    """Build or look, and tell where the programs are."""
    if "--have" not in arguments:
        build()
    print(folder())
    return 1 if missing() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
