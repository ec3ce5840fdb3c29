# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Workers' keys: Ed25519, a key a file, in hex, as the library's own worker_key_pair_tool writes them.

``make FILE...`` makes what is missing and prints the public halves as JSON; ``check LIST [FORMER]`` refuses a list that
would lock workers out.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.encoding import HexEncoder
from nacl.signing import SigningKey

from . import files

_HEX = re.compile(r"[0-9a-f]{64}")


def make(path: Path) -> tuple[str, bool]:
    """The public half of the key in ``path``, and whether it was made now. ``path.pub`` holds it too."""
    made = not path.exists()
    if made:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(path, SigningKey.generate().encode(encoder=HexEncoder).decode())
    public = SigningKey(path.read_text(encoding="ascii").strip().encode(), encoder=HexEncoder).verify_key
    text, beside = public.encode(encoder=HexEncoder).decode(), path.with_name(f"{path.name}.pub")
    if read_list(beside) != [text]:
        files.write(beside, text, 0o644)
        made = True
    return text, made


def read_list(path: Path) -> list[str]:
    """The keys of a list, one a line, `#` before comments; none where there is no file."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def write_list(path: Path, keys: Iterable[str]) -> None:
    """A list for :func:`read_list`."""
    files.write(path, "".join(f"{key}\n" for key in keys))


def mistakes(keys: Sequence[str], former: Sequence[str], empty_allowed: bool = False) -> list[str]:
    """What is wrong with a list of public keys. No message shows a key: it could be a private one."""
    found = [
        f"key {number} is no public key: 64 digits, 0-9 and a-f"
        for number, key in enumerate(keys, start=1)
        if not _HEX.fullmatch(key)
    ]
    if found:
        return found
    found += [f"a key stands there {count} times" for count in Counter(keys).values() if count > 1]
    known = set(keys) | set(former)
    for number, key in enumerate(keys, start=1):
        seed = bytes.fromhex(key)
        own = SigningKey(seed).verify_key.encode().hex()
        if own in known or not crypto_core_ed25519_is_valid_point(seed):
            found.append(f"key {number} is no public key, and may be a private one: replace that key pair")
    if former and not keys and not empty_allowed:
        found.append(
            f"the list is empty, which locks out all {len(former)} workers: "
            "set dc_federated_server_allow_empty_key_list where that is meant"
        )
    return found


def main(arguments: Sequence[str]) -> int:
    """Makes keys, or checks a list of them."""
    parser = argparse.ArgumentParser(prog="fedlearn_dc_federated.keys", allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("make").add_argument("files", nargs="*", type=Path)
    checking = verbs.add_parser("check")
    checking.add_argument("list", type=Path)
    checking.add_argument("former", nargs="?", type=Path)
    checking.add_argument("--allow-empty", action="store_true")
    given = parser.parse_args(arguments)
    if given.verb == "make":
        made = {str(path): make(path) for path in given.files}
        changed = any(new for _key, new in made.values())
        sys.stdout.write(json.dumps({"keys": {path: key for path, (key, _new) in made.items()}, "changed": changed}))
        return 0
    former = read_list(given.former) if given.former else []
    wrong = mistakes(read_list(given.list), former, given.allow_empty)
    sys.stderr.write("".join(f"{line}\n" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
