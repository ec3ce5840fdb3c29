# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where an authority's key, certificates and secret are found; the library and the plugins ask here."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence


def secret_name(authority: str) -> str:
    """The name of the secret that encrypts an authority's key."""
    return f"ca_{authority}"


def secrets_path(state_directory: str, party: str) -> str:
    """The file of a party's secrets."""
    return os.path.join(state_directory, ".secrets", f"{party}.yml")


def key_path(state_directory: str, party: str, authority: str) -> str:
    """The file of an authority's key."""
    return os.path.join(state_directory, ".ca", party, f"{authority}.key")


def next_key_path(state_directory: str, party: str, authority: str) -> str:
    """The key that follows, while hosts learn to trust its certificate."""
    return os.path.join(state_directory, ".ca", party, f"{authority}.next.key")


def former_key_path(state_directory: str, party: str, authority: str) -> str:
    """The key that was, until no host trusts its certificate any more."""
    return os.path.join(state_directory, ".ca", party, f"{authority}.former.key")


def certificate_file(authority: str) -> str:
    """What the file of an authority's certificates is called, wherever it lies."""
    return f"{authority}.pem"


MAX_LIST_BYTES = 1 << 24
"""How large a file of lists may be: a fleet that was withdrawn is a long one."""


def list_file(authority: str) -> str:
    """What the file of an authority's lists of withdrawn certificates is called, likewise."""
    return f"{authority}.crl.pem"


def public_path(state_directory: str, party: str, authority: str) -> str:
    """The file of an authority's certificates: what others trust. Two, newest last, during a CA change."""
    return os.path.join(state_directory, "public", party, certificate_file(authority))


def crl_path(state_directory: str, party: str, authority: str) -> str:
    """The file of an authority's lists of withdrawn certificates, one for each of its own certificates."""
    return os.path.join(state_directory, "public", party, list_file(authority))


def signer_path(state_directory: str, party: str) -> str:
    """The key by which a party signs what it hands to partners."""
    return os.path.join(state_directory, ".exchange", party, "signer.key")


def taken_path(state_directory: str, party: str, name: str) -> str:
    """A file of another party that was proven to be signed by it, and taken over."""
    return os.path.join(state_directory, ".exchange", party, name)


def issued_path(state_directory: str, party: str, authority: str) -> str:
    """The folder of what an authority has issued, a file a host."""
    return os.path.join(state_directory, ".ca", party, f"{authority}.issued")


def revoked_path(state_directory: str, party: str, authority: str) -> str:
    """The file of what an authority has withdrawn."""
    return os.path.join(state_directory, ".ca", party, f"{authority}.revoked.json")


LOOPBACK = ("127.0.0.0/8", "::1/128")
"""A CA that is for certain networks only may certify these too: nobody else is reached there."""


def permits(names: Sequence[str], networks: Sequence[str], wanted: str) -> bool:
    """Whether a CA that is constrained to these may certify a DNS name or an address; none given is no constraint."""
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError:
        inside = wanted.lower().removeprefix("*.")
        return not names or any(f".{inside}".endswith(f".{name.lower()}") for name in names)
    return not networks or any(address in ipaddress.ip_network(each) for each in (*networks, *LOOPBACK))
