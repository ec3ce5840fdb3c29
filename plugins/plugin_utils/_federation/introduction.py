# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What docs/federation.md says beside its tables."""

from __future__ import annotations

INTRODUCTION = """\
# The federation document

<!-- Made by plugins/plugin_utils/_federation/reference.py; a test compares. Change the types or introduction.py. -->

One YAML file says who takes part in a federation and what runs where. Ansible reads it as an inventory source:

```yaml
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    hosts:
      ms1: 10.20.0.11
      ms2: {address: 10.20.0.12, vars: {ansible_user: ops}}
      ms3: {addresses: {ssh: 10.1.0.13, internal: [10.20.0.13, "fd00::13"]}}
      "w[01:40].lab.example": {first_address: 10.20.1.1}
stacks:
  lenet:
    kind: mindspore
    redis: {host: ms1}
    scheduler: {host: ms1}
    servers: {hosts: [ms2, ms3]}
    workers: {hosts: ["w*.lab.example"]}
```

`ansible-inventory -i federation.yml --graph` shows what becomes of it. `federation.schema.json`, beside this page,
gives editors completion, with `# yaml-language-server: $schema=<its path>` as the document's first line.

## How it is read

- **A document is data**, also when a partner wrote it. Templates (`{{`, `{%`, `{#`), YAML tags and merge keys (`<<`)
  are mistakes, and its strings are never templates later. Aliases are taken, within bounds.
- **Types are strict.** A quoted number is a text. What YAML 1.1 and 1.2 read differently (`yes`, `off`, `010`, `1e-3`,
  `12:30`) is refused with the way to write it.
- **Secrets never stand in it.** A key called password, token, secret or key, or ending so (`db_password`), takes no
  literal, and a URL no user or password. Components name their secrets; the values are in the vault.
- **Paths** are relative, lie beside the file given with `-i`, and lead neither upwards nor to what is hidden,
  `group_vars` or `host_vars`. A folder that hosts get has no link that leads out of it.
- **Every mistake** is one line, `file:line:column: path: what is wrong`, and all are shown in one run. A wrong document
  ends every command with exit code 4, before any host is touched.

## Names, ranges and placements

- Names of federations, parties, clusters and stacks are lower case: a letter, then up to 31 of a-z, 0-9 and `-`.
- A host's key may be a range: `"w[01:40].lab.example"` makes forty hosts, padded with zeros as the first bound is.
  `first_address` is the first one's address, and the others count up from it, IPv4 as IPv6. Without any address the
  name is the address.
- A placement says where a role of a stack runs: `host: NAME`; or `hosts:` with names, ranges and patterns (`"w*"`)
  where several may be; or `party:`, `cluster:` or `external:` where the role can be somebody else's. In
  `absent: [NAMES]` are the hosts it is to be stopped and removed on.
- `state: absent` on a stack, a host or a placement removes what is ours there, and with a placement what is placed
  inside of it. Data stay. Leave the entry in the document until it has been removed: what a document no longer names is
  an orphan, which `status` reports.
- Two components on one host, address and port are a mistake.

## Groups

`federation_hosts` are all hosts. Each host is also in `party_<name>`, and with what runs on it in `stack_<name>`,
`kind_<name>` and one group for each role; `-` and `.` become `_`. A cluster is a host `cluster-<name>` with a local
connection, in `federation_clusters` and the groups of what runs in it. `stage_<name>` and `round_<name>` are for
playbooks: whom `site` and a verify round go to, step by step. Variables of the document are set on hosts: host_vars and
`-e` are stronger, group_vars are not.
"""

VIEWPOINTS = """\
## Viewpoints and overlays

A second form of source looks at a document from one party. It gives that party's hosts only; the others are known by
their public endpoints and CA certificates. Relative paths, group_vars and the vault are those beside the viewpoint.

```yaml
plugin: fedlearn.infra.federation
document: ../federation.yml
party: clinic-a
overlay: files/production.yml
```

The overlay is a YAML file merged over the document: mappings key by key, anything else replaced, `null` deletes (and is
a mistake where there is nothing to delete). Mistakes in it name its own lines. Keep it in `files/`, which
`-i DIRECTORY` leaves out; an overlay is no inventory source by itself.

Where other parties of the document deploy their own side (`external: true` are none of them), what was agreed on is the
document, and the overlay of a viewpoint with `party` says only what is that party's own affair; all else is a mistake.
Own affairs are its entry below `parties`, its clusters, stacks in which nobody else is, its own placements with all
that is in them, its hosts among others' in `hosts` and `absent`, of a stack what is on its own hosts (dpsa's `programs`
and `client`, dc_federated's `library` and `runtime`, mindspore's `runtime`, xain's `program`), and a
`privacy.max_epsilon` below the one agreed on. Others know its addresses, ports and URLs by the document: change these
there, too.

Read a partner's document by a viewpoint of your own. Given to `-i` itself, a file that is no document is whatever else
Ansible takes it for, and every other kind of inventory can run programs on the control node.
"""

KINDS = """\
# Kinds

What a stack takes beside `kind` follows from its kind.
"""
