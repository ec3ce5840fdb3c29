# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which models servers can begin with: seen without NumPy, and as the servers themselves see it."""

from __future__ import annotations

import io
import math
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.lookup.models import LookupModule
from ansible_collections.fedlearn.infra.plugins.plugin_utils.mindspore_model import mistake, tensors
from tests.unit.conftest import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests" / "support"))

from models import Tensors, ckpt, npz

SHAPES = {"fc.weight": [1, 3], "fc.bias": [1]}
FITS: Tensors = {"fc.weight": ([1, 3], [1.0, 2.0, 3.0]), "fc.bias": ([1], [4.0])}


@pytest.mark.parametrize("shapes", [None, SHAPES])
@pytest.mark.parametrize(
    ("name", "content"),
    [("m.npz", npz(FITS)), ("m.npz", npz(FITS, order=True)), ("m.ckpt", ckpt(FITS)), ("m.ckpt", ckpt(FITS, slices=3))],
)
def test_a_model_that_fits_is_none_to_refuse(tmp_path: Path, name: str, content: bytes, shapes: Any) -> None:
    (tmp_path / name).write_bytes(content)
    assert mistake(tmp_path / name, shapes) == ""


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("m.npz", b"", "File is not a zip file"),
        ("m.npz", b"junk", "it is no complete archive of NumPy's arrays: File is not a zip file"),
        ("m.npz", npz({}), "it holds no float32 tensor"),
        ("m.npz", npz(FITS, kind="<f8"), "it holds no float32 tensor"),
        ("m.npz", npz(FITS, kind="|O"), "'fc.weight' holds objects of Python, which nobody loads"),
        ("m.npz", npz({"w": ([2], [1.0])}), "'w' of shape [2] has 1 elements"),
        ("m.npz", npz(FITS).replace(b"NUMPY", b"NUMBY"), "Bad CRC-32 for file 'fc.weight.npy'"),
        ("m.npz", npz({"fc.bias": ([1], [math.nan])}), "the tensor 'fc.bias' holds values that aren't finite"),
        ("m.npz", npz({"w": ([2], [math.inf, -math.inf])}), "the tensor 'w' holds values that aren't finite"),
        ("m.npz", npz({"w": ([0, 3], [])}), "the tensor 'w' of shape [0, 3] has no element"),
        ("m.ckpt", b"", "it holds no float32 tensor"),
        ("m.ckpt", b"junk", "it is no complete checkpoint: cut off"),
        ("m.ckpt", b"no model at all", "not a protocol buffers message"),
        ("m.ckpt", ckpt(FITS)[:-1], "cut off"),
        ("m.ckpt", ckpt({"w": ([2], [1.0])}), "the tensor 'w' of shape [2] has 1 elements"),
        ("m.ckpt", ckpt(FITS, kind="Float64"), "the tensor 'fc.weight' of shape [1, 3] has 1 elements"),
        ("m.ckpt", ckpt(FITS, kind="Complex"), "has the type 'Complex', which isn't read here"),
        ("m.ckpt", ckpt({"fc.bias": ([1], [math.nan])}), "the tensor 'fc.bias' holds values that aren't finite"),
        (
            "m.ckpt",
            ckpt({"fc.weight": FITS["fc.weight"]}),
            "it holds {fc.weight: [1, 3]}, and what workers train is {fc.bias: [1], fc.weight: [1, 3]}",
        ),
        ("m.npz", npz({"a": ([1], [0.0]), **FITS}), "it holds {a: [1], fc.bias: [1], fc.weight: [1, 3]}, and what"),
    ],
)
def test_a_model_that_no_server_can_begin_with_is_told(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert told in mistake(tmp_path / name, SHAPES)


def raw(content: bytes, encrypted: bool = False) -> bytes:
    """An archive with one entry as it is given."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("w.npy"), content)
    whole = file.getvalue()
    return (
        whole.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01").replace(
            b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
        )
        if encrypted
        else whole
    )


@pytest.mark.parametrize(
    "content",
    [raw(b"\x93NUMPY"), raw(b"\x93NUMPY\x01\x00\x01"), raw(b'\x93NUMPY\x01\x00\x09\x00{"a": 1}'), raw(b"x", True)],
    ids=["magic only", "half a length", "no header", "encrypted"],
)
def test_an_archive_of_something_else_is_told_as_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.npz").write_bytes(content)
    assert mistake(tmp_path / "m.npz").startswith("it is no complete archive of NumPy's arrays: ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["m.npz", "m.ckpt"]), st.binary(max_size=60), st.integers(0, 100), st.booleans())
def test_whatever_lies_there_is_judged_and_never_raises(
    tmp_path: Path, name: str, junk: bytes, place: int, inside: bool
) -> None:
    good = npz(FITS) if name == "m.npz" else ckpt(FITS)
    (tmp_path / name).write_bytes(good[:place] + junk + good[place + len(junk) :] if inside else junk)
    assert isinstance(mistake(tmp_path / name, SHAPES), str)


def test_sizes_are_known_of_all_types() -> None:
    assert set(tensors.SIZES) == set(tensors.TYPES.values())


def test_a_file_that_several_instances_share_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "bad.ckpt").write_bytes(b"junk")
    (tmp_path / "good.npz").write_bytes(npz(FITS))

    class Lookup(LookupModule):
        def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
            """None is there, and Ansible's loader would look for them in an installed collection."""

        def find_file_in_search_path(self, *names: Any, **how: Any) -> str:
            path = tmp_path / names[2]
            return str(path) if path.exists() else ""

    def server(**model: Any) -> dict[str, Any]:
        return {"name": "a", "initial_model": model}

    lookup = Lookup(templar=SimpleNamespace())
    bad, good = server(source="bad.ckpt"), server(source="good.npz", shapes=SHAPES)
    found = lookup.run([bad, bad, good, server(shapes=SHAPES), {"name": "b"}, {**bad, "state": "absent"}])
    assert found == ["bad.ckpt: it is no complete checkpoint: cut off"]
    assert lookup.run([{**bad, "state": "absent"}, server(source="none.npz")]) == []
