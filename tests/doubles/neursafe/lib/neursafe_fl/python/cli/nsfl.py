# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A contract double of nsfl-ctl: tells its settings, and asks nobody.

nsfl-ctl get config
"""

from __future__ import annotations

import json
import sys

DOUBLE = True
SETTINGS = "/etc/nsfl.json"

if __name__ == "__main__":
    if sys.argv[1:] != ["get", "config"]:
        sys.exit("double: only `get config`")
    with open(SETTINGS) as file:
        told = json.load(file)
    print(json.dumps({key: value for key, value in told.items() if key != "password"}, sort_keys=True))
