# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`python -m fedlearn_mindspore.validate ROLE FILE`: has MindSpore Federated itself read a configuration.

ROLE is MS_SCHED or MS_SERVER; a worker reads as a server does. Ends with 1 and MindSpore's own words where it refuses.
"""

from __future__ import annotations

import importlib
import sys

from fedlearn_mindspore import light


def main(role: str, path: str) -> None:
    """Reads it, connects to nothing."""
    light.register()
    startup = importlib.import_module("mindspore_federated.startup.yaml_config")
    try:
        startup.load_yaml_config(path, role)
    except RuntimeError as error:
        raise SystemExit(f"MindSpore Federated refuses the configuration: {str(error).splitlines()[0]}") from error


if __name__ == "__main__":
    main(*sys.argv[1:])
