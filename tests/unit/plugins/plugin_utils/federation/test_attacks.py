# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A document, also a partner's, cannot make the controller run, template or read anything, or hold it up."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import document, loading
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

SUM = "5" * 64
DOCUMENT = f"""\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    hosts:
      ms1: {{address: 10.20.0.11, public_name: ms1.example}}
      ms2: 10.20.0.12
  partner: {{external: true, ca: public/ca.pem}}
clusters:
  kc: {{party: lab, kubeconfig: files/kc}}
stacks:
  lenet:
    kind: mindspore
    redis: {{host: ms1}}
    scheduler: {{host: ms1, clients: [operator]}}
    servers: {{hosts: [ms2], initial_model: {{source: m.npz, sha256: '{SUM}'}}}}
    workers: {{hosts: [ms2], application: {{callable: "app:train", source: app, settings: {{word: x}}}}}}
    settings: {{summary: {{metrics_file: metrics.json}}}}
    runtime: {{python: {{source: system}}}}
"""


def test_the_document_that_is_attacked_is_right(load: Load) -> None:
    assert load(DOCUMENT).stacks["lenet"].settings == {"summary": {"metrics_file": "metrics.json"}}


PRIVATE = "is hidden or Ansible's own, where keys, secrets and variables lie: no document sends them to a host"
UPWARDS = "leads upwards ('..'): files that a document names lie beside it"
ABSOLUTE = "is an absolute path: files that a document names lie beside it"
CLEAR = "a secret in clear: a document only names secrets, their values go into the vault"
USERINFO = "a URL with a user or password in it: write it without, secrets go into the vault"
VARS = "vars take ansible_user and ansible_port only, others belong in the party's own group_vars or host_vars"
HOST_NAME = "is no host name: letters, digits, '-', '_' and '.', a letter or digit at both ends"
CONTROL_NODE = "is Ansible's name for the control node: choose another, with this as its address"
TAG = "a document is plain data"
LENET = "stacks.lenet"
APPLICATION = f"{LENET}.workers.application"
MS1 = "parties.lab.hosts.ms1"

FILES = [
    ("ca: public/ca.pem", "ca: ../ca.pem", f"9:33: parties.partner.ca: '../ca.pem' {UPWARDS}"),
    ("ca: public/ca.pem", "ca: /etc/shadow", f"9:33: parties.partner.ca: '/etc/shadow' {ABSOLUTE}"),
    ("kubeconfig: files/kc", "kubeconfig: a/../../kc", f"11:32: clusters.kc.kubeconfig: 'a/../../kc' {UPWARDS}"),
    (
        "kubeconfig: files/kc",
        "kubeconfig: ~/.kube/config",
        f"11:32: clusters.kc.kubeconfig: '~/.kube/config' {ABSOLUTE}",
    ),
    *(
        ("source: app", f"source: {path}", f"18:74: {APPLICATION}.source: '{path}' {PRIVATE}")
        for path in (
            ".secrets",
            "./.ca/lab/lab.key",
            "parties/lab/.secrets",
            ".vault-pass",
            "group_vars",
            "x/host_vars/ms1.yml",
        )
    ),
    (
        "source: app",
        "source: app/$HOME",
        f"18:74: {APPLICATION}.source: 'app/$HOME' is no path: it has a character that no path of ours has",
    ),
    ("source: app", "source: ../app", f"18:74: {APPLICATION}.source: '../app' {UPWARDS}"),
    ("source: app", "source: /etc", f"18:74: {APPLICATION}.source: '/etc' {ABSOLUTE}"),
    ("source: m.npz", "source: ../m.npz", f"17:53: {LENET}.servers.initial_model.source: '../m.npz' {UPWARDS}"),
    ("source: m.npz", "source: /m.npz", f"17:53: {LENET}.servers.initial_model.source: '/m.npz' {ABSOLUTE}"),
    (
        "redis: {host: ms1}",
        "redis: {external: {address: 10.0.0.1, ca: ../ca.pem}}",
        f"15:47: {LENET}.redis.external.ca: '../ca.pem' {UPWARDS}",
    ),
    ("runtime: {", "runtime: {wheels: /wheels, ", f"20:23: {LENET}.runtime.wheels: '/wheels' {ABSOLUTE}"),
    (
        "python: {source: system}",
        f"python: {{source: archive, archive: {{source: 'file:///etc/x', sha256: '{SUM}'}}}}",
        f"20:59: {LENET}.runtime.python.archive.source: expected an https URL or the path of a file beside the "
        "document, found the text 'file:///etc/x'",
    ),
    (
        "metrics_file: metrics.json",
        "metrics_file: ../../etc/x",
        f"19:40: {LENET}.settings.summary.metrics_file: '../../etc/x' leads upwards ('..'): "
        "the program writes it into its state directory",
    ),
    (
        "federation: demo",
        "federation: ../demo",
        "3:13: federation: '../demo' is no name: a lower-case letter, then up to 31 of a-z, 0-9 and '-', "
        "no '-' at the end (perhaps 'demo')",
    ),
    (
        "federation: demo",
        "federation: demo\nstate_directory: /tmp",
        "4:1: state_directory: unknown key 'state_directory'",
    ),
]

SECRETS = [
    ("word: x", "api_token: hunter2", f"18:101: {APPLICATION}.settings.api_token: {CLEAR}"),
    ("word: x", "dbPassword: hunter2", f"18:102: {APPLICATION}.settings.dbPassword: {CLEAR}"),
    ("word: x", "password: 12345", f"18:100: {APPLICATION}.settings.password: {CLEAR}"),
    ("word: x", "secrets: [hunter2]", f"18:100: {APPLICATION}.settings.secrets[0]: {CLEAR}"),
    ("word: x", "u: 'postgresql://u:hunter2@db/x'", f"18:93: {APPLICATION}.settings.u: {USERINFO}"),
    ("word: x", "u: [see https://hunter2@db/]", f"18:94: {APPLICATION}.settings.u[0]: {USERINFO}"),
    (
        "scheduler: {",
        "scheduler: {public_url: 'https://u:hunter2@rest.example', ",
        f"16:29: {LENET}.scheduler.public_url: this has a user or a password in it: write it without, "
        "secrets go into the vault",
    ),
    (
        "runtime: {",
        "runtime: {index_url: 'https://u:hunter2@pypi.example/', ",
        f"20:26: {LENET}.runtime.index_url: this has a user or a password in it: write it without, "
        "secrets go into the vault",
    ),
]

CONNECTION = [
    *(
        (
            "address: 10.20.0.11",
            f"address: 10.20.0.11, vars: {{{name}: local}}",
            f"7:41: {MS1}.vars.{name}: unknown key '{name}': {VARS}",
        )
        for name in (
            "ansible_connection",
            "ansible_host",
            "ansible_ssh_common_args",
            "ansible_ssh_executable",
            "ansible_python_interpreter",
            "ansible_shell_executable",
            "ansible_become_exe",
            "ansible_password",
            "fedlearn_state",
        )
    ),
    (
        "address: 10.20.0.11",
        "address: 10.20.0.11, vars: {ansible_user: -oProxyCommand=id}",
        f"7:55: {MS1}.vars.ansible_user: '-oProxyCommand=id' is not a user's name",
    ),
    (
        "address: 10.20.0.11",
        "address: 10.20.0.11, vars: {ansible_port: '22 -oProxyCommand=id'}",
        f"7:55: {MS1}.vars.ansible_port: expected a whole number from 1 to 65535, "
        "found the text '22 -oProxyCommand=id'",
    ),
    (
        "address: 10.20.0.11",
        "address: -oProxyCommand=id",
        f"7:22: {MS1}.address: '-oProxyCommand=id' is no DNS name",
    ),
    ("ms2: 10", "ms2: 10.20.0.12\n      localhost: 10", f"9:7: parties.lab.hosts.localhost: {CONTROL_NODE}"),
    ("ms2: 10", "ms2: 10.20.0.12\n      127.0.0.1: 10", f"9:7: parties.lab.hosts.'127.0.0.1': {CONTROL_NODE}"),
    ("ms2: 10", "ms2: 10.20.0.12\n      '-x': 10", f"9:7: parties.lab.hosts.-x: {HOST_NAME}"),
    ("ms2: 10", "ms2: 10.20.0.12\n      'a;id': 10", f"9:7: parties.lab.hosts.'a;id': {HOST_NAME}"),
    (
        "ms2: 10.20.0.12",
        "ms2: 10.20.0.12\n      all: 10.20.0.13",
        "9:7: parties.lab.hosts.all: 'all' is a group of Ansible's or of ours too: choose another name",
    ),
    *(
        (
            "ms2: 10.20.0.12",
            f"ms2: 10.20.0.12\n      {name}: 10.20.0.13",
            f"9:7: parties.lab.hosts.{name}: '{name}' is the group of {what} '{of}' too: choose another name",
        )
        for name, what, of in (
            ("pki", "role", "pki"),
            ("limits", "role", "limits"),
            ("nginx", "role", "nginx"),
            ("stage_base", "stage", "base"),
            ("stage_participant", "stage", "participant"),
        )
    ),
    (
        'callable: "app:train"',
        "callable: \"os:system('id')\"",
        f"18:53: {APPLICATION}.callable: 'os:system('id')' is no Python callable, such as package.module:function",
    ),
    (
        "clients: [operator]",
        "clients: ['a; } include /etc/x;']",
        f"16:38: {LENET}.scheduler.clients[0]: 'a; }} include /etc/x;' is not a common name",
    ),
    (
        "redis: {host: ms1}",
        'redis: {host: ms1, settings: {maxmemory: "1mb\\nloadmodule /x.so"}}',
        f"15:46: {LENET}.redis.settings.maxmemory: '1mb?loadmodule /x.so' is not bytes such as 512mb",
    ),
]

TAGS = [
    (
        "word: x",
        "word: !!python/object/apply:os.system [id]",
        f"18:96: {APPLICATION}.settings.word: a YAML tag (tag:yaml.org,2002:python/object/apply:os.system): {TAG}",
    ),
    (
        "federation: demo",
        "federation: !!python/name:os.system demo",
        f"3:13: federation: a YAML tag (tag:yaml.org,2002:python/name:os.system): {TAG}",
    ),
    (
        "word: x",
        "word: !vault x",
        f"18:96: {APPLICATION}.settings.word: a YAML tag (!vault): {TAG}: secrets go by name, their values into the "
        "vault",
    ),
    ("word: x", "word: !unsafe x", f"18:96: {APPLICATION}.settings.word: a YAML tag (!unsafe): {TAG}"),
    ("word: x", "!include x: y", f"18:90: {APPLICATION}.settings: a YAML tag (!include): {TAG}"),
    (
        "settings: {word: x}",
        "settings: &all {word: *all}",
        f"18:101: {APPLICATION}.settings.word: the alias *all stands inside of what it names",
    ),
    (
        "settings: {word: x}",
        "settings: {word: &word {a: b}, <<: *word}",
        f"18:110: {APPLICATION}.settings.'<<': merge keys (<<) aren't taken: write the keys out",
    ),
]


MS3 = "ms2: 10.20.0.12\n      "


def host(line: str, message: str) -> tuple[str, str, str]:
    """One more host, and the mistake in its line."""
    return ("ms2: 10.20.0.12", f"{MS3}{line}", f"9:{message}")


ADDRESSES = [
    host(
        "ms3: 169148429",
        "12: parties.lab.hosts.ms3: expected an address or a DNS name, found the number 169148429: write it in quotes",
    ),
    *(
        host(f"ms3: '{text}'", f"12: parties.lab.hosts.ms3: '{text}' {message}")
        for text, message in {
            "169148429": "is no numeric address",
            "012.024.0.13": "is no numeric address: write it without leading zeros, 12.24.0.13",
            "10.20.13": "is no numeric address: it has 3 numbers, not 4",
            "0x0a14000d": "is no DNS name but looks like an address",
            "0x0a.0x14.0.0xd": "is no DNS name but looks like an address",
            "240.0.0.1": "is no address of one host",
            "0.1.2.3": "is no address of one host",
            "fe80::1": "is no address of one host",
            "fe80::1%eth0": "names an interface ('%'), which only means something on one host",
            "::ffff:10.20.0.12": "is an IPv4 address written as IPv6: write 10.20.0.12",
            "::ffff:a14:c": "is an IPv4 address written as IPv6: write 10.20.0.12",
        }.items()
    ),
    (
        "redis: {host: ms1}",
        "redis: {host: ms1, bind: '::ffff:0.0.0.0'}",
        f"15:30: {LENET}.redis.bind: '::ffff:0.0.0.0' is an IPv4 address written as IPv6: write 0.0.0.0",
    ),
    *(
        (
            "scheduler: {",
            f"scheduler: {{public_url: '{text}', ",
            f"16:29: {LENET}.scheduler.public_url: '{text}' {message}",
        )
        for text, message in {
            "https://[v1.a]": "is no numeric address",
            "https://0x7f.1": "is no DNS name but looks like an address",
            "https://169148429": "is no numeric address",
            "https://ex%61mple.com": "is no DNS name",
            "https://\u0435xample.com": "is no DNS name",
            "https://LEADER.example": "has upper-case letters before its path: "
            "URLs are compared letter by letter, write small ones",
        }.items()
    ),
]

NUMBERS = [
    host(f"'{name}': {{}}", f"7: parties.lab.hosts.{shown}: has no address, and '{last}' {why}: write address")
    for name, shown, last, why in (
        ("2130706433", "2130706433", "2130706433", "is no numeric address"),
        ("0x7f000001", "0x7f000001", "0x7f000001", "is no numeric address"),
        ("0.0.0.0", "'0.0.0.0'", "0.0.0.0", "is no address of one host"),
        ("10.20.0.[250:256]", "'10.20.0.[250:256]'", "10.20.0.256", "is no numeric address"),
    )
]

BEYOND = [
    (
        "settings: {summary",
        "settings: {client: {connection_num: 1048065}, summary",
        f"19:41: {LENET}.settings.client.connection_num: "
        "expected a whole number from 1 to 1048064, found the number 1048065",
    ),
]

HIDDEN = "has a character that is not shown"
NAMES = [
    host(
        "no: 10.20.0.13",
        "7: parties.lab.hosts: no is a truth value for some YAML readers and text for others: "
        "write false, or where text is meant 'no' in quotes",
    ),
    host(
        "2026-01-01: 10.20.0.13",
        "7: parties.lab.hosts: 2026-01-01 is a date for some YAML readers and text for others: write it in quotes",
    ),
    host("null: 10.20.0.13", "7: parties.lab.hosts.null: a key is a text: write it in quotes"),
    host("1.5: 10.20.0.13", "7: parties.lab.hosts.'1.5': a key is a text: write it in quotes"),
    host("'': 10.20.0.13", "7: parties.lab.hosts.'': is empty"),
    host("MS2: 10.20.0.13", "7: parties.lab.hosts.MS2: there is a host 'ms2' already (federation.yml:8:12)"),
    host("'ms\u200b3': 10.20.0.13", f"7: parties.lab.hosts.'ms?3': {HOST_NAME}"),
    host("'\u212ams': 10.20.0.13", f"7: parties.lab.hosts.'\u212ams': {HOST_NAME}"),
    host("'ms\u202e3': 10.20.0.13", f"10: {HIDDEN} (U+202E): what is read must be what is seen"),
    (
        "word: x",
        'word: "\\x1b[31m"',
        f"18:96: {APPLICATION}.settings.word: {HIDDEN} (U+001B): what is read must be what is seen",
    ),
    (
        "word: x",
        'word: "a\\0b"',
        f"18:96: {APPLICATION}.settings.word: {HIDDEN} (U+0000): what is read must be what is seen",
    ),
    ("federation: demo", "federation: demo\u0085x: y", f"3:17: {HIDDEN} (U+0085): what is read must be what is seen"),
    ("federation: demo", "federation: demo\u2028x: y", f"3:17: {HIDDEN} (U+2028): what is read must be what is seen"),
    ("plugin:", "# \u202e nigulp\nplugin:", f"1:3: {HIDDEN} (U+202E): what is read must be what is seen"),
    ("plugin:", "# \0\nplugin:", "1:3: is no YAML: control characters are not allowed"),
    (
        "word: x",
        "word: 1e400",
        f"18:96: {APPLICATION}.settings.word: 1e400 is read differently by different YAML readers: "
        "write a decimal number, or the text in quotes",
    ),
    (
        "version: 1",
        "version: \u0661",
        "2:10: version: expected a whole number: 1, found the text '\u0661': leave out the quotes",
    ),
]


def replaced(old: str, new: str) -> str:
    assert DOCUMENT.count(old) >= 1, old
    return DOCUMENT.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "line"), [*FILES, *SECRETS, *CONNECTION, *TAGS, *ADDRESSES, *NUMBERS, *BEYOND, *NAMES]
)
def test_an_attack_is_a_mistake(mistakes: Mistakes, old: str, new: str, line: str) -> None:
    lines = mistakes(replaced(old, new))
    assert f"federation.yml:{line}" in lines
    assert "hunter2" not in "".join(lines)


def test_a_document_makes_no_more_components_than_the_control_node_holds(
    load: Load, mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = len(load(DOCUMENT).expansions["lenet"].components)
    monkeypatch.setattr(loading, "MAX_COMPONENTS", made)
    assert load(DOCUMENT).stacks
    monkeypatch.setattr(loading, "MAX_COMPONENTS", made - 1)
    assert mistakes(DOCUMENT) == [
        f"federation.yml:14:5: {LENET}: with it the document makes more than {made - 1} components"
    ]


@pytest.mark.parametrize("written", ["a", "{}", "[]", "*a"])
def test_a_document_holds_no_more_values_than_the_control_node(
    mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setattr(document, "MAX_NODES", 1000)
    listed = ", ".join(["&a b", *[written] * 1000])
    lines = mistakes(replaced("word: x", f"word: [{listed}]"))
    assert [line for line in lines if "has more than 1000 values" in line]


def positions(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each text, and of each key with None at its end."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield (*path, key, None)
            yield from positions(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from positions(child, (*path, index))
    elif isinstance(value, str):
        yield path


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_a_line_s_end_and_a_mark_at_the_beginning_change_nothing(load: Load, end: str) -> None:
    assert load("\ufeff" + DOCUMENT.replace("\n", end)).stacks == load(DOCUMENT).stacks


def test_a_file_that_is_none_or_lies_elsewhere_is_not_read(mistakes: Mistakes, tmp_path: Path) -> None:
    """A pipe would hang whoever reads it; a link that came with a partner's files gives away what it leads to."""
    (tmp_path / "public").mkdir()
    os.mkfifo(tmp_path / "public/ca.pem")
    (tmp_path / "app").symlink_to("/etc")
    assert mistakes(DOCUMENT) == [
        "federation.yml:9:33: parties.partner.ca: 'public/ca.pem' is neither a file nor a folder",
        f"federation.yml:18:74: {APPLICATION}.source: 'app' is a link that leads away from the document: "
        "copy what it names",
    ]


@pytest.mark.parametrize("target", [".secrets", ".", "group_vars"])
def test_a_link_to_what_no_document_may_name_is_not_followed(mistakes: Mistakes, tmp_path: Path, target: str) -> None:
    (tmp_path / target).mkdir(exist_ok=True)
    (tmp_path / "app").symlink_to(target)
    assert mistakes(DOCUMENT) == [
        f"federation.yml:18:74: {APPLICATION}.source: 'app' is a link that leads away from the document: "
        "copy what it names",
    ]


def test_a_link_within_the_document_s_folder_is_followed(load: Load, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "app").symlink_to("there")
    assert load(DOCUMENT).stacks


def test_an_overlay_cannot_take_away_what_is_needed(mistakes: Mistakes) -> None:
    view = "plugin: fedlearn.infra.federation\ndocument: federation.yml\noverlay: over.yml\n"
    assert mistakes(DOCUMENT, source="view.yml", view=view, over="stacks: {lenet: {redis: null}}\n") == [
        "over.yml:1:17: stacks.lenet: the key 'redis' is missing (a mapping)"
    ]


PLAIN = yaml.safe_load(DOCUMENT)
POSITIONS = list(positions(PLAIN))


@pytest.mark.parametrize("template", ["{{ lookup('pipe', 'id') }}", "x{% set y = 1 %}", "x{# y #}"])
def test_a_template_is_refused_wherever_a_text_can_stand(mistakes: Mistakes, template: str) -> None:
    assert len(POSITIONS) > 60
    for path in POSITIONS:
        changed = copy.deepcopy(PLAIN)
        *way, last = path[:-1] if path[-1] is None else path
        place = changed
        for step in way:
            place = place[step]
        if path[-1] is None:
            place[template] = place.pop(last)
        else:
            place[last] = template
        lines = mistakes(yaml.safe_dump(changed, width=1000))
        assert [line for line in lines if "a template ('{{', '{%' or '{#')" in line], path


def lists_of_lists(levels: int) -> str:
    """Ten to the power of so many words, in a few hundred bytes."""
    lines = ["a0: &a0 [" + ", ".join("x" * 10) + "]"]
    lines += [f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * 10) + "]" for level in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (lists_of_lists(9), "aliases stand for more than 100000 values"),
        (DOCUMENT.replace("word: x", "word: " + "[" * 50_000), "is nested deeper than 32 levels"),
        (DOCUMENT.replace("word: x", f"word: '{'x' * (document.MAX_TEXT + 1)}'"), "is longer than 65536 characters"),
        (DOCUMENT.replace("word: x", f"{'x' * (document.MAX_TEXT + 1)}: y"), "is longer than 65536 characters"),
        (DOCUMENT.replace("word: x", f"word: '{'x' * document.MAX_BYTES}'"), "is bigger than 16 MiB"),
        (DOCUMENT.replace("ms2: 10.20.0.12", "ms2: 10.20.0.12\n      'w[1:999999999]': {}"), "more than 100000 names"),
        (DOCUMENT.replace("ms2: 10.20.0.12", "ms2: 10.20.0.12\n      " + "'[1:99]" * 30 + "': {}"), "is no YAML"),
        (DOCUMENT.replace("ms2: 10.20.0.12", "ms2: 10.20.0.12\n      '" + "[1:99]" * 30 + "': {}"), "100000 names"),
        (DOCUMENT.replace("hosts: [ms2]", f"hosts: ['{'*?' * 2000}x']"), "no party has a host whose name fits"),
        (
            DOCUMENT.replace(
                "ms2: 10", "\n      ".join(f"'w{n}-[0:99999]': {{}}" for n in range(2000)) + "\n      ms2: 10"
            ),
            "makes more than 100000 hosts",
        ),
        (
            DOCUMENT.replace("hosts: [ms2]", f"hosts: [{', '.join(['w[0:99999]'.join(chr(39) * 2)] * 9000)}]"),
            "nor 99999 more of this range",
        ),
        (
            DOCUMENT.replace("ms2: 10", "'w[0:99990]': {}\n      ms2: 10").replace(
                "hosts: [ms2]", "hosts: [" + ", ".join(f"'{'*?' * n}z'" for n in range(1, 500)) + "]"
            ),
            "the document's ranges and patterns stand for too many hosts",
        ),
        (
            DOCUMENT.replace("ms2: 10", "'w[0:99990]': {}\n      ms2: 10").replace(
                "hosts: [ms2]", "hosts: [" + ", ".join(f"x{n}" for n in range(9999)) + "]"
            ),
            "has more mistakes than these 1000",
        ),
        (
            DOCUMENT.replace("ms2: 10", "'w[0000:1999]': {}\n      ms2: 10").replace(
                "workers: {hosts: [ms2]", "workers: {per_host: 64, hosts: ['w*']"
            ),
            "workers.per_host: 128000 processes on 2000 hosts: at most 100000",
        ),
        (
            DOCUMENT.replace("ms2: 10", "'w[0000:1999]': {first_address: 10.40.0.1}\n      ms2: 10").replace(
                "servers: {hosts: [ms2]", "servers: {hosts: ['w*']"
            ),
            "servers.per_host: 2000 processes on 2000 hosts: at most 1000",
        ),
        (DOCUMENT + "\n".join(f"k{n}: 1" for n in range(100_000)), "has more mistakes than these 1000"),
    ],
    ids=[
        *("laughs", "deep", "text", "key", "file", "range", "quotes", "ranges", "pattern"),
        *("many ranges", "ranges named", "patterns", "names near none", "workers", "servers"),
        "unknown keys",
    ],
)
def test_what_would_hold_the_controller_up_is_refused_at_once(mistakes: Mistakes, text: str, line: str) -> None:
    before = time.process_time()
    lines = mistakes(text)
    assert time.process_time() - before < 5
    assert [found for found in lines if line in found], lines
    assert all(len(found) < 500 for found in lines)


LOADS = """\
import resource, sys
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading
from ansible_collections.fedlearn.infra.plugins.inventory.federation import _is_ours
resource.setrlimit(resource.RLIMIT_DATA, (256 * 2**20, 256 * 2**20))
assert _is_ours("federation.yml")
try:
    loading.load(sys.argv[1])
except loading.WrongDocumentError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("huge", "source"), [("federation", "federation.yml"), ("over", "view.yml")])
def test_a_hundred_megabytes_take_no_memory(load: Load, tmp_path: Path, huge: str, source: str) -> None:
    """In a process that has 256 MiB: as the document, and as an overlay."""
    over = {"view": "plugin: fedlearn.infra.federation\ndocument: federation.yml\noverlay: over.yml\n", "over": "{}\n"}
    assert load(DOCUMENT, source=source, **over).stacks
    with (tmp_path / f"{huge}.yml").open("a") as file:
        file.write(f"x: '{'x' * 100_000_000}'\n")
    ended = subprocess.run(
        [sys.executable, "-c", LOADS, source], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.stdout, ended.stderr) == (f"{huge}.yml: is bigger than 16 MiB\n", "")
