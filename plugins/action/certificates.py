# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates of a host: the module asks, this signs with the party's CA, the module installs.

Their documentation is the module's.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import (
    AUTHORITY_OPTIONS,
    CERTIFICATE_OPTIONS,
    PACKAGE_OPTIONS,
    AuthorityDescription,
    Description,
    DescriptionError,
    describe_all,
    describe_authority,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.files import FileTroubleError, read
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.openssl import challenge
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority, Trust
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.change import STEPS, ChangingAuthority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.names import secret_name
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.register import Leaving, RegisterError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.requests import Desk, Waiting
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import AuthorityError, proven_key
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.sources import problems
from ansible_collections.fedlearn.infra.plugins.plugin_utils.apt_wait import seconds

ARGUMENTS: dict[str, dict[str, Any]] = {
    "certificates": {"type": "list", "elements": "dict", "required": True, "options": CERTIFICATE_OPTIONS},
    "authorities": {"type": "list", "elements": "dict", "default": [], "options": AUTHORITY_OPTIONS},
    "state_directory": {"type": "path", "required": True},
    "packages": {"type": "dict", "default": {}, "options": PACKAGE_OPTIONS},
    "lock_timeout": {"type": "int"},
    "thorough": {"type": "bool", "default": False},
    "renew": {"type": "bool", "default": False},
    "keep": {"type": "bool", "default": False},
    "secrets": {"type": "dict", "default": {}, "no_log": False},
    "sources_only": {"type": "bool", "default": False},
    "expected": {"type": "list", "elements": "str"},
    "group": {"type": "str"},
    "group_size": {"type": "int"},
    "withdraw_only": {"type": "bool", "default": False},
    "authorities_only": {"type": "bool", "default": False},
    "change": {"type": "str", "choices": list(STEPS)},
}
_OWN = ("requests", "usable")


class ActionModule(ActionBase):  # type: ignore[misc]
    """Inspect, sign, install: one remote execution when nothing is to be done, two otherwise."""

    TRANSFERS_FILES = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of the task on one host."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            if options["sources_only"]:
                return self._look(options, variables)
            if options["authorities_only"]:
                return self._make_authorities(options, variables)
            if options["withdraw_only"]:
                descriptions = describe_all(options["certificates"])
                authorities = self._authorities(options, variables)
                return {"certificates": {}, **self._withdraw(descriptions, authorities, options, variables)}
            if options["change"]:
                return self._change(options, variables)
            return self._converge(options, variables)
        except (DescriptionError, AuthorityError, RegisterError, FileTroubleError) as error:
            raise AnsibleActionFail(str(error)) from None

    def _make_authorities(self, options: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Own CAs that are missing, so that partners can have their certificates before anything is deployed."""
        own = [each for each in self._authorities(options, variables).values() if not each.description.elsewhere]
        missing = [each for each in own if not each.exists_for_good()]
        unfinished = [*missing, *(each for each in own if each not in missing and each.lacks_lists())]
        for authority in unfinished if not self._task.check_mode else ():
            authority.make()
        return {
            "changed": bool(unfinished),
            "certificates": {},
            "made": [each.description.name for each in missing],
            "published": {each.certificate_path: _fingerprint(each) for each in own if each.exists()},
        }

    def _look(self, options: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Fail with all that the control node lacks; touches no host."""
        present = [item for item in describe_all(options["certificates"]) if item.state == "present"]
        kind = ChangingAuthority if options["change"] else Authority
        authorities = self._authorities(options, variables, kind)
        _check_names(present, authorities)
        used = {name for item in present for name in _named(item)}
        looked_at = [each for name, each in authorities.items() if name in used or each.description.elsewhere]
        found = problems(looked_at, options["secrets"], lambda *wanted: self._secrets(*wanted, options, variables))
        found = found or list(self._answers(present, authorities, options, variables))
        found += _servers(authorities[item.authority] for item in present if item.authority)
        if found:
            raise AnsibleActionFail("\n".join(found))
        return {"changed": False, "certificates": {}}

    def _answers(
        self,
        present: list[Description],
        authorities: dict[str, Authority],
        options: dict[str, Any],
        variables: dict[str, Any],
    ) -> Iterator[str]:
        """What is wrong with answers to this host's requests that lie here."""
        now = datetime.now(UTC)
        for item in present:
            if item.authority and authorities[item.authority].description.mode == "csr":
                try:
                    self._desk(item, authorities, options, variables).prove(item, authorities[item.authority], now)
                except AuthorityError as error:
                    yield str(error)

    def _converge(self, options: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        descriptions = list(describe_all(options["certificates"]))
        authorities = self._authorities(options, variables)
        present = [item for item in descriptions if item.state == "present"]
        _check_names(present, authorities)
        withdrawn = self._withdraw(descriptions, authorities, options, variables)
        trusts = self._trusts(present, authorities)
        nonce = secrets.token_hex(16)
        given = {
            "certificates": options["certificates"],
            "thorough": options["thorough"],
            "renew": options["renew"],
            "keep": options["keep"],
            "nonce": nonce,
            "anchors": {item.name: _anchors(item, trusts, authorities) for item in present},
        }
        for item in present:
            if item.authority and authorities[item.authority].description.mode == "acme":
                given["anchors"][item.name]["acme"] = _asked(authorities[item.authority].description)
        for item, serials in _revoked(present, authorities, variables["inventory_hostname"]):
            given["anchors"][item.name]["revoked"] = serials
        result = self._equipped(given, options, variables)
        result["withdrawn"] = withdrawn["withdrawn"]
        result["changed"] = result.get("changed", False) or withdrawn["changed"]
        requests, usable = result.pop("requests", {}), result.pop("usable", [])
        if result.get("failed") or self._task.check_mode:
            self._prove_signing_possible(result, present, authorities)
            for item in present:  # said with the reasons why a new one is needed
                if item.authority and authorities[item.authority].description.mode == "csr":
                    waits = self._desk(item, authorities, options, variables).told(item)
                    outcome = result.get("certificates", {}).get(item.name, {})
                    if waits and outcome.get("action") in ("issued", "renewed"):
                        outcome["reasons"].append(waits)
            return result
        if not requests:
            return result
        described = {item.name: item for item in present}
        for_others = _signed_elsewhere(requests, described, authorities)
        own = {name: requests[name] for name in requests if name not in for_others} if for_others else requests
        issued = _sign(own, described, authorities, nonce, variables["inventory_hostname"])
        desks = {name: self._desk(described[name], authorities, options, variables) for name in for_others}
        answered, still_open = _exchange({name: requests[name] for name in for_others}, described, desks)
        issued |= answered
        if issued:
            result = _merged(result, self._module({**given, "step": "install", "issued": issued}, variables))
        return _told(result, still_open, usable)

    def _equipped(self, given: dict[str, Any], options: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """What the module finds, after packages were installed for programs that the host lacked."""
        result = self._module(given, variables)
        names = [name for program in result.get("missing", ()) for name in options["packages"].get(program, ())]
        if not names:
            return result
        try:
            waits = seconds(options["lock_timeout"], variables, self._templar)
        except ValueError as mistake:
            raise AnsibleActionFail(str(mistake)) from None
        asked = {"names": names, "lock_timeout": waits}
        brought = self._execute_module("fedlearn.infra.packages", asked, task_vars=variables)
        if brought.get("failed"):
            raise AnsibleActionFail(str(brought.get("msg", "")))
        return {**self._module(given, variables), "changed": True, "installed": names}

    def _withdraw(
        self,
        descriptions: Iterable[Description],
        authorities: dict[str, Authority],
        options: dict[str, Any],
        variables: dict[str, Any],
    ) -> dict[str, Any]:
        """Withdraw what this host, and who isn't of the group any more, was issued and isn't to have."""
        group, size = options["group"], options["group_size"]
        if group and not size and group not in variables["groups"]:  # else everybody would be taken for gone
            raise DescriptionError(f"there is no group {group} in the inventory, so nobody knows which hosts have gone")
        members = variables["groups"].get(group, [])
        whole = group and len(members) >= (size or 0)  # a job's slice has but some of the hosts
        leaving = Leaving(
            variables["inventory_hostname"],
            {(item.federation, item.name) for item in descriptions if item.state == "absent"},
            options["expected"],
            members if whole else None,
        )
        now, check = datetime.now(UTC), self._task.check_mode
        found = {name: authority.withdraw(leaving, now, check) for name, authority in authorities.items()}
        told = [f"authority {name}: {each}" for name, gone in found.items() for each in gone]
        return {"changed": bool(told), "withdrawn": told}

    def _change(self, options: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Take a step of the change of our own CAs; no execution on the host."""
        step, changed = options["change"], False
        for name, authority in self._authorities(options, variables, ChangingAuthority).items():
            if authority.description.elsewhere:
                raise DescriptionError(
                    f"authority {name} has mode {authority.description.mode}: who keeps it changes it"
                )
            changed = (authority.foreseen(step) if self._task.check_mode else authority.take(step)) or changed
        return {"changed": changed, "certificates": {}}

    def _desk(
        self,
        item: Description,
        authorities: dict[str, Authority],
        options: dict[str, Any],
        variables: dict[str, Any],
    ) -> Desk:
        party = authorities[item.authority].description.party
        return Desk(options["state_directory"], party, variables["inventory_hostname"])

    def _module(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name="fedlearn.infra.certificates", module_args=arguments, task_vars=variables
        )
        return result

    def _authorities(
        self, options: dict[str, Any], variables: dict[str, Any], kind: type[Authority] = Authority
    ) -> dict[str, Any]:
        found: dict[str, Authority] = {}
        for item in options["authorities"]:
            description = describe_authority(item)
            if description.name in found:
                raise DescriptionError(f"authority {description.name} is described twice; remove one")
            found[description.name] = kind(
                description, options["state_directory"], lambda it=description: self._passphrase(it, options, variables)
            )
        return found

    def _trusts(self, present: list[Description], authorities: dict[str, Authority]) -> dict[str, Trust]:
        """What hosts are to know of each authority; those still missing are made, but in check mode."""
        trusts: dict[str, Trust] = {}
        for name in dict.fromkeys(name for item in present for name in _named(item)):
            authority = authorities[name]
            if not authority.exists_for_good():
                if self._task.check_mode:
                    trusts[name] = Trust(None, "")
                    continue
                authority.make()
            trusts[name] = authority.trust()
            if not (trusts[name].crl or authority.description.elsewhere or self._task.check_mode):
                authority.make()
                trusts[name] = authority.trust()
        return trusts

    def _prove_signing_possible(
        self, result: dict[str, Any], present: list[Description], authorities: dict[str, Authority]
    ) -> None:
        """In check mode, fail for a CA that couldn't sign what is needed, before any host is touched for real."""
        if result.get("failed"):
            return
        for item in present:
            wanting = result["certificates"].get(item.name, {}).get("action") in ("issued", "renewed")
            if wanting and not authorities[item.authority].description.elsewhere:
                authorities[item.authority].prove()

    def _passphrase(self, authority: AuthorityDescription, options: dict[str, Any], variables: dict[str, Any]) -> str:
        try:
            return self._secrets(authority.party, [secret_name(authority.name)], options, variables)[0]
        except AuthorityError as error:
            raise AuthorityError(f"authority {authority.name} of party {authority.party}: {error}") from None

    def _secrets(self, party: str, names: list[str], options: dict[str, Any], variables: dict[str, Any]) -> list[str]:
        lookup = lookup_loader.get("fedlearn.infra.secret", loader=self._loader, templar=self._templar)
        if lookup is None:
            raise AuthorityError("the lookup fedlearn.infra.secret is missing: the collection isn't installed whole")
        try:
            values = lookup.run(names, variables=variables, party=party, state_directory=options["state_directory"])
        except AnsibleError as error:
            raise AuthorityError(error.message) from None
        return [str(value) for value in values]


def _fingerprint(authority: Authority) -> str:
    """What people compare of a CA's certificate, as `openssl x509 -fingerprint -sha256` writes it."""
    certificate = x509.load_pem_x509_certificate(authority.trust().issuer_pem.encode())
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _named(item: Description) -> list[str]:
    """The authorities that a description names; nobody signs where something is only trusted."""
    return [name for name in (item.authority, *item.trust) if name]


def _check_names(present: list[Description], authorities: dict[str, Authority]) -> None:
    for item in present:
        for name in _named(item):
            if name not in authorities:
                known = ", ".join(sorted(authorities)) or "none"
                raise DescriptionError(f"certificate {item.name}: there is no authority {name} (authorities: {known})")
        if item.authority:
            _check_way(item, authorities[item.authority].description)


def _check_way(item: Description, authority: AuthorityDescription) -> None:
    """DescriptionError when a certificate can't come from this authority as it is described."""
    mode = authority.mode
    where = f"certificate {item.name}: authority {item.authority}"
    if mode == "external":
        raise DescriptionError(f"{where} is external: it can be trusted, not sign here")
    if mode == "provided" and not item.certificate_file:
        raise DescriptionError(f"{where} is provided: certificate_file and key_file say where on the host")
    if mode == "acme":
        _check_asked(item, where, authority)
    if mode != "provided" and item.certificate_file:
        raise DescriptionError(f"{where} has mode {mode}: certificate_file and key_file are for mode provided")


def _check_asked(item: Description, where: str, authority: AuthorityDescription) -> None:
    """An ACME server is asked for names only."""
    if item.addresses or not item.dns_names:
        raise DescriptionError(f"{where} has mode acme: that is for dns_names, at least one, and not for addresses")
    if authority.acme["challenge"] == "http-01" and any(name.startswith("*") for name in item.dns_names):
        raise DescriptionError(f"{where}: names with * can be proven by challenge dns-01 only")


def _anchors(description: Description, trusts: dict[str, Trust], authorities: dict[str, Authority]) -> dict[str, Any]:
    trust = trusts[description.authority] if description.authority else Trust(None, "")
    lists = [trusts[name].crl for name in description.trust]
    return {
        "issuer": trust.issuer_pem,
        "issuer_not_after": trust.issuer_not_after,
        "intermediates": "",
        "foreign": bool(description.authority) and authorities[description.authority].description.elsewhere,
        "trust": "".join(trusts[name].bundle for name in description.trust),
        # who verifies by lists refuses all of a CA that it has none of
        "crl": "".join(lists) if all(lists) else "",
    }


def _asked(authority: AuthorityDescription) -> dict[str, Any]:
    """How a host asks an ACME server, with the content of the file that only this control node has."""
    asked = dict(authority.acme)
    path = asked.get("server_ca")
    if path:
        found = read(path)
        if found is None:
            raise AuthorityError(
                f"authority {authority.name}: {path} is missing: the CA of the ACME server's own certificate"
            )
        asked["server_ca"] = found.content.decode("ascii", "replace")
    return asked


def _servers(authorities: Iterable[Authority]) -> list[str]:
    """What is missing here that hosts need to ask ACME servers."""
    found = []
    asked = {each.description.name: each.description for each in authorities if each.description.mode == "acme"}
    for authority in asked.values():
        try:
            _asked(authority)
        except (AuthorityError, FileTroubleError) as error:
            found.append(str(error))
    return found


def _revoked(
    present: list[Description], authorities: dict[str, Authority], host: str
) -> Iterator[tuple[Description, list[str]]]:
    """Which serial numbers each certificate of our own CAs mustn't have any more."""
    own = {
        item.authority for item in present if item.authority and not authorities[item.authority].description.elsewhere
    }
    known = {name: authorities[name].revoked(host) for name in own}
    for item in present:
        revoked = known.get(item.authority)
        if revoked:
            yield item, revoked.get(item.name, []) + revoked.get("", [])


def _sign(
    requests: dict[str, str],
    present: dict[str, Description],
    authorities: dict[str, Authority],
    nonce: str,
    host: str,
) -> dict[str, str]:
    """A certificate (PEM) for each request a host sent; AuthorityError for a request that is not to be trusted."""
    if not isinstance(requests, dict):
        raise AuthorityError("the host's signing requests are no mapping of names to requests")
    signed: dict[str, x509.Certificate] = {}
    now = datetime.now(UTC).replace(microsecond=0)
    for name, request in requests.items():
        if name not in present:
            raise AuthorityError(f"the host asks for a certificate {str(name)[:60]!r} that isn't described for it")
        key = proven_key(request, challenge(nonce, name), present[name])
        signed[name] = authorities[present[name].authority].sign(present[name], key, now)
    for authority in {present[name].authority for name in signed}:
        of_it = [(present[name], signed[name]) for name in signed if present[name].authority == authority]
        authorities[authority].note(host, of_it, now)
    return {name: certificate.public_bytes(Encoding.PEM).decode("ascii") for name, certificate in signed.items()}


def _signed_elsewhere(
    requests: dict[str, str], described: dict[str, Description], authorities: dict[str, Authority]
) -> list[str]:
    """Names of the requests that aren't for a CA of ours."""
    known = [name for name in requests if name in described] if isinstance(requests, dict) else []
    return [name for name in known if authorities[described[name].authority].description.elsewhere]


def _exchange(
    requests: dict[str, str], described: dict[str, Description], desks: dict[str, Desk]
) -> tuple[dict[str, str], dict[str, Waiting | AuthorityError]]:
    """Answers (PEM) that are there, and what of the other requests is to be told."""
    issued: dict[str, str] = {}
    still_open: dict[str, Waiting | AuthorityError] = {}
    now = datetime.now(UTC)
    for name, request in requests.items():
        try:
            answer = desks[name].exchange(described[name], request, now)
        except AuthorityError as error:
            still_open[name] = error
        else:
            if isinstance(answer, Waiting):
                still_open[name] = answer
            else:
                issued[name] = answer.decode("ascii", "replace")
    return issued, still_open


def _told(result: dict[str, Any], still_open: dict[str, Waiting | AuthorityError], usable: list[str]) -> dict[str, Any]:
    """The result with what is waited for: a failure for who has no certificate that will do, else a warning."""
    wrong = [result["msg"]] if result.get("failed") else []
    for name, matter in still_open.items():
        outcome = result["certificates"][name]
        line = f"certificate {name} {matter}" if isinstance(matter, Waiting) else str(matter)
        outcome["action"], outcome["changed"] = "waiting", isinstance(matter, Waiting) and matter.laid
        outcome["reasons"].append(line)
        for side in ("before", "after"):
            result.get("diff", {}).get(side, {}).pop(name, None)
        if isinstance(matter, AuthorityError) or name not in usable:
            wrong.append(line)
        else:
            result.setdefault("warnings", []).append(line)
    outcomes = result["certificates"].values()
    beside = any(result.get(key) for key in ("installed", "watch", "withdrawn"))
    result["changed"] = beside or any(outcome["changed"] for outcome in outcomes)
    if wrong:
        result.update(failed=True, msg="\n".join(wrong))
    return result


def _merged(inspected: dict[str, Any], installed: dict[str, Any]) -> dict[str, Any]:
    """One result of both executions: reasons and the former state of the first, the outcome of the second."""
    result = {
        **inspected,
        **{key: value for key, value in installed.items() if key not in ("certificates", "diff", "warnings", *_OWN)},
    }
    result["changed"] = bool(inspected.get("changed") or installed.get("changed"))
    result["warnings"] = [*inspected.get("warnings", []), *installed.get("warnings", [])]
    for name, outcome in installed.get("certificates", {}).items():
        result["certificates"][name] = {**outcome, "reasons": inspected["certificates"][name]["reasons"]}
    for name, after in installed.get("diff", {}).get("after", {}).items():
        result["diff"]["after"][name] = {**after, "reasons": inspected["certificates"][name]["reasons"]}
    return result
