# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ansible-playbook without the second it takes to import itself: each run is forked from a process that has done so."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["ansible.cli.playbook"])


def start(arguments: list[str], environment: dict[str, str], output: Path) -> multiprocessing.process.BaseProcess:
    """Starts `ansible-playbook <arguments>`; Ansible's own settings are those of the environment at the first start."""
    process = _FORKS.Process(target=_run, args=(arguments, environment, str(output)))
    process.start()
    return process


def _run(arguments: list[str], environment: dict[str, str], output: str) -> None:
    printed = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(printed, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    os.environ.update(environment)
    from ansible.cli.playbook import main

    try:
        main(["ansible-playbook", *arguments])
    finally:
        sys.stdout.flush()
