# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/federation.schema.json and docs/federation.md, made from the types that documents are checked against."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .formats import FORMATS
from .grammar import PLUGIN, VIEWPOINT, document_section
from .introduction import INTRODUCTION, KINDS, VIEWPOINTS
from .kinds import Kind, kinds
from .schema import (
    Anything,
    Boolean,
    Choice,
    Integer,
    Items,
    Key,
    Number,
    OneOf,
    Partial,
    Place,
    Reference,
    Section,
    Table,
    Text,
    Type,
    Variant,
    place_section,
    targets,
    words,
)

Json = dict[str, Any]


def json_schema() -> Json:
    """The JSON schema of both forms of source, for editors: a first check of what the library checks fully."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A federation document or viewpoint ({PLUGIN})",
        "type": "object",
        "if": {"required": ["document"]},
        "then": type_schema(VIEWPOINT),
        "else": type_schema(document_section()),
        "$defs": {name: {"type": "string", "pattern": _whole(format_.pattern)} for name, format_ in FORMATS.items()}
        | {_settings_name(kind): _without_required(_section_schema(kind.SETTINGS)) for kind in kinds().values()},
    }


def _settings_name(kind: Kind) -> str:
    return f"settings of {kind.NAME}"


def _whose(section: Section) -> Kind | None:
    """The kind whose settings these are: a stack takes them, and so may its placements."""
    return next((kind for kind in kinds().values() if kind.SETTINGS is section), None)


def type_schema(type_: Type) -> Json:
    """The JSON schema of a type."""
    match type_:
        case Text():
            return _text_schema(type_)
        case Integer():
            return _bounded("integer", {"minimum": type_.minimum, "maximum": type_.maximum})
        case Number():
            bounds = {"minimum": type_.minimum, "maximum": type_.maximum}
            return _bounded("number", bounds | {"exclusiveMinimum": type_.above, "exclusiveMaximum": type_.below})
        case Boolean():
            return {"type": "boolean"}
        case Choice():
            return {"enum": list(type_.words)}
        case Reference():
            return _reference_schema(type_)
        case Items():
            return _items_schema(type_)
        case OneOf():
            return {"anyOf": [type_schema(of) for of in type_.types]}
        case Anything():
            return {}
        case _:
            return _mapping_schema(type_)


def _reference_schema(type_: Reference) -> Json:
    """What is referred to, a schema doesn't know; what names look like, it does."""
    if type_.to != "hosts":
        return type_schema(Text(format="host_name" if type_.to == "host" else "name"))
    name: Json = {"type": "string", "minLength": 1}
    return {"anyOf": [name, {"type": "array", "items": name}]}


def _mapping_schema(type_: Table | Section | Variant | Place | Partial) -> Json:
    match type_:
        case Table():
            return {
                "type": "object",
                "propertyNames": type_schema(type_.key),
                "additionalProperties": type_schema(type_.of),
            }
        case Section():
            return _section_schema(type_)
        case Partial():
            kind = _whose(type_.of)
            settings = None if kind is None else quote(_settings_name(kind))
            return {"$ref": f"#/$defs/{settings}"} if settings else _without_required(_section_schema(type_.of))
        case Place():
            return _section_schema(place_section(type_)) | _says_where(type_)
        case Variant():
            return _variant_schema(type_)


def _says_where(type_: Place) -> Json:
    """A placement has one of the keys that say where, or only hosts that it is absent from; a party's says its URL."""
    ways: list[Json] = [{"required": [key]} for key in targets(type_)]
    if type_.on_hosts:
        ways.append({"required": ["absent"], "not": {"anyOf": list(ways)}})
    return {"oneOf": ways} | ({"dependentRequired": {"party": ["public_url"]}} if type_.party else {})


def _variant_schema(type_: Variant) -> Json:
    cases = [
        {"if": {"properties": {type_.key: {"const": word}}}, "then": _section_schema(section)}
        for word, section in type_.of.items()
    ]
    choice = {type_.key: {"enum": list(type_.of)}}
    return {"type": "object", "required": [type_.key], "properties": choice, "allOf": cases}


def _text_schema(type_: Text) -> Json:
    schema: Json = {"type": "string", "minLength": type_.min_length, "maxLength": type_.max_length}
    if type_.pattern is not None:
        schema["pattern"] = _whole(type_.pattern)
    if type_.format is not None:
        schema["allOf"] = [{"$ref": f"#/$defs/{type_.format}"}]
    return schema


def _whole(pattern: str) -> str:
    """A pattern that a whole text has to fit, as a JSON schema takes one."""
    return f"^(?:{pattern})$"


def _bounded(name: str, bounds: Mapping[str, float | None]) -> Json:
    return {"type": name, **{key: bound for key, bound in bounds.items() if bound is not None}}


def _items_schema(type_: Items) -> Json:
    one = type_schema(type_.of)
    many = {"type": "array", "items": one, "minItems": type_.min_items, "maxItems": type_.max_items}
    return {"anyOf": [one, many]} if type_.single else many


def _section_schema(type_: Section) -> Json:
    aliased = {key.alias_of for key in type_.keys.values() if key.alias_of}
    required = [name for name, key in type_.keys.items() if key.required and name not in aliased]
    properties = {name: _key_schema(key) for name, key in type_.keys.items()}
    schema: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {})


def _key_schema(key: Key) -> Json:
    schema = {"description": key.doc, **type_schema(key.type)}
    if key.default is not None:
        schema["default"] = key.default
    if key.example is not None:
        schema["examples"] = [key.example]
    return schema


def _without_required(schema: Json) -> Json:
    """The schema of a section of which only some keys are given, at every depth."""
    properties = {
        name: _without_required(child) if "properties" in child else child
        for name, child in schema["properties"].items()
    }
    return {key: value for key, value in schema.items() if key != "required"} | {"properties": properties}


def markdown() -> str:
    """The reference of the document, for people."""
    document = document_section()
    lines = [INTRODUCTION, "## The document\n", *_section_lines(document, "", skip=("stacks",)), VIEWPOINTS]
    lines += [*_section_lines(VIEWPOINT, ""), KINDS]
    for kind in kinds().values():
        lines += _kind_lines(kind)
    return "\n".join(lines).rstrip() + "\n"


def _kind_lines(kind: Kind) -> Iterator[str]:
    yield f"## `kind: {kind.NAME}`\n"
    about = inspect.getdoc(kind) or ""
    yield about.split("\n\n", maxsplit=1)[0] + "\n"
    example = "\n".join(f"    {line}" for line in [f"kind: {kind.NAME}", *kind.EXAMPLE.rstrip().splitlines()])
    yield f"```yaml\nstacks:\n  first:\n{example}\n```\n"
    yield from _section_lines(_stack_section(kind), "", skip=("settings",), where=f"{kind.NAME}: ")
    yield f"### Settings of {kind.NAME}\n"
    yield "Keys of the system's own configuration, for `settings`.\n"
    yield from _settings_lines(kind.SETTINGS)


def _stack_section(kind: Kind) -> Section:
    """What may stand in a stack of this kind."""
    return next(
        of.of[kind.NAME]
        for key in document_section().keys.values()
        if isinstance(key.type, Table) and isinstance(of := key.type.of, Variant)
    )


def _settings_lines(section: Section) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for path, key in flat(section):
        yield _row(path, key)
    yield ""
    yield from _rules_lines(section)


def flat(section: Section, prefix: str = "") -> Iterator[tuple[str, Key]]:
    """Every key of a section and of the sections in it, under its dotted path."""
    for name, key in section.keys.items():
        if isinstance(key.type, Section):
            yield from flat(key.type, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", key


def _rules_lines(section: Section) -> Iterator[str]:
    rules = list(_rules(section))
    if rules:
        yield "Rules across keys:\n"
        yield from (f"- {rule}" for rule in rules)
        yield ""


def _rules(section: Section) -> Iterator[str]:
    yield from (rule.doc for rule in section.rules)
    for key in section.keys.values():
        if isinstance(key.type, Section):
            yield from _rules(key.type)


def _section_lines(section: Section, path: str, skip: tuple[str, ...] = (), where: str = "") -> Iterator[str]:
    """A table of a section's keys, then the same for each section in it but those to skip."""
    if path:
        yield f"### {where}`{path}`\n"
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for name, key in section.keys.items():
        yield _row(name, key)
    yield ""
    yield from (f"- {rule.doc}" for rule in section.rules)
    yield from [""] if section.rules else []
    for name, key in section.keys.items():
        if name not in skip:
            for step, inner in _inner(key.type):
                yield from _section_lines(inner, f"{path}.{name}{step}".removeprefix("."), where=where)


def _inner(type_: Type) -> Iterator[tuple[str, Section]]:
    """The sections right inside of a type, each with the step that leads there."""
    match type_:
        case Section():
            yield "", type_
        case Partial():
            if _whose(type_.of) is None:
                yield "", type_.of
        case Place():
            rules = (*place_section(type_).rules, *type_.rules)
            yield "", Section(place_section(type_).keys, rules)
        case Table():
            yield from ((f".NAME{step}", section) for step, section in _inner(type_.of))
        case Items():
            yield from ((f"[]{step}", section) for step, section in _inner(type_.of))
        case OneOf():
            for of in type_.types:
                yield from _inner(of)
        case Variant():
            for word, section in type_.of.items():
                yield f" ({type_.key}: {word})", section
        case _:
            return


def _row(name: str, key: Key) -> str:
    default = "" if key.default in (None, {}) else f"`{json.dumps(key.default)}`"
    meaning = [key.doc]
    if key.alias_of:
        meaning = [f"Another word for `{key.alias_of}`."]
    if key.unit:
        meaning.append(f"In {key.unit}.")
    if key.example is not None:
        meaning.append(f"Example: `{json.dumps(key.example)}`.")
    if key.source:
        meaning.append(f"({key.source})")
    cells = (f"`{name}`", _value(key.type), "**required**" if key.required else default, " ".join(meaning))
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _value(type_: Type) -> str:
    """What a value is, for the table."""
    if isinstance(type_, Items):
        what = f"list, each {_value(type_.of)}"
        return f"{_value(type_.of)}, or a {what}" if type_.single else what
    if isinstance(type_, OneOf):
        return ", or ".join(dict.fromkeys(_value(of) for of in type_.types))
    if isinstance(type_, Place):
        on_hosts = "on hosts" if type_.many else "on a host"
        return f"a placement {on_hosts if type_.on_hosts else 'in a cluster'}"
    return words(type_)


def write(directory: Path) -> None:
    """Write both files into a directory."""
    directory.joinpath("federation.md").write_text(markdown(), encoding="utf-8")
    text = json.dumps(json_schema(), indent=1, ensure_ascii=False)
    directory.joinpath("federation.schema.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
