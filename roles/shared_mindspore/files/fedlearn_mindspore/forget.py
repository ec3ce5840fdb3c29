# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`python -m fedlearn_mindspore.forget --config FILE`: removes what a job left in Redis, its scheduler stopped.

For jobs that are over for good, such as the round of `verify`. A few lines of Redis' own protocol save a dependency.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedlearn_mindspore import config
from fedlearn_mindspore.checkpoints import split

TIMEOUT_SECONDS = 10.0


class Redis:
    """A connection to one Redis, with the client certificate that MindSpore's configuration names."""

    def __init__(self, settings: Mapping[str, Any], tls: bool) -> None:
        host, port = split(settings["address"])
        self._socket: Any = socket.create_connection((host, port), timeout=TIMEOUT_SECONDS)
        if tls:
            context = ssl.create_default_context(cafile=settings["cacert_filename"])
            context.check_hostname = False
            context.load_cert_chain(settings["cert_filename"], settings["private_key_filename"])
            self._socket = context.wrap_socket(self._socket)
        self._file = self._socket.makefile("rb")

    def call(self, *words: str) -> Any:
        """The answer to one command. Raises OSError for an error that Redis tells."""
        parts = [word.encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        return self._read()

    def _read(self) -> Any:
        line = self._file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"-" or not kind:
            raise OSError(f"Redis: {rest.decode(errors='replace') or 'connection closed'}")
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._read() for _item in range(int(rest))]
        return int(rest) if kind == b":" else rest.decode()


def forget(redis: Redis, model: str) -> int:
    """Deletes the keys of one fl_name; returns how many."""
    pattern = "ms_fl:" + re.sub(r"([*?\[\]\\])", r"\\\1", model) + ":*"
    cursor, count = "0", 0
    while True:
        position, keys = redis.call("SCAN", cursor, "MATCH", pattern, "COUNT", "1000")
        names: list[str] = [key.decode() for key in keys]
        count += int(redis.call("DEL", *names)) if names else 0
        cursor = position.decode()
        if cursor == "0":
            return count


def forget_job(yaml: str) -> None:
    """Forgets the job of a configuration, which also says where its Redis is."""
    settings = config.mindspore_settings(yaml)
    redis = Redis(settings["distributed_cache"], bool(settings["enable_ssl"]))
    print(f"removed {forget(redis, str(settings['fl_name']))} keys of {Path(yaml).parent.name}")


def main() -> None:
    """Forgets the job of a scheduler's configuration."""
    scheduler = config.from_arguments(config.Scheduler, "Removes a finished job's keys from Redis")
    forget_job(scheduler.yaml)


if __name__ == "__main__":
    main()
