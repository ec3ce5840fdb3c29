# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""With what a machine that is no host of the document takes part: the launcher of ours, since no SDK by itself trusts a
CA of one's own and shows a certificate. In ``pet`` nginx does both, as it does on hosts of the document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ... import network
from ...client_kits import HOME, Asked, Kit, NoKitError
from ...model import Federation, Stack
from ...nodes import Report
from .parts import PARTICIPANTS, Copy, Part
from .pet_parts import PetCopy
from .placements import APPLICATIONS
from .poc_keys import heartbeat_seconds
from .poc_parts import PocCopy
from .python_keys import SDK_HEARTBEAT_SECONDS
from .python_parts import PythonCopy
from .topology import LOOPBACK, Topology

README = """\
# {name}

Takes part in `{stack}` of `{federation}`, whose coordinator is {url}. {needs}

A certificate is shown. Its key is made here and stays here:

```sh
{folder}openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {key} \\
  -subj '/CN={subject}' -out request.pem
```

`request.pem` goes to party `{party}`, whose `fedlearn.infra.client_kit -e stack={stack} -e 'client="{subject}"'
-e request=request.pem` lays `chain.pem` into the kit: now, and again before that certificate ends. Then:
{before}
```sh
python3 -m venv environment
environment/bin/python -m pip --quiet install --require-hashes --no-deps --only-binary=:all: -r requirements.txt
mkdir -p state
{run}
```

It takes part until {end}; what it ends with is `state/result.json`.{again}What it runs stands in
`participant.json`, `{callable}`{hint}. One of your own is a class that returns a {returned}:
with `FEDLEARN_PROGRAM_PATH=FOLDER` it is found in that folder, and `settings` is what it is given.

When the CA is changed, or what is in the document of this, `fedlearn.infra.client_kit` writes another kit.
"""
ALONE = (
    "Nothing is put outside of this folder, and no\n"
    "root is needed; a Linux with Python 3.11 or newer and a package index will do."
)
LOGIN = """
The store of weights asks for the password of the login `{user}`, too. Party `{party}` tells it by a safe way; it
goes into a file, with Enter and Ctrl-D:

```sh
install -d -m 700 credentials
cat >credentials/storage.password
```

And:
"""
BEHIND_NGINX = (
    "Its SDK\nshows no certificate, so nginx leads there from loopback, and whoever runs programs on this machine can "
    "take part\nin its name. That is set up by root. A Linux on x86-64 with Python 3.11 or newer and a package index "
    "will do."
)
NGINX = """
```sh
apt-get install -y nginx
install -m 644 -t {home} ca.pem chain.pem
install -m 644 -t /etc/nginx/conf.d nginx/*.conf
nginx -t && systemctl reload-or-restart nginx
```

And:
"""
KEY = "key.pem"
SHOWN = {"ca": "ca.pem", "certificate": "chain.pem", "key": KEY}
STORAGE_PASSWORD = "CREDENTIALS_DIRECTORY=credentials "  # noqa: S105 - where it lies
OF_THE_STACK = (
    ",\nwhose code isn't in this folder: party `{party}` hands it over, and it is found as one of your own is"
)
KNOWN = ", numbers that are known, which prove that it works and are of no other use"


def _python(topology: Topology) -> Part:
    settings = topology.settings
    storage = {"endpoint": topology.store().public, "bucket": topology.bucket, "access_key_id": _login(topology)}
    return {
        "configuration": {"storage": storage, "logging": {"level": settings["logging"]["level"]}},
        "tls": SHOWN,
        "ca": SHOWN["ca"],
        "max_model_size": settings["max_model_size"],
        "heartbeat_seconds": SDK_HEARTBEAT_SECONDS,
    }


def _pet(topology: Topology) -> Part:
    place = {"host": LOOPBACK, "port": topology.local_port}
    return {"configuration": {"coordinator": place}, "log_level": "info"}


def _poc(topology: Topology) -> Part:
    return {"tls": SHOWN, "heartbeat_seconds": heartbeat_seconds(topology.settings), "log_level": "info"}


def _login(topology: Topology) -> str:
    """Participants' of the store."""
    return f"{topology.stack.name}-{PARTICIPANTS}"


@dataclass(frozen=True, slots=True)
class Generation:
    """What its kit has of its own: ``told`` is what the launcher reads beside what all have."""

    copy: type[Copy]
    launcher: str
    requirements: str
    modules: tuple[str, ...]
    told: Callable[[Topology], Part]
    returned: str
    needs: str = ALONE
    before: str = ""
    variables: str = ""
    end: str = "the training is over"
    again: str = "\nWhen the coordinator is restarted before that, this ends, too: the last line above begins anew.\n"

    @property
    def run(self) -> str:
        """The command of its participant."""
        return f"{self.variables}environment/bin/python -B -m fedlearn_xain.{self.launcher} --config participant.json"


GENERATIONS: Mapping[str, Generation] = {
    "python": Generation(
        PythonCopy,
        "participant",
        "requirements.txt",
        ("arrays", "steps"),
        _python,
        "`Participant` of xain_sdk 0.6",
        before=LOGIN,
        variables=STORAGE_PASSWORD,
    ),
    "poc": Generation(
        PocCopy, "poc_participant", "requirements-poc.txt", ("adds", "once"), _poc, "`ParticipantABC` of xain_sdk 0.8"
    ),
    "pet": Generation(
        PetCopy,
        "xaynet_participant",
        "requirements-xaynet.txt",
        ("marks",),
        _pet,
        "`ParticipantABC` of xaynet_sdk",
        needs=BEHIND_NGINX,
        before=NGINX,
        end="it is stopped, or its application says that it is `over`",
        again=" ",
    ),
}


def client_kit(stack: Stack, federation: Federation, asked: Asked) -> Kit:
    """The kit of a right stack, for one of ``participants.clients``. Raises NoKitError."""
    topology = Topology(stack, federation, Report())
    if asked.controller:
        raise NoKitError(f"stack '{stack.name}': -e controller=true is of DPSA, and here everybody is a participant")
    if not topology.coordinator.hosts:
        raise NoKitError(f"stack '{stack.name}' has no coordinator that anybody could be led to")
    generation, subject = GENERATIONS[topology.generation], _subject(topology, asked)
    copy = generation.copy(topology, topology.settings)
    name = f"{topology.certificate('client')}-{subject.replace(' ', '_')}"
    folder, url = "shared_xain/files", topology.entrance(0).public
    modules = ("__init__", "launching", generation.launcher, *generation.modules)
    return Kit(
        name=name,
        sites=_sites(copy, name, url),
        ways={"coordinator": url},
        authorities={"ca.pem": topology.authority},
        subject=subject,
        party=topology.party,
        files={"participant.json": json.dumps(_participant(copy, generation, url), indent=2) + "\n"},
        sources={
            "requirements.txt": f"{folder}/{generation.requirements}",
            **{f"fedlearn_xain/{module}.py": f"{folder}/fedlearn_xain/{module}.py" for module in modules},
        },
        readme=_readme(topology, generation, name, subject, url),
    )


def _participant(copy: Copy, generation: Generation, url: str) -> Part:
    """What the launcher reads."""
    topology, there, told = copy.topology, network.parse_url(url), generation.told(copy.topology)
    # in brackets where it is an address of IPv6
    place = {"host": network.join(there.host, None), "port": there.port or network.DEFAULT_PORTS[there.scheme]}
    known: Any = copy.known(len(topology.participants.hosts)) if _ours(topology) else {}
    application = {
        "callable": topology.application,
        "settings": topology.participants.options.get("application_settings", known),
    }
    return {
        **told,
        "configuration": {"coordinator": place, **told.get("configuration", {})},
        "application": application,
        "state": "state",
        "digest": "kit",
    }


def _ours(topology: Topology) -> bool:
    """Whether participants run known numbers."""
    return topology.application == APPLICATIONS[topology.generation]


def _sites(copy: Copy, name: str, url: str) -> tuple[Part, ...]:
    """Where participants speak no TLS by themselves, what does it for them."""
    if not isinstance(copy, PetCopy):
        return ()
    files = {word: f"{HOME}/{name}/{word}.pem" for word in ("ca", "chain", "key")}
    return ({"name": re.sub("[^a-z0-9]+", "-", name.lower()), **copy.exit(url, files, copy.topology.local_port)},)


def _readme(topology: Topology, generation: Generation, name: str, subject: str, url: str) -> str:
    home, rooted = f"{HOME}/{name}", topology.generation == "pet"
    party = topology.party.name
    return README.format(
        name=name,
        stack=topology.stack.name,
        federation=topology.federation.name,
        url=url,
        subject=subject,
        party=party,
        needs=generation.needs,
        folder=f"install -d -m 700 {home}\n" if rooted else "",
        key=f"{home}/{KEY}" if rooted else KEY,
        before=generation.before.format(user=_login(topology), party=party, home=home),
        run=generation.run,
        end=generation.end,
        again=generation.again,
        returned=generation.returned,
        callable=topology.application,
        hint=KNOWN if _ours(topology) else OF_THE_STACK.format(party=party),
    )


def _subject(topology: Topology, asked: Asked) -> str:
    """Whose certificate it is."""
    clients = topology.clients
    where = f"stacks.{topology.stack.name}.participants.clients"
    if not clients:
        raise NoKitError(f"{where} names nobody: add the common name of whom the kit is for")
    if not asked.client and len(clients) == 1:
        return clients[0]
    if asked.client not in clients:
        whom = f"'{asked.client}' isn't in {where}:" if asked.client else f"for whom of {where}?"
        raise NoKitError(f"{whom} -e client=NAME is one of {', '.join(clients)}")
    return asked.client
