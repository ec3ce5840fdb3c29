# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of every role that has data to back up; the playbooks `backup` and `restore` set them by name."""

from __future__ import annotations

from collections.abc import Mapping

from .._federation.schema import Key, Text
from .checking import CONTROL_FOLDER

_RECIPIENT = Text(min_length=0, pattern=r"(?:age1[0-9a-z]{58})?", pattern_name="a public key of age (age1...)")


def backup_variables(role: str, *, holds: str = "", plain: str = "") -> Mapping[str, Key]:
    """`holds`: what a backup has in it, behind a colon. `plain`: a sentence on a backup without a recipient."""
    return {
        f"{role}_backup_directory": Key(
            CONTROL_FOLDER,
            f"Folder on the control node that C(backup) writes to{holds}.",
            default="{{ fedlearn_state | default(inventory_dir) | fedlearn.infra.state_directory }}/.backups",
        ),
        f"{role}_backup_recipient": Key(
            _RECIPIENT,
            f"Public key of age that a backup is encrypted for on the host; C(age-keygen) makes a pair.{plain}",
            default="",
        ),
        f"{role}_backup_secret": Key(
            Text(min_length=0), "Name of the secret that is the private key, for C(restore).", default=""
        ),
        f"{role}_restore_from": Key(
            Text(min_length=0), "File on the control node that C(backup) wrote, for C(restore).", default=""
        ),
    }
