# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What nginx itself says of its files, and what lies in those that it reads certificates from."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

from ansible.module_utils.basic import AnsibleModule

from ._pki import der

# as it goes to the log, with time and process, or without them
REASON = re.compile(r"^.*?\[emerg\] (?:\d+#\d+: )?(.*)$", re.MULTILINE)
SITE = re.compile(
    r"^# configuration file /etc/nginx/(?:conf|streams)\.d/fedlearn-(\S+)\.conf:$(.*?)(?=^# configuration file |\Z)",
    re.MULTILINE | re.DOTALL,
)
READ = re.compile(
    r'^\s*(?:proxy_)?ssl_(certificate|client_certificate|trusted_certificate|crl) "?([^";]+)"?;', re.MULTILINE
)


def refusal(module: AnsibleModule, program: str | None) -> str:
    """Why nginx wouldn't start with the files that are there; empty where it would, and where there is no nginx.

    It runs on with what it has read: after a reboot no site would be there.
    """
    if not program or not os.access(program, os.X_OK):
        return ""
    code, _output, errors = module.run_command([program, "-t", "-q"])
    if code == 0:
        return ""
    found = REASON.search(errors)
    return f"nginx refuses the files it would start with: {found[1] if found else errors.strip()}"


def ended_files(module: AnsibleModule, program: str | None, now: float) -> dict[str, list[str]]:
    """Site by site of ours, what has ended of the certificates and lists that nginx reads: it takes them as any."""
    if not program or not os.access(program, os.X_OK):
        return {}
    _code, files, _errors = module.run_command([program, "-T", "-q"])
    found = {}
    for name, text in SITE.findall(files):
        told = list(dict.fromkeys(line for kind, path in READ.findall(text) for line in _ended(kind, path, now)))
        if told:
            found[name] = told
    return found


def _ended(kind: str, path: str, now: float) -> Iterator[str]:
    """What is to be told of a file: of several CAs that are trusted one will do. What can't be read nginx refuses."""
    try:
        with open(path, "rb") as stream:
            content = stream.read()
        if kind == "crl":
            ends = [der.list_end(block) for block in der.blocks(content, der.LIST)]
        else:
            ends = [der.certificate(block).not_after for block in der.blocks(content)]
    except (OSError, der.DerError):
        return
    judged = max(ends, default=now) if kind in ("client_certificate", "trusted_certificate") else min(ends, default=now)
    if judged < now:
        yield f"{path} has ended on {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(judged))}"
