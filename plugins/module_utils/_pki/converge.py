# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host's certificates: what is there, what it lacks, and putting it in place.

``inspect`` compares and repairs all that needs no new certificate, and gives a request for one that does; ``install``
takes the certificate signed for that request. Both end in ``_settle``, so a run killed anywhere is finished by the
next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from . import der, files, openssl
from .description import BACKDATED, DAY, Description

KEY, NEXT_KEY, CERTIFICATE, CHAIN, CA = "key.pem", "key.next.pem", "cert.pem", "chain.pem", "ca.pem"
BUNDLE, PASSWORD = "bundle.p12", "bundle.password"
MODES = {KEY: 0o600, NEXT_KEY: 0o600, CERTIFICATE: 0o644, CHAIN: 0o644, CA: 0o644, BUNDLE: 0o600, PASSWORD: 0o600}
SECRET = (KEY, NEXT_KEY, BUNDLE, PASSWORD)
RECORD_VERSION, RECORD_MODE = 1, 0o600
_PASSWORD_BYTES = 30  # 240 bits
_ADDED = 3600


class RefusedError(Exception):
    """A certificate that was handed over isn't the one that was asked for; nothing was put in place."""


@dataclass(frozen=True)
class Layout:
    """Where things lie; another one in tests only."""

    configuration: str = "/etc"
    state: str = "/var/lib"
    run: str = "/run"


@dataclass(frozen=True)
class Anchors:
    """What the control node says of a certificate's authority: PEM of the CA that signs now (None when it isn't made
    yet,
    in check mode) with its end in seconds since 1970, PEM of intermediates, and PEM of all CAs to trust."""

    issuer: bytes | None
    issuer_not_after: int
    intermediates: bytes
    trust: bytes


@dataclass(frozen=True)
class Facts:
    """What openssl and the certificate itself said of the installed files; kept in the record for their digests."""

    common_name: str
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    usages: tuple[str, ...]
    key_type: str | None
    not_before: int
    not_after: int
    issuer: str  # digest of the CA's PEM the chain was verified with; empty when it wasn't
    chain_problem: str = ""


@dataclass
class Outcome:
    """What was done, or would be, for one certificate."""

    changed: bool = False
    action: str = "none"
    reasons: list[str] = field(default_factory=list)
    request: str | None = None
    before: Facts | None = None
    after: Facts | None = None
    warnings: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def repaired(self, reason: str) -> None:
        """Note a change that needs no new certificate."""
        self.changed = True
        self.reasons.append(reason)
        if self.action == "none":
            self.action = "repaired"


@contextlib.contextmanager
def locked(layout: Layout, timeout: float = 60.0) -> Iterator[None]:
    """One run at a time on a host: after a killed play its module may still be at work."""
    with files.lock(os.path.join(layout.run, "fedlearn-certificates.lock"), timeout):
        yield


class Installed:
    """The directory of one certificate, as it was found, with the record of what was verified there."""

    def __init__(self, layout: Layout, description: Description, create: bool) -> None:
        self.description = description
        parts = ("fedlearn", description.federation)
        self.path = files.directory(layout.configuration, *parts, "pki", description.name, create=create)
        self.record_directory = files.directory(layout.state, *parts, "certificates", create=create)
        self.found: dict[str, files.Found] = {}
        self.leftovers: list[str] = []
        if self.path:
            self.leftovers = files.leftovers(self.path)
            for name in MODES:
                content = files.read(self.file(name))
                if content is not None:
                    self.found[name] = content
        self.record = self._read_record()

    def file(self, name: str) -> str:
        """The path of one of its files."""
        if self.path is None:
            raise AssertionError("no directory yet")
        return os.path.join(self.path, name)

    @property
    def record_path(self) -> str | None:
        """Where the record lies; None before the directory was made."""
        return os.path.join(self.record_directory, self.description.name + ".json") if self.record_directory else None

    def content(self, name: str) -> bytes | None:
        """What a file held when it was read; None when it wasn't there."""
        return self.found[name].content if name in self.found else None

    def digest(self, *names: str) -> str | None:
        """One digest over several files; None when one isn't there."""
        if any(name not in self.found for name in names):
            return None
        return digest(*(self.found[name].content for name in names))

    def _read_record(self) -> dict[str, Any]:
        found = files.read(self.record_path) if self.record_path else None
        self.record_is_roots = found is not None and _is_own(found, RECORD_MODE)
        try:
            record = json.loads(found.content) if found else {}
        except ValueError:
            return {}
        return record if isinstance(record, dict) and record.get("version") == RECORD_VERSION else {}


def digest(*contents: bytes) -> str:
    """SHA-256 over ``contents``, each with its length before it."""
    total = hashlib.sha256()
    for content in contents:
        total.update(b"%d:" % len(content))
        total.update(content)
    return total.hexdigest()


def inspect(
    layout: Layout,
    description: Description,
    anchors: Anchors,
    nonce: str,
    now: float,
    check: bool = False,
    thorough: bool = False,
) -> Outcome:
    """Compare with the description, repair what needs no signature, ask for a certificate when one is needed.

    ``thorough`` asks openssl even for files the record vouches for. With ``check`` nothing is written.
    """
    installed = Installed(layout, description, create=not check)
    outcome = Outcome()
    facts = examine(installed, anchors, thorough)
    outcome.before = facts
    outcome.reasons = list(reasons(installed, facts, anchors, now, outcome.warnings))
    if not outcome.reasons:
        _settle(installed, facts, anchors, outcome, check, thorough)
        return outcome
    outcome.changed = True
    outcome.action = "renewed" if CERTIFICATE in installed.found else "issued"
    if not check:
        outcome.request = openssl.request(_key_to_certify(installed), openssl.challenge(nonce, description.name))
    return outcome


def install(layout: Layout, description: Description, anchors: Anchors, certificate: bytes, now: float) -> Outcome:
    """Put the certificate signed for this host's request in place, once all about it has been checked."""
    installed = Installed(layout, description, create=True)
    outcome = Outcome(changed=True, action="renewed" if CERTIFICATE in installed.found else "issued")
    outcome.before = examine(installed, anchors, False)
    key = _key_of(installed, certificate)
    facts = _facts(key, certificate, anchors.issuer, description.usages)
    wrong = list(_differences(description, facts, anchors, now)) if isinstance(facts, Facts) else [facts]
    if not isinstance(facts, Facts) or wrong:
        raise RefusedError(
            "the signed certificate isn't what was asked for, so nothing was put in place: {}".format("; ".join(wrong))
        )
    promoted = installed.content(NEXT_KEY) == key and installed.content(KEY) != key
    if promoted:
        installed.found[KEY] = installed.found.pop(NEXT_KEY)
    installed.found[CERTIFICATE] = files.Found(certificate, 0, 0, 0)
    _settle(installed, facts, anchors, outcome, check=False, thorough=False, fresh=True, promoted=promoted)
    outcome.reasons = []
    return outcome


def recorded(layout: Layout, federation: str) -> list[str]:
    """Names of the certificates that were installed for a federation, by their records."""
    place = files.directory(layout.state, "fedlearn", federation, "certificates", create=False)
    return sorted(name[: -len(".json")] for name in os.listdir(place) if name.endswith(".json")) if place else []


def remove(layout: Layout, description: Description, check: bool = False) -> Outcome:
    """Take away all that was ever written for a certificate; a directory that holds others' files stays."""
    installed = Installed(layout, description, create=False)
    outcome = Outcome()
    record = installed.record_path
    here = [installed.file(name) for name in list(installed.found) + installed.leftovers]
    if record and os.path.lexists(record):
        here.append(record)
    if not here and not installed.path:
        return outcome
    outcome.changed, outcome.action, outcome.files = True, "removed", sorted(here)
    outcome.reasons = ["state is absent"]
    if check:
        return outcome
    for path in here:
        os.unlink(path)
    _remove_empty(layout, description, outcome)
    return outcome


def _remove_empty(layout: Layout, description: Description, outcome: Outcome) -> None:
    for base, parts in (
        (layout.configuration, ("fedlearn", description.federation, "pki", description.name)),
        (layout.state, ("fedlearn", description.federation, "certificates")),
    ):
        for count in range(len(parts), 0, -1):
            path = os.path.join(base, *parts[:count])
            try:
                os.rmdir(path)
            except FileNotFoundError:
                continue
            except OSError:
                if count == len(parts) and parts[-1] == description.name:
                    outcome.warnings.append(
                        "{} stays: it holds files that aren't ours ({})".format(
                            path, ", ".join(sorted(os.listdir(path))[:5])
                        )
                    )
                break


def examine(installed: Installed, anchors: Anchors, thorough: bool) -> Facts | None:
    """What the installed key and certificate are; None when they aren't there or don't belong together."""
    key, certificate = installed.content(KEY), installed.content(CERTIFICATE)
    if key is None or certificate is None:
        return None
    if not thorough and installed.record.get("certificate") == digest(key, certificate):
        with contextlib.suppress(TypeError, KeyError):
            facts = _facts_from_record(installed.record["facts"])
            if anchors.issuer is None or facts.issuer == digest(anchors.issuer):
                return facts
    facts_or_reason = _facts(key, certificate, anchors.issuer, ())
    return facts_or_reason if isinstance(facts_or_reason, Facts) else None


def _facts_from_record(given: dict[str, Any]) -> Facts:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return Facts(**values)


def _facts(key: bytes | None, certificate: bytes, issuer: bytes | None, usages: tuple[str, ...]) -> Facts | str:
    """The facts of a pair, or in words why it is none. The chain is verified for ``usages`` or those it names
    itself.
    """
    try:
        blocks = der.blocks(certificate)
        parsed = der.certificate(blocks[0]) if blocks else None
    except der.DerError as error:
        return str(error)
    public = openssl.public_key(key) if key else None
    if parsed is None or len(blocks) != 1:
        return "%d certificates instead of one" % len(blocks)
    if public is None or public != parsed.public_key:
        return "the key and the certificate don't belong together"
    if parsed.is_authority or parsed.others:
        return "it is a CA's" if parsed.is_authority else "it has names or usages of another kind"
    wrong = openssl.verify(certificate, issuer, usages or parsed.usages) if issuer else None
    return Facts(
        common_name=parsed.common_name,
        dns_names=parsed.dns_names,
        addresses=parsed.addresses,
        usages=parsed.usages,
        key_type=der.key_type(parsed.public_key),
        not_before=parsed.not_before,
        not_after=parsed.not_after,
        issuer=digest(issuer) if issuer and not wrong else "",
        chain_problem=wrong or "",
    )


def reasons(
    installed: Installed, facts: Facts | None, anchors: Anchors, now: float, warnings: list[str]
) -> Iterator[str]:
    """Why a new certificate is needed; nothing when the one that is there will do."""
    description = installed.description
    if CERTIFICATE not in installed.found:
        yield "there is no certificate yet"
    elif KEY not in installed.found:
        yield "its key is gone"
    elif facts is None:
        yield "key and certificate don't belong together, or one can't be read"
    else:
        yield from _differences(description, facts, anchors, now)
        if (
            facts.not_before <= now < facts.not_after
            and (facts.not_after - now) * 3 <= facts.not_after - facts.not_before
        ):
            if facts.not_after < anchors.issuer_not_after:
                yield f"a third of its lifetime is left, or less (until {moment(facts.not_after)})"
            elif anchors.issuer is not None:
                warnings.append(
                    f"{description.name} ends with its CA on {moment(facts.not_after)} and can't be "
                    "renewed beyond that: change the CA"
                )


def _differences(description: Description, facts: Facts, anchors: Anchors, now: float) -> Iterator[str]:
    """What ``facts`` say otherwise than the description, one sentence each."""
    for what, is_, wanted in (
        ("common_name", facts.common_name, description.common_name),
        ("dns_names", sorted(facts.dns_names), sorted(description.dns_names)),
        ("addresses", sorted(facts.addresses), sorted(description.addresses)),
        ("usages", sorted(facts.usages), sorted(description.usages)),
        ("key_type", facts.key_type, description.key_type),
    ):
        if is_ != wanted:
            yield f"{what}: is {_words(is_)}, to be {_words(wanted)}"
    if anchors.issuer is not None and facts.issuer != digest(anchors.issuer):
        yield f"its chain doesn't end at the CA that signs now ({facts.chain_problem})"
    if now >= facts.not_after:
        yield f"it has ended on {moment(facts.not_after)}"
    elif now < facts.not_before:
        yield f"it begins on {moment(facts.not_before)}, and this host's clock says {moment(now)}: set the clock"
    lifetime = facts.not_after - facts.not_before - BACKDATED
    wanted_lifetime = description.lifetime_days * DAY
    if abs(lifetime - wanted_lifetime) > _ADDED and not (
        lifetime < wanted_lifetime and facts.not_after == anchors.issuer_not_after
    ):
        yield "lifetime_days: is %d, to be %d" % (round(lifetime / DAY), description.lifetime_days)


def _words(value: Any) -> str:
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)


def moment(seconds: float) -> str:
    """A time as people and programs read it: UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _key_to_certify(installed: Installed) -> str:
    """The path of the key to ask a certificate for: the one in use when it is of the right kind, else the next one.

    A key once made is used by every later run until a certificate came for it.
    """
    for name in (KEY, NEXT_KEY):
        content = installed.content(name)
        public = openssl.public_key(content) if content else None
        if public and der.key_type(public) == installed.description.key_type:
            if installed.found[name].mode != MODES[name]:
                os.chmod(installed.file(name), MODES[name])
            return installed.file(name)
    files.write(installed.file(NEXT_KEY), openssl.generate_key(installed.description.key_type), MODES[NEXT_KEY])
    return installed.file(NEXT_KEY)


def _key_of(installed: Installed, certificate: bytes) -> bytes | None:
    """The key here that ``certificate`` was signed for; None when it is none of ours."""
    blocks = der.blocks(certificate)
    wanted = der.certificate(blocks[0]).public_key if blocks else b""
    for name in (KEY, NEXT_KEY):
        content = installed.content(name)
        if content and openssl.public_key(content) == wanted:
            return content
    return None


def _settle(
    installed: Installed,
    facts: Facts | None,
    anchors: Anchors,
    outcome: Outcome,
    check: bool,
    thorough: bool,
    fresh: bool = False,
    promoted: bool = False,
) -> None:
    """Bring everything beside key and certificate in line with them, then write the record."""
    if facts is None:
        raise AssertionError("only a proven pair can be settled")
    key, certificate = installed.found[KEY].content, installed.found[CERTIFICATE].content
    wanted = {CHAIN: certificate + anchors.intermediates, CA: anchors.trust}
    if fresh:
        wanted[CERTIFICATE] = certificate
    with contextlib.ExitStack() as stack:
        writes = stack.enter_context(files.Writes(installed.path or "")) if not check else None
        if promoted and writes:
            writes.add(KEY, key, MODES[KEY])
        for name in (CERTIFICATE, CHAIN, CA):
            if name in wanted and ((fresh and name == CERTIFICATE) or installed.content(name) != wanted[name]):
                outcome.repaired(
                    "{}: {}".format(name, "has other content" if name in installed.found else "is missing")
                )
                outcome.files.append(name)
                if writes:
                    writes.add(name, wanted[name], MODES[name])
        bundled = _settle_bundle(installed, wanted[CHAIN], outcome, writes, check, thorough, fresh, promoted)
        if writes:
            writes.commit()
    _tidy(installed, outcome, check)
    _record(installed, facts, digest(key, certificate), bundled, outcome, check)
    outcome.after = facts


def _settle_bundle(
    installed: Installed,
    chain: bytes,
    outcome: Outcome,
    writes: files.Writes | None,
    check: bool,
    thorough: bool,
    fresh: bool,
    promoted: bool,
) -> str | None:
    """Make, keep or drop the PKCS#12 file; its digest with its password when it was kept."""
    if "pkcs12" not in installed.description.formats:
        return None
    problem = "belongs to the former certificate" if fresh else _bundle_problem(installed, thorough)
    if not problem:
        return installed.digest(BUNDLE, PASSWORD)
    outcome.repaired(f"{BUNDLE}: {problem}")
    outcome.files.append(BUNDLE)
    if check or writes is None:
        return None
    password = installed.content(PASSWORD)
    if not password or not re.fullmatch(rb"[A-Za-z0-9_-]{40}", password):
        password = secrets.token_urlsafe(_PASSWORD_BYTES).encode("ascii")
        files.write(installed.file(PASSWORD), password, MODES[PASSWORD])
        outcome.files.append(PASSWORD)
    key_path = installed.file(NEXT_KEY if promoted else KEY)
    content = openssl.bundle(installed.description.name, key_path, chain, installed.file(PASSWORD))
    writes.add(BUNDLE, content, MODES[BUNDLE])
    return digest(content, password)


def _bundle_problem(installed: Installed, thorough: bool) -> str | None:
    current = installed.digest(BUNDLE, PASSWORD)
    if current is None:
        return "is missing, or its password is"
    if (
        not thorough
        and current == installed.record.get("bundle")
        and installed.record.get("certificate") == installed.digest(KEY, CERTIFICATE)
    ):
        return None
    inside = openssl.bundle_content(installed.file(BUNDLE), installed.file(PASSWORD))
    if inside is None:
        return "doesn't open with its password"
    public, certificate = inside
    blocks = der.blocks(installed.found[CERTIFICATE].content)
    if certificate != blocks[0] or public != der.certificate(blocks[0]).public_key:
        return "holds another key or certificate"
    return None


def _tidy(installed: Installed, outcome: Outcome, check: bool) -> None:
    """Remove what is left over, and put mode and owner right."""
    unwanted = [name for name in _unwanted(installed) if os.path.lexists(installed.file(name))]
    for name in unwanted:
        outcome.repaired(f"{name}: isn't needed any more")
        outcome.files.append(name)
        if not check:
            os.unlink(installed.file(name))
    for name, found in installed.found.items():
        if name in unwanted or not found.mode:
            continue
        if _is_own(found, MODES[name]):
            continue
        outcome.repaired("%s: mode %04o, owner %d:%d" % (name, found.mode, found.uid, found.gid))
        if name in SECRET and (found.mode & 0o077 or found.uid != os.geteuid()):
            outcome.warnings.append(
                f"{installed.file(name)} could be read by others than root: who can't rule that out "
                "removes that file, and the next run makes it anew"
            )
        if not check:
            with contextlib.suppress(FileNotFoundError):
                os.chown(installed.file(name), os.geteuid(), os.getegid(), follow_symlinks=False)
                os.chmod(installed.file(name), MODES[name])


def _is_own(found: files.Found, mode: int) -> bool:
    """Whether a file has our owner and group, and the mode it is to have."""
    return (found.mode, found.uid, found.gid) == (mode, os.geteuid(), os.getegid())


def _unwanted(installed: Installed) -> Iterable[str]:
    yield from installed.leftovers
    if NEXT_KEY in installed.found:
        yield NEXT_KEY
    elif os.path.lexists(installed.file(NEXT_KEY)):
        yield NEXT_KEY  # promoted just now
    if "pkcs12" not in installed.description.formats:
        yield from (name for name in (BUNDLE, PASSWORD) if name in installed.found)


def _record(installed: Installed, facts: Facts, pair: str, bundled: str | None, outcome: Outcome, check: bool) -> None:
    record: dict[str, Any] = {
        "version": RECORD_VERSION,
        "name": installed.description.name,
        "federation": installed.description.federation,
    }
    record.update(certificate=pair, bundle=bundled, facts=asdict(facts))
    normal = json.loads(json.dumps(record))
    if installed.record == normal and installed.record_is_roots:
        return
    if not outcome.changed:
        outcome.repaired("the record of what was verified is missing, of other files, or not root's alone")
    if not check and installed.record_path:
        content = (json.dumps(normal, indent=1, sort_keys=True) + "\n").encode("utf-8")
        files.write(installed.record_path, content, RECORD_MODE)
