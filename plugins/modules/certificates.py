#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: certificates
short_description: Keys and certificates of a host, signed by its party's own CA
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
description:
  - Makes private keys on the host that uses them, has the public keys certified by the party's CA on the control
    node, and installs key, certificate, chain, trusted CAs and, where asked for, a PKCS#12 file with its password.
    One task for all of a host's certificates.
  - Of a host's request only the public key counts, and only when the request was made in this very run and proves
    that the host holds the private key. Names, usages and lifetime come from the task.
  - A certificate is renewed when a third of its lifetime is left, or when what it says isn't what the task describes.
    The key stays the same, unless I(certificates[].key_type) changed.
  - A CA is made when a certificate first needs it. Its key, encrypted with the secret C(ca_<authority>), stays in
    C(<state_directory>/.ca/<party>/<authority>.key), its certificate in
    C(<state_directory>/public/<party>/<authority>.pem).
  - While that file holds two certificates (O(change)), hosts trust both, and the one that fits the key signs.
  - What a CA of mode V(ownca) signs is registered in C(<state_directory>/.ca/<party>/), and what it withdraws of that
    stands on its list (CRL), C(<state_directory>/public/<party>/<authority>.crl.pem), which is valid as long as the
    CA. Where every CA of C(ca.pem) has one, hosts get them as C(crl.pem). Who holds a withdrawn certificate and is to
    have one gets a new one.
  - When nothing is to be done the task is one remote execution, otherwise two.
options:
  certificates:
    description: What certificates the host has, or has not.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the certificate, and of its directory C(/etc/fedlearn/<federation>/pki/<name>).
        type: str
        required: true
      state:
        description: V(absent) removes the directory with all that was written there.
        type: str
        choices: [present, absent]
        default: present
      federation:
        description: Name of the federation it belongs to.
        type: str
        required: true
      stack:
        description: Name of the stack it belongs to. Only for selecting; not part of the certificate.
        type: str
      authority:
        description: Name of the authority that signs. Required unless I(certificates[].state=absent), or there are no
          I(certificates[].usages).
        type: str
      common_name:
        description: The subject's common name, at most 64 characters. Required where an authority signs.
        type: str
      dns_names:
        description: Host names the certificate is valid for.
        type: list
        elements: str
        default: []
      addresses:
        description: IPv4 and IPv6 addresses the certificate is valid for.
        type: list
        elements: str
        default: []
      usages:
        description:
          - What the certificate may be used for.
          - With V([]) it is none, for what only trusts the authorities of I(certificates[].trust); C(ca.pem) is all
            that is installed.
        type: list
        elements: str
        choices: [server, client]
        default: [server]
      key_type:
        description: V(ec-p256), V(ec-p384), or V(rsa-) and a number of bits from 3072 to 8192.
        type: str
        default: ec-p256
      lifetime_days:
        description: Days the certificate is valid; less when its CA ends sooner.
        type: int
        default: 397
      formats:
        description: PEM files are always there; V(pkcs12) adds C(bundle.p12) and C(bundle.password).
        type: list
        elements: str
        choices: [pem, pkcs12]
        default: [pem]
      trust:
        description: Authorities whose certificates C(ca.pem) holds. Left empty, that is the signing one.
        type: list
        elements: str
        default: []
      certificate_file:
        description:
          - With an authority of I(authorities[].mode=provided), the file on the host that holds the certificate, and
            after it what leads to its CA. Links are followed.
        type: str
      key_file:
        description: The file on the host that holds its key, not encrypted.
        type: str
  authorities:
    description: The authorities that I(certificates) name.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the authority.
        type: str
        required: true
      party:
        description: The party it belongs to.
        type: str
        required: true
      mode:
        description:
          - V(ownca) signs on the control node. V(external) is an authority whose key lies elsewhere; it can be
            trusted only.
          - Of a V(provided) one, certificates and keys lie on the host (I(certificates[].certificate_file)). They are
            proven, laid in place, and watched by units of systemd, which take them in when they are renewed.
          - Of a V(csr) one, somebody else signs. The request is laid to
            C(<state_directory>/public/<party>/requests/<host>/<certificate>.csr), and the certificate, with the
            intermediate ones after it, is picked up beside it, as C(.pem). While it isn't there, and the one that is
            installed won't do, the task fails and says what it waits for.
          - Of an V(acme) one, the server that I(authorities[].acme) names signs. The host asks it by the program
            dehydrated, and again by a timer when 30 days are left; services load what came as with V(provided).
        type: str
        choices: [ownca, external, csr, provided, acme]
        default: ownca
      common_name:
        description: The CA's common name. Required with I(authorities[].mode=ownca). A CA keeps the one it was made
          with.
        type: str
      lifetime_days:
        description: Days a CA is valid when it is made.
        type: int
        default: 3650
      ca:
        description:
          - Unless I(authorities[].mode=ownca), the file on the control node that holds its certificates.
          - The default is C(<state_directory>/public/<party>/<name>.pem).
        type: path
      crl:
        description:
          - With an authority that signs elsewhere, the file on the control node with what it has withdrawn, in PEM. It
            needs a list for each certificate of I(authorities[].ca), signed by that, and valid now.
          - Hosts get it as C(crl.pem), where each CA that they trust there has a list.
        type: path
      published:
        description:
          - With I(authorities[].mode=ownca), other files on the control node that may hold this CA's certificate.
          - Where there is one and the key is missing, the task fails and makes no second CA.
        type: list
        elements: path
        default: []
      permitted_names:
        description:
          - With I(authorities[].mode=ownca), the DNS names it may certify, each with all below it. Empty, any.
          - They stand in the CA's own certificate (name constraints), so whoever verifies enforces them. A CA keeps
            what it was made with; the task fails when that is something else.
        type: list
        elements: str
        default: []
      permitted_networks:
        description: The same for networks of addresses. The loopback's are always permitted.
        type: list
        elements: str
        default: []
      revoked:
        description:
          - With I(authorities[].mode=ownca), serial numbers of certificates to withdraw, as C(openssl x509 -noout
            -serial) prints them, besides those of whom O(expected), O(group) and I(certificates[].state=absent) tell.
          - What was withdrawn stays so when it isn't named any more.
        type: list
        elements: str
        default: []
      acme:
        description: How an authority of I(authorities[].mode=acme) is asked; I(authorities[].ca) is whom its
          certificates lead to. To name a server here is to accept its terms.
        type: dict
        suboptions:
          directory:
            description: URL of the server's directory.
            type: str
            required: true
          server_ca:
            description: File on the control node with the CA of the server's own certificate, where hosts don't trust
              that anyway.
            type: path
          challenge:
            description: How hosts prove that a name is theirs. With V(http-01) the host answers on
              I(authorities[].acme.port) while it asks, with V(dns-01) I(authorities[].acme.hook) changes the DNS.
            type: str
            choices: [http-01, dns-01]
            default: http-01
          hook:
            description: Program on the host that dehydrated calls with C(deploy_challenge) and C(clean_challenge),
              the name, a token, and the value of the TXT record C(_acme-challenge.<name>).
            type: path
          address:
            description: Where to answer; any address of the host when left out.
            type: str
          port:
            description: The port to answer on. The server asks port 80; another one is for what leads there.
            type: int
            default: 80
          inner_port:
            description: On loopback, a port to answer on too. Then a proxy may have I(authorities[].acme.port), and
              lead what is asked for below C(/.well-known/acme-challenge/) there.
            type: int
          contact:
            description: Address of mail that the server may write to.
            type: str
  state_directory:
    description:
      - Directory on the control node below which C(.ca/) and C(public/) lie.
      - Required. Only the module alone does without.
    type: path
  packages:
    description:
      - What to install where the host lacks a program, by that program's name; M(fedlearn.infra.packages) does it.
      - Where nothing is named for it, the task fails. In check mode nothing is installed.
    type: dict
    default: {}
    suboptions:
      openssl:
        description: Packages for what makes keys and requests.
        type: list
        elements: str
        default: []
      dehydrated:
        description: Packages for what asks an ACME server.
        type: list
        elements: str
        default: []
  lock_timeout:
    description:
      - Seconds to wait in all for others who install packages. By default what the host's variable
        C(fedlearn_apt_wait_seconds) says, else V(120).
    type: int
  thorough:
    description: Have openssl prove again what an earlier run has proven, also for files that haven't changed since.
    type: bool
    default: false
  renew:
    description: Renew each certificate, with a new key, though the one that is there would do.
    type: bool
    default: false
  keep:
    description: Leave each certificate of our own CAs as it is while it is valid, whatever is described; only what it
      trusts is brought in line. That is for the first step of a O(change), when the former CA signs still.
    type: bool
    default: false
  secrets:
    description: Names of further secrets to look for with O(sources_only), by party.
    type: dict
    default: {}
  sources_only:
    description:
      - Only look whether the control node has all that is needed, the secrets, the CAs' keys, and certificates of
        external authorities that are fit to be trusted. No execution on the host.
    type: bool
    default: false
  expected:
    description:
      - Names of all certificates that this host is to have of O(authorities). What it was issued beside them is
        withdrawn. Left out, only what is absent is.
    type: list
    elements: str
  group:
    description:
      - The inventory group of all hosts that have certificates of O(authorities). What any other host was issued is
        withdrawn. Left out, no other host is looked at.
    type: str
  group_size:
    description:
      - How many hosts O(group) has. An inventory with fewer is a part of the whole, as that of one slice of a job, and
        says nothing of other hosts.
    type: int
  authorities_only:
    description: Make CAs of one's own that are missing, on the control node, and nothing else.
    type: bool
    default: false
  withdraw_only:
    description: Only withdraw. No execution on the host.
    type: bool
    default: false
  change:
    description:
      - Only take a step of the change of O(authorities), all of mode V(ownca). No execution on the host.
      - V(begin) makes a next CA, whose certificate hosts get beside the one that signs. V(switch) has it sign. V(end)
        leaves only its certificate to be trusted. V(finish) removes the former key.
      - Between two steps each host has to converge, with all that reads its certificates. A step that isn't the next
        one changes nothing, so after an interruption all are taken again.
      - With O(sources_only), look for what a change needs, and take no step.
    type: str
    choices: [begin, switch, end, finish]
  step:
    description: Set by the action plugin. Not for tasks.
    type: str
    choices: [inspect, install]
    default: inspect
  nonce:
    description: Set by the action plugin. Not for tasks.
    type: str
    default: ''
  anchors:
    description: Set by the action plugin. Not for tasks.
    type: dict
    default: {}
  issued:
    description: Set by the action plugin. Not for tasks.
    type: dict
    default: {}
requirements:
  - openssl 1.1.1 or later on the host
  - dehydrated 0.7.0 or later on the host, for I(authorities[].mode=acme)
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Also on hosts that have nothing yet.
  diff_mode:
    support: full
    details: Shows what certificates say before and after, and which files change; never a key, password or
      certificate.
  idempotent:
    support: full
    details: A second run makes and signs nothing, until a third of a certificate's lifetime is left; but with O(renew).
  action:
    description: The signing happens in an action plugin on the control node.
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: none
  platform:
    description: Where it runs.
    platforms: linux
    support: full
notes:
  - Run it as root on the host.
seealso:
  - plugin: fedlearn.infra.secret
    plugin_type: lookup
  - module: fedlearn.infra.secrets
"""

EXAMPLES = r"""
- name: Converge the certificates of this host
  fedlearn.infra.certificates:
    state_directory: "{{ fedlearn_state | fedlearn.infra.state_directory }}"
    authorities:
      - name: lab
        party: lab
        common_name: demo lab CA
    certificates:
      - name: demo-lenet-proxy
        federation: demo
        authority: lab
        common_name: demo-lenet-proxy.ms1
        addresses: [10.20.0.11]
        usages: [server, client]
        formats: [pem, pkcs12]

- name: Prove what is installed, changing nothing
  fedlearn.infra.certificates:
    state_directory: "{{ fedlearn_state | fedlearn.infra.state_directory }}"
    authorities: "{{ pki_authorities }}"
    certificates: "{{ pki_certificates }}"
    thorough: true
  check_mode: true
  register: proven
  failed_when: proven is changed
"""

RETURN = r"""
made:
  description: The CAs that were or would be made.
  returned: with O(authorities_only)
  type: list
  elements: str
published:
  description: Of each CA of one's own that is there, the file of its certificate and that certificate's SHA-256
    fingerprint.
  returned: with O(authorities_only)
  type: dict
  sample: {/srv/lab/public/lab/lab.pem: "3B:0C:..."}
certificates:
  description: By name, what was done, or would be in check mode.
  returned: always
  type: dict
  contains:
    action:
      description: V(none), V(issued), V(renewed), V(repaired), V(removed), or V(waiting) for somebody else to sign.
      type: str
      returned: always
    changed:
      description: Whether anything changed.
      type: bool
      returned: always
    reasons:
      description: Why, one sentence each.
      type: list
      elements: str
      returned: always
    files:
      description: The files that changed.
      type: list
      elements: str
      returned: always
    not_after:
      description: When the installed certificate ends, in UTC.
      type: str
      returned: when there is one
      sample: "2027-12-26T04:30:00Z"
    lifetime_left:
      description: The share of its lifetime that is left.
      type: float
      returned: when there is one
    crl_not_after:
      description: When the first of the lists in C(crl.pem) ends, in UTC.
      type: str
      returned: when there is one
withdrawn:
  description: What was withdrawn, one line each, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ["authority lab: demo-lenet-worker of w7, serial number 5D0E"]
watch:
  description: Files of units that watch provided certificates, as far as they changed.
  returned: always
  type: list
  elements: str
installed:
  description: Packages that were installed for a program that was missing.
  returned: when there were any
  type: list
  elements: str
missing:
  description: Programs that the host lacks, V(openssl) or V(dehydrated), where the task failed for that.
  returned: failure
  type: list
  elements: str
"""

import os
import time
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import (
    acme,
    converge,
    der,
    files,
    openssl,
    provided,
    removal,
    watching,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import (
    AUTHORITY_OPTIONS,
    CERTIFICATE_OPTIONS,
    PACKAGE_OPTIONS,
    Description,
    DescriptionError,
    describe_all,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.facts import Anchors, Facts, moment
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.installed import Layout, locked
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.outcome import Outcome, RefusedError
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import explain

ARGUMENTS: dict[str, dict[str, Any]] = {
    "certificates": {"type": "list", "elements": "dict", "required": True, "options": CERTIFICATE_OPTIONS},
    "authorities": {"type": "list", "elements": "dict", "default": [], "options": AUTHORITY_OPTIONS},
    "state_directory": {"type": "path"},
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
    "change": {"type": "str", "choices": ["begin", "switch", "end", "finish"]},
    "step": {"type": "str", "default": "inspect", "choices": ["inspect", "install"]},
    "nonce": {"type": "str", "default": "", "no_log": False},
    "anchors": {"type": "dict", "default": {}},
    "issued": {"type": "dict", "default": {}},
}


def main() -> None:
    """Converge, and say what was done."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    os.umask(0o077)
    try:
        descriptions = describe_all(module.params["certificates"])
        result = converge_all(module, Layout(), descriptions)
    except DescriptionError as error:
        module.fail_json(msg=str(error))
    except openssl.OpensslMissingError as error:
        module.fail_json(msg=str(error), missing=["openssl"])
    except files.FileTroubleError as error:
        module.fail_json(msg=str(error))
    else:
        module.exit_json(**result)


def converge_all(module: AnsibleModule, layout: Layout, descriptions: list[Description]) -> dict[str, Any]:
    """The result of all certificates; one that fails is told after the others were dealt with."""
    if module.check_mode:
        outcomes, failed = _each(module, layout, descriptions)
        watched = _watch(layout, descriptions, True)
    else:
        _require_programs(module, descriptions)
        with locked(layout):
            outcomes, failed = _each(module, layout, descriptions)
            watched = _watch(layout, descriptions, False)
    result = _result(outcomes, watched)
    for text in (text for outcome in outcomes.values() for text in outcome.warnings):
        module.warn(text)
    if failed:
        module.fail_json(msg="; ".join("certificate {}: {}".format(*item) for item in failed.items()), **result)
    return result


def _each(
    module: AnsibleModule, layout: Layout, descriptions: list[Description]
) -> tuple[dict[str, Outcome], dict[str, str]]:
    outcomes: dict[str, Outcome] = {}
    failed: dict[str, str] = {}
    for description in descriptions:
        if module.params["step"] == "install" and description.name not in module.params["issued"]:
            continue
        try:
            outcomes[description.name] = _one(module, layout, description, time.time())
        except openssl.OpensslMissingError:
            raise
        except (files.FileTroubleError, openssl.OpensslError, RefusedError, der.DerError) as error:
            failed[description.name] = str(error)
        except OSError as error:
            failed[description.name] = str(explain(error, str(error.filename or "its files")))
    return outcomes, failed


def _one(module: AnsibleModule, layout: Layout, description: Description, now: float) -> Outcome:
    if description.state == "absent":
        return removal.remove(layout, description, module.check_mode)
    given = module.params["anchors"].get(description.name) or {}
    anchors = Anchors(
        issuer=given["issuer"].encode("ascii") if given.get("issuer") else None,
        issuer_not_after=int(given.get("issuer_not_after") or 0),
        intermediates=(given.get("intermediates") or "").encode("ascii"),
        trust=(given.get("trust") or "").encode("ascii"),
        crl=(given.get("crl") or "").encode("ascii"),
        revoked=tuple(given.get("revoked") or ()),
        foreign=bool(given.get("foreign")),
    )
    if given.get("acme"):
        return _ask(module, layout, description, anchors, acme.Server(**given["acme"]), now)
    acme.forget(layout, description.federation, description.name, module.check_mode)
    if description.certificate_file:
        return _provide(module, layout, description, anchors, now)
    if module.params["step"] == "install":
        return converge.install(
            layout, description, anchors, module.params["issued"][description.name].encode("ascii"), now
        )
    return converge.inspect(
        layout,
        description,
        anchors,
        module.params["nonce"],
        now,
        module.check_mode,
        module.params["thorough"],
        module.params["renew"],
        module.params["keep"],
    )


def _require_programs(module: AnsibleModule, descriptions: list[Description]) -> None:
    """Fail with all programs that are missing at once, so that they are installed at once."""
    present = [item.name for item in descriptions if item.state == "present"]
    asked = any((module.params["anchors"].get(name) or {}).get("acme") for name in present)
    wanted = [(bool(present), openssl.missing, "openssl"), (asked, acme.missing, acme.PROGRAM)]
    lacking = [name for needed, missing, name in wanted if needed and missing()]
    if lacking:
        module.fail_json(msg=f"there is no {' and no '.join(lacking)} on this host", missing=lacking)


def _ask(
    module: AnsibleModule, layout: Layout, description: Description, anchors: Anchors, server: acme.Server, now: float
) -> Outcome:
    """Have an ACME server sign; in check mode nothing is known where a program isn't there yet."""
    check = module.check_mode
    try:
        return acme.obtain(layout, description, anchors, server, now, check, module.params["renew"])
    except openssl.OpensslMissingError:
        if not check:
            raise
        return Outcome(changed=True, action="issued", warnings=[f"{description.name} can't be proven without openssl"])


def _provide(module: AnsibleModule, layout: Layout, description: Description, anchors: Anchors, now: float) -> Outcome:
    """Take a provided certificate over; in check mode it stays unproven where openssl isn't there yet."""
    try:
        return provided.provide(layout, description, anchors, now, module.check_mode, module.params["thorough"])
    except openssl.OpensslMissingError:
        if not module.check_mode:
            raise
        return Outcome(changed=True, action="issued", warnings=[f"{description.name} can't be proven without openssl"])


def _watch(layout: Layout, descriptions: list[Description], check: bool) -> list[str]:
    """Have each federation's provided files watched, and no others; what changed for that."""
    federations = dict.fromkeys(item.federation for item in descriptions)
    return [path for federation in federations for path in watching.settle(layout, federation, check)]


def _result(outcomes: dict[str, Outcome], watched: list[str]) -> dict[str, Any]:
    changed = {name: outcome for name, outcome in outcomes.items() if outcome.changed}
    return {
        "changed": bool(changed or watched),
        "watch": watched,
        "certificates": {name: _summary(outcome) for name, outcome in outcomes.items()},
        "requests": {name: outcome.request for name, outcome in outcomes.items() if outcome.request},
        "usable": [name for name, outcome in outcomes.items() if outcome.usable],
        "diff": {
            "before": {name: _visible(outcome.before) for name, outcome in changed.items()},
            "after": {name: _visible(outcome.after, outcome) for name, outcome in changed.items()},
        },
    }


def _summary(outcome: Outcome) -> dict[str, Any]:
    summary: dict[str, Any] = {key: getattr(outcome, key) for key in ("action", "changed", "reasons", "files")}
    facts = outcome.after or outcome.before
    if facts and outcome.action != "removed":
        summary["not_after"] = moment(facts.not_after)
        summary["lifetime_left"] = round(
            max(0.0, (facts.not_after - time.time()) / (facts.not_after - facts.not_before)), 3
        )
    if outcome.lists_end is not None:
        summary["crl_not_after"] = moment(outcome.lists_end)
    return summary


def _visible(facts: Facts | None, outcome: Outcome | None = None) -> dict[str, Any]:
    visible: dict[str, Any] = {}
    if facts:
        visible = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(facts).items()}
        visible.update(not_before=moment(facts.not_before), not_after=moment(facts.not_after))
        del visible["issuer"], visible["chain_problem"]
    if outcome:
        visible["action"] = outcome.action
        visible["reasons"] = outcome.reasons
    return visible


if __name__ == "__main__":
    main()
