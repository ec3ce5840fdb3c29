# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which kinds of objects a cluster has, also those that nobody here knows of."""

from __future__ import annotations

from collections.abc import Iterator

from .api import Api, Kind, Object

_FORM = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_PASSING = {("", "events"), ("events.k8s.io", "events"), ("", "endpoints")}
"""What the cluster writes down by itself of others."""

_MEASURED = "metrics.k8s.io"
"""Groups of what isn't kept at all."""


def namespaced(api: Api) -> Iterator[tuple[str, Kind]]:
    """Every kind of what lies in namespaces and can be listed, each once. Raises ApiError."""
    for root in ("/api", "/apis"):
        for group in api.ask("GET", root, accept=_FORM).get("items") or ():
            name = group["metadata"].get("name", "")
            if not name.endswith(_MEASURED):
                yield from _of_group(name, group)


def _of_group(name: str, group: Object) -> Iterator[tuple[str, Kind]]:
    """In the version that the API would rather be asked for."""
    told: set[str] = set()
    for version in group["versions"]:
        path = f"{name}/{version['version']}" if name else version["version"]
        for resource in version.get("resources") or ():
            plural = resource["resource"]
            known = plural in told or (name, plural) in _PASSING
            if known or resource["scope"] != "Namespaced" or "list" not in resource["verbs"]:
                continue
            told.add(plural)
            yield (resource.get("responseKind") or {}).get("kind", plural), Kind(path, plural)
