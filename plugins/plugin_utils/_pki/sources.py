# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deploy needs of the control node: secrets, the keys of CAs, certificates of others. All that isn't as it has
to be is found at once, so that it can be told before any host is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.files import FileTroubleError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.names import secret_name
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import AuthorityError

Ask = Callable[[str, list[str]], object]
"""Looks secrets of a party up by their names; AuthorityError that tells all that can't be had."""


def problems(authorities: Iterable[Authority], secrets: Mapping[str, Iterable[str]], ask: Ask) -> list[str]:
    """One line for each. ``secrets`` are names by party, beside those that open the keys of the authorities."""
    found: list[str] = []
    own: list[Authority] = []
    for authority in authorities:
        external = authority.description.elsewhere
        told = _trouble(authority.prove_trust if external else authority.exists, authority.where)
        told = told or _trouble(authority.prove_lists, authority.where)
        found += told
        if not (told or external):
            own.append(authority)
    wanted = {party: dict.fromkeys(names) for party, names in secrets.items()}
    for authority in own:
        wanted.setdefault(authority.description.party, {})[secret_name(authority.description.name)] = None
    lacking = {}
    for party, names in wanted.items():
        if names:
            lacking[party] = _trouble(partial(ask, party, list(names)), f"party {party}")
    found += [line for lines in lacking.values() for line in lines]
    for authority in own:
        if not lacking[authority.description.party]:  # without its secret no key opens, which is told already
            found += _trouble(authority.prove, authority.where)
    return found


def _trouble(look: Callable[[], object], where: str) -> list[str]:
    """What a look finds wrong, as a list of one; else none."""
    try:
        look()
    except (AuthorityError, FileTroubleError) as error:
        return [str(error)]
    except OSError as error:
        return [f"{where}: {error.filename} can't be read: {error.strerror}"]
    return []
