# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate that somebody else keeps on the host: read where it lies, proven, and only then laid in place.

Services never see the other's files, so one that is renewed half, or wrongly, leaves them with what they had.
"""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import asdict, replace
from typing import Any

from . import der
from .description import Description
from .facts import Anchors, Facts, facts_of, moment, recorded_facts
from .installed import CERTIFICATE, KEY, Installed, Layout
from .outcome import Outcome, RefusedError
from .renewal import differences
from .settling import Settling

_LIMIT = 1 << 20
_LATE = 1 / 6  # of the lifetime left: who renews with a third left has failed to for half of that time


def provide(
    layout: Layout, description: Description, anchors: Anchors, now: float, check: bool = False, thorough: bool = False
) -> Outcome:
    """Bring what is installed in line with the files of the description; RefusedError when these won't do."""
    outcome = Outcome()
    key = read(description.key_file)
    certificate, intermediates = split(read(description.certificate_file))
    anchors = replace(anchors, intermediates=intermediates)
    installed = Installed(layout, description, create=not check)
    proven = None if thorough else recorded_facts(installed, key, certificate, anchors)
    facts = proven or facts_of(key, certificate, anchors, description.usages)
    wrong = list(differences(description, facts, anchors, now)) if isinstance(facts, Facts) else [facts]
    if wrong or not isinstance(facts, Facts):
        kept = "; what was taken from there before stays" if CERTIFICATE in installed.found else ""
        raise RefusedError(f"what lies in {description.certificate_file} won't do: {'; '.join(wrong)}{kept}")
    if facts.not_after - now < (facts.not_after - facts.not_before) * _LATE:
        outcome.warnings.append(
            f"{description.certificate_file} ends on {moment(facts.not_after)}, and nobody has renewed it yet"
        )
    pair = {KEY: key, CERTIFICATE: certificate}
    fresh = {name: content for name, content in pair.items() if installed.content(name) != content}
    if fresh:
        outcome.action = "renewed" if CERTIFICATE in installed.found else "issued"
    source = {"description": asdict(description), "anchors": _written(anchors)}
    Settling(installed, anchors, outcome, check, thorough, fresh, source).settle(facts)
    return outcome


def split(pem: bytes) -> tuple[bytes, bytes]:
    """The first certificate of a file, and those after it; RefusedError when there is none."""
    try:
        blocks = der.blocks(pem)
    except der.DerError as error:
        raise RefusedError(str(error)) from None
    if not blocks:
        raise RefusedError("there is no certificate in PEM form")
    return _pem(blocks[0]), b"".join(_pem(block) for block in blocks[1:])


def from_record(record: dict[str, Any]) -> tuple[Description, Anchors] | None:
    """What a record says of where its certificate came from; None for one that nobody provides."""
    source = record.get("provided")
    if not source:
        return None
    described: dict[str, Any] = source["description"]
    values: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in described.items()}
    anchors = source["anchors"]
    pems = {name: anchors.get(name, "").encode("ascii") for name in ("issuer", "trust", "crl")}
    return Description(**values), Anchors(
        issuer_not_after=anchors["issuer_not_after"], intermediates=b"", foreign=True, **pems
    )


def _written(anchors: Anchors) -> dict[str, Any]:
    issuer, trust, crl = ((pem or b"").decode("ascii") for pem in (anchors.issuer, anchors.trust, anchors.crl))
    return {"issuer": issuer, "trust": trust, "crl": crl, "issuer_not_after": anchors.issuer_not_after}


def _pem(block: bytes) -> bytes:
    text = base64.b64encode(block)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])


def read(path: str) -> bytes:
    """A file of somebody else's: links are followed, since that is how many of them are renewed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RefusedError(f"{path} can't be read: {error.strerror}") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > _LIMIT:
        os.close(descriptor)
        raise RefusedError(f"{path} is no file of at most {_LIMIT} bytes")
    with os.fdopen(descriptor, "rb") as handle:
        return handle.read(_LIMIT)
