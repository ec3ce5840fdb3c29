# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What kinds whose programs are Python's say alike: what they run on, and where the user's own code comes from.

Files are beside the document, or anywhere on the control node for a role: each says what a path of its may look like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model import Path
from .schema import Key, OneOf, Rule, Section, Text

Breaches = list[tuple[Path, str]]

_FILE = Text(format="path")
_INTERPRETER = Text(
    pattern=r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._+-]+)+", pattern_name="an absolute path of letters, digits and ._+-"
)
"""It stands in units and scripts."""

ARCHIVE = Section(
    {
        "source": Key(OneOf((Text(format="url"), _FILE)), "URL, or file beside the document.", required=True),
        "sha256": Key(Text(format="sha256"), "Its sum.", required=True),
    }
)


def _runtime(file: Text) -> Section:
    return Section(
        {
            "python": Key(
                _INTERPRETER,
                "The interpreter on the hosts, 3.11 or newer; for xain's `poc` 3.9.",
                default="/usr/bin/python3",
            ),
            "requirements": Key(
                file,
                "Pinned requirements with hashes, instead of the collection's own: those, and what applications need.",
            ),
            "wheels": Key(file, "Folder with the wheels to install from, for hosts without an index."),
            "index_url": Key(Text(format="url"), "The package index to install from, when not the hosts' own."),
        }
    )


def runtime(file: Text) -> Key:
    """What programs run on."""
    return Key(_runtime(file), "What the programs run on.", default={})


def application_artifact(file: Text, archive: Section) -> Key:
    """The user's own code."""
    section = Section(
        {
            "source": Key(file, "A package or module."),
            "archive": Key(archive, "Packages in an archive, such as a wheel."),
        },
        rules=(Rule("Code comes from one place.", _one_place),),
    )
    return Key(section, "The application's code. What it imports beside it is in `runtime.requirements`.", default={})


def _one_place(values: Mapping[str, Any]) -> Breaches:
    return [(("archive",), "'source' is given too: the code comes from one place")] if len(values) > 1 else []
