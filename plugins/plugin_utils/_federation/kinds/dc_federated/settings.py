# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The library's own configuration: every argument of DCFServer's constructor, and what its callers may send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...model import Path
from ...schema import Anything, Boolean, Integer, Key, Number, Rule, Section

Breaches = list[tuple[Path, str]]

MEGABYTE = 1_000_000
_SERVER = "DCFServer"
_OURS = "bounds what anybody may send"

DERIVED: Mapping[str, str] = {
    "key_list_file": "follows from `workers`: their public keys",
    "path_to_keys_db": "lies in the server's state directory",
    "server_host_ip": "follows from `server`: its bind",
    "server_port": "follows from `server`: its port",
    "ssl_enabled": "follows from `tls`",
    "ssl_keyfile": "follows from `tls`",
    "ssl_certfile": "follows from `tls`",
    "register_worker_callback": "is the application's",
    "unregister_worker_callback": "is the application's",
    "return_global_model_callback": "is the application's",
    "is_global_model_most_recent": "is the application's",
    "receive_worker_update_callback": "is the application's",
}
"""Arguments that are no settings, and what they follow from."""


def _derived(values: Mapping[str, Any]) -> Breaches:
    return [((name,), f"can't be set: it {reason}") for name, reason in DERIVED.items() if name in values]


SETTINGS = Section(
    {
        "server_mode_safe": Key(
            Boolean(),
            "Only workers whose public keys are known take part. Without it everybody does who reaches the server, "
            "and what they send may be pickles: code that it runs.",
            default=True,
            source=_SERVER,
        ),
        "load_last_session_workers": Key(
            Boolean(),
            "Workers that an administrator let in while the server ran are still in after a restart. FedAvgServer "
            "never loads them.",
            default=True,
            source=_SERVER,
        ),
        "model_check_interval": Key(
            Number(above=0, maximum=3600),
            "How often a poll looks for a new model. FedAvgServer's is fixed at 1, DCFServer's own default is 10.",
            default=1,
            source=_SERVER,
            unit="s",
        ),
        "debug": Key(
            Boolean(), "bottle's debug mode: errors are answered with their traceback.", default=False, source=_SERVER
        ),
        "max_model_size": Key(
            Integer(1, 1000),
            "The largest request that nginx takes, so the largest packed update; larger ones get 413. The server's own "
            "bound, bottle's, is 1 GiB.",
            default=200,
            source=_OURS,
            unit="MiB",
        ),
        "max_update_size": Key(
            Integer(1, 1_048_576),
            "The largest update, unpacked. The library unpacks before it looks who sent it; here never more than this.",
            default=1000,
            source=_OURS,
            unit="MB",
        ),
        **{name: Key(Anything(), f"Refused: {reason}.", source=_SERVER) for name, reason in DERIVED.items()},
    },
    rules=(Rule("Arguments that follow from other keys are no settings.", _derived),),
)


def program_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of complete settings those that DCFServer is made with."""
    names = ("server_mode_safe", "load_last_session_workers", "model_check_interval", "debug")
    return {name: settings[name] for name in names}
