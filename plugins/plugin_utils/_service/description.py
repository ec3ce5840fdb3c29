# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service's description: the YAML a role's service.yml.j2 renders to, read strictly.

What an instance's strings hold is data a partner may have written. So the template's interpolations must end in
`to_json`, YAML tags, anchors and duplicate keys are refused, and every key and type is checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Any

import yaml

CHANGES = ("restart", "reload", "none")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_.-]{0,98}[a-z0-9])?")
_UNIT = re.compile(r"fedlearn-[a-z0-9][A-Za-z0-9_.-]*\.(?:service|socket|timer|path|target)")
_MOUNT = re.compile(r"[A-Za-z0-9_\\][A-Za-z0-9_.\\-]*\.(?:mount|automount)")
_DISTRIBUTION_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\.service")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}|[0-9]{1,10}")
_MODE = re.compile(r"0[0-7]{3}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_URL = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{1,5})?(?:/[!-~]*)?")
_INTERPOLATION = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
# what `import` brings is output only through an interpolation, which is checked
_UNSEEN = re.compile(r"^#jinja2:|\{%[-+]?\s*(?:include|extends|call|filter)\b")
_SAFE_INTERPOLATION = re.compile(r"\|\s*to_json\s*(?:\([^()]*\)\s*)?$")
_SAFE_BARE = {"instance.name", "instance.federation"}


class DescriptionError(Exception):
    """What is wrong with a description: where, what, and the way out. Never holds a value that could be secret."""


# -- the template and its YAML ---------------------------------------------------------------------------------------


def check_interpolations(source: str, name: str) -> None:
    """Refuses a template in which a value could end up as YAML syntax."""
    source = _COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"), source)
    unseen = _UNSEEN.search(source)
    if unseen:
        line = source.count("\n", 0, unseen.start()) + 1
        raise DescriptionError(
            f"{name}:{line}: '{unseen.group().strip()}' is not allowed here; what it brings isn't checked"
        )
    for found in _INTERPOLATION.finditer(source):
        expression = found.group(1).strip()
        if expression not in _SAFE_BARE and not _SAFE_INTERPOLATION.search(expression):
            line = source.count("\n", 0, found.start()) + 1
            raise DescriptionError(
                f"{name}:{line}: {{{{ {expression} }}}} must end in '| to_json', or a string could become YAML"
            )


class _Loader(yaml.SafeLoader):
    """Plain YAML only: no anchors, no aliases, no tags, no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(
                problem="anchors, aliases and tags are not allowed", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _value in node.value:
            if key.value in seen or not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key stands twice or is no word", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(text: str, name: str) -> Any:
    """The rendered description as plain data."""
    try:
        return _whole_characters(yaml.load(text, Loader=_Loader))  # noqa: S506 - a SafeLoader, made stricter
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise DescriptionError(
            f"{name}: what it rendered to is no YAML (rendered line {line}: {error.problem})"
        ) from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise DescriptionError(f"{name}: what it rendered to is no YAML") from None


def _whole_characters(value: Any) -> Any:
    """Joins the halves JSON writes characters beyond U+FFFF in."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole_characters(one) for one in value]
    if isinstance(value, dict):
        return {key: _whole_characters(one) for key, one in value.items()}
    return value


# -- checks -----------------------------------------------------------------------------------------------------------

Check = Callable[[Any, str], Any]


def _fail(where: str, what: str) -> Any:
    raise DescriptionError(f"{where}: {what}")


def _text(value: Any, where: str) -> str:
    return value if isinstance(value, str) else _fail(where, f"must be a string, not {type(value).__name__}")


def _line(value: Any, where: str) -> str:
    text = _text(value, where)
    return text if text and not _CONTROL.search(text) else _fail(where, "must be one line that isn't empty")


def _boolean(value: Any, where: str) -> bool:
    return value if isinstance(value, bool) else _fail(where, "must be true or false")


def _number(least: int, most: int) -> Check:
    def check(value: Any, where: str) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise DescriptionError(f"{where}: must be a whole number from {least} to {most}")

    return check


def _one_of(*words: str) -> Check:
    def check(value: Any, where: str) -> str:
        return (
            value if isinstance(value, str) and value in words else _fail(where, f"must be one of {', '.join(words)}")
        )

    return check


def _matching(pattern: re.Pattern[str], what: str) -> Check:
    def check(value: Any, where: str) -> str:
        return value if isinstance(value, str) and pattern.fullmatch(value) else _fail(where, f"must be {what}")

    return check


def path(value: Any, where: str) -> str:
    """An absolute path that means what it says: no `..`, no `.`, nothing empty between slashes."""
    text = _line(value, where)
    parts = text.split("/")[1:]
    if not text.startswith("/") or any(part in ("", ".", "..") for part in parts):
        _fail(where, "must be an absolute path without '.', '..', '//' or a slash at its end")
    if any(len(part.encode()) > 200 for part in parts) or len(text.encode()) > 1000:
        _fail(where, "is too long for a path")
    return text


def _template_name(value: Any, where: str) -> str:
    text = _line(value, where)
    return (
        _fail(where, "must be a path inside the role's templates")
        if text.startswith("/") or ".." in text.split("/")
        else text
    )


def _list_of(check: Check) -> Check:
    def check_list(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            _fail(where, "must be a list")
        return [check(one, f"{where}[{index}]") for index, one in enumerate(value)]

    return check_list


def _argv(value: Any, where: str) -> list[str]:
    words: list[str] = _list_of(_line)(value, where)
    if not words or (not words[0].startswith("/") and "/" in words[0]):
        _fail(where, "must be a list: a command, then its arguments")
    return words


def _optional(check: Check) -> Check:
    return lambda value, where: None if value is None else check(value, where)


def _pattern(value: Any, where: str) -> str:
    """A regular expression with one group."""
    try:
        groups = re.compile(_line(value, where)).groups
    except re.error as error:
        return str(_fail(where, f"is no regular expression: {error}"))
    return str(value) if groups == 1 else str(_fail(where, "must be a regular expression with one group"))


def _mapping(
    value: Any, where: str, required: dict[str, Check], optional: dict[str, tuple[Check, Any]]
) -> dict[str, Any]:
    if not isinstance(value, dict):
        _fail(where, "must be a mapping")
    for key in value:
        if key not in required and key not in optional:
            _fail(f"{where}.{key}", f"there is no such key; there are {', '.join(sorted([*required, *optional]))}")
    for key in required:
        if key not in value:
            _fail(f"{where}.{key}", "is missing")
    checked = {key: check(value[key], f"{where}.{key}") for key, check in required.items()}
    checked.update(
        {
            key: check(value[key], f"{where}.{key}") if key in value else default
            for key, (check, default) in optional.items()
        }
    )
    return checked


# -- the parts --------------------------------------------------------------------------------------------------------

_port = _number(1, 65535)
_status_code = _number(100, 599)


def _unit(value: Any, where: str) -> dict[str, Any]:
    unit = _mapping(value, where, {"name": _line, "template": _template_name}, {})
    if not _UNIT.fullmatch(unit["name"]) and not _MOUNT.fullmatch(unit["name"]):
        _fail(
            f"{where}.name", "must be fedlearn-<instance>.service (or socket, timer, path, target), or a mount's name"
        )
    return unit


def _file(value: Any, where: str) -> dict[str, Any]:
    account = _matching(_ACCOUNT, "a user or group name")
    file = _mapping(
        value,
        where,
        {"path": path},
        {
            "template": (_template_name, None),
            "content": (_text, None),
            "source": (_line, None),
            "mode": (_matching(_MODE, "a mode such as '0640', quoted"), None),
            "owner": (account, "root"),
            "group": (account, "root"),
            "secret": (_boolean, False),
            "validate": (_argv, []),
            "change": (_one_of(*CHANGES), None),
            "restore": (_boolean, True),
            "keeps": (_pattern, None),
        },
    )
    if sum(file[key] is not None for key in ("template", "content", "source")) != 1:
        _fail(where, "needs exactly one of template, content and source")
    file["mode"] = file["mode"] or ("0600" if file["secret"] else "0644")
    if file["secret"] and int(file["mode"], 8) & 0o007:
        _fail(f"{where}.mode", "a secret file must not be readable by all")
    if file["validate"] and not any("%s" in word for word in file["validate"]):
        _fail(f"{where}.validate", "needs a %s where the staged copy's path goes")
    return file


def _watch(value: Any, where: str) -> dict[str, Any]:
    return _mapping(value, where, {"path": path}, {"change": (_one_of("restart", "reload"), "restart")})


def _statuses(value: Any, where: str) -> list[int]:
    codes: list[int] = _list_of(_status_code)(value if isinstance(value, list) else [value], where)
    return codes


def _http(value: Any, where: str) -> dict[str, Any]:
    return _mapping(
        value,
        where,
        {"url": _matching(_URL, "an http or https URL")},
        {
            "status": (_statuses, [200]),
            "ca": (_optional(path), None),
            "certificate": (_optional(path), None),
            "key": (_optional(path), None),
        },
    )


def _tcp(value: Any, where: str) -> dict[str, Any]:
    return _mapping(value, where, {"address": _line, "port": _port}, {})


def _check(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in ("http", "tcp", "command"):
        _fail(where, "must be one of http, tcp and command")
    kind, inner = next(iter(value.items()))
    checks: dict[str, Check] = {"http": _http, "tcp": _tcp, "command": _argv}
    return {kind: checks[kind](inner, f"{where}.{kind}")}


def _health(value: Any, where: str) -> dict[str, Any]:
    return _mapping(
        value,
        where,
        {},
        {"timeout": (_number(1, 3600), 60), "restarts": (_number(0, 1000), 3), "checks": (_list_of(_check), [])},
    )


def _listening(value: Any, where: str) -> dict[str, Any]:
    return _mapping(value, where, {"address": _line, "port": _port}, {"protocol": (_one_of("tcp", "udp"), "tcp")})


def describe(value: Any, where: str) -> dict[str, Any]:
    """A whole description, checked, with every key there. `where` begins every message."""
    service = _mapping(
        value,
        where,
        {},
        {
            "units": (_list_of(_unit), []),
            "unit": (_optional(_matching(_DISTRIBUTION_UNIT, "a unit of the distribution")), None),
            "type": (_one_of("service", "job"), "service"),
            "state": (_one_of("started", "stopped", "absent"), "started"),
            "files": (_list_of(_file), []),
            "validate": (_argv, []),
            "watch": (_list_of(_watch), []),
            "health": (_health, _health({}, where)),
            "inside": (_argv, []),
            "inside_change": (_one_of("none", "reload", "restart"), "none"),
            "finished": (_optional(path), None),
            "ports": (_list_of(_listening), []),
            "data": (_list_of(path), []),
            "own_data": (_boolean, False),
        },
    )
    if bool(service["units"]) == bool(service["unit"]) and service["state"] != "absent":
        _fail(where, "needs either units of its own or the unit of the distribution")
    if (service["type"] == "job") != (service["finished"] is not None):
        _fail(where, "a job, and only a job, says with `finished` which file means that it is done")
    if service["unit"] and service["state"] == "stopped":
        _fail(f"{where}.state", "a unit of the distribution isn't stopped for one of its users")
    for file in service["files"]:
        file["change"] = file["change"] or ("reload" if service["unit"] else "restart")
    _refuse_twice([file["path"] for file in service["files"]], f"{where}.files")
    _refuse_twice([unit["name"] for unit in service["units"]], f"{where}.units")
    return service


def _refuse_twice(values: list[str], where: str) -> None:
    for value in values:
        if values.count(value) > 1:
            _fail(where, f"'{value}' stands there twice")


def absent() -> dict[str, Any]:
    """The description of a service that is to go: what it owned is known on its host."""
    return describe({"state": "absent"}, "")


def instance_name(instance: Any, default_federation: str) -> tuple[str, str]:
    """Name and federation of an instance; both become parts of paths and units."""
    if (
        not isinstance(instance, dict)
        or not isinstance(instance.get("name"), str)
        or not _NAME.fullmatch(instance["name"])
    ):
        shown = repr(instance.get("name"))[:80] if isinstance(instance, dict) else type(instance).__name__
        _fail(f"instances: {shown}", "needs a name of lower-case letters, digits, '-', '_' and '.'")
    federation = instance.get("federation") or default_federation
    if not isinstance(federation, str) or not _NAME.fullmatch(federation) or ".." in federation + instance["name"]:
        _fail(
            f"instances: {instance['name']}",
            "its federation needs a name of lower-case letters, digits, '-', '_' and '.'",
        )
    if instance.get("state", "present") not in ("present", "stopped", "absent"):
        _fail(f"instances: {instance['name']}", "its state must be present, stopped or absent")
    return instance["name"], federation
