# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a document of thousands of hosts takes to load, beside the same finished inventory as a static file."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
INVENTORY = str(CHECKOUT / ".venv" / "bin" / "ansible-inventory")
RUNS = 5
# a run of the static side takes two minutes, and its runs differ little: `spread` in the result says by how much
STATIC_RUNS = 3

DOCUMENT = """---
plugin: fedlearn.infra.federation
version: 1
federation: large
parties:
  lab:
    hosts:
      ms1: 10.0.0.1
      "w[00001:{count:05}]": {{first_address: 10.1.0.1}}
stacks:
  lenet:
    kind: mindspore
    redis: {{host: ms1}}
    scheduler: {{host: ms1}}
    servers: {{host: ms1}}
    proxy: {{host: ms1, port: 6600}}
    workers: {{hosts: ["w*"]}}
"""


def seconds(source: Path, runs: int = RUNS) -> list[float]:
    """How long each of some runs of ``ansible-inventory --graph`` on a source takes."""
    times = []
    for _run in range(runs):
        began = time.monotonic()
        subprocess.run([INVENTORY, "-i", str(source), "--graph"], check=True, cwd=CHECKOUT, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - began)
    return times


def static(document: Path, target: Path) -> None:
    """The document's finished inventory as a YAML inventory's JSON, which core's own plugin reads."""
    shown = subprocess.run(
        [INVENTORY, "-i", str(document), "--list", "--export"], check=True, cwd=CHECKOUT, capture_output=True
    )
    found: dict[str, Any] = json.loads(shown.stdout)
    hosts = found.pop("_meta")["hostvars"]
    groups = {
        name: {
            "hosts": {
                host: hosts.get(host, {}) if name == "federation_hosts" else {} for host in group.get("hosts", ())
            }
        }
        for name, group in found.items()
        if name != "all" and group.get("hosts")
    }
    target.write_text(json.dumps({"all": {"children": groups}}))


def _plain(found: dict[str, Any]) -> Any:
    """A string that ansible-inventory marks as no template, as the string it is."""
    return found["__ansible_unsafe"] if found.keys() == {"__ansible_unsafe"} else found


def measure() -> dict[str, Any]:
    """Times in seconds, and the ratios they give."""
    with tempfile.TemporaryDirectory(prefix="fedlearn-bench-") as folder:
        room = Path(folder)
        documents = {}
        for count in (1000, 10_000):
            documents[count] = room / f"{count}.yml"
            documents[count].write_text(DOCUMENT.format(count=count))
        static(documents[10_000], room / "static.json")
        times = {
            "document of 1,000 hosts": seconds(documents[1000]),
            "document of 10,000 hosts": seconds(documents[10_000]),
            "static file of 10,000 hosts": seconds(room / "static.json", STATIC_RUNS),
        }
    medians = {name: statistics.median(runs) for name, runs in times.items()}
    return {
        "seconds": times,
        "spread": {name: (max(runs) - min(runs)) / medians[name] for name, runs in times.items()},
        "figures": {
            "document to static file": medians["document of 10,000 hosts"] / medians["static file of 10,000 hosts"],
            "10,000 to 1,000 hosts": medians["document of 10,000 hosts"] / medians["document of 1,000 hosts"],
        },
        "goals": {"document to static file": 0.4, "10,000 to 1,000 hosts": 11},
    }
