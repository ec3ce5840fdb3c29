# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`python -m fedlearn_mindspore.forget --config FILE`: removes what a job left in Redis, its scheduler stopped.

For jobs that are over for good, such as the round of `verify`.
"""

from __future__ import annotations

import re
from pathlib import Path

from fedlearn_mindspore import config
from fedlearn_mindspore.cache import Redis


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
