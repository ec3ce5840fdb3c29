# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shapes that a Kubernetes API declares for the kinds of our manifests, recorded for tests that have no cluster.

The scenario neursafe_server compares the record with a real API server; with FEDLEARN_RECORD=1 it writes it anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.api import KINDS

RECORD = Path(__file__).with_name("kubernetes-schemas.json")
REFERENCE = "#/components/schemas/"
_KEPT = ("type", "items", "properties", "additionalProperties", "required", "enum", "$ref", "allOf", "oneOf")

Schema = dict[str, Any]


def read() -> dict[str, Schema]:
    """The record: a JSON schema for each kind."""
    found: dict[str, Schema] = json.loads(RECORD.read_text())
    return found


def write(found: dict[str, Schema]) -> None:
    """Record it, a definition a line."""
    text = json.dumps(found, sort_keys=True, separators=(",", ":"))
    RECORD.write_text(text.replace('},"io.k8s', '},\n"io.k8s') + "\n")


def declared(ask: Callable[[str], Schema]) -> dict[str, Schema]:
    """The same as the API says it; ``ask`` gives the document of a path below ``/openapi/v3``."""
    found: dict[str, Schema] = {}
    for kind in KINDS.values():
        path = f"apis/{kind.version}" if kind.group else f"api/{kind.version}"
        found |= {name: value for name, value in ask(path)["components"]["schemas"].items() if name not in found}
    shapes = {name: _bare(value) for name, value in found.items()}
    heads = {kind: _named(shapes, kind, found) for kind in KINDS}
    needed: dict[str, Schema] = {}
    waiting = list(heads.values())
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = shapes[name]
            waiting += list(_references(shapes[name]))
    own = {kind: {"$ref": f"#/definitions/{name}"} for kind, name in sorted(heads.items())}
    return {"kinds": own, "definitions": {name: _pointed(value) for name, value in sorted(needed.items())}}


def _named(shapes: dict[str, Schema], kind: str, found: dict[str, Schema]) -> str:
    """The schema of a kind in the version that is asked for."""
    group, version = KINDS[kind].group, KINDS[kind].version.rpartition("/")[2]
    wanted = {"group": group, "kind": kind, "version": version}
    (name,) = [name for name in shapes if found[name].get("x-kubernetes-group-version-kind") == [wanted]]
    return name


def _bare(value: Any) -> Any:
    """A schema without words and without what only its server needs; unknown keys are refused, as by the server."""
    if isinstance(value, list):
        return [_bare(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {key: one for key, one in value.items() if key in _KEPT}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = _bare(kept[key])
    for key in ("allOf", "oneOf"):
        if key in kept:
            kept[key] = [_bare(one) for one in kept[key]]
    if "properties" in kept:
        kept["properties"] = {name: _bare(one) for name, one in kept["properties"].items()}
        kept.setdefault("additionalProperties", False)
    return kept


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].removeprefix(REFERENCE)
        for one in value.values():
            yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)


def _pointed(value: Any) -> Any:
    if isinstance(value, dict):
        pointed = {key: _pointed(one) for key, one in value.items()}
        if "$ref" in pointed:
            pointed["$ref"] = pointed["$ref"].replace(REFERENCE, "#/definitions/")
        return pointed
    return [_pointed(one) for one in value] if isinstance(value, list) else value
