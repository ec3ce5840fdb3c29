# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``fedlearn.infra.init`` writes: a first document to change, a viewpoint on it, and what belongs beside them."""

from __future__ import annotations

from collections.abc import Mapping

from . import formats
from .kinds import kinds
from .nodes import did_you_mean, shorten

_DOCUMENT = """\
# Who takes part in the federation '{federation}', and what runs where. docs/federation.md has every key.
# Look at it:  ansible-inventory -i federation.yml --graph
# Make it so:  ansible-playbook -i federation.yml fedlearn.infra.secrets fedlearn.infra.site fedlearn.infra.verify
plugin: fedlearn.infra.federation
version: 1
federation: {federation}                  # part of the names of units and paths

parties:
  lab:                                   # an organisation with hosts, keys and a CA of its own
    hosts:
      host1: 10.20.0.11                  # a name, and the address for ssh and traffic: change these to yours
      host2: 10.20.0.12
      host3: 10.20.0.13
      # host4: {{address: 10.20.0.14, vars: {{ansible_user: ops}}}}     whom ssh logs in as
      # host5: {{addresses: {{ssh: 10.1.0.15, internal: [10.20.0.15]}}}}  where ssh goes another way
      # "w[01:40].lab.example": {{first_address: 10.20.1.1}}          forty hosts, addresses counted up
  {partner}partner: {{external: true, ca: public/partner/ca.pem}}       # one who runs its side otherwise
{clusters}
stacks:
  first:                                 # a system: its name, its kind, and where its parts run
    kind: {kind}
{stack}
"""

_CLUSTERS = """
clusters:
  cluster1: {party: lab, kubeconfig: files/cluster1.kubeconfig}     # a file beside this one, for kubectl
"""

_VIEWPOINT = """\
# The same document, seen by one party: its hosts only. group_vars, secrets and files are those of this directory.
# Use it instead of the document itself:  ansible-playbook -i parties/lab/federation.yml fedlearn.infra.site
plugin: fedlearn.infra.federation
document: ../../federation.yml
party: lab
# signers: {partner: [SHA256:...]}       of another party that deploys its own side: whose signatures are believed
# overlay: files/production.yml          over the document, of one's own affairs: lists replaced, null deletes
"""

_IGNORE = """\
# Made by playbooks, and not for everybody: the CAs' keys (encrypted), the vaults, what was seen of partners, backups.
# Back them up, but for .builds/, whose programs are built again.
.backups/
.builds/
.ca/
.escrow/
.exchange/
.keyrings/
.secrets/
.vault-pass
build/
*.retry
"""

_CONFIGURATION = """\
[defaults]
# host keys are asked for on first contact; collect them with ssh-keyscan before you deploy
callback_result_format = yaml
# the last line of fedlearn.infra.status: one JSON object with the verdict
callbacks_enabled = fedlearn.infra.verdict
forks = 20
# seconds between two looks for results: the default, a millisecond, keeps a processor busy with looking
internal_poll_interval = 0.01

[inventory]
# a document with a mistake ends the command, instead of being read by another plugin
enable_plugins = fedlearn.infra.federation, auto, yaml, ini
any_unparsed_is_failed = true
# of a directory given with -i only these files are sources; folders and other files (public/, models, applications)
# are what documents name and partners send: Ansible would read any of them as a list of hosts
ignore_patterns = ^(?!.*\\.(yml|yaml|ini)$)

[ssh_connection]
pipelining = true
# a host that loses its power in the midst of a run is given up after a minute; ssh by itself would wait for hours
ssh_args = -o ControlMaster=auto -o ControlPersist=120s -o ServerAliveInterval=15 -o ServerAliveCountMax=4
"""


def first_files(kind: str, federation: str = "mine") -> Mapping[str, str]:
    """The files by their path: a commented document with one stack of the kind, and what it needs beside it.

    ValueError: there is no such kind, or the federation's name is none.
    """
    known = kinds()
    if kind not in known:
        hint = did_you_mean(kind, known)
        raise ValueError(f"unknown kind '{shorten(kind)}'{hint} (known are {', '.join(known)})")
    try:
        formats.name(federation)
    except ValueError as error:
        raise ValueError(f"'{shorten(federation)}' {error}") from None
    return {
        "federation.yml": _document(kind, federation, known[kind].EXAMPLE.rstrip()),
        "parties/lab/federation.yml": _VIEWPOINT,
        ".gitignore": _IGNORE,
        "ansible.cfg": _CONFIGURATION,
    }


def _document(kind: str, federation: str, example: str) -> str:
    """A document with the kind's example, and with the external party and the cluster where the example names them."""
    return _DOCUMENT.format(
        federation=federation,
        kind=kind,
        stack="\n".join(f"    {line}".rstrip() for line in example.splitlines()),
        partner="" if "party: partner" in example else "# ",
        clusters=_CLUSTERS if "cluster: cluster1" in example else "",
    )
