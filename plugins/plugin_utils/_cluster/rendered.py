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

from .accounts import PULLS
from .api import Object

LEFT_OUT = "fedlearn.infra/left-out"
BY_HAND = "by-hand.txt"


def _shown(found: Object) -> Object:
    """A Secret without its values, and with the names of what is missing."""
    if found["kind"] != "Secret":
        return found
    metadata = {**found["metadata"], "annotations": {LEFT_OUT: ",".join(sorted(found["data"]))}}
    return {**{key: value for key, value in found.items() if key != "data"}, "metadata": metadata}


def _by_hand(account: Object) -> str:
    """What to do about an account that others have, too: a manifest with ours alone would take away theirs."""
    name, namespace = account["metadata"]["name"], account["metadata"]["namespace"]
    patch = f"kubectl -n {namespace} patch serviceaccount {name} --type=json -p"
    ours = account[PULLS]
    added = json.dumps([{"op": "add", "path": f"/{PULLS}/-", "value": one} for one in ours])
    first = json.dumps([{"op": "add", "path": f"/{PULLS}", "value": ours}])
    return (
        f"The account {namespace}/{name} is no file here: it is the cluster's, and its {PULLS} are one value to an\n"
        "apply, so that one with ours alone would take away others'. Once, add ours to those that it has:\n\n"
        f"  {patch} '{added}'\n\nor, where it has none:\n\n  {patch} '{first}'\n"
    )


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
    """A folder an instance, a file an object, numbered as they are to be applied; gives the files that differed.

    What isn't ours alone is no file to apply, but a note of what is to be done by hand.
    """
    differing: list[str] = []
    for instance, objects in wanted.items():
        room = folder / instance
        files = _files(list(objects))
        for name, text in files.items():
            path = room / name
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                differing.append(str(path))
                if not check:
                    room.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, encoding="utf-8")
        for path in sorted([*room.glob("[0-9][0-9]-*.yaml"), *room.glob(BY_HAND)]):
            if path.name not in files:
                differing.append(str(path))
                if not check:
                    path.unlink()
    return differing


def _files(objects: list[Object]) -> dict[str, str]:
    """An instance's files by their names."""
    shared = [found for found in objects if found["kind"] == "ServiceAccount" and found.get(PULLS)]
    own = [found for found in objects if found not in shared]
    files = {
        f"{number:02}-{found['kind'].lower()}-{re.sub('[^a-z0-9.-]', '-', found['metadata']['name'])}.yaml": "---\n"
        + yaml.dump(_plain(_shown(found)), Dumper=_Dumper, sort_keys=False, width=120)
        for number, found in enumerate(own, 1)
    }
    return files | ({BY_HAND: "\n".join(map(_by_hand, shared))} if shared else {})
