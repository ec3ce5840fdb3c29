# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which packages of Debian a host lacks."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "NEEDRESTART_MODE": "l"}


def installed(module: AnsibleModule, names: list[str]) -> dict[str, tuple[str, str]]:
    """State and version of each package dpkg knows."""
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status} ${Version}\\n", *names]
    _code, output, _errors = module.run_command(query, environ_update=QUIET)
    rows = [line.split(" ") for line in output.splitlines() if line.count(" ") == 2]
    return {name: (state, version) for name, state, version in rows}


def missing(module: AnsibleModule, wanted: list[str]) -> list[str]:
    """Of the wanted packages those that aren't installed, or not in the version given."""
    if not wanted:
        return []
    known = installed(module, [one.partition("=")[0] for one in wanted])
    result = []
    for one in wanted:
        name, _equals, version = one.partition("=")
        state, present = known.get(name, ("", ""))
        if state != "installed" or (version and present != version):
            result.append(one)
    return result
