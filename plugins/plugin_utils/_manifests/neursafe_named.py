# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs Neursafe's client by a name that is the same at each start: `python3.7 named.py --config_file FILE`.

The program makes a name of the moment (client_reporter.py). So to the server's selector a client that began anew is
another one at the same address, which it forgets when the former one expires: reports fail then, and no job finds the
client. Where it is reached nobody else is, so that is what the name is made of.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
import types
import uuid
from pathlib import Path


def main(setup: str) -> None:
    """The client, with the arguments that this was given."""
    address = json.loads(Path(setup).read_text(encoding="utf-8"))["external_address"]
    named = uuid.uuid5(uuid.NAMESPACE_URL, address)
    reporter = importlib.import_module("neursafe_fl.python.client.client_reporter")
    vars(reporter)["uuid"] = types.SimpleNamespace(uuid1=lambda: named)
    runpy.run_module("neursafe_fl.python.client.app", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[-1])
