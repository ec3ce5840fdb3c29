# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Taking a certificate away, with its key and its record."""

from __future__ import annotations

import os

from . import acme
from .description import Description
from .installed import Installed, Layout
from .outcome import Outcome


def remove(layout: Layout, description: Description, check: bool = False) -> Outcome:
    """Take away all that was ever written for a certificate; a directory that holds others' files stays."""
    installed = Installed(layout, description, create=False)
    outcome = Outcome()
    record = installed.record_path
    here = [installed.file(name) for name in list(installed.found) + installed.leftovers]
    if record and os.path.lexists(record):
        here.append(record)
    asked = acme.forget(layout, description.federation, description.name, check=True)
    if not (here or asked) and (not installed.path or os.listdir(installed.path)):
        return outcome
    outcome.changed, outcome.action, outcome.files = True, "removed", sorted(here + asked)
    outcome.reasons = ["state is absent"]
    if check:
        return outcome
    for path in here:
        os.unlink(path)
    acme.forget(layout, description.federation, description.name)
    _remove_empty(layout, description, outcome)
    return outcome


def _remove_empty(layout: Layout, description: Description, outcome: Outcome) -> None:
    """Remove the directories that hold nothing any more, innermost first."""
    own = ("fedlearn", description.federation, "pki", description.name)
    records = ("fedlearn", description.federation, "certificates")
    for base, parts in ((layout.configuration, own), (layout.state, records)):
        for count in range(len(parts), 0, -1):
            path = os.path.join(base, *parts[:count])
            try:
                os.rmdir(path)
            except FileNotFoundError:
                continue
            except OSError:
                if parts[:count] == own:
                    others = ", ".join(sorted(os.listdir(path))[:5])
                    outcome.warnings.append(f"{path} stays: it holds files that aren't ours ({others})")
                break
