# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signs what partners get, and takes over what they signed; runs once, on the control node.

Documentation: the module of this name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import (
    AUTHORITY_OPTIONS,
    DescriptionError,
    describe_authority,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange import agreement
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.folders import (
    OtherAuthorityError,
    Own,
    Prove,
    Taken,
    Wanted,
    publish,
    take,
    unsigned,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.manifest import ExchangeError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.sshsig import Signer
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.variables import SIGNER_SECRET
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.names import (
    certificate_file,
    crl_path,
    list_file,
    public_path,
    signer_path,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import AuthorityError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.keeping import keep

ARGUMENTS: dict[str, dict[str, Any]] = {
    "step": {"type": "str", "required": True, "choices": ["agree", "publish", "compare", "take", "accept"]},
    "federation": {"type": "str", "required": True},
    "exchange": {"type": "dict", "required": True},
    "authorities": {"type": "list", "elements": "dict", "default": []},
    "state_directory": {"type": "path", "required": True},
    "days": {"type": "int", "default": 90},
    "digest": {"type": "str", "default": "", "no_log": False},
}
MAX_DAYS = 400


class ActionModule(ActionBase):  # type: ignore[misc]
    """Never a connection; what is wrong changes nothing."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What was done by the step."""
        super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        own = Own(options["state_directory"], options["federation"], options["exchange"]["party"])
        try:
            if options["step"] == "agree":
                agreement.require(own.state, options["exchange"]["digest"])
                return {"changed": False}
            if options["step"] == "compare":
                return {"changed": False, "unsigned": unsigned(own)}
            write = partial(self._written, own, options, task_vars or {})
            return write() if self._task.check_mode else keep(own.state, f"exchange, {options['step']}", write)
        except (ExchangeError, AuthorityError, DescriptionError, files.FileTroubleError) as error:
            raise AnsibleActionFail(str(error)) from None
        except OSError as error:
            place = error.filename or options["state_directory"]
            raise AnsibleActionFail(f"{place} can't be read or written: {error.strerror}") from None

    def _written(self, own: Own, options: Mapping[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        if options["step"] == "publish":
            return self._publish(own, options, variables)
        return self._accept(own, options) if options["step"] == "accept" else self._take(own, options)

    def _publish(self, own: Own, options: Mapping[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        if not 0 < options["days"] <= MAX_DAYS:
            raise ExchangeError(f"days is from 1 to {MAX_DAYS}: partners refuse what lasts longer")
        agreement.require(own.state, options["exchange"]["digest"])
        signer = Signer(signer_path(own.state, own.party), lambda: self._passphrase(own, variables))
        check = self._task.check_mode
        if check and not os.path.lexists(signer.path):
            return {"changed": True}
        if not check:
            for part in ((".exchange",), (".exchange", own.party)):
                files.directory(own.state, *part, create=True, mode=0o700, foreign_write=0o002)
            signer.make()
            _lay_out(own, options["authorities"])
        done = publish(own, options["exchange"]["digest"], signer, datetime.now(UTC), options["days"], check)
        return {
            "changed": done.changed,
            "folder": done.folder,
            "signer": signer.fingerprint,
            "number": done.manifest.sequence,
            "expires": f"{done.manifest.expires:%Y-%m-%d}",
        }

    def _take(self, own: Own, options: Mapping[str, Any]) -> dict[str, Any]:
        """Every partner is proven before the first is taken over, so that a wrong one changes nothing."""
        agreement.require(own.state, options["exchange"]["digest"])
        wanted = list(_wanted(options))
        prove = _prover(options)
        now = datetime.now(UTC)
        for check in (True, False) if not self._task.check_mode else (True,):
            found = [take(own, each, now, prove, check=check) for each in wanted]
        digest = options["exchange"]["digest"]
        return {
            "changed": any(each.changed for each in found),
            "waits": [each.waits for each in found if each.waits],
            "told": [line for each in found for line in _told(each, digest)],
            "missing": [
                each["name"]
                for each in options["authorities"]
                if each["party"] in options["exchange"]["partners"]
                and not all(os.path.lexists(each[key]) for key in _came(each))
            ],
        }

    def _accept(self, own: Own, options: Mapping[str, Any]) -> dict[str, Any]:
        """Show what waits to be accepted; what has the digest that was given is accepted."""
        shared = options["exchange"]
        path, wanted = shared["document"], options["digest"]
        read = files.read(os.path.realpath(path), agreement.MAX_BYTES)
        if read is None or agreement.digest(read.content) != shared["digest"]:
            raise ExchangeError(f"{path} was changed while it was looked at: begin again")
        former = agreement.accepted(own.state)
        waiting: dict[str, list[str]] = {}
        if former != read.content:
            waiting[shared["digest"]] = agreement.changes(former, read.content, own.party) or ["nothing but its form"]
        prove, now = _prover(options), datetime.now(UTC)
        others = {}
        for each in _wanted(options):
            try:
                take(own, each, now, prove, check=True)
            except OtherAuthorityError as error:
                waiting[error.digest], others[error.digest] = [str(error)], each
            except (ExchangeError, AuthorityError, files.FileTroubleError):
                continue  # told, and refused, by who wants to use it
        if wanted and wanted not in waiting and wanted != shared["digest"]:
            known = ", ".join(waiting) or "nothing"
            raise ExchangeError(f"nothing that waits to be accepted has the digest {wanted[:64]!a}: there is {known}")
        changed = wanted in waiting
        if changed and not self._task.check_mode:
            if wanted in others:
                take(own, others[wanted], now, prove, accepted=wanted)
            else:
                agreement.accept(own.state, read.content)
        return {"changed": changed, "waiting": {key: lines for key, lines in waiting.items() if key != wanted}} | (
            {"accepted": waiting[wanted]} if changed else {}
        )

    def _passphrase(self, own: Own, variables: dict[str, Any]) -> str:
        lookup = lookup_loader.get("fedlearn.infra.secret", loader=self._loader, templar=self._templar)
        try:
            found = lookup.run([SIGNER_SECRET], variables=variables, party=own.party, state_directory=own.state)
        except AnsibleError as error:
            raise ExchangeError(error.message) from None
        return str(found[0])


def _wanted(options: Mapping[str, Any]) -> Iterator[Wanted]:
    listing = {each["name"] for each in options["authorities"] if each.get("crl")}
    for party, told in options["exchange"]["partners"].items():
        lists = [list_file(name) for name in told["authorities"] if name in listing]
        certificates = map(certificate_file, told["authorities"])
        yield Wanted(party, tuple(told["signers"]), tuple(certificates), tuple(lists))


def _prover(options: Mapping[str, Any]) -> Prove:
    """Proves that what a partner calls its CA can be trusted now, and its lists relied on."""

    def passphrase() -> str:
        raise AssertionError("nobody opens a partner's key")

    default = {name: option.get("default") for name, option in AUTHORITY_OPTIONS.items()}
    theirs = [each for each in options["authorities"] if each["party"] in options["exchange"]["partners"]]
    described = [replace(describe_authority({**default, **each}), **_came(each)) for each in theirs]
    known = [Authority(each, "", passphrase) for each in described]

    def prove(came: Mapping[str, bytes], former: Mapping[str, bytes]) -> None:
        for authority in known:
            name = authority.description.name
            certificates, lists = came.get(certificate_file(name)), came.get(list_file(name))
            if certificates is not None:
                authority.prove_trust(certificates)
            if certificates is not None and lists is not None:
                authority.prove_follows(certificates, lists, former.get(list_file(name), b""))

    return prove


def _came(authority: Mapping[str, Any]) -> dict[str, str]:
    """Where an authority's files came, for messages."""
    names = {"ca": certificate_file(authority["name"]), "crl": list_file(authority["name"])}
    return {key: f"public/{authority['party']}/{name}" for key, name in names.items() if authority.get(key)}


def _lay_out(own: Own, authorities: list[dict[str, Any]]) -> None:
    """Put what is to be known of the party's CAs that are kept elsewhere where partners find that of all others."""
    for each in authorities:
        if each["party"] == own.party and each["mode"] != "ownca":
            laid = public_path(own.state, own.party, each["name"]), crl_path(own.state, own.party, each["name"])
            _copy(own, each.get("ca"), laid[0], "certificates of")
            _copy(own, each.get("crl"), laid[1], "list of what was withdrawn by")


def _copy(own: Own, source: str | None, path: str, what: str) -> None:
    if not source:
        return
    found = files.read(source)
    if found is None:
        raise ExchangeError(f"{source} is missing: the {what} the CA of {own.party}")
    there = files.read(path)
    if there is None or there.content != found.content:
        files.directory(own.state, "public", own.party, create=True, foreign_write=0o002)
        files.write(path, found.content, 0o644)


def _told(taken: Taken, digest: str) -> Iterator[str]:
    """What is no mistake, and is to be known."""
    if taken.manifest is not None and taken.manifest.document != digest:
        yield (
            f"party {taken.party} accepted another document ({taken.manifest.document}) than this one ({digest}): both "
            "sides need the same before they work together"
        )
