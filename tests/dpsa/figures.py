# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was measured of two deployed sides, in build/bench/dpsa-sides.json."""

from __future__ import annotations

import json
from typing import Any

from parties import CHECKOUT, LEADER

FIGURES = CHECKOUT / "build" / "bench" / "dpsa-sides.json"


def is_real() -> bool:
    return bool(LEADER.report("verify.json")["stacks"]["survey"]["real"])


def tell(name: str, figure: Any) -> None:
    """Write a figure beside the others."""
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps(known | {name: {"real": is_real(), **figure}}, indent=1, sort_keys=True) + "\n")
