# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The systems this collection deploys: one file a kind, found by its presence.

A kind's module offers what ``Kind`` lists; its docstring's first paragraph is its introduction in docs/federation.md.

``PLACEMENTS`` are the keys of a stack beside ``kind``, ``state``, ``tls`` and ``settings``, each a ``schema.Key``.
Where a role runs is a ``Place``: host, hosts, party, external or cluster, with port, bind, internal_url, public_url,
settings, absent and state come with it; the kind only names its default port, what else it may be, and its own keys::

    PLACEMENTS = {
        "redis": Key(Place(port=23456, external=Section({...})), "The store ...", required=True),
        "servers": Key(Place(many=True, port=6666, options={"per_host": Key(Integer(1, 64), "...", default=1)}), "..."),
        "clients": Key(Table(Text(format="name"), Place(options={...})), "..."),
        "privacy": Key(Section({...}), "..."),
    }

Keys whose value is a ``Placement`` are in ``stack.placements``; all others in ``stack.options``, where they may hold
placements too (a Table of them, a Section with one). Keys not given are in neither, unless they have a default.
References to hosts, parties and clusters are checked before ``expand`` is called. For a stack with a mistake it is
called too, with UNKNOWN (``unknown.py``) where the wrong value was: what reads that ends in UnknownValueError and is
left out, and ``attempt`` keeps one look from ending the others, so that all mistakes are told in one run. A secret is
never a value: a key that takes the *name* of one is ``Text(format="secret")``.

``stack.settings`` and ``placement.settings`` are checked key by key against ``SETTINGS`` (``Place(settings=...)``), but
hold only what was given: merge them over what you derive, then complete them::

    settings = schema.complete(SETTINGS, schema.merge(derived, stack.settings), (*stack.path, "settings"), report)

which fills in defaults and runs the rules across keys.

Absent things: of every placement ``hosts`` is where it runs, ``absent`` where it is to be removed (named so, or the
host, the placement or the stack is absent). A component there has ``state="absent"``, and its name is all a role needs.
Likewise ``cluster`` and ``absent_cluster``; ``places`` and ``absent_places`` are hosts and clusters alike, by the host
that stands for one. ``party`` and ``external`` are None where the placement is absent. What is placed inside of a
placement is absent with it.

Mistakes: ``report.mistake((*stack.path, "servers", "per_host"), "message")``. The path leads to the value in the
document; the position is found by it (that of the nearest thing above when the path isn't written there). A message
begins in lower case, names what is wrong and the way out, without the path. ``report.where(path)`` gives
``file:line:column`` of a second place. What is wrong with a placement's hosts stands at ``placement.where``. Endpoints
carry the ``path`` that put them there: collisions name both places.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Collection, Mapping
from typing import Protocol, cast

from ..model import Expansion, Federation, Path, Stack
from ..nodes import Report
from ..schema import Key, Section


class Kind(Protocol):
    """What a kind's module offers."""

    NAME: str
    """The word in ``kind:``."""

    TLS: bool
    """Whether the system can do TLS. If so a stack takes ``tls``, true by default; if not there is no such key."""

    ROLES: Mapping[str, str]
    """The kind's own roles, each with the stage of site it converges in.

    ``coordinator`` is up before any ``service`` of the stack starts and goes after the last, ``participant`` comes last
    and goes first.
    """

    PLACEMENTS: Mapping[str, Key]
    """The keys of a stack."""

    SETTINGS: Section
    """Every key of the system's own configuration, typed."""

    OWN_KEYS: Collection[str]
    """Keys of a stack beside its placements by which each party says what is on its own hosts, whatever others have:
    its overlay may, as it may say all of its own placements."""

    UPPER_BOUNDS: Collection[Path]
    """Numbers below a stack that both sides keep: a party's overlay may have its own keep a lower one."""

    EXAMPLE: str
    """A stack for the document that ``init`` writes: commented YAML without ``kind``, on host1, host2 and host3.

    It may have roles in the ``cluster: cluster1`` and of the external ``party: partner``, which then are there.
    """

    def expand(self, stack: Stack, federation: Federation, report: Report) -> Expansion:
        """The stack's components and all that follows from them; not used when there were mistakes to report."""


@functools.cache
def kinds() -> Mapping[str, Kind]:
    """Every kind by its name, from the files in this directory."""
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    found = {kind.NAME: kind for kind in cast("list[Kind]", list(modules))}
    return dict(sorted(found.items()))
