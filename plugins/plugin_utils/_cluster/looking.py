# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is tried inside of a deployment's pod, and what its log says, become rows of a report.

Of pods that aren't ready the deployment's own state tells, and in those that are simulated nothing can be tried.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import urllib.request
from typing import Any

from .._manifests.parts import Looks
from ..judgement import Check, Row, check
from . import inside
from .api import FORBIDDEN, Api, ApiError, Object
from .readiness import has_no_container

OUTSIDE = 10
"""Seconds in which the cluster's controller is to answer."""

LEFT = 120
"""Seconds in which a round that is over takes all away that it brought."""


def looked_at(api: Api, looks: Looks, seconds: float) -> list[Check]:
    """A row for each look; none where no pod is ready, or where pods are simulated."""
    pod = _ready(api, looks)
    if pod is None or has_no_container(pod):
        return []
    name = pod["metadata"]["name"]
    try:
        rows = _inside(api, looks, name, seconds)
        logged = [_logged(api, looks, name)] if looks.said else []
        return [*rows, *logged, *([_from_outside(looks)] if looks.url else [])]
    except ApiError as error:
        right = f", and it takes the right to create pods/exec and get pods/log in {looks.namespace}"
        return [check(looks.deployment, False, f"{error}{right if error.status == FORBIDDEN else ''}")]


def round_of(api: Api, trial: Looks, instance: str, seconds: float) -> Row:
    """How a round that the command runs ended: what it prints at last says so."""
    row: Row = {"instance": instance, "outcome": "failed", "seconds": 0.0, "detail": ""}
    pod = _ready(api, trial)
    if pod is None:
        return row | Row(detail=f"no pod of {trial.deployment} is ready")
    try:
        name = pod["metadata"]["name"]
        ended = inside.run(api.access, trial.namespace, name, trial.deployment, trial.command, seconds + LEFT)
        found: Row = json.loads(ended.output.strip().rpartition("\n")[2])
    except ApiError as error:
        return row | Row(detail=str(error))
    except ValueError:
        said = " ".join((ended.errors or ended.output).split())[-500:]
        return row | Row(detail=f"what runs it ended with {ended.code}: {said}")
    return row | found


def _ready(api: Api, looks: Looks) -> Object | None:
    found = api.pods(looks.namespace, f"app={looks.deployment}")
    ready = {"type": "Ready", "status": "True"}.items()
    states = ((pod, pod.get("status", {}).get("conditions") or []) for pod in found)
    return next((pod for pod, told in states if any(ready <= one.items() for one in told)), None)


def _inside(api: Api, looks: Looks, pod: str, seconds: float) -> list[Check]:
    ended = inside.run(api.access, looks.namespace, pod, looks.deployment, looks.command, seconds)
    try:
        rows: list[tuple[str, Any]] = [(str(words), wrong) for words, wrong in json.loads(ended.output)]
    except (ValueError, TypeError):
        said = " ".join((ended.errors or ended.output).split())[-500:]
        return [check(looks.deployment, False, f"what tries it ended with {ended.code}: {said}")]
    return [check(f"{looks.deployment}: {words}", not wrong, str(wrong or "it does")) for words, wrong in rows]


def _from_outside(looks: Looks) -> Check:
    """Whether the cluster's controller leads there: no secret is sent, so whose certificate it has is no matter."""
    words = f"{looks.deployment}: it answers at {looks.url}"
    asked = urllib.request.Request(looks.url, headers={"Host": looks.host} if looks.host else {})  # noqa: S310 - a checked http or https URL
    way = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_unasked()))
    try:
        with way.open(asked, timeout=OUTSIDE) as answer:
            return check(words, True, f"it does: {answer.status}")
    except (OSError, http.client.HTTPException) as error:
        return check(words, False, f"not from the control node: {error}")


def _unasked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _logged(api: Api, looks: Looks, pod: str) -> Check:
    """Whether its log has lately what it is to have."""
    query = {"container": looks.deployment, "sinceSeconds": str(looks.seconds)}
    path = f"/api/v1/namespaces/{looks.namespace}/pods/{pod}/log"
    log = api.text(path, query)
    found = re.search(looks.said, log) is not None
    last = " ".join(log.split()[-40:]) or "nothing"
    told = "it does" if found else f"not within the last {looks.seconds} s, which say: {last}"
    return check(f"{looks.deployment}: the server knows it", found, told)
