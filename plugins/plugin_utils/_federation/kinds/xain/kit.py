# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""With what a machine that is no host of the document takes part in a training of ``poc``: the launcher of ours, since
the SDK by itself trusts the world's CAs only and shows no certificate.
"""

from __future__ import annotations

import json

from ... import network
from ...client_kits import Asked, Kit, NoKitError
from ...model import Federation, Stack
from ...nodes import Report
from .known_adds import adds
from .placements import APPLICATIONS
from .poc_parts import heartbeat_seconds
from .topology import Topology

README = """\
# {name}

Takes part in `{stack}` of `{federation}`, whose coordinator is {url}. Nothing is put outside of this folder, and no
root is needed; a Linux with Python 3.11 or newer and a package index will do.

A certificate is shown. Its key is made here and stays here:

```sh
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem \\
  -subj '/CN={subject}' -out request.pem
```

`request.pem` goes to party `{party}`, whose `fedlearn.infra.client_kit -e stack={stack} -e client='{subject}'
-e request=request.pem` lays `chain.pem` into the kit: now, and again before that certificate ends. Then:

```sh
python3 -m venv environment
environment/bin/python -m pip --quiet install --require-hashes --no-deps --only-binary=:all: -r requirements.txt
mkdir -p state
environment/bin/python -B -m fedlearn_xain.poc_participant --config participant.json
```

It takes part until the training is over; what it ends with is `state/result.json`. What it runs stands in
`participant.json`, `{callable}`{hint}. One of your own is a class that returns a `ParticipantABC` of
xain_sdk 0.8: with `FEDLEARN_PROGRAM_PATH=FOLDER` it is found in that folder, and `settings` is what it is given.

When the CA is changed, or what is in the document of this, `fedlearn.infra.client_kit` writes another kit.
"""
PACKAGE = ("__init__", "adds", "launching", "poc_participant")


def client_kit(stack: Stack, federation: Federation, asked: Asked) -> Kit:
    """The kit of a right stack, for one of ``participants.clients``. Raises NoKitError."""
    topology = Topology(stack, federation, Report())
    if asked.controller:
        raise NoKitError(f"stack '{stack.name}': -e controller=true is of DPSA, and here everybody is a participant")
    if topology.generation != "poc" or not topology.coordinator.hosts:
        raise NoKitError(f"stack '{stack.name}': there are kits of the generation 'poc', where it has a coordinator")
    subject = _subject(topology, asked)
    url = network.parse_url(topology.entrance(0).public)
    name = f"{topology.certificate('client')}-{subject.replace(' ', '_')}"
    ours = topology.application == APPLICATIONS["poc"]
    known = adds(len(topology.participants.hosts)) if ours else {}
    configuration = {
        "configuration": {"coordinator": {"host": url.host, "port": url.port or network.DEFAULT_PORTS[url.scheme]}},
        "application": {
            "callable": topology.application,
            "settings": topology.participants.options.get("application_settings", known),
        },
        "tls": {"ca": "ca.pem", "certificate": "chain.pem", "key": "key.pem"},
        "heartbeat_seconds": heartbeat_seconds(topology.settings),
        "log_level": "info",
        "state": "state",
        "digest": "kit",
    }
    folder = "shared_xain/files"
    return Kit(
        name=name,
        sites=(),
        ways={"coordinator": str(url)},
        authorities=(topology.authority,),
        subject=subject,
        party=topology.party,
        files={"participant.json": json.dumps(configuration, indent=2) + "\n"},
        sources={
            "requirements.txt": f"{folder}/requirements-poc.txt",
            **{f"fedlearn_xain/{module}.py": f"{folder}/fedlearn_xain/{module}.py" for module in PACKAGE},
        },
        readme=README.format(
            name=name,
            stack=stack.name,
            federation=federation.name,
            url=url,
            subject=subject,
            party=topology.party.name,
            callable=topology.application,
            hint=", numbers that are known, which prove that it works and are of no other use" if ours else "",
        ),
    )


def _subject(topology: Topology, asked: Asked) -> str:
    """Whose certificate it is."""
    clients = topology.participants.options.get("clients", ())
    where = f"stacks.{topology.stack.name}.participants.clients"
    if not clients:
        raise NoKitError(f"{where} names nobody: add the common name of whom the kit is for")
    if not asked.client and len(clients) == 1:
        return str(clients[0])
    if asked.client not in clients:
        whom = f"'{asked.client}' isn't in {where}:" if asked.client else f"for whom of {where}?"
        raise NoKitError(f"{whom} -e client=NAME is one of {', '.join(clients)}")
    return asked.client
