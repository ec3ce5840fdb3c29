# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects of buckets in one encrypted file, and back: a tar stream through the program ``age``.

A member is ``<instance>/<bucket>/<key>``, so that tar alone unpacks it. What an object's writer said of it stands
beside it in a header of its own, and so does its key: not every key is a good file name.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPResponse
from typing import IO, Any

from ansible_collections.fedlearn.infra.plugins.module_utils._minio.client import Client, refused

_TOLD = "FEDLEARN.object"
_HEADERS = ("content-type", "content-encoding", "content-disposition", "content-language", "cache-control")
_META = "x-amz-meta-"
_CHUNK = 1 << 20


class ArchiveError(Exception):
    """Why a file can't be written or read, in words."""


class _Age:
    """A run of ``age``, which must end well once what is done with it has."""

    def __init__(self, arguments: Sequence[str], **streams: Any) -> None:
        try:
            self._process = subprocess.Popen(["age", *arguments], stderr=subprocess.PIPE, **streams)
        except OSError as error:
            raise ArchiveError(f"age: {error.strerror}: install it (minio_packages)") from error

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_rest: object) -> None:
        torn = isinstance(error, (tarfile.TarError, EOFError, BrokenPipeError))
        if kind and not torn:
            self._process.kill()
        said = self._ended()
        if torn:  # what age says is why
            raise ArchiveError(said or f"no whole archive: {error}") from error
        if not kind and self._process.returncode:
            raise ArchiveError(said or f"age ended with {self._process.returncode}")

    def _ended(self) -> str:
        """What it says at its end."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        said = self._process.stderr.read().decode("utf-8", "replace") if self._process.stderr else ""
        self._process.wait()
        return " ".join(line for line in said.splitlines() if "report unexpected" not in line).strip()


# --- dump -----------------------------------------------------------------------------------------


def _packing(stream: Any) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK)


def dump(file: IO[bytes], recipient: str, servers: Sequence[tuple[str, Client, Sequence[str]]]) -> int:
    """Writes all objects of these buckets of these servers into an open file; returns how many."""
    count = 0
    piped = {"stdin": subprocess.PIPE, "stdout": file}
    with _Age(["--recipient", recipient], **piped) as process, _packing(process.stdin) as archive:
        for name, client, buckets in servers:
            for bucket in buckets:
                count += _dump_bucket(archive, name, client, bucket)
    return count


def _dump_bucket(archive: tarfile.TarFile, name: str, client: Client, bucket: str) -> int:
    folder = tarfile.TarInfo(f"{name}/{bucket}")
    folder.type, folder.mode = tarfile.DIRTYPE, 0o700
    folder.pax_headers = {_TOLD: json.dumps({"name": name, "bucket": bucket})}
    archive.addfile(folder)
    return sum(_dump_one(archive, name, client, bucket, key) for key in client.objects(bucket))


def _dump_one(archive: tarfile.TarFile, name: str, client: Client, bucket: str, key: str) -> int:
    with client.send("GET", f"/{bucket}/{key}") as answer:
        if answer.status == 404:  # it went since the bucket was listed
            answer.read()
            return 0
        if answer.status != 200:
            refused(answer.status, answer.read())
        member = tarfile.TarInfo(f"{name}/{bucket}/{key}")
        member.size, member.mode = int(answer.headers["content-length"]), 0o600
        told = {"name": name, "bucket": bucket, "key": key, "headers": _described(answer)}
        member.pax_headers = {_TOLD: json.dumps(told)}
        archive.addfile(member, answer)
    return 1


# --- restore --------------------------------------------------------------------------------------

Place = tuple[str, str]
"""A server's name and a bucket of it."""


class Restore:
    """What a file would put in the place of what is in buckets.

    All of the file is read and compared before anything is touched: one that was cut off, or is for another key,
    changes nothing, and objects that are as they were stay as they are.
    """

    def __init__(self, path: str, identity: str, servers: Sequence[tuple[str, Client, Sequence[str]]]) -> None:
        self._path, self._identity = path, identity
        self._clients = {(name, bucket): client for name, client, buckets in servers for bucket in buckets}
        self.differing: set[tuple[Place, str]] = set()
        kept: dict[Place, set[str]] = {}
        for told, content in _members(path, identity):
            place = (told["name"], told["bucket"])
            keys = kept.setdefault(place, set())
            if content is not None and place in self._clients:
                keys.add(told["key"])
                if not _same(self._clients[place], told, content):
                    self.differing.add((place, told["key"]))
        for name, _client, buckets in servers:
            if buckets and not any((name, bucket) in kept for bucket in buckets):
                raise ArchiveError(f"{name}: there is nothing of it in the file")
        self.superfluous = [
            (place, key)
            for place in kept.keys() & self._clients.keys()
            for key in self._clients[place].objects(place[1])
            if key not in kept[place]
        ]

    def run(self) -> None:
        """Puts the objects that differ, then takes away those that the file doesn't have."""
        for told, content in _members(self._path, self._identity) if self.differing else ():
            place = (told["name"], told["bucket"])
            if content is not None and (place, told["key"]) in self.differing:
                _put(self._clients[place], told, content)
        for place, key in self.superfluous:
            self._clients[place].ask("DELETE", f"/{place[1]}/{key}")


def _described(answer: HTTPResponse) -> dict[str, str]:
    """What an object's writer said of it."""
    said = {head.lower(): value for head, value in answer.getheaders()}
    return {head: value for head, value in said.items() if head in _HEADERS or head.startswith(_META)}


def _same(client: Client, told: Mapping[str, Any], content: IO[bytes]) -> bool:
    """Whether an object is there as the file has it."""
    with client.send("GET", f"/{told['bucket']}/{told['key']}") as answer:
        if answer.status != 200 or int(answer.headers["content-length"]) != told["size"]:
            return False
        if _described(answer) != told["headers"]:
            return False
        chunks = iter(lambda: content.read(_CHUNK), b"")
        return all(chunk == answer.read(len(chunk)) for chunk in chunks)


def _put(client: Client, told: Mapping[str, Any], content: IO[bytes]) -> None:
    headers = {**told["headers"], "content-length": str(told["size"])}
    with client.send("PUT", f"/{told['bucket']}/{told['key']}", body=content, headers=headers) as answer:
        said = answer.read()
    if answer.status != 200:
        refused(answer.status, said)


def _members(path: str, identity: str) -> Iterator[tuple[dict[str, Any], IO[bytes] | None]]:
    """What the file says of each object, with its size, and its content; of a bucket without."""
    with _key(identity) as key:
        arguments = ["--decrypt", "--identity", f"/dev/fd/{key.fileno()}", path]
        with _Age(arguments, stdout=subprocess.PIPE, pass_fds=(key.fileno(),)) as process:
            with tarfile.open(fileobj=process.stdout, mode="r|", bufsize=_CHUNK) as archive:
                for member in archive:
                    content = archive.extractfile(member)
                    if _TOLD not in member.pax_headers:
                        raise ArchiveError(f"{member.name}: no object that a backup wrote")
                    yield {**json.loads(member.pax_headers[_TOLD]), "size": member.size}, content
            while process.stdout and process.stdout.read(_CHUNK):
                pass


def _key(identity: str) -> IO[bytes]:
    """A pipe that says the key: it lies in no file."""
    reading, writing = os.pipe()
    os.write(writing, identity.encode() + b"\n")
    os.close(writing)
    return os.fdopen(reading, "rb")
