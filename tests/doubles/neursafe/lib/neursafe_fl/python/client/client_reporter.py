# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A contract double of what Neursafe's client calls itself: another name at each start, by a module that it imports."""

from __future__ import annotations

import uuid


def client_id() -> str:
    return f"single-linux-{str(uuid.uuid1())[10:]}"
