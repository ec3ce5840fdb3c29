# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles with one variable for instances and one for packages ask of the distribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .checking import is_present


def of_present(role: str, **more: list[Any]) -> Callable[[Mapping[str, Any]], dict[str, list[Any]]]:
    """Of the variables' values, what the module ``packages`` is asked for: nothing where no instance is present.

    ``more`` are other options of the module that go with the names.
    """

    def asked(values: Mapping[str, Any]) -> dict[str, list[Any]]:
        if not any(is_present(instance) for instance in values[f"{role}_instances"]):
            return {"names": []}
        return {"names": values[f"{role}_packages"], **more}

    return asked
