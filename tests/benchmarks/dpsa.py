# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each party's site on fresh hosts, beside a shell script that brings the same hosts to the same files and units.

As in `fresh`; beside keys and certificates the datastore keys are laid in place for both, and of the database the
script gets a dump: whoever may log in, and an empty schema. Programs are those of FEDLEARN_UPSTREAM_DIR, or doubles.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from typing import Any

from tests.benchmarks import bundle
from tests.benchmarks.fresh import check_idempotence, expect
from tests.benchmarks.hosts import CHECKOUT, BenchError, Hosts, State, timed

SET = os.environ.setdefault("FEDLEARN_DPSA_SET", "bench-dpsa")
NETWORK = os.environ.setdefault("FEDLEARN_DPSA_NETWORK", "10.98.57")
sys.path.insert(0, str(CHECKOUT / "tests" / "dpsa"))

import parties  # noqa: E402 - it is found by the path above
from parties import HELPER, LEADER, PARTIES, Party  # noqa: E402 - likewise

RUNS = 3
GOAL = 1.3
PLACES = {"a1": 21, "b1": 22, "c1": 23, "a2": 24}
"""As tests/tools/dpsa.sh has them; the document names all but the last."""

OWN = {"leader": ("a1", "c1"), "helper": ("b1",)}
KEYRING, DATABASE = "/var/lib/fedlearn-dpsa-survey-{}", "fedlearn-dpsa-survey-{}-database"


class TwoParties(Hosts):
    """The hosts of both, with a control node each."""

    federation = "dpsa"
    names = ("a1", "b1", "c1")
    laid = (
        "etc/fedlearn/dpsa/pki",
        "var/lib/fedlearn/dpsa/certificates",
        *(KEYRING.format(party.side)[1:] for party in PARTIES),
    )
    ssh_config = parties.SSH

    def _write_inventory(self) -> None:
        """The parties' folders come with the first hosts."""

    def down(self) -> None:
        """Remove the hosts."""
        self._make("down", SET)

    def fresh(self) -> None:
        """Make the hosts anew, with nothing but what doubles are written in and whom the parties let in."""
        six = parties.SIX
        self.down()
        self._forget()
        given = [f"{name}={NETWORK}.{n},{six}:{n}{'@bullseye' * (name == 'c1')}" for name, n in PLACES.items()]
        networks = ["--subnet", f"{NETWORK}.0/24", "--subnet", f"{six}:/64"]
        self._make("up", "--suite", "bookworm", *networks, SET, *given)

    def let_in(self) -> None:
        """Whom fresh hosts know once `parties.begin` was here before."""
        for party in PARTIES:
            for host in party.hosts:
                own = f"\n{(party.home / 'id_ed25519.pub').read_text()}"
                party.on_engine(f"cat >> /home/{parties.USER}/.ssh/authorized_keys", own, host)
        for party, host in ((LEADER, LEADER.host), (HELPER, HELPER.host)):
            parties.furnish(party, host)
        LEADER.sh("apt-get install -qq -y age >/dev/null", parties.CONTROLLER)

    def stay_in(self) -> None:
        """The benchmark's own key, which `parties.begin` has taken away."""
        (key,) = {line.split()[1].strip('"') for line in parties.SSH.read_text().splitlines() if "IdentityFile" in line}
        public = subprocess.run(["ssh-keygen", "-y", "-f", key], check=True, capture_output=True, text=True).stdout
        for party in PARTIES:
            for host in party.hosts:
                party.on_engine(f"cat >> /home/{parties.USER}/.ssh/authorized_keys", public, host)

    def agree(self) -> None:
        """All that comes before the first site."""
        for party in PARTIES:
            run(party, "secrets")
            run(party, "accept", "-e", f"digest={parties.digest()}")
            run(party, "exchange")
        for party, other in (PARTIES, PARTIES[::-1]):
            other.publish(party)
            party.signers(other)

    def dumped(self, side: str, host: str) -> bytes:
        """The database's logins and schema with its record of migrations, as SQL."""
        socket = f"-h /run/{DATABASE.format(side)}"
        kept = self.root(host, f"sh -c 'pg_dumpall {socket} -U postgres --clean --if-exists'")
        own = re.compile(rb"ROLE (IF EXISTS )?postgres\b")
        return b"".join(line for line in kept.splitlines(True) if not own.search(line))


def run(party: Party, name: str, *arguments: str) -> None:
    """A playbook that has to end well."""
    ended = party.playbook(name, *arguments)
    if ended.code != 0:
        raise BenchError(f"{party.side}: {name} ended with {ended.code}:\n{ended.text[-3000:]}")


def measure() -> dict[str, Any]:
    """Seconds of both ways in alternation for each party, and the ratios of their medians."""
    hosts = TwoParties()
    wanted, laid = reference(hosts)
    times: dict[str, dict[str, list[float]]] = {side: {"site": [], "baseline": []} for side in OWN}
    for _run in range(RUNS):
        for way in ("site", "baseline"):
            hosts.fresh()
            hosts.let_in()
            hosts.everywhere(lambda host: hosts.lay(host, laid[host]))
            for party in PARTIES:
                times[party.side][way].append(timed(lambda: WAYS[way](hosts, party)))  # noqa: B023 - called here
            expect(wanted, hosts.state(), f"after {way}")
    check_idempotence(hosts)
    hosts.down()
    return judged(times)


def reference(hosts: TwoParties) -> tuple[State, dict[str, bytes]]:
    """Converge fresh hosts; what both ways are to end with, and the keys they get."""
    hosts.fresh()
    parties.begin()
    hosts.stay_in()
    fresh = hosts.state()
    hosts.agree()
    for party in PARTIES:
        run(party, "site")
    converged = hosts.state()
    laid = bundle.render(hosts, fresh, converged)
    for party in PARTIES:
        folder = bundle.BUNDLES / party.host
        (folder / "database.sql").write_bytes(hosts.dumped(party.side, party.host))
        (folder / "database").write_text(DATABASE.format(party.side) + "\n")
    return converged, laid


def by_script(hosts: TwoParties, party: Party) -> None:
    """The baseline on a party's hosts side by side, as Ansible's forks are."""
    sent = [host for host in hosts.names if host in OWN[party.side]]
    hosts.everywhere(lambda host: bundle.send(hosts, host) if host in sent else 0)


WAYS: dict[str, Any] = {"site": lambda _hosts, party: run(party, "site"), "baseline": by_script}


def judged(times: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """The ratio of each party's deployment to the script."""
    figures = {
        f"{side}: site to shell baseline": statistics.median(each["site"]) / statistics.median(each["baseline"])
        for side, each in times.items()
    }
    return {"seconds": times, "figures": figures, "goals": dict.fromkeys(figures, GOAL)}
