# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host's certificates, each in two steps with the control node between them.

``inspect`` compares and repairs all that needs no new certificate, and gives a request for one that does; ``install``
takes the certificate signed for that request. Both end in ``settle``: the next run finishes one that was killed.
"""

from __future__ import annotations

import os
from dataclasses import replace

from . import der, files, openssl
from .description import Description
from .facts import Anchors, Facts, examine, facts_of
from .installed import CERTIFICATE, CHAIN, KEY, MODES, NEXT_KEY, Installed, Layout
from .outcome import Outcome, RefusedError
from .provided import split
from .renewal import differences, reasons
from .settling import Settling


def inspect(
    layout: Layout,
    description: Description,
    anchors: Anchors,
    nonce: str,
    now: float,
    check: bool = False,
    thorough: bool = False,
    renew: bool = False,
    keep: bool = False,
) -> Outcome:
    """Compare with the description, repair what needs no signature, ask for a certificate when one is needed.

    ``thorough`` asks openssl even for files the record vouches for. ``renew`` asks for one with a new key in any case,
    ``keep`` for none while the present one is valid. With ``check`` nothing is written.
    """
    installed = Installed(layout, description, create=not check)
    outcome = Outcome()
    if not description.usages:
        Settling(installed, anchors, outcome, check).settle_trust()
        return outcome
    if anchors.foreign:
        anchors = _with_intermediates(anchors, installed.content(CHAIN))
        renew = renew or NEXT_KEY in installed.found  # a key that others haven't signed for yet
    facts = examine(installed, anchors, thorough)
    outcome.before = facts
    outcome.reasons = list(reasons(installed, facts, anchors, now, outcome.warnings, renew, keep))
    if facts and not outcome.reasons:
        Settling(installed, anchors, outcome, check, thorough).settle(facts)
        return outcome
    outcome.changed = True
    outcome.action = "renewed" if CERTIFICATE in installed.found else "issued"
    if not check:
        outcome.usable = facts is not None and not list(differences(description, facts, anchors, now))
        outcome.request = _request(_key_to_certify(installed, renew), description, anchors, nonce)
    return outcome


def _request(key_path: str, description: Description, anchors: Anchors, nonce: str) -> str:
    """Our own CA signs what it was told, and needs a proof of the key in this run; others need all they are to sign."""
    if anchors.foreign:
        return openssl.certificate_request(key_path, description)
    return openssl.request(key_path, openssl.challenge(nonce, description.name))


def install(layout: Layout, description: Description, anchors: Anchors, certificate: bytes, now: float) -> Outcome:
    """Put the certificate signed for this host's request in place, once all about it has been checked."""
    installed = Installed(layout, description, create=True)
    outcome = Outcome(changed=True, action="renewed" if CERTIFICATE in installed.found else "issued")
    if anchors.foreign:
        anchors = _with_intermediates(anchors, certificate)
        certificate, _intermediates = split(certificate)
    outcome.before = examine(installed, anchors, False)
    key = _key_of(installed, certificate)
    facts = facts_of(key, certificate, anchors, description.usages)
    wrong = list(differences(description, facts, anchors, now)) if isinstance(facts, Facts) else [facts]
    if key is None or not isinstance(facts, Facts) or wrong:
        raise RefusedError(
            "the signed certificate isn't what was asked for, so nothing was put in place: {}".format("; ".join(wrong))
        )
    fresh = {CERTIFICATE: certificate} if key == installed.content(KEY) else {KEY: key, CERTIFICATE: certificate}
    Settling(installed, anchors, outcome, fresh=fresh).settle(facts)
    outcome.reasons = []  # those of the inspection are told
    return outcome


def _with_intermediates(anchors: Anchors, chain: bytes | None) -> Anchors:
    """The anchors, with what leads from the certificate of ``chain`` to them."""
    try:
        return replace(anchors, intermediates=split(chain or b"")[1])
    except RefusedError:
        return anchors


def _key_to_certify(installed: Installed, renew: bool) -> str:
    """The path of the key to ask a certificate for: the one in use when it is of the right kind, else the next one.

    A key once made is used by every later run until a certificate came for it; with ``renew`` the one in use is not.
    """
    for name in (NEXT_KEY,) if renew else (KEY, NEXT_KEY):
        content = installed.content(name)
        public = openssl.public_key(content) if content else None
        if public and der.key_type(public) == installed.description.key_type:
            if installed.found[name].mode != MODES[name]:
                os.chmod(installed.file(name), MODES[name])
            return installed.file(name)
    files.write(installed.file(NEXT_KEY), openssl.generate_key(installed.description.key_type), MODES[NEXT_KEY])
    return installed.file(NEXT_KEY)


def _key_of(installed: Installed, certificate: bytes) -> bytes | None:
    """The key here that ``certificate`` was signed for; None when it is none of ours."""
    blocks = der.blocks(certificate)
    wanted = der.certificate(blocks[0]).public_key if blocks else b""
    for name in (KEY, NEXT_KEY):
        content = installed.content(name)
        if content and openssl.public_key(content) == wanted:
            return content
    return None
