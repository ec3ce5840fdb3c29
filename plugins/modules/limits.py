#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: limits
short_description: Limits of login sessions and kernel parameters, raised as far as the machine allows
description:
  - Writes C(/etc/security/limits.d/zz-fedlearn.conf) for all users and for root, and C(/etc/sysctl.d/zz-fedlearn.conf).
  - A value is tried before it is written. What the machine refuses is never written, since C(pam_limits) could then
    refuse every login; the nearest value it allows is written instead, and both are returned.
  - A new session of an ordinary user and one of root must then be possible and have the limit, and so must a new
    connection, with all that Ansible needs to become root; otherwise the former file is put back and the module fails.
    The host does that by itself 30 seconds later where nobody gets in any more.
  - Who has an entry with a lower limit in another file is named in C(zz-fedlearn.conf), too, since what is said of a
    user or a group wins over what is said of all.
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
  nproc:
    description: Processes a session may have at least; V(0) asks for nothing. Written only where it would have fewer.
    type: int
    default: 0
  sysctls:
    description: Kernel parameters and the least value each is to have.
    type: dict
    default: {}
  ephemeral_ports:
    description: Ports that the host is to have for connections of its own, from C(first) to C(last). Only ever widened.
    type: dict
    default: {}
    suboptions:
      first: {description: The lowest., type: int}
      last: {description: The highest; goes with C(first)., type: int}
  state:
    description: V(absent) withdraws what O(federation) asked for; the files go with the last one.
    type: str
    choices: [present, absent]
    default: present
  host:
    description: What warnings call this host; by default its own name.
    type: str
  lock_timeout:
    description: Seconds to wait for another run that sets limits on this host, until it has confirmed them.
    type: int
    default: 120
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
    workers: {description: How many workers that carries., type: int}
    sessions: {description: Soft limits of new sessions by user; C(login) is what confirmed it., type: dict}
nproc:
  description: Processes that are written, 0 where sessions have as many anyway.
  returned: always
  type: int
confirm:
  description: What a new connection is to run within 30 seconds, else the host puts the former limits back. The action
    plugin does.
  returned: when new sessions were limited otherwise than before
  type: str
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
  description: What the machine doesn't allow, one line each. They are warnings in every run.
  returned: always
  type: list
  elements: str
told:
  description: The same in one line, as the playbook C(status) has it among a host's warnings.
  returned: always
  type: dict
"""

import glob
import json
import os
import platform
import re
import resource
import shutil

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._service import files, state, units
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError

LIMITS = "/etc/security/limits.d/zz-fedlearn.conf"
SYSCTLS = "/etc/sysctl.d/zz-fedlearn.conf"
OTHERS = ("/etc/security/limits.conf", "/etc/security/limits.d/*.conf")
CLAIMS = "/var/lib/fedlearn/limits.json"
UNDO = "/run/fedlearn-limits"
UNDO_UNIT = "fedlearn-limits-undo"
# not the host's: a service that takes its time to start would hold up a confirmation that has to come at once
LOCK = "/run/fedlearn/limits"
CONFIRM_SECONDS = 30
CONFIRM = UNDO + "/confirm"
# What this very connection has is what a new login has. A module would take ten times as long.
CONFIRM_TEXT = f"""\
number=$(ulimit -Sn)
systemctl stop {UNDO_UNIT}.timer
if [ "$number" != unlimited ] && [ "$number" -lt {{soft}} ]; then
    {{back}}
    echo "a new login has $number open files, not {{soft}}; the former limits were put back" >&2
    exit 1
fi
rm -rf {UNDO}
echo "$number"
"""
TOO_LATE = f"no new connection was made within {CONFIRM_SECONDS} seconds; the former limits were put back"
CONFIRMING = (
    f"flock {LOCK} /bin/sh -c \"if [ -e {CONFIRM} ]; then /bin/sh {CONFIRM}; else echo '{TOO_LATE}' >&2; exit 1; fi\""
)
PORTS = "net.ipv4.ip_local_port_range"
PER_WORKER = 5  # as the filter nofile_limit counts
RESERVE = 512
HEAD = "# Managed by the fedlearn.infra.limits role: changes made here are put back.\n"
USERS = ("nobody", "root")
ITEMS = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
KINDS = {"soft": ("soft",), "hard": ("hard",), "-": ("soft", "hard")}
UNLIMITED = 2**62  # above whatever a kernel counts


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


def may_have(number: int, what: int = resource.RLIMIT_NOFILE) -> bool:
    """Whether a process may have this limit; tried in a child."""
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(what, (number, number))
        except (OSError, ValueError):
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def allowed(number: int, what: int = resource.RLIMIT_NOFILE) -> int:
    """The number, or the nearest below that the machine allows."""
    if may_have(number, what):
        return number
    ceilings = [resource.getrlimit(what)[1]]
    if what == resource.RLIMIT_NOFILE:
        ceilings.append(int((read("/proc/sys/fs/nr_open") or "0").strip() or 0))
    fitting = [ceiling for ceiling in ceilings if 0 < ceiling < number and may_have(ceiling, what)]
    return max(fitting, default=min(ceilings))


def refuse_to_lower(soft: int, asked: int) -> None:
    """Raises RefusedError where this very session is held down: what it can't try, others may have."""
    found = re.search(r"^Max open files +\S+ +(\S+)", read("/proc/1/limits") or "", re.MULTILINE)
    others = (number_of(found[1]) or 0) if found else 0
    if soft < min(asked, others):
        raise RefusedError(
            f"nofile: this session may have {soft} and can't have more, though this machine gives others {others}: "
            "nothing was written, since it would lower theirs; take out what limits this login in "
            "/etc/security/limits.d, or connect by another one"
        )


def number_of(word: str) -> int | None:
    """A limit as pam_limits and systemd write it; None where it is none."""
    if word in ("unlimited", "infinity", "-1"):
        return UNLIMITED
    return int(word) if word.isdigit() else None


def usual(module: AnsibleModule, what: str) -> int:
    """A limit that systemd gives services, and so sessions, without this module; 0 where nobody says."""
    code, output, _errors = module.run_command(["systemctl", "show", f"--property=DefaultLimit{what}", "--value"])
    return (number_of(output.strip()) or 0) if code == 0 else 0


def other_files() -> list[str]:
    """Those that limits are read from beside our own."""
    return [path for pattern in OTHERS for path in sorted(glob.glob(pattern)) if path != LIMITS]


def overruling(item: str) -> str:
    """The files that are read after our own and say something of an item, in words."""
    said = re.compile(rf"^[^#]*\s{item}\s", re.MULTILINE)
    later = [path for path in other_files() if path > LIMITS and said.search(read(path) or "")]
    return ", ".join(later) or "another file in /etc/security/limits.d, or limits.conf,"


def in_other_files(item: str) -> dict[str, dict[str, int]]:
    """What other files give users, groups and all, soft and hard; of several lines the last one counts."""
    found: dict[str, dict[str, int]] = {}
    for path in other_files():
        for line in (read(path) or "").splitlines():
            words = line.partition("#")[0].split()
            number = number_of(words[3]) if len(words) == 4 and words[2] == item else None
            if number is not None and not words[0].startswith("%"):
                found.setdefault(words[0], {}).update(dict.fromkeys(KINDS.get(words[1], ()), number))
    return found


def with_less(item: str, number: int) -> list[str]:
    """Whom other files give less than that: users, groups, all."""
    return [who for who, theirs in in_other_files(item).items() if min(theirs.values(), default=number) < number]


def entries(item: str, names: list[str], soft: int, hard: int) -> str:
    """Lines for pam_limits. Ours is read last: who has more by another file keeps it, as far as the machine allows."""
    others, lines = in_other_files(item), ""
    for who in dict.fromkeys(names):
        theirs = {kind: allowed(number, ITEMS[item]) for kind, number in others.get(who, {}).items()}
        own_soft = max(soft, theirs.get("soft", 0))
        for kind, number in (("soft", own_soft), ("hard", max(hard, own_soft, theirs.get("hard", 0)))):
            lines += f"{who} {kind} {item} {number if number < UNLIMITED else 'unlimited'}\n"
    return lines


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
                f"a new session of {user} has {number} open files, not {soft}: {overruling('nofile')} says so"
            )
    return sessions


def arm(module: AnsibleModule, soft: int) -> None:
    """Has the host put its present limits back, unless somebody comes, has the next ones and confirms them."""
    disarm(module)
    os.mkdir(UNDO, 0o700)
    former = read(LIMITS)
    if former is not None:
        write(f"{UNDO}/former", former)
    back = f"if [ -e {UNDO}/former ]; then mv {UNDO}/former {LIMITS}; else rm -f {LIMITS}; fi; rm -rf {UNDO}"
    write(CONFIRM, CONFIRM_TEXT.format(soft=soft, back=back))
    timer = ["systemd-run", "--quiet", "--collect", f"--unit={UNDO_UNIT}", f"--on-active={CONFIRM_SECONDS}s"]
    timer += ["--timer-property=AccuracySec=100ms", "/bin/sh", "-c", back]
    code, output, errors = module.run_command(timer)
    if code != 0:
        shutil.rmtree(UNDO)
        raise RefusedError(f"nothing was written: the way back can't be laid: {(output + errors).strip()[-300:]}")


def disarm(module: AnsibleModule) -> None:
    """Keeps the present limits."""
    module.run_command(["systemctl", "stop", f"{UNDO_UNIT}.timer"])
    shutil.rmtree(UNDO, ignore_errors=True)


def is_settled() -> bool:
    """Whether no run has yet to confirm what it wrote."""
    return units.is_settled(UNDO, f"{UNDO_UNIT}.timer")


def undo(module: AnsibleModule) -> None:
    """Puts the former limits back at once."""
    former = read(f"{UNDO}/former")
    if read(LIMITS) != former:
        write(LIMITS, former)
    disarm(module)


class Claims:
    """What each federation asked for, and which kernel parameters had to be raised for it."""

    def __init__(self) -> None:
        content = json.loads(read(CLAIMS) or '{"claims": {}, "raised": []}')
        self.by_federation: dict[str, dict] = content["claims"]
        # either file may have been lost
        lines = re.findall(r"^(\S+) = \d+(?: \d+)?$", read(SYSCTLS) or "", re.MULTILINE)
        self.raised = set(content["raised"]) | set(lines)

    def highest(self) -> tuple[int, dict[str, int]]:
        """The highest of each value."""
        sysctls: dict[str, int] = {}
        for claim in self.by_federation.values():
            for name, number in claim["sysctls"].items():
                sysctls[name] = max(number, sysctls.get(name, 0))
        return self.most("nofile"), sysctls

    def most(self, what: str) -> int:
        """The highest number asked for."""
        return max((claim.get(what, 0) for claim in self.by_federation.values()), default=0)

    def ports(self) -> tuple[int, int] | None:
        """The ports that all of what was asked for lies in."""
        asked = [claim["ports"] for claim in self.by_federation.values() if claim.get("ports")]
        return (min(first for first, _last in asked), max(last for _first, last in asked)) if asked else None

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


def widen_ports(module: AnsibleModule, wanted: tuple[int, int], claims: Claims) -> tuple[bool, str | None, str | None]:
    """Widens the host's own ports where they are fewer. Returns as raise_sysctl() does."""
    first, last = (int(word) for word in (read(sysctl_path(PORTS)) or "").split())
    wider = min(first, wanted[0]), max(last, wanted[1])
    narrow = wider != (first, last)
    if narrow and not module.check_mode:
        try:
            with open(sysctl_path(PORTS), "w", encoding="ascii") as stream:
                stream.write("{} {}".format(*wider))
        except OSError as error:
            return (
                False,
                None,
                f"{PORTS}: {wanted} was asked for, it stays {first} {last} ({os.strerror(error.errno or 0)})",
            )
    if narrow:
        claims.raised.add(PORTS)
    return narrow, "{} = {} {}\n".format(PORTS, *wider) if PORTS in claims.raised else None, None


class Plan:
    """What files are to hold, and what the machine refused."""

    def __init__(self, module: AnsibleModule, claims: Claims) -> None:
        self.refused: list[str] = []
        self.raised: list[str] = []
        self.asked, wanted = claims.highest()
        self.soft = self.hard = self.workers = self.nproc = 0
        texts: dict[str, str | None] = {LIMITS: None}
        if self.asked:
            self.soft = allowed(self.asked)
            refuse_to_lower(self.soft, self.asked)
            self.hard = max(self.soft, allowed(usual(module, "NOFILE") or self.soft))
            self.workers = max(self.soft - RESERVE, 0) // PER_WORKER
            # all users don't include root
            names = ["*", "root", *with_less("nofile", self.soft)]
            processes = self._processes(module, claims.most("nproc"))
            texts[LIMITS] = HEAD + entries("nofile", names, self.soft, self.hard) + processes
            if self.soft < self.asked:
                self.refused.append(
                    f"nofile: {self.asked} was asked for, this machine allows {self.soft}, enough for {self.workers} "
                    "workers: raise fs.nr_open, in a container its own limit (--ulimit nofile=), or ask for less "
                    "(limits_nofile)"
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
        ports = claims.ports()
        if ports:
            widened, line, why = widen_ports(module, ports, claims)
            self.raised += [PORTS] if widened else []
            self.refused += [why] if why else []
            lines += [line] if line else []
        claims.raised &= {*self.sysctls, *([PORTS] if ports else [])}
        texts[SYSCTLS] = HEAD + "".join(lines) if lines else None
        texts[CLAIMS] = claims.text()
        self.texts = texts

    def _processes(self, module: AnsibleModule, asked: int) -> str:
        """Lines for whoever has fewer processes; none where sessions have as many anyway, or may not have them."""
        if not asked:
            return ""
        names = with_less("nproc", asked)
        soft = usual(module, "NPROCSoft")
        if soft < asked and "*" not in in_other_files("nproc"):
            names.append("*")
        if not names:
            return ""
        if not may_have(asked, resource.RLIMIT_NPROC):
            self.refused.append(
                f"nproc: {asked} was asked for, and this machine doesn't allow it: ask for less (limits_nproc)"
            )
            return ""
        self.nproc = asked
        return entries("nproc", names, asked, max(asked, usual(module, "NPROC") if "*" in names else 0))

    def differing(self) -> list[str]:
        """Files that aren't as they are to be."""
        return [path for path, text in self.texts.items() if not is_as_wanted(path, text)]


def settle(module: AnsibleModule, plan: Plan, differing: list[str]) -> dict[str, int]:
    """Writes what differs; new sessions must then be as asked, else the former limits are put back."""
    if LIMITS in differing:
        arm(module, plan.soft)
    try:
        for path in (path for path in differing if path != CLAIMS):
            write(path, plan.texts[path])
        sessions = measure(module, plan.soft)
    except (RefusedError, ServiceError) as error:
        if LIMITS not in differing:
            raise
        undo(module)
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
    if os.path.isdir(UNDO) and not module.check_mode:
        undo(module)  # what a run wrote that nobody confirmed
    claims = Claims()
    if module.params["state"] == "absent":
        claims.by_federation.pop(module.params["federation"], None)
    else:
        claim = {"nofile": module.params["nofile"], "sysctls": whole_numbers(module)}
        if module.params["nproc"]:
            claim["nproc"] = module.params["nproc"]
        ports = [module.params["ephemeral_ports"].get(end) for end in ("first", "last")]
        if all(ports):
            claim["ports"] = ports
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
    holds = {"asked": plan.asked, "soft": plan.soft, "hard": plan.hard, "workers": plan.workers, "sessions": sessions}
    waiting = {"confirm": CONFIRMING} if LIMITS in differing and not module.check_mode else {}
    return {
        **waiting,
        "changed": bool(differing or plan.raised),
        "files": differing,
        "nofile": holds,
        "nproc": plan.nproc,
        "sysctls": plan.sysctls,
        "raised": plan.raised,
        "refused": plan.refused,
        "told": {"limits": "; ".join(plan.refused)} if plan.refused else {},
        "diff": diff if module._diff else [],
    }


def main() -> None:
    ends = {end: {"type": "int"} for end in ("first", "last")}
    together = {"required_together": [["first", "last"]]}
    module = AnsibleModule(
        argument_spec={
            "federation": {"type": "str", "default": "default"},
            "nofile": {"type": "int", "default": 65535},
            "nproc": {"type": "int", "default": 0},
            "sysctls": {"type": "dict", "default": {}},
            "ephemeral_ports": {"type": "dict", "default": {}, "options": ends, **together},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "host": {"type": "str"},
            "lock_timeout": {"type": "int", "default": 120},
            "verify": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        if module.check_mode:
            result = run(module)
        else:
            with state.Lock("started to set limits", module.params["lock_timeout"], LOCK, is_settled, tell=module.warn):
                result = run(module)
    except (RefusedError, ServiceError) as error:
        module.fail_json(msg=str(error))
    # in every run: what holds is less than what is relied on for as long as it holds
    for one in result["refused"]:
        module.warn(f"{module.params['host'] or platform.node()}: {one}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
