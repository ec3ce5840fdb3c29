# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hyper-parameters a starting server leaves in Redis. The program itself is asked in tests/modes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "roles" / "shared_mindspore" / "files"))

from fedlearn_mindspore.hyperparameters import KEPT_SECONDS, replace

HELD = "ms_fl:job:ab12:hyperParams:String"


class RedisDouble:
    """Strings of a Redis, by name, and how long each is kept."""

    def __init__(self, **held: Any) -> None:
        self.held: dict[str, str] = {"ms_fl:job:InstanceName:String": "ab12", HELD: json.dumps(held)}
        self.kept: dict[str, int] = {}

    def call(self, verb: str, name: str, *rest: str) -> bytes | None:
        if verb == "GET":
            return self.held[name].encode() if name in self.held else None
        assert verb == "SET"
        self.held[name] = rest[0]
        if rest[1:]:
            assert rest[1] == "EX"
            self.kept[name] = int(rest[2])
        return b"OK"


def settings(window: int, encryption: str = "NOT_ENCRYPT") -> dict[str, Any]:
    return {
        "fl_name": "job",
        "round": {"start_fl_job_time_window": window},
        "encrypt": {"encrypt_type": encryption, "pw_encrypt": {"cipher_time_window": 3000}},
        "distributed_cache": {"address": "10.0.0.1:1"},
    }


def test_a_changed_configuration_replaces_what_is_held() -> None:
    redis = RedisDouble(start_fl_job_time_window=30, encrypt_type="NOT_ENCRYPT", cipher_time_window=1, dp_eps=50)
    assert replace(redis, settings(31, "DP_ENCRYPT"))
    assert json.loads(redis.held[HELD]) == {
        "start_fl_job_time_window": 31,
        "encrypt_type": "DP_ENCRYPT",
        "cipher_time_window": 3000,
        "dp_eps": 50,
    }
    assert redis.kept == {HELD: KEPT_SECONDS}


def test_what_an_operator_set_since_stays() -> None:
    redis = RedisDouble(start_fl_job_time_window=30)
    replace(redis, settings(30))
    redis.held[HELD] = json.dumps({"start_fl_job_time_window": 29})
    assert not replace(redis, settings(30))
    assert json.loads(redis.held[HELD]) == {"start_fl_job_time_window": 29}
    assert replace(redis, settings(31))
    assert json.loads(redis.held[HELD]) == {"start_fl_job_time_window": 31}


def test_a_redis_that_remembers_nothing_is_left_to_the_program() -> None:
    redis = RedisDouble()
    redis.held.clear()
    assert not replace(redis, settings(30))
    assert list(redis.held) == ["ms_fl:job:configured"]
