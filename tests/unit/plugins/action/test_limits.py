# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of limits that no login confirmed."""

from __future__ import annotations

from ansible_collections.fedlearn.infra.plugins.action.limits import told


def test_what_the_host_says_is_told_without_the_connection_s_own_words() -> None:
    late = "no new connection was made within 30 seconds; the former limits were put back"
    assert told(f"{late}\r\nShared connection to 10.0.0.1 closed.\r\n") == late


def test_a_login_that_says_nothing_is_told_as_such() -> None:
    message = told("Shared connection to 10.0.0.1 closed.\r\n")
    assert message.startswith("with these limits nobody comes in and becomes root any more: nothing was answered\n")
