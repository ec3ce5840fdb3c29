# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a party's overlay may say over a document that it shares with others, and what it may not."""

from __future__ import annotations

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import introduction
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds import kinds
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

SHARED = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  clinic-a: {hosts: {a1: 10.30.0.11, a2: 10.30.0.12}}
  clinic-b: {hosts: {b1: 10.40.0.11, b2: 10.40.0.12}}
stacks:
  survey:
    kind: dpsa
    leader: {host: a1}
    helper: {host: b1}
    controller: {host: a2}
    clients: {hosts: [a2, b2]}
    privacy: {max_epsilon: 1.0}
  lenet:
    kind: mindspore
    redis: {host: b1}
    scheduler: {host: b1}
    servers: {hosts: [b1]}
    workers: {hosts: [b1, b2]}
  watch:
    kind: dc_federated
    library: {preinstalled: /opt/dc_federated}
    server: {host: a1}
    workers: {hosts: [a2, b2]}
"""
VIEW = "plugin: fedlearn.infra.federation\ndocument: federation.yml\noverlay: over.yml\n"
OWN = VIEW + "party: clinic-b\n"

REFUSED = {
    "a bound that is wider": "stacks.survey.privacy: {max_epsilon: 50}",
    "a bound that is gone": "stacks.survey.privacy: {max_epsilon: null}",
    "another generation": "stacks.survey: {generation: C, privacy: null}",
    "where clients reach both": "stacks.survey: {local_ports: {leader: 7001}}",
    "who opens sessions": "stacks.survey.controller: {host: b2}",
    "nobody who opens sessions": "stacks.survey: {controller: null}",
    "the partner's address": "parties.clinic-a.hosts: {a1: 10.99.0.1}",
    "another party": "parties: {clinic-c: {external: true, ca: public/c.pem}}",
    "whose CA is believed": "parties.clinic-a: {pki: {mode: csr}}",
    "who has the other half": "stacks.survey.leader: {host: b2}",
    "both halves": "stacks.survey: {allow_same_party: true}",
    "how the partner's programs work": "stacks.survey.leader: {settings: {aggregator: {max_upload_batch_size: 1}}}",
    "settings of both sides": "stacks.survey: {settings: {aggregator: {max_upload_batch_size: 1}}}",
    "a stack that is shared": "stacks: {survey: null}",
    "its end": "stacks.survey: {state: absent}",
    "the federation's name": "federation: other",
    "a partner's client": "stacks.survey.clients: {hosts: [b2]}",
    "a partner's worker": "stacks.watch.workers: {hosts: [b2]}",
    "how all take part": "stacks.watch.workers: {application: 'mine.worker:run'}",
    "a cluster of the partner's": "clusters: {kc: {party: clinic-a, kubeconfig: files/kc}}",
    "a new stack on a partner's host": (
        "stacks: {more: {kind: mindspore, redis: {host: a1}, scheduler: {host: b1}, servers: {hosts: [b1]}}}"
    ),
}
TAKEN = {
    "serial numbers": "parties.clinic-b: {pki: {revoked: ['4B1F09E2']}}",
    "its own address": "parties.clinic-b.hosts: {b1: {address: 10.40.0.99, vars: {ansible_port: 2222}}}",
    "a host of its own": "parties.clinic-b.hosts: {b3: 10.40.0.13}",
    "a firewall": "parties.clinic-b: {firewall: {mode: report}}",
    "ports of its own side": "stacks.survey.helper: {health_port: 9131, inner_port: 9872}",
    "where its keys are kept": "stacks.survey.helper: {escrow: {recipient: age1" + 58 * "q" + "}}",
    "settings of its own side": "stacks.survey.helper: {settings: {aggregator: {max_upload_batch_size: 1}}}",
    "its own database": "stacks.survey.helper: {database: {host: b2}}",
    "where its programs are": "stacks.survey: {programs: {janus: {path: /srv/janus}}}",
    "what its client runs on": "stacks.survey: {client: {python: /opt/python3.10/bin/python3}}",
    "a bound that is closer": "stacks.survey.privacy: {max_epsilon: 0.5}",
    "the same again": "stacks.survey: {generation: B, privacy: {max_epsilon: 1.0}}",
    "a client of its own": "stacks.survey.clients: {hosts: [a2, b1, b2]}",
    "a worker of its own": "stacks.watch.workers: {hosts: [a2, b1, b2]}",
    "its worker's end": "stacks.watch.workers: {absent: [b2]}",
    "the library on its hosts": "stacks.watch: {library: {preinstalled: /srv/dc}}",
    "all of its own stack": "stacks.lenet: {settings: {fl_iteration_num: 3}, tls: false}",
    "the end of its own stack": "stacks.lenet: {state: absent}",
    "a cluster of its own": "clusters: {kc: {party: clinic-b, kubeconfig: files/kc}}",
    "another host of its own": "stacks.survey.helper: {host: b2}",
    "a stack of its own": (
        "stacks: {more: {kind: mindspore, redis: {host: b2, port: 6400}, scheduler: {host: b2}, "
        "servers: {hosts: [b2], port: 6700}, workers: {hosts: [b2]}}}"
    ),
}


def overlay(short: str) -> str:
    """YAML of a path with dots and what stands there."""
    path, _colon, value = short.partition(": ")
    *above, last = path.split(".")
    lines = [f"{'  ' * depth}{step}:" for depth, step in enumerate(above)]
    return "\n".join([*lines, f"{'  ' * len(above)}{last}: {value}"]) + "\n"


@pytest.mark.parametrize("short", REFUSED.values(), ids=REFUSED)
def test_what_others_rely_on_is_refused(mistakes: Mistakes, short: str) -> None:
    told = mistakes(SHARED, source="view.yml", view=OWN, over=overlay(short))
    assert [line for line in told if line.startswith("over.yml:") and line.endswith(WAY_OUT)], told


WAY_OUT = (
    "others rely on this, and an overlay says only what is clinic-b's own affair: agree on it in the shared document"
)


def test_a_refusal_names_the_place(mistakes: Mistakes) -> None:
    over = "stacks:\n  survey:\n    privacy: {max_epsilon: 50}\n    local_ports: {leader: 7001}\n"
    assert mistakes(SHARED, source="view.yml", view=OWN, over=over) == [
        f"over.yml:3:15: stacks.survey.privacy.max_epsilon: {WAY_OUT}",
        f"over.yml:4:5: stacks.survey.local_ports: {WAY_OUT}",
    ]


@pytest.mark.parametrize("short", TAKEN.values(), ids=TAKEN)
def test_a_party_s_own_affairs_are_taken(load: Load, short: str) -> None:
    assert load(SHARED, source="view.yml", view=OWN, over=overlay(short)).viewpoint == "clinic-b"


def test_what_is_a_mistake_anyway_is_told_once(mistakes: Mistakes) -> None:
    over = "stack: {}\nstacks: {survey: {helper: {host: b9}, generation: D, privcy: {max_epsilon: 1}}}\n"
    told = mistakes(SHARED, source="view.yml", view=OWN, over=over)
    assert len(told) == len({line.split(": ")[1] for line in told}) == 4, told
    assert not [line for line in told if line.endswith(WAY_OUT)]


@pytest.mark.parametrize("short", ["stacks.survey.privacy: {max_epsilon: 50}", "stacks.survey.controller: {host: b2}"])
def test_whoever_has_all_hosts_says_what_it_likes(load: Load, short: str) -> None:
    """A viewpoint without a party is nobody's side, and with partners elsewhere there is no document that is shared."""
    assert load(SHARED, source="view.yml", view=VIEW, over=overlay(short)).viewpoint is None


def test_a_document_of_one_s_own_is_shared_with_nobody(load: Load) -> None:
    alone = SHARED.replace(
        "clinic-a: {hosts: {a1: 10.30.0.11, a2: 10.30.0.12}}", "clinic-a: {external: true, ca: public/a.pem}"
    ).replace("leader: {host: a1}", "leader: {party: clinic-a, public_url: 'https://a.example:9991'}")
    alone = alone.replace("controller: {host: a2}", "controller: {host: b2}").replace("[a2, b2]", "[b2]")
    alone = alone.replace("server: {host: a1}", "server: {host: b1}")
    over = overlay("stacks.survey.privacy: {max_epsilon: 50}")
    assert load(alone, source="view.yml", view=OWN, over=over).viewpoint == "clinic-b"


@pytest.mark.parametrize("kind", kinds())
def test_keys_that_each_party_says_for_itself_are_told(kind: str) -> None:
    for key in kinds()[kind].OWN_KEYS:
        assert f"`{key}`" in introduction.VIEWPOINTS
        assert key in kinds()[kind].PLACEMENTS
