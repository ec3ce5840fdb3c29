# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others put into objects of ours, which an apply leaves there.

The API itself says what it makes of ours alone, defaults and all: what is there beyond that is somebody else's. What it
puts into ours each time by itself, as a webhook has it do, is nobody's to take away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .api import MANAGER, Object

WRITTEN_BY_CONTROLLERS = ("Namespace", "ServiceAccount", "PersistentVolume", "PersistentVolumeClaim")
"""Kinds that the cluster's own programs write in."""

_HEAD = ("apiVersion", "kind", "metadata", "status")
_NAMED_BY = ("mountPath", "name", "ip")
_POD = "spec.template.spec."
_INGRESS = ".ingress.kubernetes.io"
"""What the names of annotations belong to that controllers of Ingresses are steered by."""


def may_have(there: Object) -> bool:
    """Whether anybody but our applies wrote in it, by its own record; somebody may have taken that away.

    What a webhook once put in is in nobody's record: deployments, which have pods, are asked about in any case.
    """
    if there["kind"] in WRITTEN_BY_CONTROLLERS:
        return False
    if there["kind"] == "Deployment":
        return True
    record = there["metadata"].get("managedFields", ())
    writers = [one for one in record if one.get("subresource") != "status" and _in_content(one)]
    return [(one["manager"], one["operation"]) for one in writers] != [(MANAGER, "Apply")]


def _in_content(record: Object) -> bool:
    return bool(record.get("fieldsV1", {}).keys() - {"f:metadata", "f:status"})


def content(found: Object) -> Object:
    """What it is about."""
    return {key: value for key, value in found.items() if key not in _HEAD}


def steering(wanted: Object, there: Object) -> list[str]:
    """Annotations of others by which the controller of an Ingress does more, or else, than ours asks for.

    What controllers themselves write there has other names, but where ours has an annotation of theirs.
    """
    if wanted["kind"] != "Ingress":
        return []
    own, found = ({**(one["metadata"].get("annotations") or {})} for one in (wanted, there))
    groups = {_group(key) for key in own} - {""}
    return [key for key in found if key not in own and (_group(key).endswith(_INGRESS) or _group(key) in groups)]


def _group(annotation: str) -> str:
    group, slash, _name = annotation.partition("/")
    return group if slash else ""


def _step(key: str) -> str:
    """A key as paths of JSON patches have it."""
    return key.replace("~", "~0").replace("/", "~1")


def alone(wanted: Object, there: Object) -> list[Object]:
    """The steps of a JSON patch by which it is ours and nothing else.

    Labels and annotations of others stay, but for what steers the controller of an Ingress.
    """
    ours = content(wanted)
    if wanted["kind"] == "Deployment":
        template, theirs = ours["spec"]["template"], there["spec"]["template"].get("metadata") or {}
        own = template["metadata"]
        metadata = {word: {**(theirs.get(word) or {}), **own.get(word, {})} for word in ("labels", "annotations")}
        ours = {**ours, "spec": {**ours["spec"], "template": {**template, "metadata": metadata}}}
    steps = [{"op": "add", "path": f"/{key}", "value": value} for key, value in ours.items()]
    going = [f"/{key}" for key in content(there) if key not in ours]
    going += [f"/metadata/annotations/{_step(key)}" for key in steering(wanted, there)]
    return [*steps, *({"op": "remove", "path": path} for path in going)]


def beyond(there: Object, made: Object) -> list[str]:
    """Where something is there that the API doesn't make of ours alone, as people name it."""
    return [where.removeprefix(_POD) for where in _beyond(content(there), content(made), "")]


def _beyond(there: Any, made: Any, where: str) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(made, dict):
        for key, value in there.items():
            inside = f"{where}.{key}" if where else key
            if key in made:
                yield from _beyond(value, made[key], inside)
            else:
                yield inside
    elif isinstance(there, list) and isinstance(made, list):
        known = {_name(each): each for each in made}
        for index, each in enumerate(there):
            name = _name(each)
            inside = f"{where}[{index if name.startswith('{') else name}]"
            if name in known:
                yield from _beyond(each, known[name], inside)
            else:
                yield inside
    elif there != made:
        yield where


def _name(each: Any) -> str:
    """What tells it from others of its list: a name, or all of it."""
    if not isinstance(each, dict):
        return str(each)
    return next((each[key] for key in _NAMED_BY if key in each), "") or json.dumps(each, sort_keys=True)


def put_in(wanted: Object, there: Object) -> list[str]:
    """Entries of lists that ours hasn't: no default of the API is one."""
    return [where.removeprefix(_POD) for where in _put_in(content(wanted), content(there), "")]


def _put_in(wanted: Any, there: Any, where: str) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key, value in there.items():
            if key in wanted or isinstance(value, list):
                yield from _put_in(wanted.get(key, []), value, f"{where}.{key}" if where else key)
    elif isinstance(there, list) and isinstance(wanted, list):
        known = {_name(each): each for each in wanted}
        for each in there:
            name = _name(each)
            if name in known:
                yield from _put_in(known[name], each, f"{where}[{name}]")
            elif isinstance(each, dict) and not name.startswith("{"):
                yield f"{where}[{name}]"
