# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs what audits ask: openssl, git and the journal."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

SECONDS = 20


def answer(command: Sequence[str], given: bytes = b"", environment: Mapping[str, str] | None = None) -> bytes | None:
    """What a program says of what it is given; None where it refuses, isn't here, or takes too long."""
    try:
        ended = subprocess.run(
            command,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout if ended.returncode == 0 else None


class Output:
    """What a program says, as it says it."""

    def __init__(self, running: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        if running.stdout is None:
            raise AssertionError("it was asked for")
        self.stream = running.stdout
        self._running, self._errors = running, errors

    def succeeded(self) -> bool:
        """Whether it could say all; what wasn't read by now is lost."""
        self.stream.close()
        return self._running.wait() == 0

    def complained(self) -> bool:
        """Whether it wrote to its standard error."""
        return self._errors.seek(0, 2) > 0


@contextmanager
def output(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[Output]:
    """Of a program, while it runs. OSError where it isn't here."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment) as running,
    ):
        yield Output(running, errors)
