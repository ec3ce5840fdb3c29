# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a certificate will do: in which sentences it isn't what the description asks for, and when it is renewed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .description import BACKDATED, DAY, Description
from .facts import Anchors, Facts, moment
from .installed import CERTIFICATE, KEY, Installed

_TOLERANCE = 3600  # seconds that a lifetime may differ from whole days


def reasons(
    installed: Installed,
    facts: Facts | None,
    anchors: Anchors,
    now: float,
    warnings: list[str],
    renew: bool = False,
    keep: bool = False,
) -> Iterator[str]:
    """Why a new certificate is needed; nothing when the one that is there will do, unless it was asked to ``renew``.

    With ``keep`` one will do as long as it is valid, whatever is described.
    """
    description = installed.description
    if CERTIFICATE not in installed.found:
        yield "there is no certificate yet"
    elif KEY not in installed.found:
        yield "its key is gone"
    elif facts is None:
        yield "key and certificate don't belong together, or one can't be read"
    elif keep:
        yield from _unfit(facts, anchors, now)
    else:
        if renew:
            yield "its renewal was asked for"
        yield from differences(description, facts, anchors, now)
        if _a_third_is_left(facts, now):
            if facts.not_after < anchors.issuer_not_after:
                yield f"a third of its lifetime is left, or less (until {moment(facts.not_after)})"
            elif anchors.issuer is not None:
                warnings.append(
                    f"{description.name} ends with its CA on {moment(facts.not_after)} and can't be "
                    "renewed beyond that: change the CA"
                )


def _a_third_is_left(facts: Facts, now: float) -> bool:
    left, lifetime = facts.not_after - now, facts.not_after - facts.not_before
    return 0 < left <= lifetime / 3


def differences(description: Description, facts: Facts, anchors: Anchors, now: float) -> Iterator[str]:
    """What ``facts`` say otherwise than the description, one sentence each."""
    yield from _lacks(description, facts) if anchors.foreign else _says_otherwise(description, facts, anchors)
    yield from _unfit(facts, anchors, now)


def _unfit(facts: Facts, anchors: Anchors, now: float) -> Iterator[str]:
    """Why nobody takes it."""
    if anchors.issuer is not None and facts.issuer != anchors.digest:
        yield f"its chain doesn't end at the CA that signs now ({facts.chain_problem})"
    if facts.serial in anchors.revoked:
        yield f"it was withdrawn (serial number {facts.serial})"
    if now >= facts.not_after:
        yield f"it has ended on {moment(facts.not_after)}, and this host's clock says {moment(now)}"
    elif now < facts.not_before:
        yield f"it begins on {moment(facts.not_before)}, and this host's clock says {moment(now)}: set the clock"


def _says_otherwise(description: Description, facts: Facts, anchors: Anchors) -> Iterator[str]:
    """Of a certificate that our own CA signs: it is to be the described one, no more and no less."""
    for what, is_, wanted in (
        ("common_name", facts.common_name, description.common_name),
        ("dns_names", sorted(facts.dns_names), sorted(description.dns_names)),
        ("addresses", sorted(facts.addresses), sorted(description.addresses)),
        ("usages", sorted(facts.usages), sorted(description.usages)),
        ("key_type", facts.key_type, description.key_type),
    ):
        if is_ != wanted:
            yield f"{what}: is {_words(is_)}, to be {_words(wanted)}"
    lifetime = facts.not_after - facts.not_before - BACKDATED
    wanted_lifetime = description.lifetime_days * DAY
    if abs(lifetime - wanted_lifetime) > _TOLERANCE and not (
        lifetime < wanted_lifetime and facts.not_after == anchors.issuer_not_after
    ):
        yield "lifetime_days: is %d, to be %d" % (round(lifetime / DAY), description.lifetime_days)


def _lacks(description: Description, facts: Facts) -> Iterator[str]:
    """Of a certificate that somebody else signed: it has to cover what is described, and may say more.

    Those who are connected to know a client by its common name. A key that we made is to be the one described.
    """
    if not description.key_file and facts.key_type != description.key_type:
        yield f"key_type: is {facts.key_type}, to be {description.key_type}"
    if "client" in description.usages and facts.common_name != description.common_name:
        yield f"common_name: is {facts.common_name or 'none'}, to be {description.common_name}"
    for what, has, wanted in (
        ("dns_names", facts.dns_names, description.dns_names),
        ("addresses", facts.addresses, description.addresses),
        ("usages", facts.usages, description.usages),
    ):
        lacking = [each for each in wanted if each not in has and f"*.{each.partition('.')[2]}" not in has]
        if lacking:
            yield f"{what}: lacks {', '.join(lacking)} (has {_words(list(has))})"


def _words(value: Any) -> str:
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)
