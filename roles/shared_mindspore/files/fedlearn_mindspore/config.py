# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The launcher's own configuration: one JSON file an instance, written by the roles.

MindSpore's configuration stays in a file of its own (`yaml`), as an operator knows it. Secrets are never in either:
`password` is the path of a file, which holds that of the PKCS#12 bundle.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml as pyyaml

Configuration = TypeVar("Configuration")


@dataclass(frozen=True)
class Tls:
    """PEM files of a checkpoint exchange: the own chain, its key, and the CA that peers' certificates come from."""

    certificate: str
    key: str
    ca: str


@dataclass(frozen=True)
class Exchange:
    """Where an instance's checkpoints lie, where it offers them, and the file that lists whom it asks for theirs."""

    directory: str
    listen: str
    peers: str
    tls: Tls | None = None
    interval_seconds: float = 2.0
    max_bytes: int = 8 * 1024**3


@dataclass(frozen=True)
class Sharing:
    """An exchange's own process: `round` is a verify round's name, if any."""

    exchange: Exchange
    round: str | None = None


@dataclass(frozen=True)
class Scheduler:
    """`listen`: numeric address:port of the REST interface. `round` names the verify round it serves, if any."""

    flavour: str
    yaml: str
    listen: str
    password: str | None = None
    round: str | None = None


@dataclass(frozen=True)
class Server:
    """`initial_model`: path of a .ckpt or .npz, a table of name to dimensions (zeros), or null: the default shapes."""

    flavour: str
    yaml: str
    http: str
    tcp_address: str
    exchange: Exchange
    initial_model: Any = None
    password: str | None = None
    wait_for_peers_seconds: float = 60.0


@dataclass(frozen=True)
class Application:
    """The function that trains: `callable` is "module:function", found beside the launcher or below `path`."""

    callable: str
    settings: dict[str, Any]
    path: str | None = None


@dataclass(frozen=True)
class Worker:
    """`digest` names what is trained: progress and result of another digest are not this training's."""

    flavour: str
    yaml: str
    server: str
    application: Application
    state: str
    digest: str
    ca: str | None = None
    password: str | None = None
    patience_seconds: float = 3600.0


NESTED: dict[str, Any] = {"tls": Tls, "exchange": Exchange, "application": Application}


def load(kind: type[Configuration], path: Path) -> Configuration:
    """The configuration of a file. Raises SystemExit naming file and key for a missing or unknown one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: {error}") from error
    return _build(kind, data, str(path))


def from_arguments(kind: type[Configuration], description: str) -> Configuration:
    """The configuration that --config names."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--config", type=Path, required=True, help="the launcher's JSON file")
    return load(kind, parser.parse_args().config)


def mindspore_settings(path: str) -> dict[str, Any]:
    """MindSpore's own configuration, as its loader sees it."""
    content = pyyaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise SystemExit(f"{path}: not a mapping")
    return content


def split(endpoint: str) -> tuple[str, int]:
    """Host and port of "address:port" or "[address]:port"."""
    host, _colon, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def _build(kind: type[Configuration], data: Any, where: str) -> Configuration:
    if not isinstance(data, dict):
        raise SystemExit(f"{where}: not a mapping")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(known))
    missing = sorted(name for name, field in known.items() if field.default is MISSING and name not in data)
    if unknown or missing:
        raise SystemExit(f"{where}: unknown {unknown}, missing {missing}")
    values = {
        name: _build(NESTED[name], value, f"{where}: {name}") if name in NESTED and value is not None else value
        for name, value in data.items()
    }
    return kind(**values)
