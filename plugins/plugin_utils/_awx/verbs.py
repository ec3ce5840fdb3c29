# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every verb of the collection, and what may be said to it: what surveys are made of, and playbooks compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from difflib import get_close_matches
from typing import Any, Literal

from .._federation.schema import Boolean, Choice, Integer, Reference, Text, check_values

STACK = Reference("stack")
"""The name of a stack of the document."""

Type = Text | Integer | Choice | Boolean | Reference
Where = Literal["always", "shared", "dpsa", "never"]


@dataclass(frozen=True, slots=True)
class Option:
    """What a verb takes with ``-e``; an empty answer is as none.

    ``here`` is what only somebody at the control node can say, such as a folder there: no survey asks for it.
    ``secret`` is what nobody may see. Of ``backups`` the default is the folder in which a job finds them.
    """

    name: str
    type: Type
    help: str
    default: str | int | bool | None = None
    required: bool = False
    secret: bool = False
    here: bool = False
    backups: bool = False


@dataclass(frozen=True, slots=True)
class Verb:
    """A playbook of the collection.

    ``writes``: on hosts, or what outlives the run on the control node, so that two at once would be in each other's
    way. ``hosts``: it logs in to them, and takes ``--limit``. ``clusters``: it asks clusters, too. ``vault``: it opens
    secrets. ``state``: what is kept on the control node is opened for it, and ``keeps``: it has to write there.
    ``backups``: it needs a folder for them. ``tags``: it goes through roles, whose tags may be given. ``where``: which
    federations it is for:
    ``always`` all, ``shared`` those of which others deploy a side, ``dpsa`` those of them that have to be separate,
    ``never`` what leaves nothing but a folder on the control node, which a job would throw away, or takes what no job
    has, a checkout and a container engine.
    """

    name: str
    help: str
    options: tuple[Option, ...] = ()
    writes: bool = False
    hosts: bool = False
    clusters: bool = False
    vault: bool = False
    state: bool = False
    keeps: bool = False
    backups: bool = False
    tags: bool = False
    where: Where = "always"


EVERYWHERE = (
    Option(
        "fedlearn_state",
        Text(),
        "Where CAs, secrets and what parties hand each other are kept: a folder, or the URL of a git repository.",
        here=True,
    ),
    Option("fedlearn_state_key_file", Text(format="path"), "A file with the deploy key of that repository.", here=True),
    Option(
        "fedlearn_state_known_hosts_file", Text(format="path"), "A file with the host keys of its server.", here=True
    ),
    Option(
        "fedlearn_generated_by", Text(), "The version of the collection that generated the job's template.", here=True
    ),
    Option("fedlearn_credentials", Text(), "The credentials of the job's template, and what each gives.", here=True),
    Option("fedlearn_ca_passphrase_file", Text(format="path"), "A file with the passphrase of CAs.", here=True),
)
"""What every verb takes that looks at a federation."""

ONE_STACK = Option("stack", STACK, "Only this stack; empty means all.")
BUILD = Option("fedlearn_build", Text(format="path"), "Where reports are written.", default="build", here=True)
RENDER = Option(
    "fedlearn_render",
    Text(format="path"),
    "Write what clusters would get into this folder, and leave them and all hosts alone.",
    here=True,
)
DISRUPT = Option(
    "fedlearn_disrupt",
    STACK,
    "This stack may be changed though that disturbs who takes part in it at the moment.",
)
REMOVE_DATA = Option("fedlearn_remove_data", Boolean(), "Data go along with what is removed.", default=False)

_NEAR = 0.8
"""How alike two names are, of 1, for one to be the other misspelt: `stak` and `stack` are 0.89."""
_PREFIX = "fedlearn_"
_OTHERS = ("ansible_", "tower_")
"""What names begin with that Ansible and AWX give."""
_AWX_PREFIX, _AWX_NEAR = "awx_", 0.9
"""AWX gives names that begin as options of the verb awx do; the nearest, `awx_webhook_guid`, is 0.81."""
_TRUE, _FALSE = ("y", "yes", "on", "1", "true", "t"), ("n", "no", "off", "0", "false", "f")
"""What Ansible takes for a boolean."""
_OF_ROUNDS = {"fedlearn_verify"}
"""A host's part in a verify round, by which one is tried with other instances than the document's."""

VERBS = (
    Verb(
        "init",
        "Writes a first document.",
        (
            Option("kind", Text(), "The kind of its stack.", required=True, here=True),
            Option("federation", Text(), "The federation's name.", default="mine", here=True),
            Option("directory", Text(format="path"), "The folder to write into.", here=True),
        ),
        writes=True,
        where="never",
    ),
    Verb(
        "secrets",
        "Makes the secrets that are missing; never changes one.",
        writes=True,
        vault=True,
        state=True,
        keeps=True,
    ),
    Verb(
        "images",
        "Builds the images of stacks that say how, and records their digests.",
        (ONE_STACK, BUILD),
        writes=True,
        vault=True,
        state=True,
        keeps=True,
        where="never",
    ),
    Verb(
        "accept",
        "Shows what changed in what parties share, and accepts it.",
        (Option("digest", Text(max_length=64), "Accept what has this digest; empty shows what waits."),),
        writes=True,
        state=True,
        keeps=True,
        where="shared",
    ),
    Verb(
        "exchange",
        "Signs what partners get of this party.",
        (Option("days", Integer(1, 400), "How long partners may use it.", default=90),),
        writes=True,
        vault=True,
        state=True,
        keeps=True,
        where="shared",
    ),
    Verb(
        "audit",
        "Looks whether this side is separate from the other parties'.",
        (
            BUILD,
            Option("fedlearn_backup_directory", Text(format="path"), "Where backups lie.", here=True),
        ),
        writes=True,
        hosts=True,
        vault=True,
        state=True,
        keeps=True,
        where="dpsa",
    ),
    Verb(
        "precheck",
        "Looks for what would stop a deploy; changes nothing.",
        (ONE_STACK, RENDER),
        hosts=True,
        clusters=True,
        vault=True,
        state=True,
        keeps=True,
        tags=True,
    ),
    Verb(
        "site",
        "Makes the document true on the hosts.",
        (
            ONE_STACK,
            Option(
                "fedlearn_prune",
                Boolean(),
                "Remove what is ours and in no document any more; data stay.",
                default=False,
            ),
            REMOVE_DATA,
            DISRUPT,
            RENDER,
        ),
        writes=True,
        hosts=True,
        clusters=True,
        vault=True,
        state=True,
        keeps=True,
        tags=True,
    ),
    Verb(
        "verify",
        "Proves what runs; a round also proves that it learns.",
        (
            ONE_STACK,
            Option("verify", Choice(("probe", "round")), "Look only, or run a real round beside it.", default="probe"),
            BUILD,
        ),
        writes=True,
        hosts=True,
        clusters=True,
        vault=True,
        state=True,
    ),
    Verb(
        "status",
        "Tells what is stopped, ill, differing or orphaned; changes nothing.",
        (
            ONE_STACK,
            Option(
                "after_failure",
                Boolean(),
                "It ends as failed, since what came before it did, whatever it finds.",
                default=False,
            ),
            BUILD,
        ),
        hosts=True,
        clusters=True,
        vault=True,
        state=True,
    ),
    Verb("flows", "Tells every connection, for a firewall team; touches no host.", (ONE_STACK, BUILD)),
    Verb(
        "backup",
        "Brings the data of every role that has any.",
        (
            ONE_STACK,
            Option(
                "fedlearn_backup_recipient", Text(max_length=200), "The public key (age) that hosts encrypt them for."
            ),
            Option(
                "accept_unrecoverable", Boolean(), "Keys that are on a host alone may be lost with it.", default=False
            ),
            Option("fedlearn_backup_directory", Text(format="path"), "Where they go.", here=True),
            BUILD,
        ),
        writes=True,
        hosts=True,
        vault=True,
        state=True,
        keeps=True,
        backups=True,
    ),
    Verb(
        "restore",
        "Puts the data of a backup in the place of those that are there.",
        (
            Option(
                "from",
                Text(format="path"),
                "A folder of backups, of which each host gets its newest, or one file.",
                required=True,
                backups=True,
            ),
            ONE_STACK,
            Option("moment", Text(max_length=64), "What has all moments is brought to this one."),
            Option("fedlearn_backup_secret", Text(max_length=128), "The name of the secret that reads encrypted ones."),
        ),
        writes=True,
        hosts=True,
        vault=True,
        state=True,
        backups=True,
    ),
    Verb(
        "rotate",
        "Replaces what proves who somebody is, while what uses it goes on.",
        (
            Option(
                "what",
                Choice(("certificates", "passwords", "ca", "datastore_keys")),
                "What is replaced.",
                required=True,
            ),
            ONE_STACK,
            Option(
                "informed", Boolean(), "Of CAs: all who trust them and aren't ours trust the next ones.", default=False
            ),
            Option(
                "withdraw", Boolean(), "Of datastore keys: let the former ones go, and nothing else.", default=False
            ),
            DISRUPT,
        ),
        writes=True,
        hosts=True,
        clusters=True,
        vault=True,
        state=True,
        keeps=True,
    ),
    Verb("stop", "Stops what runs; touches no file.", (ONE_STACK,), writes=True, hosts=True, state=True),
    Verb(
        "remove",
        "Takes away what site brought; data stay unless asked for.",
        (ONE_STACK, REMOVE_DATA),
        writes=True,
        hosts=True,
        clusters=True,
        vault=True,
        state=True,
        keeps=True,
    ),
    Verb(
        "worker_kit",
        "Writes with what machines of others take part in a stack.",
        (
            Option("stack", STACK, "The stack.", required=True),
            Option("directory", Text(format="path"), "The folder to write into.", here=True),
            BUILD,
        ),
        writes=True,
        state=True,
        where="never",
    ),
    Verb(
        "client_kit",
        "Writes what a client needs who is no host of the document.",
        (
            ONE_STACK,
            Option("controller", Boolean(), "It is for the controller.", default=False),
            Option("client", Text(), "Of xain, whose kit it is.", here=True),
            Option("request", Text(format="path"), "The signing request of who shows a certificate.", here=True),
            BUILD,
        ),
        writes=True,
        vault=True,
        state=True,
        where="never",
    ),
    Verb(
        "awx",
        "Writes what AWX runs these verbs by.",
        (
            Option("awx_url", Text(), "Where AWX gets the project from.", required=True, here=True),
            Option("awx_image", Text(), "The image that jobs run in.", required=True, here=True),
            Option(
                "awx_state", Text(), "The folder that outlives jobs, or a git repository.", required=True, here=True
            ),
            Option("awx_backups", Text(format="path"), "A folder for backups, beside a repository.", here=True),
            Option("awx_branch", Text(), "The project's branch.", here=True),
            Option("awx_project", Text(format="path"), "The project's root.", default=".", here=True),
            Option("awx_webhook", Text(), "The URL that is told when a job fails, or waits for approval.", here=True),
            Option("awx_ca_passphrase", Boolean(), "AWX keeps the CAs' passphrase.", default=False, here=True),
        ),
        writes=True,
        where="never",
    ),
)


def verb(name: str) -> Verb:
    """The verb of that name; KeyError when there is none."""
    return {each.name: each for each in VERBS}[name]


def misspelt(names: Iterable[str]) -> list[str]:
    """A sentence for each name that is no option of any verb but all but one; what is like none is a user's own."""
    known = {option.name for each in VERBS for option in each.options} | {option.name for option in EVERYWHERE}
    told = []
    for name in sorted(set(names) - known - _OF_ROUNDS):
        ours = name.startswith(_PREFIX)
        likely = {each.removeprefix(_PREFIX): each for each in known if ours or not each.startswith(_PREFIX)}
        cutoff = _AWX_NEAR if name.startswith(_AWX_PREFIX) else _NEAR
        near = get_close_matches(name.removeprefix(_PREFIX).lower(), likely, n=1, cutoff=cutoff)
        if near and not name.startswith(_OTHERS):
            told.append(f"-e {name}= is no option: write {likely[near[0]]}=, or give a variable of yours another name")
    return told


def out_of_range(given: Mapping[str, Any]) -> list[str]:
    """A sentence for each option that has a value which no survey would let through; an empty one is none.

    Stacks are looked at where the document is, and what is yet to be resolved isn't looked at.
    """
    known = {option.name: option for each in VERBS for option in each.options}
    told = []
    for name in sorted(set(given) & set(known)):
        type_, value = known[name].type, given[name]
        if isinstance(type_, Reference) or value in (None, "") or "{{" in str(value):
            continue
        if isinstance(type_, Text):
            type_ = replace(type_, format=None)  # a folder's path may be anything that the control node takes
        _value, mistakes = check_values(type_, _meant(type_, value))
        told += [f"-e {name}=: {mistake.message}" for mistake in mistakes]
    return told


def _meant(type_: Text | Integer | Choice | Boolean, value: Any) -> Any:
    """What ``-e name=value`` says, which is always a text."""
    text = str(value)
    match type_:
        case Integer() if text.lstrip("-").isdecimal():
            return int(text)
        case Boolean() if text.lower() in (*_TRUE, *_FALSE):
            return text.lower() in _TRUE
        case Text() if isinstance(value, int | float | date):
            return text
    return value
