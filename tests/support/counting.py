# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Count remote executions: every exec, put and fetch on the ssh connection, host by host.

    counting.py [--most N] -- ansible-playbook ...

runs the command and prints the counts; with ``--most``, a host with more than N makes it fail. The count is taken in
the
connection plugin: the installed ansible-core's own ssh plugin with a few lines appended stands before the original.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

APPENDED = """

def _counted(operation):
    import functools
    import json
    import os

    original = getattr(Connection, operation)

    @functools.wraps(original)
    def counted(self, *args, **kwargs):
        row = {"host": self.get_option("host"), "operation": operation, "what": str(args[0])[:500]}
        descriptor = os.open(os.environ["FEDLEARN_COUNT_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, (json.dumps(row) + "\\n").encode())
        os.close(descriptor)
        return original(self, *args, **kwargs)

    setattr(Connection, operation, counted)


for _operation in ("exec_command", "put_file", "fetch_file"):
    _counted(_operation)
"""


@dataclass(frozen=True, slots=True)
class Execution:
    """One exec, put or fetch: on which address, and what (a command's or path's beginning)."""

    host: str
    operation: str
    what: str


@dataclass(frozen=True, slots=True)
class Counted:
    """A finished command with the remote executions it made, in the order of their beginning."""

    returncode: int
    output: str
    executions: tuple[Execution, ...]

    def per_host(self) -> dict[str, int]:
        """How many each host saw."""
        counts: dict[str, int] = defaultdict(int)
        for execution in self.executions:
            counts[execution.host] += 1
        return dict(counts)


def run(command: Sequence[str], environment: Mapping[str, str] | None = None, *, show: bool = False) -> Counted:
    """Run a command of ansible's with its ssh connections counted; ``show`` lets its output through as it comes."""
    with tempfile.TemporaryDirectory(prefix="fedlearn-count-") as folder:
        room = Path(folder)
        (room / "connection").mkdir()
        (room / "connection" / "ssh.py").write_text(_ssh_source(command[0]) + APPENDED)
        counts = room / "counts"
        counts.touch()
        done = subprocess.run(
            command,
            check=False,
            text=True,
            stdout=None if show else subprocess.PIPE,
            stderr=None if show else subprocess.STDOUT,
            env={
                **(os.environ if environment is None else environment),
                "ANSIBLE_CONNECTION_PLUGINS": str(room / "connection"),
                "FEDLEARN_COUNT_FILE": str(counts),
            },
        )
        rows = [Execution(**json.loads(line)) for line in counts.read_text().splitlines()]
    return Counted(done.returncode, done.stdout or "", tuple(rows))


def _ssh_source(program: str) -> str:
    """The ssh plugin's source of the ansible-core that the program belongs to."""
    python = Path(program).with_name("python") if "/" in program else Path(sys.executable)
    code = "import ansible.plugins.connection.ssh as ssh; print(ssh.__file__)"
    found = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    return Path(found.stdout.strip()).read_text()


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, help="fail when a host sees more than this")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args(arguments)
    counted = run(chosen.command, show=True)
    for host, count in sorted(counted.per_host().items()):
        print(f"remote executions on {host}: {count}")
    if not counted.executions:
        print("counting.py: no remote execution was seen: is anything reached by ssh?", file=sys.stderr)
        return counted.returncode or 1
    if chosen.most is not None and max(counted.per_host().values()) > chosen.most:
        for execution in counted.executions:
            print(f"  {execution.host} {execution.operation} {execution.what[:160]}")
        print(f"counting.py: more than {chosen.most} on a host", file=sys.stderr)
        return counted.returncode or 1
    return counted.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
