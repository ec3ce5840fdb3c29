# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes what is said more than once of a role's variables, from the one place that checks them.

    python tests/tools/roles.py            writes meta/argument_specs.yml of roles and the tables of their README.md
    python tests/tools/roles.py --check    says which of them are not as they would be written; exit 1 when some aren't

Only for roles of plugins/plugin_utils/_roles/catalogue.py. A unit test runs the check.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds import kinds
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.schema import (
    Boolean,
    Choice,
    Integer,
    Items,
    Key,
    Number,
    Section,
    Table,
    Text,
    Type,
    words,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import ROLES

CHECKOUT = Path(__file__).resolve().parents[2]
ENTRY_POINTS = {
    "main": "Install and configure, down to running and healthy",
    "sources": "Look at the files of the control node that main brings; touches no host",
    "install": "Bring the programs, and start none",
    "configure": "Configure what install brought, down to running and healthy",
    "artifacts": "Bring runtimes, launcher, models and applications",
    "precheck": "Look for what would stop main; changes nothing",
    "check": "Compare what is there with what was asked, and ask for health; changes nothing",
    "backup": "Bring a copy of the data to the control node; changes nothing on the host",
    "restore": "Put the data of a backup in the place of those that are there",
    "kit": "Write a folder with which machines that nobody deploys to from here take part; touches no host",
    "change": "Take a step of a change of CAs, between which hosts converge; touches no host",
    "proof": "Prove what others keep on the host; changes nothing",
    "leaving": "Refuse to remove what is in use, before any host is changed; changes nothing",
    "revoke": "Withdraw the certificates of whom the document doesn't name any more; touches no host",
    "withdraw": "Withdraw logins whose password was replaced, once no session of them is left",
    "escrow": "Refuse backups of databases that nobody could read, and keep their keys elsewhere, encrypted",
    "keys": "Take a step of the replacement of datastore keys, between which all that use them load them",
    "remove": "Take away what main brought",
}
"""Those that a role has tasks for are its."""

BEGIN, END = "<!-- variables, written by tests/tools/roles.py -->", "<!-- end of variables -->"
_TYPES = {
    Boolean: "bool",
    Choice: "str",
    Integer: "int",
    Items: "list",
    Number: "float",
    Section: "dict",
    Table: "dict",
    Text: "str",
}
ELSEWHERE = tuple(kind.SETTINGS for kind in kinds().values())
"""Settings of systems are listed in docs/federation.md, and not once more for each role."""


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, as yamllint wants it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def option(key: Key, *, relaxed: bool = False) -> dict[str, Any]:
    """A key as argument_specs have it. ``relaxed``: absent instances have only a name, so nothing else is required."""
    spec: dict[str, Any] = {"type": _TYPES.get(type(key.type), "raw"), "description": sentence(key)}
    if key.required and not relaxed:
        spec["required"] = True
    if key.default is not None:
        spec["default"] = key.default
    if isinstance(key.type, Choice):
        spec["choices"] = list(key.type.words)
    inner: Type = key.type
    if isinstance(inner, Items):
        inner = inner.of
        spec["elements"] = _TYPES.get(type(inner), "raw")
    if isinstance(inner, Section) and inner not in ELSEWHERE:
        instances = "name" in inner.keys and "state" in inner.keys
        spec["options"] = {name: option(one, relaxed=instances and name != "name") for name, one in inner.keys.items()}
    return spec


def sentence(key: Key) -> str:
    """What a key means, with its bounds."""
    if not isinstance(key.type, Integer):
        return key.doc
    bounds = words(key.type) + (f", in {key.unit}" if key.unit else "")
    return f"{key.doc} {bounds[0].upper()}{bounds[1:]}."


def argument_specs(role: str) -> str:
    """meta/argument_specs.yml of a role: every entry point takes all variables."""
    text = "---\n# Written by tests/tools/roles.py from plugins/plugin_utils/_roles/.\nargument_specs:\n"
    options = {name: option(key) for name, key in ROLES[role].items()}
    dumped = yaml.dump({"options": options}, Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)
    tasks = CHECKOUT / "roles" / role / "tasks"
    present = {entry: purpose for entry, purpose in ENTRY_POINTS.items() if (tasks / f"{entry}.yml").exists()}
    for number, (entry, purpose) in enumerate(present.items()):
        text += f"  {entry}:\n    short_description: {purpose}\n"
        if number == 0:
            text += textwrap.indent(dumped.replace("options:", "options: &options", 1), "    ")
        else:
            text += "    options: *options\n"
    return text


def rows(keys: Mapping[str, Key], prefix: str = "") -> Iterator[str]:
    """Lines of the README's table; keys of keys follow theirs."""
    for name, key in keys.items():
        default = "**required**" if key.required else f"`{json.dumps(key.default)}`" if key.default is not None else "-"
        yield f"| `{prefix}{name}` | {escape(words(key.type))} | {escape(default)} | {escape(markdown(key.doc))} |"
        inner = key.type.of if isinstance(key.type, Items) else key.type
        if isinstance(inner, Section) and inner not in ELSEWHERE:
            yield from rows(inner.keys, f"{prefix}{name}{'[]' if isinstance(key.type, Items) else ''}.")


def escape(text: str) -> str:
    """A cell of a table."""
    return text.replace("|", "\\|")


def markdown(text: str) -> str:
    """Ansible's marks as code."""
    for mark in ("V(", "C(", "M("):
        while mark in text:
            before, rest = text.split(mark, 1)
            inside, after = rest.split(")", 1)
            text = f"{before}`{inside}`{after}"
    return text


def table(role: str) -> str:
    """The README's table of variables."""
    return "\n".join(["| variable | type | default | |", "|---|---|---|---|", *rows(ROLES[role])])


def readme(role: str, present: str) -> str:
    """The README with its table as it is to be."""
    before, _begin, rest = present.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table(role)}\n\n{END}{after}"


def wanted() -> Iterator[tuple[Path, str]]:
    """Each file with the text it is to have."""
    for role in ROLES:
        folder = CHECKOUT / "roles" / role
        yield folder / "meta" / "argument_specs.yml", argument_specs(role)
        if (folder / "README.md").exists():
            yield folder / "README.md", readme(role, (folder / "README.md").read_text())


def main() -> int:
    """Writes or checks."""
    differing = [(path, text) for path, text in wanted() if not path.exists() or path.read_text() != text]
    for path, text in differing:
        sys.stdout.write(f"{path.relative_to(CHECKOUT)}: not as the role's variables are; run tests/tools/roles.py\n")
        if "--check" not in sys.argv:
            path.write_text(text)
    return 1 if differing and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
