# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A changed configuration replaces the hyper-parameters that Redis remembers of the former one.

MindSpore Federated keeps them there for seven days, and a server that starts takes those over its own file
(HyperParams::SyncOnNewInstance in ccsrc/common/distributed_cache/hyper_params.cc). So the first server that starts with
another configuration than the one Redis' values came from replaces them; what an operator set by /newInstance since
stays as long as the configuration does.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from fedlearn_mindspore import config
from fedlearn_mindspore.cache import Redis

LOG = logging.getLogger("fedlearn_mindspore")  # that of runtime.py, which would bring NumPy

KEPT_SECONDS = 7 * 24 * 3600
"""As long as the program keeps them: Timer::config_expire_time_in_seconds."""
PATIENCE_SECONDS = 900.0
"""As long as the program itself waits for its Redis."""
RETRY_SECONDS = 2.0


def leaves(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each value under the last part of its name: the program calls its hyper-parameters by that."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from leaves(value)
        else:
            yield name, value


def replace(redis: Redis, settings: Mapping[str, Any]) -> bool:
    """Has Redis hold the configured hyper-parameters, unless it had them from this configuration already.

    Returns whether anything was replaced.
    """
    prefix = f"ms_fl:{settings['fl_name']}:"
    configured = dict(leaves({name: value for name, value in settings.items() if name != "distributed_cache"}))
    origin = json.dumps(configured, sort_keys=True).encode()
    if redis.call("GET", f"{prefix}configured") == origin:
        return False
    instance = redis.call("GET", f"{prefix}InstanceName:String") or b""
    remembered = f"{prefix}{instance.decode()}:hyperParams:String"
    content = redis.call("GET", remembered)
    former = json.loads(content or b"{}")
    values = {name: configured.get(name, value) for name, value in former.items()}
    if values != former:
        redis.call("SET", remembered, json.dumps(values), "EX", str(KEPT_SECONDS))
    redis.call("SET", f"{prefix}configured", origin.decode())
    return bool(values != former)


def bring(yaml: str) -> None:
    """Replaces what Redis holds by what a server's configuration says; waits for a Redis that isn't up yet.

    Raises SystemExit when it doesn't answer at all.
    """
    settings = config.mindspore_settings(yaml)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if replace(Redis(settings["distributed_cache"], bool(settings["enable_ssl"])), settings):
                LOG.info("the configuration has changed: replaced the hyper-parameters that Redis remembered")
            return
        except OSError as error:
            place = settings["distributed_cache"]["address"]
            if time.monotonic() > deadline:
                raise SystemExit(f"Redis at {place} doesn't answer: {error}") from error
            LOG.info("waiting for Redis at %s: %s", place, error)
            time.sleep(RETRY_SECONDS)
