#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: What of a host would stop a deploy
description:
  - Looks whether addresses are the host's own, whether ports are free, whether disks have room, and whether processes
    may have as many files open as they need, and fails with one line for each that isn't so.
  - A port held by the unit that is to have it is free. Sites of nginx share ports, so of them it looks whether another
    file of nginx's has one for the same names.
  - A port within the host's range for outgoing connections is warned of, unless the host reserves it. It is no mistake,
    since some systems' own ports lie there.
  - What several things need of one file system is added up; what is there already needs none.
  - Data that lie where an instance is to keep its own have to be its own.
  - A nginx that is there has to take the files that lie there.
  - Whoever logs in with a number that a folder is kept for would have what lies there. Others' accounts may have it.
  - Folders that every deploy writes to, C(/etc), C(/opt) and C(/var/lib), may not be read-only.
  - Changes nothing.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  ports:
    description: Ports that are to be listened on.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The instance, for the message.
        type: str
        required: true
      address:
        description: Numeric address.
        type: str
        required: true
      port:
        description: Port.
        type: int
        required: true
      protocol:
        description: Of which protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      unit:
        description: The unit that may hold it already.
        type: str
        required: true
  sites:
    description: Places that sites of nginx are to listen at.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The site, for the message.
        type: str
        required: true
      address:
        description: Numeric address.
        type: str
        required: true
      port:
        description: Port.
        type: int
        required: true
      server_names:
        description: The names it is for; empty for any.
        type: list
        elements: str
        required: true
      file:
        description: The site's own file.
        type: path
        required: true
  nginx:
    description: The program nginx, an absolute path on the host; without it its files aren't looked at.
    type: path
  space:
    description: Room that is needed on disks.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What needs it, for the message.
        type: str
        required: true
      path:
        description: Where; the folder may not be there yet.
        type: str
        required: true
      megabytes:
        description: How much, in MB of a million bytes.
        type: int
        required: true
      unless:
        description: A file or folder, or a pattern of them, that is there when the room is taken already.
        type: str
  stores:
    description: Instances that keep data in C(/var/lib/fedlearn-NAME), with C(name) and perhaps C(federation).
    type: list
    elements: dict
    default: []
  federation:
    description: Of which federation instances are that don't say it.
    type: str
    default: default
  packages:
    description: >-
      What of the distribution is needed and may not be there yet, as the lookup P(fedlearn.infra.packages#lookup) gives
      it; V({}) where the play has looked already. It has to be to be had.
    type: dict
    default: {}
  coming:
    description: Packages that would come with those the play has looked for.
    type: list
    elements: str
    default: []
  trials:
    description: >-
      Shell scripts of roles that say whether an instance could be made here, called with the word V(precheck) and the
      packages that would come;
      one that isn't content says why, and ends with a status other than 0.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The instance, for the message.
        type: str
        required: true
      script:
        description: The script. It leaves nothing.
        type: str
        required: true
  open_files:
    description: How many files one process of an instance has to be allowed to have open.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The instance, for the message.
        type: str
        required: true
      number:
        description: How many.
        type: int
        required: true
      reason:
        description: What for.
        type: str
        required: true
  kept:
    description: Folders that are kept for a user and a group by number, which programs have and nobody may log in with.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The instance, for the message.
        type: str
        required: true
      path:
        description: The folder, for the message.
        type: str
        required: true
      number:
        description: The number of both.
        type: int
        required: true
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Looks just the same.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: It never changes anything.
"""

EXAMPLES = r"""
- name: Look for ports that others hold
  fedlearn.infra.preflight:
    ports:
      - {name: demo-lenet-redis, address: 10.20.0.11, port: 23456, unit: fedlearn-demo-lenet-redis.service}

- name: Look for room
  fedlearn.infra.preflight:
    space:
      - {name: mindspore-light, path: /opt, megabytes: 200, unless: /opt/fedlearn/mindspore-light/0.1.0-*}
"""

RETURN = r"""
problems:
  description: One line for each.
  returned: always
  type: list
  elements: str
"""

import contextlib
import errno
import glob
import grp
import os
import pwd
import re
import resource
import socket

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._nginx import refusal
from ansible_collections.fedlearn.infra.plugins.module_utils._packages import foreseen, missing
from ansible_collections.fedlearn.infra.plugins.module_utils._service import state, units
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError
from ansible_collections.fedlearn.infra.plugins.module_utils._service.listeners import unit_of, way_out

WRITTEN = ("/etc", "/opt", "/var/lib")
ANY = ("0.0.0.0", "::", "*")  # noqa: S104 - compared with, not listened on
SYSTEM = "/proc/sys/net/ipv4"
STREAMS = "/etc/nginx/streams.d/"
"""Sites of the role nginx in which connections are passed on: no names tell them apart from others."""
NGINX_FILES = ("/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*", f"{STREAMS}*.conf")
LISTEN = re.compile(r"^\s*listen\s+([^;]+);", re.MULTILINE)
SERVER_NAME = re.compile(r"^\s*server_name\s+([^;]+);", re.MULTILINE)
PROCESS = re.compile(r'\("([^"]*)",pid=(\d+)')


def listeners(module: AnsibleModule, protocol: str) -> list[tuple[str, int, str]]:
    """Address, port and owners of every listener of a protocol."""
    _code, output, _errors = module.run_command(["ss", "-H", "-l", f"--{protocol}", "-n", "-p"], check_rc=True)
    rows = []
    for line in output.splitlines():
        words = line.split(None, 5)
        address, _colon, port = words[3].rpartition(":")
        rows.append((address.strip("[]").partition("%")[0], int(port), words[5] if len(words) > 5 else ""))
    return rows


def holder(owners: str, unit: str) -> str | None:
    """Who holds a port, in words; None when it is the unit itself."""
    processes = PROCESS.findall(owners)
    if any(unit_of(pid) == unit for _name, pid in processes):
        return None
    if not processes:
        return "another program"
    name, pid = processes[0]
    return f"{name} (process {pid}, {unit_of(pid) or 'no unit'}){way_out(pid)}"


def is_own(address: str) -> bool:
    """Whether an address is one of the host's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


def problem(wanted: dict, rows: list[tuple[str, int, str]]) -> str | None:
    """What keeps a port from being listened on."""
    word = "UDP port" if wanted["protocol"] == "udp" else "port"
    place = f"{wanted['name']}: {wanted['address']} {word} {wanted['port']}"
    if not is_own(wanted["address"]):
        return f"{place}: {wanted['address']} is no address of this host"
    family = ":" in wanted["address"]
    for address, port, owners in rows:
        # "::" and "*" take IPv4 too; "0.0.0.0" takes no IPv6
        whole = address in ANY and not (family and address == "0.0.0.0")  # noqa: S104
        if port == wanted["port"] and (address == wanted["address"] or whole):
            who = holder(owners, wanted["unit"])
            if who is not None:
                return f"{place}: held by {who}"
    return None


def site_files() -> dict[str, str]:
    """What nginx reads, by path; nothing where there is no nginx."""
    found = {}
    for path in (path for pattern in NGINX_FILES for path in glob.glob(pattern)):
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                found[path] = stream.read()
        except OSError:
            continue
    return found


def site_problem(wanted: dict, files: dict[str, str]) -> str | None:
    """What keeps a site from being the one that answers for its names at a place."""
    place = f"[{wanted['address']}]" if ":" in wanted["address"] else wanted["address"]
    names = set(wanted["server_names"]) or {"_"}
    for path, text in files.items():
        listens = {words.split()[0] for words in LISTEN.findall(text)}
        theirs = {name for words in SERVER_NAME.findall(text) for name in words.split()} or {"_"}
        same = names & theirs or STREAMS in (path[: len(STREAMS)], wanted["file"][: len(STREAMS)])
        if path != wanted["file"] and f"{place}:{wanted['port']}" in listens and same:
            told = f"{wanted['name']}: {wanted['address']} port {wanted['port']}"
            return f"{told}: another site is there for the same names ({path}): choose another port"
    return None


def sysctl(name: str) -> str:
    """A setting of the network; empty where the host doesn't say."""
    try:
        with open(f"{SYSTEM}/{name}", encoding="ascii") as stream:
            return stream.read()
    except OSError:
        return ""


def doubts(wanted: list[dict]) -> list[str]:
    """What of the wanted ports a connection may hold when they are to be listened on: one line for each."""
    ends = [int(word) for word in sysctl("ip_local_port_range").split()]
    if len(ends) != 2:
        return []
    kept = [part.split("-") for part in sysctl("ip_local_reserved_ports").strip().split(",") if part]
    free = {port for part in kept for port in range(int(part[0]), int(part[-1]) + 1)}
    why = f"is one that the host gives to its own connections ({ends[0]} to {ends[1]}), so at a start it may be taken"
    way_out = "choose one outside, or keep it free by the sysctl net.ipv4.ip_local_reserved_ports"
    return [
        f"{one['name']}: port {one['port']} {why}: {way_out}"
        for one in wanted
        if ends[0] <= one["port"] <= ends[1] and one["port"] not in free
    ]


def existing(path: str) -> str:
    """The path, or the nearest folder above it that is there."""
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    return path


def lacking(wanted: list[dict]) -> list[str]:
    """What keeps disks from taking all that is wanted: one line for each file system with too little room."""
    needs: dict[int, list[dict]] = {}
    for one in wanted:
        if not (one["unless"] and glob.glob(one["unless"])):
            needs.setdefault(os.stat(existing(one["path"])).st_dev, []).append(one)
    return [line for line in map(too_little, needs.values()) if line]


def too_little(needs: list[dict]) -> str | None:
    """What is said of one file system, of which all of this is wanted; None when there is room."""
    space = os.statvfs(existing(needs[0]["path"]))
    free = space.f_bavail * space.f_frsize // 1_000_000
    total = sum(one["megabytes"] for one in needs)
    if free >= total:
        return None
    told = ", ".join(f"{one['megabytes']} MB in {one['path']} for {one['name']}" for one in needs)
    paths = " and ".join(dict.fromkeys(one["path"] for one in needs))
    return f"{paths}: {free} MB are free and {total} MB are needed ({told}): make room, or mount a bigger disk there"


def expected(module: AnsibleModule, needed: dict) -> tuple[list[str], list[str]]:
    """Why packages that aren't there can't be installed, in one line, and all that would come with them."""
    lacking = missing(module, needed.get("names", []))
    if not lacking:
        return [], []
    told, coming = foreseen(module, lacking, needed.get("replaces", []), needed.get("otherwise", []))
    return [told] if told else [], coming


def refused(trials: list[dict], coming: list[str]) -> list[str]:
    """What scripts of roles say against instances: one line for each."""
    found = []
    for trial in trials:
        argv = ["/bin/sh", "-c", trial["script"], "trial", "precheck", *coming]
        code, said = units.run(argv, units.VALIDATE_SECONDS)
        found += [f"{trial['name']}: {units.ending(said)}"] if code != 0 else []
    return found


def strangers(stores: list[dict], federation: str) -> list[str]:
    """Where somebody else's data lie in the place of an instance's own: one line for each, as its role tells it."""
    found = []
    for store in stores:
        try:
            owned = state.Owned(store.get("federation") or federation)
            told = state.stranger(owned, store["name"], f"/var/lib/fedlearn-{store['name']}")
        except ServiceError as error:
            told = str(error)
        found += [f"{store['name']}: {told}"] if told else []
    return found


def read_only(paths: tuple[str, ...] = WRITTEN) -> list[str]:
    """Folders that nothing can be written to: one line for each."""
    return [
        f"{path} is read-only, and what is deployed lies there: "
        "mount it writable, or look in the kernel's log for what made it so"
        for path in paths
        if os.statvfs(existing(path)).f_flag & os.ST_RDONLY
    ]


def may_open(number: int) -> bool:
    """Whether a process here may have so many files open, as root would have it of the system."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    except (OSError, ValueError):
        return False
    return True


def too_few(wanted: list[dict]) -> list[str]:
    """Who needs more open files than the machine allows: one line for each."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return [
        f"{one['name']}: {one['number']} open files are needed ({one['reason']}), and this machine allows {most}: set "
        f"fs.nr_open to {one['number']} at least, of a container its own limit (--ulimit nofile={one['number']})"
        for one in sorted(wanted, key=lambda one: one["number"])
        if one["number"] > most and not may_open(one["number"])
    ]


def logs_in(account: pwd.struct_passwd) -> bool:
    """Whether somebody may come in as this account."""
    return os.path.basename(account.pw_shell) not in ("nologin", "false")


def who_has(number: int) -> list[str]:
    """Accounts that log in as this user, or are in the group of this number."""
    accounts, members = pwd.getpwall(), []
    # a directory service may know more than it lists
    with contextlib.suppress(KeyError):
        accounts.append(pwd.getpwuid(number))
    with contextlib.suppress(KeyError):
        members = grp.getgrgid(number).gr_mem
    found = {
        account.pw_name
        for account in accounts
        if logs_in(account) and (number in (account.pw_uid, account.pw_gid) or account.pw_name in members)
    }
    return sorted(found)


def shared(kept: list[dict]) -> list[str]:
    """Folders that somebody would have who logs in: one line for each."""
    told = {number: ", ".join(who_has(number)) for number in {one["number"] for one in kept}}
    return [
        f"{one['name']}: {one['path']} is kept for user and group {one['number']}, and {told[one['number']]} would "
        "have what lies there: choose a number that nobody logs in with"
        for one in kept
        if told[one["number"]]
    ]


def main() -> None:
    """Looks at each port and at the disks."""
    port = {
        "name": {"type": "str", "required": True},
        "address": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
        "unit": {"type": "str", "required": True},
    }
    site = {
        "name": {"type": "str", "required": True},
        "address": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "server_names": {"type": "list", "elements": "str", "required": True},
        "file": {"type": "path", "required": True},
    }
    room = {
        "name": {"type": "str", "required": True},
        "path": {"type": "str", "required": True},
        "megabytes": {"type": "int", "required": True},
        "unless": {"type": "str"},
    }
    files = {
        "name": {"type": "str", "required": True},
        "number": {"type": "int", "required": True},
        "reason": {"type": "str", "required": True},
    }
    kept = {
        "name": {"type": "str", "required": True},
        "path": {"type": "str", "required": True},
        "number": {"type": "int", "required": True},
    }
    trial = {
        "name": {"type": "str", "required": True},
        "script": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "list", "elements": "dict", "options": port, "default": []},
            "sites": {"type": "list", "elements": "dict", "options": site, "default": []},
            "nginx": {"type": "path"},
            "space": {"type": "list", "elements": "dict", "options": room, "default": []},
            "stores": {"type": "list", "elements": "dict", "default": []},
            "federation": {"type": "str", "default": "default"},
            "packages": {"type": "dict", "default": {}},
            "coming": {"type": "list", "elements": "str", "default": []},
            "trials": {"type": "list", "elements": "dict", "options": trial, "default": []},
            "open_files": {"type": "list", "elements": "dict", "options": files, "default": []},
            "kept": {"type": "list", "elements": "dict", "options": kept, "default": []},
        },
        supports_check_mode=True,
    )
    rows = {protocol: listeners(module, protocol) for protocol in {one["protocol"] for one in module.params["ports"]}}
    problems = [found for found in (problem(one, rows[one["protocol"]]) for one in module.params["ports"]) if found]
    sites = site_files()
    problems += [found for found in (site_problem(one, sites) for one in module.params["sites"]) if found]
    told = refusal(module, module.params["nginx"])
    problems += [told] if told else []
    lacking_packages, coming = expected(module, module.params["packages"])
    problems += lacking_packages + refused(module.params["trials"], module.params["coming"] + coming)
    problems += strangers(module.params["stores"], module.params["federation"])
    problems += read_only() + lacking(module.params["space"]) + too_few(module.params["open_files"])
    problems += shared(module.params["kept"])
    for doubt in doubts(module.params["ports"]):
        module.warn(doubt)
    if problems:
        module.fail_json(msg="\n".join(problems), problems=problems)
    module.exit_json(changed=False, problems=[])


if __name__ == "__main__":
    main()
