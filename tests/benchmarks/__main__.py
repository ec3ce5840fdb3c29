# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make bench`: every benchmark, or those named; each writes build/bench/NAME.json and prints its ratios."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.benchmarks import inventory

CHECKOUT = Path(__file__).resolve().parents[2]
BENCHMARKS = {"inventory": inventory.measure}


def main(names: list[str]) -> int:
    """Run them one after the other: two at once would measure each other."""
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    room = CHECKOUT / "build" / "bench"
    room.mkdir(parents=True, exist_ok=True)
    for name in names or BENCHMARKS:
        result = BENCHMARKS[name]()
        (room / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
        for figure, value in result["ratios"].items():
            print(f"{name}: {figure}: {value:.2f} (goal: at most {result['goals'][figure]})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
