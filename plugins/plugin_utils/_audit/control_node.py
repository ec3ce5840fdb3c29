# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a control node, its backups and its git repositories shows that two parties are separate."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.fedlearn.infra.plugins.module_utils._artifact.builders import PROGRAMS
from ansible_collections.fedlearn.infra.plugins.module_utils._audit.reading import Bounds
from ansible_collections.fedlearn.infra.plugins.module_utils._audit.search import (
    Searched,
    Sought,
    Walk,
    search,
    search_repository,
)

NETWORKED = re.compile(r"nfs|cifs|smb|fuse\.s3fs|fuse\.sshfs|ceph|gluster")


@dataclass(frozen=True)
class Places:
    """Where the files of one party's control node lie."""

    state: str
    documents: tuple[str, ...]
    backups: str

    def searched(self) -> list[str]:
        """All of them, and what the one who runs this has for ssh; not backups, and no git repository."""
        folders = [self.state, *(str(Path(document).parent) for document in self.documents)]
        return list(dict.fromkeys([*folders, str(Path("~/.ssh").expanduser())]))


def other_parties_files(state: str, own: str) -> list[str]:
    """Vaults and keys of anybody else: by their names, whatever is in them; also beside it, where each party has a
    folder of its name, ``FEDERATION/PARTY`` below one that all have or below one of each.
    """
    place = Path(state).absolute()
    beside = set(place.parent.glob("*")) if place.name == own else set()
    if beside and own in place.parents[1].name:
        each_its_own = place.parents[2].glob(f"*/{place.parent.name}/*")
        beside |= {each for each in each_its_own if each.name in each.parents[1].name}
    found = [path for each in sorted(beside) if each.name != own for path in _keys(each)]
    found += [path for path in sorted(Path(state, ".secrets").glob("*.yml")) if path.stem != own]
    found += [path for path in sorted(Path(state, ".ca").glob("*/*.key")) if path.parent.name != own]
    found += [path for path in sorted(Path(state, ".exchange").glob("*/signer.key")) if path.parent.name != own]
    return [f"{path} is another party's" for path in found]


def _keys(state: Path) -> list[Path]:
    """Vaults and keys of all parties that have some there."""
    patterns = (".secrets/*.yml", ".ca/*/*.key", ".exchange/*/signer.key")
    return [path for pattern in patterns for path in sorted(state.glob(pattern))]


def own_files(state: str, own: str) -> dict[str, str]:
    """Files that are nobody's but this party's, by their sums: the vault, and encrypted keys."""
    paths = [Path(state, ".secrets", f"{own}.yml"), *sorted(Path(state, ".ca", own).glob("*.key"))]
    paths.append(Path(state, ".exchange", own, "signer.key"))
    return {
        hashlib.sha256(path.read_bytes()).hexdigest(): str(path.relative_to(state)) for path in paths if path.is_file()
    }


def authority_keys(state: str, own: str) -> dict[str, str]:
    """The public halves of the party's CAs, by their sums."""
    found: dict[str, str] = {}
    for path in sorted(Path(state, "public", own).glob("*.pem")):
        for block in re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", path.read_bytes(), re.S):
            command = ["openssl", "x509", "-noout", "-pubkey"]
            told = subprocess.run(command, input=block, capture_output=True, check=False)
            body = b"".join(told.stdout.splitlines()[1:-1])
            if told.returncode == 0 and body:
                found[hashlib.sha256(base64.b64decode(body)).hexdigest()] = f"the key of the CA {path.stem}"
    return found


def backup_destination(folder: str) -> str:
    """Which place a folder of backups is: another machine's, as it is mounted, or one of this machine."""
    path = os.path.realpath(folder)
    there = Path(path)
    while not there.exists():
        there = there.parent
    told = subprocess.run(
        ["findmnt", "--noheadings", "--output", "SOURCE,FSTYPE", "--target", str(there)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if len(told) == 2 and NETWORKED.match(told[1]):
        return told[0]
    machine = Path("/etc/machine-id")
    return f"{machine.read_text().strip() if machine.exists() else ''}:{path}"


def search_files(places: Places, sought: Sought) -> Searched:
    """All but backups and git's objects."""
    return search([*places.searched(), *_repositories(places)], sought, _backups(places), git=False)


def search_backups(places: Places, sought: Sought) -> Searched:
    """What was brought there, unpacked where it is compressed."""
    return search([places.backups], sought)


def _backups(places: Places) -> list[str]:
    return [os.path.realpath(places.backups), places.backups]


def _repositories(places: Places) -> list[str]:
    """The repositories that the searched folders lie in."""
    return list(dict.fromkeys(found for folder in places.searched() if (found := _repository(folder))))


def _repository(folder: str) -> str:
    """Where the repository of a folder is; empty where git knows of none."""
    if not Path(folder).is_dir():
        return ""
    command = ["git", "-C", folder, "rev-parse", "--path-format=absolute", "--git-common-dir"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""


def no_git(places: Places) -> str:
    """Why git's history couldn't be read, where there is one; empty where it could."""
    for folder in places.searched():
        there = [each for each in (Path(folder), *Path(folder).parents) if Path(each, ".git").exists()]
        if there and not _repository(folder):
            return f"git doesn't read {there[0]}: is it installed, and the folder your own?"
    return ""


def search_git(places: Places, sought: Sought) -> Searched:
    """Every object of every repository that the folders lie in, or that lies in them."""
    result, bounds, walk = Searched(), Bounds(), Walk()
    for _path in walk.files(places.searched(), _backups(places)):
        pass
    for repository in dict.fromkeys(map(os.path.realpath, [*_repositories(places), *walk.repositories])):
        search_repository(repository, sought, bounds, result)
    return result


def archive_sums(archive: str) -> dict[str, str]:
    """The sums of what an archive has, by paths as they are on hosts: a single folder around all is left out."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.isfile()]
        names = [os.path.normpath(member.name) for member in members]
        tops = {name.split("/")[0] for name in names}
        strip = len(tops) == 1 and tops != {PROGRAMS} and all("/" in name for name in names)
        sums = {}
        for member, name in zip(members, names, strict=True):
            stream = tar.extractfile(member)
            content = stream.read() if stream else b""
            sums[name.split("/", 1)[1] if strip else name] = hashlib.sha256(content).hexdigest()
    return sums


def programs(instances: Iterable[tuple[str, Mapping[str, str]]]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Sums of the archives of programs, and of which nothing can be said here."""
    found: dict[str, dict[str, str]] = {}
    unknown: list[str] = []
    for program, source in instances:
        archive = source.get("archive", "")
        if archive and "://" not in archive and Path(archive).is_file():
            found.setdefault(program, archive_sums(archive))
        elif program not in unknown:
            unknown.append(program)
    return found, unknown
