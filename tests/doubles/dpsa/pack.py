# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packs what a deployment of kind dpsa runs: the real programs where there are any, else their doubles.

    pack.py FOLDER      writes FOLDER/janus-{B,C}.tar.gz and FOLDER/manager-B.tar.gz, and prints their sums as JSON

With ``FEDLEARN_UPSTREAM_DIR`` the folders ``janus-B``, ``janus-C`` and ``manager-B`` below it are packed, where they
are there: ``bin/`` and, of Janus, ``db/``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
MIGRATIONS = {"B": 1, "C": 9}
LABEL = b"These are contract doubles, for tests of the deployment: they aggregate nothing.\n"
BINARIES = {
    "janus-B": (
        "aggregator",
        "aggregation_job_creator",
        "aggregation_job_driver",
        "collection_job_driver",
        "janus_cli",
    ),
    "janus-C": ("janus_aggregator",),
    "manager-B": ("dpsa4fl-janus-manager",),
}


def double(generation: str) -> bytes:
    """The program, of that generation."""
    source = (HERE / "janus.py").read_text().replace('GENERATION = "B"', f'GENERATION = "{generation}"')
    return f"#!/usr/bin/python3 -B\n{source}".encode()


def migration(number: int) -> bytes:
    """Enough of a schema to see that it was applied: the first has extensions, and Janus' tables with what it seals."""
    if number > 1:
        return f"ALTER TABLE tasks ADD COLUMN of_migration_{number} BIGINT;\n".encode()
    return b"""CREATE EXTENSION pgcrypto;
CREATE EXTENSION btree_gist;
CREATE TYPE AGGREGATOR_ROLE AS ENUM('LEADER', 'HELPER');
CREATE TABLE global_hpke_keys (config_id SMALLINT PRIMARY KEY, private_key BYTEA NOT NULL);
CREATE TABLE taskprov_peer_aggregators (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, endpoint TEXT NOT NULL, role AGGREGATOR_ROLE NOT NULL,
    verify_key_init BYTEA NOT NULL
);
CREATE TABLE taskprov_aggregator_auth_tokens (
    peer_aggregator_id BIGINT NOT NULL, ord BIGINT NOT NULL, token BYTEA NOT NULL
);
CREATE TABLE taskprov_collector_auth_tokens (
    peer_aggregator_id BIGINT NOT NULL, ord BIGINT NOT NULL, token BYTEA NOT NULL
);
CREATE TABLE tasks (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, task_id BYTEA UNIQUE NOT NULL, vdaf_verify_key BYTEA NOT NULL,
    aggregator_auth_token BYTEA
);
CREATE TABLE task_hpke_keys (
    task_id BIGINT NOT NULL REFERENCES tasks(id), config_id SMALLINT NOT NULL, private_key BYTEA NOT NULL
);
CREATE TABLE client_reports (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, task_id BIGINT REFERENCES tasks(id));
"""


def doubles(name: str) -> Iterator[tuple[str, bytes, int]]:
    """Path, content and mode of each file."""
    generation = name[-1]
    yield "DOUBLE", LABEL, 0o644
    for binary in BINARIES[name]:
        yield f"bin/{binary}", double(generation), 0o755
    for number in range(1, MIGRATIONS[generation] + 1) if name.startswith("janus") else ():
        words = "initial_schema" if number == 1 else f"step_{number}"
        yield f"db/{number:014}_{words}.up.sql", migration(number), 0o644


def real(folder: Path) -> Iterator[tuple[str, bytes, int]]:
    """Likewise, of programs that were built."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes(), path.stat().st_mode & 0o755 | 0o644


def pack(target: Path, contents: Iterator[tuple[str, bytes, int]]) -> str:
    """An archive that is the same for the same content, and its sum."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, content, mode in contents:
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    target.write_bytes(gzip.compress(packed.getvalue(), compresslevel=1, mtime=0))
    return hashlib.sha256(target.read_bytes()).hexdigest()


def pack_all(folder: Path, environment: Mapping[str, str] | None = None) -> dict[str, dict[str, object]]:
    """Each archive with its sum, and whether doubles are in it."""
    upstream = (os.environ if environment is None else environment).get("FEDLEARN_UPSTREAM_DIR", "")
    folder.mkdir(parents=True, exist_ok=True)
    packed: dict[str, dict[str, object]] = {}
    for name in BINARIES:
        built = Path(upstream, name)
        is_real = bool(upstream) and built.is_dir()
        archive = folder / f"{name}.tar.gz"
        sha256 = pack(archive, real(built) if is_real else doubles(name))
        packed[name] = {"archive": str(archive), "sha256": sha256, "doubles": not is_real}
    return packed


if __name__ == "__main__":
    print(json.dumps(pack_all(Path(sys.argv[1])), indent=2))
