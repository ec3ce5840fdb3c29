# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a document with many of Neursafe's clients takes until all their objects for a cluster are derived."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.loading import load
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.variables import inventory
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.catalogue import MANIFESTS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.neursafe import check_clients

RUNS = 5
FEW, MANY = 200, 1000

DOCUMENT = """---
plugin: fedlearn.infra.federation
version: 1
federation: many
parties: {lab: {hosts: {s1: 10.0.0.1, n1: 10.0.0.2}}}
clusters: {kc: {party: lab, kubeconfig: files/kc}}
stacks:
  imaging:
    kind: neursafe
    server: {cluster: kc, images: {registry: "registry.example:5000", tag: "1.0"}}
    storage: {host: s1}
    database: {host: s1}
    nodes: {hosts: [n1]}
    clients:
"""


class _Secrets:
    """Each is its name."""

    def __call__(self, name: str) -> str:
        return name

    def turn(self, _name: str) -> str:
        return "a"


def _document(count: int) -> str:
    own = "{{cluster: kc, directory: /mnt/c{0}, lmdb: {{node: n1, path: /var/lib/c{0}}}, user: {2}, {1}}}"
    port = "settings: {{task_manager: {{port: {}}}}}"
    return DOCUMENT + "".join(f"      c{n}: {own.format(n, port.format(30100 + n), 71001 + n)}\n" for n in range(count))


def _derived(file: Path) -> int:
    """How many objects the clients of a document are."""
    instances = inventory(load(str(file))).hosts["cluster-kc"]["neursafe_client_instances"]
    manifests = MANIFESTS["neursafe_client"]
    return sum(len(manifests.objects(one, _Secrets(), lambda _path: "")) for one in check_clients(instances))


def measure() -> dict[str, Any]:
    """Times of this process in seconds, and the ratio they give."""
    times: dict[int, list[float]] = {FEW: [], MANY: []}
    objects = {}
    with tempfile.TemporaryDirectory(prefix="fedlearn-bench-") as room:
        for count, taken in times.items():
            file = Path(room) / "federation.yml"
            file.write_text(_document(count))
            for _run in range(RUNS):
                began = time.process_time()
                objects[count] = _derived(file)
                taken.append(time.process_time() - began)
    few, many = (statistics.median(times[count]) for count in (FEW, MANY))
    return {
        "seconds": {f"{count} clients": taken for count, taken in times.items()},
        "objects": {f"{count} clients": number for count, number in objects.items()},
        "figures": {"seconds for 200 clients": few, "1,000 to 200 clients": many / few},
        "goals": {"seconds for 200 clients": 1, "1,000 to 200 clients": 6},
    }
