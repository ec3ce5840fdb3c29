#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: limits
short_description: Open files of login sessions and kernel parameters, raised as far as the machine allows
description:
  - Writes C(/etc/security/limits.d/zz-fedlearn.conf) for all users and for root, and C(/etc/sysctl.d/zz-fedlearn.conf).
  - A value is tried before it is written. What the machine refuses is never written, since C(pam_limits) could then
    refuse every login; the nearest value it allows is written instead, and both are returned.
  - A new session of an ordinary user and one of root must then be possible and have the limit; otherwise the former
    file is put back and the module fails.
  - Values are only raised. Several federations share the files; the highest value counts, and each withdraws its own.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  federation:
    description: Who asks. A later call for the same one replaces what it asked for.
    type: str
    default: default
  nofile:
    description: Open files a session is to have.
    type: int
    default: 65535
  sysctls:
    description: Kernel parameters and the least value each is to have.
    type: dict
    default: {}
  state:
    description: V(absent) withdraws what O(federation) asked for; the files go with the last one.
    type: str
    choices: [present, absent]
    default: present
  host:
    description: What warnings call this host; by default its own name.
    type: str
  verify:
    description: Measure new sessions also when nothing changes.
    type: bool
    default: false
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Kernel parameters are not tried.
  diff_mode:
    support: full
    details: Shows the files.
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Give sessions enough open files
  fedlearn.infra.limits:
    nofile: 65535
"""

RETURN = r"""
nofile:
  description: What was asked for by all, what the machine allows, and what new sessions have where that was measured.
  returned: always
  type: dict
  contains:
    asked: {description: The highest value asked for., type: int}
    soft: {description: The value written., type: int}
    hard: {description: The hard limit written; never lower than sessions had before., type: int}
    sessions: {description: Soft limit of a new session by user., type: dict}
sysctls:
  description: Kernel parameters that are kept raised, with their values.
  returned: always
  type: dict
raised:
  description: Kernel parameters that were or would be raised by this call.
  returned: always
  type: list
  elements: str
files:
  description: Files that were or would be written or removed.
  returned: always
  type: list
  elements: str
refused:
  description: What the machine doesn't allow, one line each.
  returned: always
  type: list
  elements: str
"""

import json
import os
import platform
import re
import resource

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._service import files
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError

LIMITS = "/etc/security/limits.d/zz-fedlearn.conf"
SYSCTLS = "/etc/sysctl.d/zz-fedlearn.conf"
CLAIMS = "/var/lib/fedlearn/limits.json"
HEAD = "# Managed by the fedlearn.infra.limits role: changes made here are put back.\n"
USERS = ("nobody", "root")


def read(path: str) -> str | None:
    """A file's text; None where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def write(path: str, text: str | None) -> None:
    """Replaces a file at once; None removes it."""
    if text is None:
        files.remove(path)
    else:
        files.write_atomically(path, text.encode(), 0o644)


def is_as_wanted(path: str, text: str | None) -> bool:
    """Whether a file is there with that text, owned by root and readable by all; None: not there."""
    if text is None or read(path) != text:
        return text is None and not os.path.lexists(path)
    status = os.stat(path)
    return (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 0, 0o644)


def may_have(number: int) -> bool:
    """Whether a process may have this limit; tried in a child."""
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
        except (OSError, ValueError):
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def allowed(number: int) -> int:
    """The number, or the nearest below that the machine allows."""
    if may_have(number):
        return number
    ceilings = [resource.getrlimit(resource.RLIMIT_NOFILE)[1], int((read("/proc/sys/fs/nr_open") or "0").strip() or 0)]
    fitting = [ceiling for ceiling in ceilings if 0 < ceiling < number and may_have(ceiling)]
    return max(fitting, default=min(ceilings))


def usual_hard(module: AnsibleModule) -> int:
    """The hard limit that systemd gives services, and so sessions, without this module."""
    code, output, _errors = module.run_command(["systemctl", "show", "--property=DefaultLimitNOFILE", "--value"])
    word = output.strip()
    return int(word) if code == 0 and word.isdigit() else 0


def limits_text(soft: int, hard: int) -> str:
    """The file for pam_limits. It doesn't count root among all users, so root is named."""
    return HEAD + "".join(
        f"{who} {kind} nofile {number}\n" for who in ("*", "root") for kind, number in (("soft", soft), ("hard", hard))
    )


class RefusedError(Exception):
    """New sessions aren't as they must be; the message says which."""


def session_limit(module: AnsibleModule, user: str) -> int:
    """Soft limit of a new session, through PAM as any login. Raises RefusedError when there is none to be had."""
    code, output, errors = module.run_command(["su", "-s", "/bin/sh", user, "-c", "ulimit -Sn"])
    words = output.split()
    if code != 0 or not words:
        raise RefusedError(f"a new session of {user} is refused: {(errors or output).strip()[-300:]}")
    return resource.RLIM_INFINITY if words[-1] == "unlimited" else int(words[-1])


def measure(module: AnsibleModule, soft: int) -> dict[str, int]:
    """Soft limits of new sessions. Raises RefusedError when one is lower than what was written."""
    sessions = {user: session_limit(module, user) for user in USERS}
    for user, number in sessions.items():
        if number != resource.RLIM_INFINITY and number < soft:
            raise RefusedError(
                f"a new session of {user} has {number} open files, not {soft}: "
                "another file in /etc/security/limits.d, or limits.conf, says so"
            )
    return sessions


class Claims:
    """What each federation asked for, and which kernel parameters had to be raised for it."""

    def __init__(self) -> None:
        content = json.loads(read(CLAIMS) or '{"claims": {}, "raised": []}')
        self.by_federation: dict[str, dict] = content["claims"]
        # either file may have been lost
        self.raised = set(content["raised"]) | set(re.findall(r"^(\S+) = \d+$", read(SYSCTLS) or "", re.MULTILINE))

    def highest(self) -> tuple[int, dict[str, int]]:
        """The highest of each value."""
        sysctls: dict[str, int] = {}
        for claim in self.by_federation.values():
            for name, number in claim["sysctls"].items():
                sysctls[name] = max(number, sysctls.get(name, 0))
        return max((claim["nofile"] for claim in self.by_federation.values()), default=0), sysctls

    def text(self) -> str | None:
        """What CLAIMS is to hold."""
        content = {"claims": self.by_federation, "raised": sorted(self.raised)}
        return json.dumps(content, indent=1, sort_keys=True) + "\n" if self.by_federation else None


def sysctl_path(name: str) -> str:
    """The parameter's file. A dot inside a component is written as a slash, as sysctl has it."""
    return "/proc/sys/" + name.translate(str.maketrans("./", "/."))


def raise_sysctl(module: AnsibleModule, name: str, least: int, claims: Claims) -> tuple[bool, str | None, str | None]:
    """Raises a parameter where it is lower. Returns whether it did, its line of the file, and why there is none."""
    path = sysctl_path(name)
    try:
        present = int((read(path) or "").strip())
    except ValueError:
        return False, None, f"{name}: is no kernel parameter with one number here"
    lower = present < least
    if lower and not module.check_mode:
        try:
            with open(path, "w", encoding="ascii") as stream:
                stream.write(str(least))
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            way_out = "raise it on the machine that this one is a part of, or take it out of limits_sysctls"
            return False, None, f"{name}: {least} was asked for, it stays {present} ({reason}): {way_out}"
    if lower:
        claims.raised.add(name)
    return lower, f"{name} = {least}\n" if name in claims.raised else None, None


class Plan:
    """What files are to hold, and what the machine refused."""

    def __init__(self, module: AnsibleModule, claims: Claims) -> None:
        self.refused: list[str] = []
        self.raised: list[str] = []
        self.asked, wanted = claims.highest()
        self.soft = self.hard = 0
        texts: dict[str, str | None] = {LIMITS: None}
        if self.asked:
            self.soft = allowed(self.asked)
            self.hard = max(self.soft, allowed(usual_hard(module) or self.soft))
            texts[LIMITS] = limits_text(self.soft, self.hard)
            if self.soft < self.asked:
                self.refused.append(
                    f"nofile: {self.asked} was asked for, this machine allows {self.soft}: raise fs.nr_open, "
                    "in a container its own limit (--ulimit nofile=), or ask for less (limits_nofile)"
                )
        self.sysctls: dict[str, int] = {}
        lines = []
        for name, least in sorted(wanted.items()):
            was_raised, line, why = raise_sysctl(module, name, least, claims)
            self.raised += [name] if was_raised else []
            self.refused += [why] if why else []
            if line:
                lines.append(line)
                self.sysctls[name] = least
        claims.raised &= set(self.sysctls)
        texts[SYSCTLS] = HEAD + "".join(lines) if lines else None
        texts[CLAIMS] = claims.text()
        self.texts = texts

    def differing(self) -> list[str]:
        """Files that aren't as they are to be."""
        return [path for path, text in self.texts.items() if not is_as_wanted(path, text)]


def settle(module: AnsibleModule, plan: Plan, differing: list[str]) -> dict[str, int]:
    """Writes what differs; new sessions must then be as asked, else the former limits are put back."""
    former = read(LIMITS)
    try:
        for path in (path for path in differing if path != CLAIMS):
            write(path, plan.texts[path])
        sessions = measure(module, plan.soft)
    except RefusedError as error:
        if LIMITS not in differing:
            raise
        write(LIMITS, former)
        raise RefusedError(f"{error}; the former limits were put back") from None
    if CLAIMS in differing:
        write(CLAIMS, plan.texts[CLAIMS])
    files.remove_empty(os.path.dirname(CLAIMS))
    return sessions


def whole_numbers(module: AnsibleModule) -> dict[str, int]:
    """The kernel parameters asked for; anything but a positive whole number is a mistake."""
    sysctls = module.params["sysctls"]
    for name, number in sysctls.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            module.fail_json(msg=f"sysctls.{name}: expected a whole number from 1, found {number!r}")
    return dict(sysctls)


def run(module: AnsibleModule) -> dict:
    """Plans, writes, measures."""
    claims = Claims()
    if module.params["state"] == "absent":
        claims.by_federation.pop(module.params["federation"], None)
    else:
        claim = {"nofile": module.params["nofile"], "sysctls": whole_numbers(module)}
        claims.by_federation[module.params["federation"]] = claim
    plan = Plan(module, claims)
    differing = plan.differing()
    diff = [
        {"before_header": path, "after_header": path, "before": read(path) or "", "after": plan.texts[path] or ""}
        for path in differing
    ]
    sessions: dict[str, int] = {}
    if differing and not module.check_mode:
        sessions = settle(module, plan, differing)
    elif module.params["verify"] and not differing:
        sessions = measure(module, plan.soft)
    return {
        "changed": bool(differing or plan.raised),
        "files": differing,
        "nofile": {"asked": plan.asked, "soft": plan.soft, "hard": plan.hard, "sessions": sessions},
        "sysctls": plan.sysctls,
        "raised": plan.raised,
        "refused": plan.refused,
        "diff": diff if module._diff else [],
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "federation": {"type": "str", "default": "default"},
            "nofile": {"type": "int", "default": 65535},
            "sysctls": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "host": {"type": "str"},
            "verify": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except (RefusedError, ServiceError) as error:
        module.fail_json(msg=str(error))
    if result["changed"]:
        for one in result["refused"]:
            module.warn(f"{module.params['host'] or platform.node()}: {one}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
