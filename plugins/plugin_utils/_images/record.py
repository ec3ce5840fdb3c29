# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was built last: the digest that a registry has for each image, in a file of the control node."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_WAY_OUT = "fedlearn.infra.images writes it anew"


class RecordError(Exception):
    """Why a record can't be used, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Record:
    """``made_of`` is the digest of checkout and parameters; ``digests`` is by component."""

    registry: str
    tag: str
    made_of: str
    digests: Mapping[str, str]

    def text(self) -> str:
        """As it stands in its file."""
        values = {
            "registry": self.registry,
            "tag": self.tag,
            "made_of": self.made_of,
            "digests": dict(sorted(self.digests.items())),
        }
        return json.dumps(values, indent=2) + "\n"


def parse(text: str, path: str) -> Record:
    """The record in a file's text. Raises RecordError."""
    try:
        values = json.loads(text)
        record = Record(*(values[key] for key in ("registry", "tag", "made_of", "digests")))
        texts = (record.registry, record.tag, record.made_of)
        well = all(isinstance(one, str) for one in texts) and _are_digests(record.digests)
    except (ValueError, KeyError, TypeError):
        well = False
    if not well:
        raise RecordError(f"{path} is no record of images: {_WAY_OUT}")
    return record


def _are_digests(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(one, str) and _DIGEST.fullmatch(one) for one in values.values())


def digests_for(images: Mapping[str, Any], text: str) -> dict[str, str]:
    """The digests by component that ``images`` of an instance stand for, its record being this text.

    Raises RecordError where it is of another registry or tag: what was built isn't what is asked for.
    """
    path = images["record"]
    record = parse(text, path)
    asked, built = _place(images["registry"], images["tag"]), _place(record.registry, record.tag)
    if asked != built:
        raise RecordError(f"{path} is of {built}, and {asked} is asked for: run fedlearn.infra.images")
    return dict(record.digests)


def _place(registry: str, tag: str) -> str:
    return f"{registry}, tag {tag}"
