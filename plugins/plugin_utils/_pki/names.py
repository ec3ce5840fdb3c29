# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where an authority's key, certificates and secret are found; the library and the plugins ask here."""

from __future__ import annotations

import os


def secret_name(authority: str) -> str:
    """The name of the secret that encrypts an authority's key."""
    return f"ca_{authority}"


def secrets_path(state_directory: str, party: str) -> str:
    """The file of a party's secrets."""
    return os.path.join(state_directory, ".secrets", f"{party}.yml")


def key_path(state_directory: str, party: str, authority: str) -> str:
    """The file of an authority's key."""
    return os.path.join(state_directory, ".ca", party, f"{authority}.key")


def public_path(state_directory: str, party: str, authority: str) -> str:
    """The file of an authority's certificates: what others trust. Two, newest last, during a CA change."""
    return os.path.join(state_directory, "public", party, f"{authority}.pem")
