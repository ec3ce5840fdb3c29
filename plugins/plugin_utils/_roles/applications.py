# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A user's own code as the roles that run it take it: a kind's ``application``, with files anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._federation.model import Path
from .._federation.python_programs import application_artifact
from .._federation.schema import Anything, Key, OneOf, Rule, Section, Text
from .checking import CONTROL_FILE

ARCHIVE = Section(
    {
        "source": Key(OneOf((Text(format="url"), CONTROL_FILE)), "URL, or file on the control node.", required=True),
        "sha256": Key(Text(format="sha256"), "Its sum.", required=True),
    }
)


def _one_place(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    both = "source" in values and "archive" in values
    return [(("archive",), "'source' is given too: the code comes from one place")] if both else []


def application(called: str, given: str) -> Key:
    """`called`: how it is called, and what that returns. `given`: what its ``settings`` are, in short."""
    artifact = application_artifact(CONTROL_FILE, ARCHIVE).type
    assert isinstance(artifact, Section)
    keys = {
        "callable": Key(Text(format="callable"), called, required=True),
        "settings": Key(Anything(), f"{given}; JSON data.", default={}),
        **artifact.keys,
    }
    return Key(Section(keys, rules=(Rule("Code comes from one place.", _one_place),)), "What runs.", required=True)
