# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands for a value with a mistake in it, so that the rest of a document can be looked at in the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn


class UnknownValueError(Exception):
    """Something depends on a value that isn't known, because what the document says there is a mistake."""


class _Unknown:
    """Whatever is asked of it ends in UnknownValueError: a rule that reads it says nothing, and all others do."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def _ask(self, *_arguments: Any) -> NoReturn:
        raise UnknownValueError

    __getattr__ = __getitem__ = __contains__ = __iter__ = __len__ = __bool__ = __hash__ = __str__ = __format__ = _ask
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __int__ = __float__ = __index__ = _ask
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __or__ = __ror__ = _ask


UNKNOWN: Final[Any] = _Unknown()


def known(value: Any) -> Any:
    """Plain data without what is unknown in it."""
    if isinstance(value, dict):
        return {key: known(entry) for key, entry in value.items() if entry is not UNKNOWN}
    return [known(entry) for entry in value if entry is not UNKNOWN] if isinstance(value, list) else value


def is_unknown(values: Any, path: Iterable[str | int]) -> bool:
    """Whether the value at the path, or one above it, is unknown."""
    found = values
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
        if found is UNKNOWN:
            return True
    return False


def attempt(look: Callable[[], Any]) -> Any:
    """What the look gives, or UNKNOWN where it depends on that: the next look needn't."""
    try:
        return look()
    except UnknownValueError:
        return UNKNOWN
