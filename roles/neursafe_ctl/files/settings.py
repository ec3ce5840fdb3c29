# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nsfl-ctl's own settings, by its own code: settings.py possible|write|same|remove DIRECTORY [DOUBLES].

In DIRECTORY lie told.json, and where there is one the store's password. It is run by the program's Python 3.7.
"""

import importlib
import json
import os
import sys
from pathlib import Path

SETTINGS = Path("/etc/nsfl.json")
"""Where the program looks for them; it has no other."""


def library():
    """The program's way with passwords."""
    return importlib.import_module("neursafe_fl.python.cli.core.aes")


def wanted(directory):
    """What is to stand there, with the password in clear."""
    told = json.loads((directory / "told.json").read_text())
    password = directory / "password"
    return {**told, "password": password.read_text().strip()} if password.exists() else told


def found():
    """What stands there, likewise; nothing where it can't be read as the program does."""
    try:
        there = json.loads(SETTINGS.read_text())
        return {**there, "password": library().decrypt(there["password"])} if "password" in there else there
    except Exception:
        return None


def possible(directory, doubles):
    """Why it can't be set up, or nothing."""
    wanted(directory)
    try:
        program = importlib.import_module("neursafe_fl.python.cli.nsfl")
    except Exception as error:
        return f"{sys.executable} has no nsfl-ctl: {type(error).__name__}: {error}"
    is_double = getattr(program, "DOUBLE", False)
    if is_double != (doubles == "true"):
        return f"{sys.executable} has {'a double' if is_double else 'no double'}, and doubles says otherwise"
    return ""


def write(directory):
    """Whole or not at all, for root alone."""
    there = wanted(directory)
    if "password" in there:
        there["password"] = library().encrypt(there["password"])
    beside = SETTINGS.with_name(".nsfl.json.fedlearn-new")
    beside.unlink() if beside.exists() else None
    with os.fdopen(os.open(str(beside), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(there, file)
    beside.rename(SETTINGS)
    return ""


def same(directory):
    """What differs, or nothing."""
    if not SETTINGS.exists():
        return f"there is no {SETTINGS}"
    if SETTINGS.stat().st_mode & 0o077:
        return f"others than root read {SETTINGS}"
    there, told = found() or {}, wanted(directory)
    differing = sorted(key for key in {*there, *told} if there.get(key) != told.get(key))
    return (
        f"{SETTINGS} has another {', '.join(differing)}: restart this unit, or take it over into what is told"
        if differing
        else ""
    )


def remove(directory):
    """What is ours; what somebody made of it since stays."""
    if SETTINGS.exists() and found() == wanted(directory):
        SETTINGS.unlink()
    return ""


def main(word, directory, *more):
    """Says why not, and ends with 1, where there is anything to say."""
    said = {"possible": possible, "write": write, "same": same, "remove": remove}[word](Path(directory), *more)
    if said:
        print(said)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
