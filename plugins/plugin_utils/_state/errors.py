# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong with what is kept on the control node."""

from __future__ import annotations

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.files import FileTroubleError


class StateError(FileTroubleError):
    """What is kept can't be read or written; the text names place and way out, and no secret."""
