# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where programs come from that no registry has, so that who deploys gives them: said alike by all kinds and roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model import Path
from .schema import Key, OneOf, Rule, Section, Text


def _one_source(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    if ("path" in values) == ("archive" in values):
        return [((), "one of 'path' and 'archive' says where the programs come from")]
    if ("sha256" in values) != ("archive" in values):
        return [((), "'archive' and 'sha256' go together")]
    return []


SOURCE = Section(
    {
        "path": Key(Text(format="absolute_path"), "A folder on the hosts that has them already."),
        "archive": Key(
            OneOf((Text(format="url"), Text(format="path"))),
            "URL, or file beside the document, of the same folder packed.",
        ),
        "sha256": Key(Text(format="sha256"), "The archive's sum."),
    },
    rules=(Rule("Programs come from one place.", _one_source),),
)

_CONTROL_FILE = Text(pattern=r"[^\x00-\x1f\x7f]+", pattern_name="a URL, or the path of a file on the control node")


def of_role() -> Section:
    """The same for a role, its paths being the control node's."""
    archive = Key(_CONTROL_FILE, "URL, or file on the control node, of the same folder packed.")
    return Section({**SOURCE.keys, "archive": archive}, rules=SOURCE.rules)
