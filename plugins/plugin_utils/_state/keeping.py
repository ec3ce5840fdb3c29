# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one way by which what outlives a run is written on the control node, into a folder or a repository alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.location import room_around
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.repository import Repository

T = TypeVar("T")


def keep(state_directory: str, why: str, write: Callable[[], T]) -> T:
    """Do a write below a state directory, and give what it returns once that outlives the run.

    Where the directory is the working copy of a repository it may be done more than once: it says what is to be there,
    and finds what is there already. It does no other write by this function.
    """
    room = room_around(state_directory)
    return write() if room is None else Repository(room).keep(why, write)


def look(state_directory: str, read: Callable[[], T]) -> T:
    """What a reader finds below a state directory, and will find tomorrow.

    Whoever just reads in the working copy of a repository may see another fork's write whose push is still to be lost.
    """
    room = room_around(state_directory)
    return read() if room is None else Repository(room).look(read)
