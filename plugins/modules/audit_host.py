#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: audit_host
short_description: What of a host shows that two parties are separate
description:
  - Reads by what a host, its login keys, addresses, database servers and package sources are known, looks for what only
    another party may have, for tokens in logs, and whether programs are as their archives have them.
  - Of another party it is told nothing but keyed hashes, commitments, public halves and sums. Changes nothing.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  sought:
    description:
      - What of another party is looked for, as C(key) and the mappings C(words), C(commitments), C(publics) and
        C(files) from what it is known by to what it is called.
    type: dict
    required: true
  own:
    description: The party's own secrets, in the same form; none of them may be in a log.
    type: dict
    required: true
  software:
    description: Of each program the sums of what its archive has, by their paths there.
    type: dict
    default: {}
  keyrings:
    description: Names of Janus' keyrings that are to be here.
    type: list
    elements: str
    default: []
  certificates:
    description: Folder with the keys of the host's certificates.
    type: path
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
notes:
  - Needs root.
"""

EXAMPLES = r"""
- name: Look at the host
  fedlearn.infra.audit_host:
    sought: {key: "{{ fedlearn_exchange.digest }}"}
    own: {key: "{{ fedlearn_exchange.digest }}"}
    certificates: /etc/fedlearn/demo/pki
  become: true
"""

RETURN = r"""
identity:
  description: By what the host is known, lists by kind.
  returned: always
  type: dict
publics:
  description: Public halves of keys that are nobody's but this host's, by what they are called.
  returned: always
  type: dict
commitments:
  description: Commitments to datastore keys, by what they are called.
  returned: always
  type: dict
found:
  description: What of another party is here, a line each.
  returned: always
  type: list
  elements: str
searched:
  description: How many files were looked at.
  returned: always
  type: int
unread:
  description: Files that couldn't be looked at, or not wholly, with the reason.
  returned: always
  type: list
  elements: str
leaks:
  description: Logs with tokens or secrets in clear, a line each.
  returned: always
  type: list
  elements: str
unread_logs:
  description: Logs that couldn't be looked at, or not wholly, with the reason.
  returned: always
  type: list
  elements: str
software:
  description: What isn't as the archives have it, a line each.
  returned: always
  type: list
  elements: str
programs:
  description: How many files of programs were compared.
  returned: always
  type: int
"""

import base64
import glob
import hashlib
import json
import os
import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._audit.reading import Bounds, Seen
from ansible_collections.fedlearn.infra.plugins.module_utils._audit.running import output
from ansible_collections.fedlearn.infra.plugins.module_utils._audit.search import (
    COMMITTED,
    Sought,
    files_below,
    look_at_file,
    look_at_stream,
    public_halves,
    search,
    tokens,
)

ROOTS = ("/", "/usr/local", "/dev/shm")  # noqa: S108 - looked at
WITHOUT = (
    *("/bin", "/boot", "/dev", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/usr"),
    *("/etc/ssl/certs", "/run/log", "/run/udev", "/var/cache/apt", "/var/lib/apt", "/var/lib/dpkg", "/var/log/journal"),
)
"""What is the system's own, and the journal, which is asked for itself."""
SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources")
SERVERS = (
    "/var/lib/*/*/global/pg_control",
    "/var/lib/*/*/*/global/pg_control",
)
LOGINS = ("/root/.ssh/authorized_keys*", "/home/*/.ssh/authorized_keys*", "/etc/ssh/authorized_keys*/*")
LOGINS_OF_A_HOME = "/.ssh/authorized_keys*"
USERS = "/etc/passwd"
JOURNAL = ("journalctl", "--quiet", "--no-pager", "--output=cat")
PROGRAMS = "/opt/fedlearn"
MACHINE = "/etc/machine-id"
HOST_KEYS = "/etc/ssh/ssh_host_*_key"
LOGS = "/var/log"
KEYRING = "/var/lib/fedlearn-%s/datastore-keys"
UNITS = "/etc/systemd/system/fedlearn-*.service"


def text_of(path: str) -> str:
    """A small file's text; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(1 << 20)
    except OSError:
        return ""


def fingerprints(text: str) -> list[str]:
    """The sums of ssh's public keys in a text; what is no key lets nobody in."""
    found = []
    for blob in re.findall(r"(?:ssh-|ecdsa-|sk-)\S+ ([A-Za-z0-9+/]{40,}=*)", text):
        try:
            found.append(hashlib.sha256(base64.b64decode(blob)).hexdigest())
        except ValueError:
            continue
    return found


def addresses(module: AnsibleModule) -> list[str]:
    """Those that others could reach the host by; not of bridges, which have the same on many machines."""
    _code, output, _errors = module.run_command(["ip", "-j", "-d", "address"], check_rc=True)
    found = []
    for link in json.loads(output):
        if link.get("linkinfo", {}).get("info_kind") == "bridge":
            continue
        found += [each["local"] for each in link.get("addr_info", ()) if each.get("scope") == "global"]
    return sorted(set(found))


def servers() -> list[str]:
    """PostgreSQL's own numbers of its clusters, also of copies that don't run."""
    found = set()
    for path in (path for pattern in SERVERS for path in glob.glob(pattern)):
        with open(path, "rb") as stream:
            found.add(str(int.from_bytes(stream.read(8), "little")))
    return sorted(found)


def sources() -> list[str]:
    """Where packages come from whose signature isn't the distribution's: by whoever has that key, or by anybody."""
    found = set()
    for path in (path for pattern in SOURCES for path in sorted(glob.glob(pattern))):
        text = text_of(path)
        if path.endswith(".sources"):
            signed = " ".join(re.findall(r"(?mi)^(?:Signed-By|Trusted):.*$", text))
            entries = [(signed, uri) for line in re.findall(r"(?mi)^URIs:(.*)$", text) for uri in line.split()]
        else:
            entries = re.findall(r"(?m)^\s*deb(?:-src)?\s+(?:\[([^\]]*)\]\s+)?(\S+)", text)
        found.update(uri.rstrip("/") for options, uri in entries if not is_distribution(options))
    return sorted(found)


def is_distribution(options: str) -> bool:
    """Whether what an apt source says of its signature leaves that to the distribution's keys."""
    told = options.lower()
    if re.search(r"trusted[:=]\s*yes", told):
        return False
    return "signed-by" not in told or "debian-archive" in told or "ubuntu-archive" in told


def logins() -> list[str]:
    """The files that say who may log in, also of users whose homes are elsewhere."""
    homes = {line.split(":")[5].rstrip("/") for line in text_of(USERS).splitlines() if line.count(":") == 6}
    patterns = [*LOGINS, *(glob.escape(home) + LOGINS_OF_A_HOME for home in homes)]
    return sorted({path for pattern in patterns for path in glob.glob(pattern)})


def own_keys(folder: str) -> dict:
    """Public halves of what this host alone has."""
    found = {}
    for path in [*glob.glob(os.path.join(folder, "*", "key.pem")), *glob.glob(HOST_KEYS)]:
        found.update(dict.fromkeys(public_halves(text_of(path).encode()), path))
    return found


def own_commitments(keyrings: list) -> dict:
    """Commitments to the datastore keys that are here."""
    found = {}
    for name in keyrings:
        path = KEYRING % name
        for key in text_of(path).strip().split(","):
            if re.fullmatch(r"[A-Za-z0-9_-]{22}", key):
                found[hashlib.sha256(COMMITTED + base64.urlsafe_b64decode(key + "==")).hexdigest()] = f"a key of {path}"
    return found


class Log:
    """Looks at a log: for what is sought, for the own secrets, and for tokens."""

    files: dict = {}

    def __init__(self, own: Sought, theirs: Sought) -> None:
        self.own, self.theirs = own, theirs
        self.tokens, self.leaked = set(), set()

    def inside(self, content: bytes) -> set:
        """What of another party is in a part of it."""
        self.tokens |= tokens(content)
        self.leaked |= self.own.inside(content)
        return self.theirs.inside(content)

    def told(self, where: str) -> list:
        """What nobody is to read there."""
        found = [f"{where}: {len(self.tokens)} tokens in clear"] if self.tokens else []
        return found + [f"{where}: {name}" for name in sorted(self.leaked)]


def leaks(own: Sought) -> tuple:
    """Logs that say what nobody is to read there, and those that couldn't be looked at."""
    found, unread, bounds = [], [], Bounds()
    for path in files_below([LOGS], WITHOUT):
        log = Log(own, Sought(own.key))
        seen = look_at_file(path, log, bounds)
        found += log.told(path)
        unread += [f"{path}: {why}" for why in seen.notes] if seen else []
    return found, unread


def journal(own: Sought, theirs: Sought) -> tuple:
    """What it says that nobody is to read there, and what of another party is in it."""
    log = Log(own, theirs)
    try:
        with output(JOURNAL) as running:
            seen = look_at_stream(running.stream, log)
            if not running.succeeded():
                seen.notes.append("journalctl couldn't read all of it")
    except FileNotFoundError:
        seen = Seen(notes=["there is no journalctl"], read=False)
    return log.told("the journal"), seen


def sum_of(path: str) -> str:
    """A file's sum, as it lies there and of any size; empty where there is none."""
    total = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while piece := stream.read(1 << 20):
                total.update(piece)
    except OSError:
        return ""
    return total.hexdigest()


def compare(software: dict) -> tuple:
    """What of the programs that units start isn't as their archives have it, and how many files were compared."""
    text = "\n".join(text_of(path) for path in glob.glob(UNITS))
    found, count = [], 0
    for program, wanted in software.items():
        folders = sorted(set(re.findall(rf"{re.escape(PROGRAMS)}/{re.escape(program)}/[A-Za-z0-9._+-]+", text)))
        if not folders:
            found.append(f"{PROGRAMS}/{program}: no unit starts anything of it")
        for folder in folders:
            for name, digest in wanted.items():
                count += 1
                there = sum_of(os.path.join(folder, name))
                if there != digest:
                    found.append(f"{folder}/{name}: {'is another than in the archive' if there else 'is missing'}")
            present = {os.path.relpath(path, folder) for path in files_below([os.path.join(folder, "bin")])}
            found += [f"{folder}/{name}: is in no archive" for name in sorted(present - set(wanted))]
    return found, count


def main() -> None:
    """Looks, and tells."""
    module = AnsibleModule(
        argument_spec={
            "sought": {"type": "dict", "required": True},
            "own": {"type": "dict", "required": True, "no_log": False},
            "software": {"type": "dict", "default": {}},
            "keyrings": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "certificates": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    own, theirs = Sought(**given["own"]), Sought(**given["sought"])
    result = search(ROOTS, theirs, WITHOUT)
    leaked, unread_logs = leaks(own)
    journal_leaked, in_journal = journal(own, theirs)
    result.add("the journal", in_journal)
    software, count = compare(given["software"])
    identity = {
        "machine-ids": [found] if (found := text_of(MACHINE).strip()) else [],
        "hosts": fingerprints("".join(text_of(path) for path in glob.glob(f"{HOST_KEYS}.pub"))),
        "ssh keys": fingerprints("".join(map(text_of, logins()))),
        "addresses": addresses(module),
        "database servers": servers(),
        "package sources": sources(),
    }
    module.exit_json(
        changed=False,
        identity=identity,
        publics=own_keys(given["certificates"]),
        commitments=own_commitments(given["keyrings"]),
        found=result.found,
        searched=result.files,
        unread=result.skipped,
        leaks=journal_leaked + leaked,
        unread_logs=unread_logs + [f"the journal: {why}" for why in in_journal.notes],
        software=software,
        programs=count,
    )


if __name__ == "__main__":
    main()
