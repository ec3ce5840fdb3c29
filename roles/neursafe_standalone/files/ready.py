# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Says why a client couldn't start: ready.py DIRECTORY [DOUBLES], where its setup.json and datasets.json lie.

It is run by the program's own Python 3.7; without DOUBLES by any, and looks at files alone.
"""

import importlib
import json
import sys
from pathlib import Path

STATE = "/var/lib/fedlearn-"
"""The unit makes what lies there."""


def missing(directory):
    """What of the client's files isn't there, a line each."""
    setup = json.loads((directory / "setup.json").read_text())
    datasets = json.loads((directory / "datasets.json").read_text())
    for name, path in sorted(datasets.items()):
        if not Path(path).exists():
            yield f"data set '{name}': there is no {path}"
    entry = setup["task_config_entry"]
    if not entry.startswith(STATE) and not Path(entry).is_dir():
        yield f"tasks' configurations: there is no folder {entry}"


def strange(doubles):
    """Why the program isn't the one that is meant, a line each."""
    try:
        app = importlib.import_module("neursafe_fl.python.client.app")
    except Exception as error:
        yield f"{sys.executable} can't run the client: {type(error).__name__}: {error}"
        return
    is_double = getattr(app, "DOUBLE", False)
    if is_double and not doubles:
        yield f"{sys.executable} has a double, which learns nothing: only with doubles"
    elif doubles and not is_double:
        yield f"{sys.executable} has no double, and doubles says so"


def main(directory, doubles=None):
    """Tells all of it; 1 where there is any."""
    said = [*missing(Path(directory)), *(strange(doubles == "true") if doubles else [])]
    print("\n".join(said))
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
