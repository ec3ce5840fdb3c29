# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles whose variables are checked here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import nginx, redis

Instances = list[dict[str, Any]]

CHECKS: Mapping[str, Callable[[Any], Instances]] = {"nginx_sites": nginx.check, "redis_instances": redis.check}
"""The check of each list variable, which also fills in defaults."""

LISTENING: Mapping[str, Callable[[Any], Instances]] = {
    "nginx_sites": nginx.listening,
    "redis_instances": redis.listening,
}
"""The ports each list variable asks for."""
