# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the kits of clients of others; runs once, on the control node, and touches no host."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader
from ansible.template import trust_as_template
from ansible.utils.display import Display
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import (
    AUTHORITY_OPTIONS,
    AuthorityDescription,
    Description,
    DescriptionError,
    describe_authority,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.certificates import LIFETIME_DAYS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.client_kits import Asked, Kit, NoKitError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds import dpsa, xain
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.dpsa import kit as dpsa_kit
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain import kit as xain_kit
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation, Stack
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.names import secret_name
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.register import written
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import (
    REQUEST_LIMIT,
    UNREADABLE_REQUEST,
    AuthorityError,
    PublicKey,
    encoded,
    pem,
    requested_key,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import nginx

ARGUMENTS: dict[str, dict[str, Any]] = {
    "document": {"type": "path", "required": True},
    "stack": {"type": "str", "default": ""},
    "controller": {"type": "bool", "default": False},
    "client": {"type": "str", "default": ""},
    "request": {"type": "path"},
    "authorities": {"type": "list", "elements": "dict", "required": True, "options": AUTHORITY_OPTIONS},
    "state_directory": {"type": "path", "required": True},
    "path": {"type": "path", "required": True},
}
ROLES = Path(__file__).resolve().parents[2] / "roles"
SITE = ROLES / "nginx" / "templates" / "etc" / "nginx" / "conf.d" / "fedlearn-site.conf.j2"
WRITTEN_BY = "Written by fedlearn.infra.client_kit."
README = """\
# {name}

What leads {whom} of `{stack}` to both sides: nginx listens on loopback, where programs connect without TLS, and goes on
over TLS to whom the CAs here vouch for.
{key}
```sh
apt-get install -y nginx
install -D -m 644 -t {folder} {files}
install -m 644 -t /etc/nginx/conf.d nginx/*.conf
nginx -t && systemctl reload-or-restart nginx
```

| | |
|---|---|
{ways}

When a CA is changed, or what is in the document of this, `fedlearn.infra.client_kit` writes another kit.
"""
KEY = """
The controller shows a certificate. Its key is made on this machine and stays here:

```sh
install -d -m 700 {folder}
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {folder}/key.pem \\
  -subj /CN={subject} -out request.pem
```

`request.pem` goes to party `{party}`, whose `fedlearn.infra.client_kit -e controller=true -e request=request.pem` lays
`chain.pem` into the kit: now, and again before that certificate ends. Then:
"""
KITS = {dpsa.NAME: dpsa_kit.client_kit, xain.NAME: xain_kit.client_kit}
PROGRAMS = {
    "leader": "the leader's aggregator",
    "helper": "the helper's aggregator",
    "leader-manager": "the leader's manager",
    "helper-manager": "the helper's manager",
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Action plugin behind M(fedlearn.infra.client_kit)."""

    BYPASS_HOST_LOOP = True
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the kits, and tell where they are."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            federation = loading.load(options["document"])
            stacks = _stacks(federation, options["stack"], options["client"])
            asked = Asked(options["controller"], options["client"])
            kits = {one.name: KITS[one.kind](one, federation, asked) for one in stacks}
            contents = {name: self._contents(name, one, options, task_vars or {}) for name, one in kits.items()}
        except loading.WrongDocumentError as error:
            raise AnsibleActionFail(str(error)) from error
        except (NoKitError, AuthorityError, DescriptionError) as error:
            raise AnsibleActionFail(str(error)) from None
        told: dict[str, Any] = {}
        for name, (files, serial) in contents.items():
            folder = Path(options["path"]) / kits[name].name
            changed = _write(folder, files, check=self._task.check_mode)
            result["changed"] = changed or result.get("changed", False)
            told[name] = {"path": str(folder), "ways": kits[name].ways} | ({"serial": serial} if serial else {})
            Display().display(f"{name}: {folder}" + (f", certificate {serial}" if serial else ""))
        return result | {"kits": told}

    def _contents(
        self, stack: str, one: Kit, options: dict[str, Any], variables: dict[str, Any]
    ) -> tuple[dict[str, str], str]:
        """Each file of a kit, and the serial number of the certificate in it."""
        authorities = self._authorities(options, variables)
        files = {f"nginx/{site['name']}.conf": self._site(site) for site in nginx.check(list(one.sites))}
        files |= {name: _trusted(authorities, each.name) for name, each in one.authorities.items()}
        serial = ""
        if options["request"]:
            files["chain.pem"], serial = self._certificate(one, authorities, options)
        pems = sorted(name for name in {*files, *(["chain.pem"] if one.subject else [])} if name.endswith(".pem"))
        files |= one.files
        files |= {name: (ROLES / path).read_text(encoding="utf-8") for name, path in one.sources.items()}
        files["README.md"] = one.readme or _readme(stack, one, pems)
        return files, serial

    def _site(self, site: Mapping[str, Any]) -> str:
        """The site's configuration, by the template that hosts get theirs by."""
        variables = {"instance": dict(site), "written_by": WRITTEN_BY}
        templar = self._templar.copy_with_new_env(searchpath=[str(SITE.parent)], available_variables=variables)
        text: str = templar.template(
            trust_as_template(SITE.read_text(encoding="utf-8")),
            escape_backslashes=False,
            overrides={"trim_blocks": True, "lstrip_blocks": False},
        )
        return text

    def _authorities(self, options: dict[str, Any], variables: dict[str, Any]) -> dict[str, Authority]:
        described = [describe_authority(item) for item in options["authorities"]]
        return {
            each.name: Authority(
                each, options["state_directory"], lambda it=each: self._passphrase(it, options, variables)
            )
            for each in described
        }

    def _passphrase(self, authority: AuthorityDescription, options: dict[str, Any], variables: dict[str, Any]) -> str:
        lookup = lookup_loader.get("fedlearn.infra.secret", loader=self._loader, templar=self._templar)
        given = {"party": authority.party, "state_directory": options["state_directory"]}
        try:
            (value,) = lookup.run([secret_name(authority.name)], variables=variables, **given)
        except AnsibleError as error:
            raise AuthorityError(f"authority {authority.name} of party {authority.party}: {error.message}") from None
        return str(value)

    def _certificate(self, one: Kit, authorities: Mapping[str, Authority], options: dict[str, Any]) -> tuple[str, str]:
        """The certificate that is shown, and its serial number."""
        if one.party is None:
            raise NoKitError("a client shows no certificate: -e controller=true is for the controller's")
        authority = authorities.get(one.party.name)
        if authority is None or authority.description.elsewhere:
            raise NoKitError(
                f"party '{one.party.name}' vouches for whom it is for, and its CA signs elsewhere: have it sign a "
                f"request for CN={one.subject}, and put the answer into the kit as chain.pem"
            )
        description = Description(
            one.subject,
            "",
            "present",
            authority=one.party.name,
            common_name=one.subject,
            usages=("client",),
            lifetime_days=one.party.pki.get("lifetime_days", LIFETIME_DAYS),
        )
        key = requested_key(_request(options["request"]), description, options["request"])
        present = _present(Path(options["path"]) / one.name / "chain.pem")
        if present is not None and _will_do(present, key, authority):
            return pem(present), written(present.serial_number)
        if self._task.check_mode:
            authority.prove()
            return "", ""
        signed = authority.sign(description, key, datetime.now(UTC).replace(microsecond=0))
        return pem(signed), written(signed.serial_number)


def _present(path: Path) -> x509.Certificate | None:
    """The certificate that is in the kit already."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None


def _will_do(present: x509.Certificate, key: PublicKey, authority: Authority) -> bool:
    """Whether it is of this key and of the CA that signs now, with a third of its lifetime left."""
    lifetime, left = present.not_valid_after_utc - present.not_valid_before_utc, present.not_valid_after_utc
    issuer = authority.trust().issuer
    if issuer is None or encoded(present.public_key()) != encoded(key) or left - datetime.now(UTC) < lifetime / 3:
        return False
    try:
        present.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _stacks(federation: Federation, wanted: str, client: str) -> list[Stack]:
    """The one that is named; else all whose clients are asked for: by name xain's, else DPSA's where there are any."""
    there, chosen = federation.stacks.values(), tuple(KITS)
    if not wanted and client:
        chosen = (xain.NAME,)
    elif not wanted and any(stack.kind == dpsa.NAME for stack in there):
        chosen = (dpsa.NAME,)
    found = [stack for stack in there if stack.kind in chosen and wanted in ("", stack.name)]
    if not found:
        which = f"there is no stack '{wanted}'" if wanted else "no stack is"
        raise NoKitError(f"{which} of kind {' or '.join(chosen)}, which alone have kits")
    return found


def _trusted(authorities: Mapping[str, Authority], name: str) -> str:
    """The certificates of an authority that is there and fit to be trusted."""
    authority = authorities[name]
    if authority.description.elsewhere:
        authority.prove_trust()
    return authority.trust().bundle


def _request(path: str) -> x509.CertificateSigningRequest:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise NoKitError(f"request: {path} can't be read: {error.strerror}") from None
    if b"PRIVATE KEY-----" in content:
        raise NoKitError(f"request: {path} holds a private key, which stays where it is used: send the request alone")
    try:
        return x509.load_pem_x509_csr(content[:REQUEST_LIMIT])
    except UNREADABLE_REQUEST as error:
        raise NoKitError(f"request: {path} is no signing request: {error}") from None


def _readme(stack: str, one: Kit, pems: list[str]) -> str:
    party = one.party.name if one.party else ""
    return README.format(
        name=one.name,
        whom="the controller" if one.subject else "clients",
        stack=stack,
        folder=one.folder,
        files=" ".join(pems),
        key=KEY.format(party=party, subject=one.subject, folder=one.folder) if one.subject else "",
        ways="\n".join(f"| {PROGRAMS[word]} | `{url}` |" for word, url in one.ways.items()),
    )


def _write(folder: Path, files: Mapping[str, str], *, check: bool) -> bool:
    """Whether a file was or would be written: those that are as they should be stay."""
    changed = False
    for name, content in files.items():
        path = folder / name
        if path.is_file() and path.read_text(encoding="utf-8") == content:
            continue
        changed = True
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    return changed
