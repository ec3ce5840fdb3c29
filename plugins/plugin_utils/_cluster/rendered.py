# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests as files, for review or for who applies them otherwise: no secret stands in one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from .api import Object

LEFT_OUT = "fedlearn.infra/left-out"


def _shown(found: Object) -> Object:
    """A Secret without its values, and with the names of what is missing."""
    if found["kind"] != "Secret":
        return found
    metadata = {**found["metadata"], "annotations": {LEFT_OUT: ",".join(sorted(found["data"]))}}
    return {**{key: value for key, value in found.items() if key != "data"}, "metadata": metadata}


def _plain(found: Object) -> Object:
    """Without the subclasses of texts that templating gives, which YAML doesn't know."""
    plain: Object = json.loads(json.dumps(found))
    return plain


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as people write them, and nothing by reference."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def orphans(folder: Path, labels: Mapping[str, str], wanted: Iterable[str]) -> list[str]:
    """Instances with these labels that have files here and are not wanted."""
    found = []
    for room in sorted(folder.glob("*/")) if folder.is_dir() else ():
        first = next(iter(sorted(room.glob("[0-9][0-9]-*.yaml"))), None)
        if first is None or room.name in wanted:
            continue
        written = yaml.safe_load(first.read_text(encoding="utf-8")) or {}
        if labels.items() <= (written.get("metadata", {}).get("labels") or {}).items():
            found.append(room.name)
    return found


def write(folder: Path, wanted: Mapping[str, Iterable[Object]], *, check: bool = False) -> list[str]:
    """A folder an instance, a file an object, numbered as they are to be applied; gives the files that differed."""
    differing: list[str] = []
    for instance, objects in wanted.items():
        room = folder / instance
        files = {
            f"{number:02}-{found['kind'].lower()}-{re.sub('[^a-z0-9.-]', '-', found['metadata']['name'])}.yaml": found
            for number, found in enumerate(objects, 1)
        }
        for name, found in files.items():
            path, text = (
                room / name,
                "---\n" + yaml.dump(_plain(_shown(found)), Dumper=_Dumper, sort_keys=False, width=120),
            )
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                differing.append(str(path))
                if not check:
                    room.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, encoding="utf-8")
        for path in sorted(room.glob("[0-9][0-9]-*.yaml")):
            if path.name not in files:
                differing.append(str(path))
                if not check:
                    path.unlink()
    return differing
