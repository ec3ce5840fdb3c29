# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What filters are given, which no argument_spec looks at."""

from __future__ import annotations

from typing import Any


def expect(kind: type | tuple[type, ...], words: str, /, **given: Any) -> None:
    """ValueError that names each of ``given`` that isn't of the kind."""
    wrong = [name for name, value in given.items() if not isinstance(value, kind)]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} must be {words}")


def expect_texts(**given: Any) -> None:
    """The same for texts."""
    expect(str, "a text", **given)


def without_none(**given: Any) -> dict[str, Any]:
    """Those of ``given`` that are given."""
    return {name: value for name, value in given.items() if value is not None}
