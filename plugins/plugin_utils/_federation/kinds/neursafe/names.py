# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What things are called in a cluster."""

from __future__ import annotations

MAX_NAME = 63
"""Characters of what names a Kubernetes namespace, and stands in a label."""

SERVER = "server"
IN_CLUSTER = "svc.cluster.local"
"""The domain of services; the proxy's program has it built in."""
