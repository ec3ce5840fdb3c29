# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is let in by files that others write, and what of them is refused, by its place and unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleLookupError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ansible_collections.fedlearn.infra.plugins.lookup.public_keys import LookupModule
from ansible_collections.fedlearn.infra.plugins.plugin_utils.public_keys import read

SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
"""A pair, of RFC 8032."""


def pair() -> tuple[str, str]:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()).hex(), public.hex()


def laid(folder: Path, name: str, *lines: str) -> str:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_keys_stand_in_the_order_of_the_files(tmp_path: Path) -> None:
    keys = [pair()[1] for _key in range(4)]
    own = [laid(tmp_path, "a.pub", keys[0]), str(tmp_path / "none-yet.pub"), laid(tmp_path, "b.pub", "", keys[1])]
    lists = [laid(tmp_path, "others.keys", "# a clinic's", keys[2], f"  {keys[3]}  ")]
    assert read(own, lists) == (keys, [])


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([PUBLIC, SEED], "2: no public key, and may be a private one: replace that key pair"),
        (["02" + 31 * "00"], "1: no public key, and may be a private one: replace that key pair"),
        ([PUBLIC, "# again", PUBLIC], "3: the key of {path}:1 once more: strike one of them"),
        ([PUBLIC[:-1]], "1: no public key, which is 64 digits, 0-9 and a-f"),
        ([PUBLIC.upper()], "1: no public key, which is 64 digits, 0-9 and a-f"),
        (["-----BEGIN PRIVATE KEY-----"], "1: no public key, which is 64 digits, 0-9 and a-f"),
    ],
    ids=["private", "no point", "twice", "short", "upper case", "something else"],
)
def test_what_is_no_list_of_public_keys_is_told_by_its_place_and_not_shown(
    tmp_path: Path, lines: list[str], told: str
) -> None:
    path = laid(tmp_path, "others.keys", *lines)
    assert read([], [path])[1] == [f"{path}:{told.format(path=path)}"]


def test_a_worker_s_file_lets_in_one(tmp_path: Path) -> None:
    """It lies in a folder that its party writes: otherwise that would let in whom it likes."""
    path = laid(tmp_path, "a.pub", pair()[1], pair()[1])
    assert read([path], [])[1] == [f"{path}:2: a second key, in a file that is of one worker"]


def test_a_list_that_is_named_and_missing_locks_nobody_out(tmp_path: Path) -> None:
    path = str(tmp_path / "othres.keys")
    assert read([], [path]) == ([], [f"{path} isn't there: without it all whose keys it holds would be locked out"])


def test_no_link_is_followed(tmp_path: Path) -> None:
    """A party's folder could lead to any file of the control node."""
    secret = laid(tmp_path, "secret", "do not tell")
    (tmp_path / "a.pub").symlink_to(secret)
    keys, wrong = read([str(tmp_path / "a.pub")], [])
    assert (keys, len(wrong)) == ([], 1)
    assert wrong[0].startswith(f"{tmp_path / 'a.pub'} is a symbolic link")


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    class Lookup(LookupModule):
        def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
            """Ansible's loader would look for them in an installed collection."""
            self._options = {"lists": direct["lists"]}

    first, second = laid(tmp_path, "a.keys", "x"), laid(tmp_path, "b.keys", "y")
    with pytest.raises(AnsibleLookupError) as told:
        Lookup().run([], {}, lists=[first, second])
    assert [line.split(": ")[0] for line in str(told.value).splitlines()] == [f"{first}:1", f"{second}:1"]
    assert Lookup().run([laid(tmp_path, "c.pub", PUBLIC)], {}, lists=[]) == [PUBLIC]
