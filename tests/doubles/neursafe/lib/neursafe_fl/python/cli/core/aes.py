# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A contract double of nsfl-ctl's way with passwords: its settings don't have them as they are. It hides nothing."""

from __future__ import annotations

import base64


def encrypt(message: str) -> str:
    return base64.encodebytes(message[::-1].encode()).decode()


def decrypt(text: str) -> str:
    return base64.decodebytes(text.encode()).decode()[::-1]
