# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What scheduler, server and worker share: which MindSpore they import, and how they end."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import Any

from fedlearn_mindspore import light

LOG = logging.getLogger("fedlearn_mindspore")


def prepare(flavour: str) -> None:
    """Logs to stderr, and makes MindSpore Federated importable: whole (`full`) or without MindSpore (`light`)."""
    log_to_stderr()
    if flavour == "light":
        light.register()
    elif flavour != "full":
        raise SystemExit(f"flavour '{flavour}': light or full")


def log_to_stderr() -> None:
    """Where systemd takes it to the journal."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")


def ssl_config(path: str | None) -> Any:
    """MindSpore's SSLConfig with the password in this file, or None without TLS.

    It asks for two, of the bundle it serves with and of the one it calls with: ours are the same.
    """
    if path is None:
        return None
    password = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    module = importlib.import_module("mindspore_federated.startup.ssl_config")
    return module.SSLConfig(server_password=password, client_password=password)
