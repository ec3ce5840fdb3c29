# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The folders that parties hand each other: made and signed on one control node, proven and taken over on the other.

``<state>/public/<party>/`` is what travels. Nothing of another party's is used from there: what was proven is copied to
``<state>/.exchange/<party>/``, in one step, and read there. The copy's own manifest is what a later one is compared
with, so that an older one, or another one of the same number, is refused.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.manifest import (
    EARLY,
    LONGEST,
    MANIFEST,
    NAME,
    SIGNATURE,
    ExchangeError,
    Manifest,
    digest,
    parse,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.sshsig import Signer, signer_of
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.names import MAX_LIST_BYTES, list_file

PRIVATE = b"PRIVATE KEY-----"


@dataclass(frozen=True)
class Published:
    """What lies in the own folder; ``changed`` is whether it was, or would be, signed anew."""

    folder: str
    manifest: Manifest
    changed: bool


@dataclass(frozen=True)
class Taken:
    """What is here of a partner's: nothing as long as ``waits`` says why. ``changed`` is whether that is new."""

    party: str
    waits: str = ""
    manifest: Manifest | None = None
    changed: bool = False


@dataclass(frozen=True)
class Own:
    """Who is at work here: the federation, the party, and where its files lie."""

    state: str
    federation: str
    party: str


def publish(own: Own, document: str, signer: Signer, now: datetime, days: int, check: bool = False) -> Published:
    """Sign what lies in the own folder, where it isn't signed, says something else, or is past half of its time."""
    folder = _folder(own.state, "public", own.party, create=not check) or os.path.join(own.state, "public", own.party)
    contents = _contents(folder) if os.path.isdir(folder) else {}
    for name, content in contents.items():
        _refuse_private(content, os.path.join(folder, name))
    former = _former(folder, signer)
    listed = {name: digest(content) for name, content in contents.items()}
    if former and (former.federation, former.party) == (own.federation, own.party):
        same = (former.document, dict(former.files)) == (document, listed)
        if same and now - former.made < (former.expires - former.made) / 2:
            return Published(folder, former, False)
    number = max(int(now.timestamp()), former.sequence + 1 if former else 0)
    made = now.replace(microsecond=0)
    manifest = Manifest(own.federation, own.party, number, made, made + timedelta(days=days), document, listed)
    if not check:
        text = manifest.text()
        signature = signer.sign(text)
        with files.Writes(folder) as writes:
            writes.add(MANIFEST, text, 0o644)
            writes.add(SIGNATURE, signature, 0o644)
            writes.commit()
    return Published(folder, manifest, True)


def unsigned(own: Own) -> list[str]:
    """Names of what lies in the own folder and is otherwise than was signed there, or wasn't signed at all."""
    folder = _folder(own.state, "public", own.party)
    read = files.read(os.path.join(folder, MANIFEST)) if folder else None
    signed = parse(read.content, f"public/{own.party}/{MANIFEST}").files if read else {}
    there = {name: digest(content) for name, content in _contents(folder).items()} if folder else {}
    return sorted(name for name in there.keys() | signed.keys() if there.get(name) != signed.get(name))


def _former(folder: str, signer: Signer) -> Manifest | None:
    """What was signed last by this key; None where that can't be told, so that it is signed anew."""
    text, signature = files.read(os.path.join(folder, MANIFEST)), files.read(os.path.join(folder, SIGNATURE))
    if text is None or signature is None or signer_of(text.content, signature.content) != signer.fingerprint:
        return None
    try:
        return parse(text.content, MANIFEST)
    except ExchangeError:
        return None


def _contents(folder: str) -> dict[str, bytes]:
    """All files of a folder that are for partners: not what begins with a dot, and no folders."""
    found: dict[str, bytes] = {}
    for entry in sorted(os.listdir(folder)):
        path = os.path.join(folder, entry)
        if entry in (MANIFEST, SIGNATURE) or not NAME.fullmatch(entry) or os.path.isdir(path):
            continue
        read = files.read(path, _largest(entry))
        if read is not None:
            found[entry] = read.content
    return found


def _largest(name: str) -> int:
    """How many bytes a file may have."""
    return MAX_LIST_BYTES if name.endswith(list_file("")) else 1 << 20


class OtherAuthorityError(ExchangeError):
    """A partner's CA is none of those trusted before; ``digest`` is that of the manifest it comes with."""

    def __init__(self, text: str, digest: str) -> None:
        super().__init__(text)
        self.digest = digest


Prove = Callable[[Mapping[str, bytes], Mapping[str, bytes]], None]
"""Proves the files that came fit to be used, after those that were taken before, both by their names; AuthorityError,
with place and way out, where they aren't.
"""


@dataclass(frozen=True)
class Wanted:
    """What is expected of a partner: the files of its CAs and those with ``lists`` of what these have withdrawn, by
    their names, and by whom it is signed.
    """

    party: str
    signers: tuple[str, ...]
    authorities: tuple[str, ...]
    lists: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of its files."""
        return *self.authorities, *self.lists


def take(own: Own, wanted: Wanted, now: datetime, prove: Prove, accepted: str = "", check: bool = False) -> Taken:
    """Prove a partner's folder and take it over. ExchangeError changes nothing, and what was taken before stays.

    ``accepted`` is the digest of a manifest whose CA may be another one than before.
    """
    party = wanted.party
    told = f"public/{party}"
    folder = _folder(own.state, "public", party)
    if folder is None or not os.listdir(folder):
        way_out = "have it run fedlearn.infra.exchange, and lay its folder there"
        return _waiting(own, wanted, now, f"{told} isn't there: {way_out}")
    if not wanted.signers:
        way_out = (
            "have the party tell you, by another way than its folder came, the fingerprint that its "
            f"fedlearn.infra.exchange prints, and write it into the viewpoint: `signers: {{{party}: [SHA256:...]}}`"
        )
        return _waiting(own, wanted, now, f"the viewpoint pins none of its signers: {way_out}")
    text, manifest = _signed(own, wanted, folder)
    _check_time(manifest, now, told, party)
    seen = _seen(own, party)
    _check_order(text, manifest, seen, told)
    contents = _proven_contents(folder, manifest)
    missing = [name for name in wanted.names if name not in contents]
    if missing:
        return _waiting(
            own, wanted, now, f"{told} has no {', '.join(missing)} yet: have it run fedlearn.infra.exchange"
        )
    prove({name: contents[name] for name in wanted.names}, _taken_files(own, party, wanted.names))
    for name in wanted.authorities:
        _check_same_authority(own, party, name, contents[name], digest(text), accepted)
    signature = _read(folder, SIGNATURE, told)
    changed = seen is None or seen[0] != text or _differs(own, party, contents)
    if changed and not check:
        _keep(own, party, contents, text, signature)
    return Taken(party, manifest=manifest, changed=changed)


def taken(own: Own, party: str) -> Manifest | None:
    """What was taken of a partner last."""
    seen = _seen(own, party)
    return seen[1] if seen else None


def _waiting(own: Own, wanted: Wanted, now: datetime, why: str) -> Taken:
    """Nothing to take; what was taken before stays in use, as long as it could be taken today."""
    party = wanted.party
    folder = _folder(own.state, ".exchange", party)
    seen = _seen(own, party)
    if folder is not None and seen is not None:
        told = f".exchange/{party}"
        found = signer_of(seen[0], _read(folder, SIGNATURE, told))
        if found not in wanted.signers:
            raise ExchangeError(
                f"{told} was taken of {found or 'somebody'}, whom the viewpoint pins no more, so nothing of it is "
                f"used; and {why}"
            )
        _check_time(seen[1], now, told, party)
    return Taken(party, waits=f"party {party}: {why}", manifest=seen[1] if seen else None)


def _folder(state: str, kind: str, party: str, create: bool = False) -> str | None:
    mode = 0o755 if kind == "public" else 0o700
    return files.directory(state, kind, party, create=create, mode=mode, foreign_write=0o002)


def _read(folder: str, name: str, told: str) -> bytes:
    found = files.read(os.path.join(folder, name))
    if found is None:
        raise ExchangeError(
            f"{told}/{name} is missing: what lies in {told} isn't signed, and nothing of it is used: have the party "
            "run fedlearn.infra.exchange and hand over all of its folder"
        )
    return found.content


def _signed(own: Own, wanted: Wanted, folder: str) -> tuple[bytes, Manifest]:
    """The manifest, once a pinned signer has signed just this text, for this federation and this party."""
    told = f"public/{wanted.party}"
    text, signature = _read(folder, MANIFEST, told), _read(folder, SIGNATURE, told)
    found = signer_of(text, signature)
    if found is None:
        raise ExchangeError(
            f"{told}/{SIGNATURE} is no signature of {MANIFEST} beside it: one of them was changed or belongs to "
            "another time; have the party hand over all of its folder again"
        )
    if found not in wanted.signers:
        raise ExchangeError(
            f"{told} is signed by {found}, and the viewpoint pins {', '.join(wanted.signers)}: somebody else made it, "
            "or the party has a new key; ask it by another way before you write that into the viewpoint"
        )
    manifest = parse(text, f"{told}/{MANIFEST}")
    if (manifest.federation, manifest.party) != (own.federation, wanted.party):
        raise ExchangeError(
            f"{told} was made by party {manifest.party} of federation {manifest.federation}, and is wanted of party "
            f"{wanted.party} of {own.federation}: folders were swapped"
        )
    return text, manifest


def _check_time(manifest: Manifest, now: datetime, told: str, party: str) -> None:
    if manifest.expires <= now:
        raise ExchangeError(
            f"{told} has ended on {manifest.expires:%Y-%m-%d %H:%M} UTC: have {party} run fedlearn.infra.exchange, and "
            "lay its folder there again"
        )
    if manifest.made > now + EARLY:
        raise ExchangeError(
            f"{told} was made at {manifest.made:%Y-%m-%d %H:%M} UTC, and this control node's clock says "
            f"{now:%Y-%m-%d %H:%M}: set the clock, or ask the party for its own"
        )
    if manifest.expires - manifest.made > LONGEST:
        raise ExchangeError(
            f"{told} is to last until {manifest.expires:%Y-%m-%d}, longer than {LONGEST.days} days: it could be kept "
            "back and shown for as long; ask the party for a shorter one"
        )


def _seen(own: Own, party: str) -> tuple[bytes, Manifest] | None:
    """What was taken last, as it was signed."""
    folder = _folder(own.state, ".exchange", party)
    found = files.read(os.path.join(folder, MANIFEST)) if folder else None
    return (found.content, parse(found.content, f".exchange/{party}/{MANIFEST}")) if found else None


def _check_order(text: bytes, manifest: Manifest, seen: tuple[bytes, Manifest] | None, told: str) -> None:
    if seen is None or seen[0] == text:
        return
    newest = seen[1]
    if manifest.sequence < newest.sequence:
        raise ExchangeError(
            f"{told} is older than what was seen: it has number {manifest.sequence} of {manifest.made:%Y-%m-%d %H:%M}, "
            f"and {newest.sequence} of {newest.made:%Y-%m-%d %H:%M} UTC was taken: somebody rolled it back; ask the "
            "party for its newest"
        )
    if manifest.sequence == newest.sequence:
        raise ExchangeError(
            f"{told} has number {manifest.sequence}, as what was taken has, and says something else: the party signs "
            "in two places, or somebody has its key; ask it by another way"
        )


def _proven_contents(folder: str, manifest: Manifest) -> dict[str, bytes]:
    """Every file that the manifest names, as it was signed. What it doesn't name is never read."""
    told, found = f"public/{manifest.party}", {}
    for name, wanted in manifest.files.items():
        read = files.read(os.path.join(folder, name), _largest(name))
        if read is None:
            raise ExchangeError(f"{told}/{name} is missing, and was signed: have the party hand over all of its folder")
        if digest(read.content) != wanted:
            raise ExchangeError(
                f"{told}/{name} isn't what was signed: it was written after that, as by an audit, or changed on the "
                "way: have the party run fedlearn.infra.exchange and hand over all of its folder again"
            )
        _refuse_private(read.content, f"{told}/{name}")
        found[name] = read.content
    return found


def _refuse_private(content: bytes, where: str) -> None:
    if PRIVATE in content:
        raise ExchangeError(
            f"{where} holds a private key, which nobody but its party may have: take it out of there, and treat it as "
            "known to others"
        )


def _taken_files(own: Own, party: str, names: Iterable[str]) -> dict[str, bytes]:
    """What is here of a partner's files, by name, and was taken before."""
    folder = _folder(own.state, ".exchange", party)
    found = ((name, files.read(os.path.join(folder, name), _largest(name))) for name in names) if folder else iter(())
    return {name: read.content for name, read in found if read}


def _check_same_authority(own: Own, party: str, name: str, content: bytes, number: str, accepted: str) -> None:
    """A CA of which nothing is left that was trusted before is taken only when the operator said so."""
    folder = _folder(own.state, ".exchange", party)
    former = files.read(os.path.join(folder, name)) if folder else None
    if former is None or accepted == number or certificates(former.content) & certificates(content):
        return
    was, becomes = (", ".join(sorted(map(_print, certificates(each)))) for each in (former.content, content))
    raise OtherAuthorityError(
        f"public/{party}/{name}: the CA of party {party} is {becomes}, and trusted here is {was}: ask the party by "
        f"another way whether it changed its CA; `fedlearn.infra.accept -e digest={number}` takes it then",
        number,
    )


def _print(certificate: bytes) -> str:
    """A certificate's fingerprint, as `openssl x509 -fingerprint -sha256` writes it."""
    try:
        return hashlib.sha256(base64.b64decode(certificate, validate=True)).digest().hex(":").upper()
    except ValueError:
        return "a damaged one"


def certificates(content: bytes) -> set[bytes]:
    """The certificates of a PEM file, to compare."""
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    return {b"".join(part.split(end)[0].split()) for part in content.split(begin)[1:]}


def _differs(own: Own, party: str, contents: Mapping[str, bytes]) -> bool:
    """Whether the copy lacks something, as after a run that was killed."""
    return _taken_files(own, party, contents) != dict(contents)


def _keep(own: Own, party: str, contents: Mapping[str, bytes], text: bytes, signature: bytes) -> None:
    """Copy what was proven; the manifest goes last, so a run that is killed begins again."""
    files.directory(own.state, ".exchange", create=True, mode=0o700)
    folder = _folder(own.state, ".exchange", party, create=True)
    if folder is None:
        raise AssertionError("made just now")
    with files.lock(os.path.join(folder, ".lock")):
        _forget(folder, {*contents, MANIFEST, SIGNATURE})
        with files.Writes(folder) as writes:
            for name, content in contents.items():
                writes.add(name, content, 0o644)
            writes.add(SIGNATURE, signature, 0o644)
            writes.add(MANIFEST, text, 0o644)
            writes.commit()


def _forget(folder: str, kept: Iterable[str]) -> None:
    """Remove what isn't part of it any more, and what killed runs left."""
    for name in os.listdir(folder):
        if name not in kept and name != ".lock":
            os.unlink(os.path.join(folder, name))
