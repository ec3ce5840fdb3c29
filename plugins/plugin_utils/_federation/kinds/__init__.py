# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The systems this collection deploys: one file a kind, found by its presence.

A kind's module offers:

    NAME: str                       the word in ``kind:``
    PLACEMENTS: Mapping[str, Key]   its roles and other keys of a stack, beside kind, state, tls and settings
    SETTINGS: Section               every key of the system's own configuration, typed
    def expand(stack: Stack, federation: Federation, report: Report) -> Expansion
"""
