# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the hosts are that tests/tools/xain.sh makes."""

from __future__ import annotations

import os

SET = os.environ.get("FEDLEARN_XAIN_SET", "wxain")
NETWORK = os.environ.get("FEDLEARN_XAIN_NETWORK", "10.98.71")
WRITTEN = "10.98.71."
"""As documents have it."""

X1, X2, X3 = (f"{NETWORK}.{number}" for number in (11, 12, 13))
