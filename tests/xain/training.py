# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""federation.yml, masked.yml and counts.yml of this folder, laid into build/ and deployed on hosts."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_hand import THIRD, THIRD_OF_IMAGES
from expiring import let_expire
from places import NETWORK, SET, WRITTEN
from standing_demo import CHECKOUT, Demo, until

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.known_adds import adds, answer
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.known_steps import answer as ends
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.known_steps import steps

HOSTS = ("x1", "x2", "x3")
COORDINATOR = "fedlearn-rounds-images-coordinator"
PARTICIPANT = "fedlearn-rounds-images-participant"
KNOWN = list(ends([steps(index) for index in range(3)], 3, 2))
"""What the deployed training of `python` ends with."""

PYTHON = (
    "$(for p in /opt/fedlearn/xain-python/*/bin/python; do $p -c 'import {}' 2>/dev/null && echo $p; done | tail -n1)"
)
LAUNCHER = "$(ls -dt /opt/fedlearn/xain-launcher/*/ | head -n1)"
Document = dict[str, Any]


class Rounds(Demo):
    """The three hosts, and how they are changed."""

    document, federation, stack, sdk = "federation.yml", "rounds", "images", "xain_sdk"
    participant = PARTICIPANT

    def __init__(self, place: str = "", hosts: tuple[str, ...] = HOSTS) -> None:
        room = CHECKOUT / "build" / "xain" / (place or self.federation)
        super().__init__(room, hosts, SET, room / "vault-pass")

    def begin(self) -> None:
        """Lay the document down and deploy it; what stands already is brought up to date."""
        self.lay_beside()
        settings = self.inventory / "group_vars" / "all.yml"
        built = {"minio_build_directory": str(CHECKOUT / "build" / "go")}
        built["shared_xain_build_directory"] = str(CHECKOUT / "build" / "cargo")
        settings.write_text(json.dumps({**json.loads(settings.read_text()), **built}))
        self.write()
        self.forget()
        self.deploy()

    def forget(self) -> None:
        """What there is of a training of former tests, where the hosts stand already."""
        self.run("x1", f"systemctl try-restart {COORDINATOR} 2>/dev/null || true")
        for host in ("x2", "x3"):
            self.run(host, f"rm -f /var/lib/{PARTICIPANT}/finished-* /var/lib/{PARTICIPANT}/result.json")

    def anew(self) -> None:
        """A training from its beginning, which waits for a third participant."""
        self.forget()
        for host in ("x2", "x3"):
            self.run(host, f"systemctl restart {self.participant}")

    def kill(self, times: int, units: Sequence[tuple[str, str]], becomes_well: Callable[[], None]) -> None:
        """Units of hosts in turn, each of which is back before the next one."""
        for turn in range(times):
            self._kill(*units[turn % len(units)])
            becomes_well()

    def _kill(self, host: str, unit: str) -> None:
        gone = (0, self.pid(host, unit))
        self.run(host, f"systemctl kill --signal=KILL {unit}")
        again = until(60, lambda: self.pid(host, unit), lambda pid: pid not in gone)
        assert again not in gone, (host, unit)

    def kit(self, folder: Path) -> list[str]:
        """A kit for `others` on x1, which is nobody's participant; what its README says beyond the certificate."""
        kit = CHECKOUT / "build" / self.federation / "client_kit" / f"{self.federation}-{self.stack}-client-others"
        asked, request = ("-e", f"stack={self.stack}"), folder / "request.pem"
        written = self.playbook("fedlearn.infra.client_kit", *asked)
        assert written.returncode == 0, written.output[-3000:]
        ask, *remaining = re.findall(r"```sh\n(.*?)```", (kit / "README.md").read_text(), re.DOTALL)
        self._send(kit)
        request.write_text(self.run("x1", f"cd /root/kit\n{ask}cat request.pem"))
        signed = self.playbook("fedlearn.infra.client_kit", *asked, "-e", f"request={request}")
        assert signed.returncode == 0, signed.output[-3000:]
        assert "PRIVATE KEY" not in "".join(path.read_text() for path in kit.rglob("*") if path.is_file())
        self._send(kit)
        return remaining

    def _send(self, kit: Path) -> None:
        """The folder, to root's home."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(kit, "kit")
        unpack = ["ssh", "-F", str(self.ssh_config), "x1", "sudo tar --no-same-owner -C /root -xf -"]
        subprocess.run(unpack, input=packed.getvalue(), check=True)

    def renew_an_expired(self, said: str, log: str) -> None:
        """nginx in front of the coordinator shows a certificate that ran out yesterday, and a participant of x3 comes
        anew: its log says so, status names the certificate, and site makes another, by which nothing else is restarted.
        """
        name, before = f"{self.federation}-{self.stack}-proxy", self.processes()["x1"]
        let_expire(self, "x1", f"/etc/fedlearn/{self.federation}/pki/{name}", self.inventory)
        try:
            self.run("x3", f"systemctl restart --no-block {self.participant}")
            assert said in until(60, lambda: self.run("x3", log), lambda text: said in str(text))
            status = self.playbook("fedlearn.infra.status")
            assert status.returncode == 2
            assert name in status.output
        finally:
            self.site()
        assert self.processes()["x1"] == before

    def write(self, change: Callable[[Document], None] = lambda document: None) -> None:
        """The document, with a change."""
        text = (CHECKOUT / "tests" / "xain" / self.document).read_text()
        document = yaml.safe_load(text.replace(WRITTEN, f"{NETWORK}."))
        change(document)
        (self.inventory / "federation.yml").write_text(yaml.safe_dump(document, sort_keys=False))

    def verify(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """How a verify round ends, and what verify.json says of the stack."""
        done = self.playbook("fedlearn.infra.verify", "-e", "verify=round", *arguments)
        text = (CHECKOUT / "build" / self.federation / "verify.json").read_text()
        found: dict[str, Any] = json.loads(text)["stacks"][self.stack]
        return done.returncode, found

    def round_parts(self) -> dict[str, dict[str, Any]]:
        """Each host's part in the verify round, as the inventory has it."""
        hosts = variables.inventory(loading.load(str(self.inventory / "federation.yml"))).hosts
        found: dict[str, dict[str, Any]] = json.loads(
            json.dumps({host: hosts[host]["fedlearn_verify"] for host in HOSTS})
        )
        return found

    def verify_with(self, parts: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """A verify round whose instances are others than the document's, with the document's numbers."""
        given = self.inventory / "tampered.json"
        chosen = "{{ tampered[inventory_hostname] }}"
        given.write_text(json.dumps({"tampered": parts, "fedlearn_verify": chosen}))
        return self.verify("-e", f"@{given}")

    def pid(self, host: str, unit: str) -> int:
        """The main process of a unit."""
        return int(self.run(host, f"systemctl show -p MainPID --value {unit}"))

    def python(self, host: str, script: str, **given: Any) -> Any:
        """What a script prints as JSON that runs in the environment of xain's programs; its values are in `given`."""
        lines = f"import json\ngiven = json.loads({json.dumps(json.dumps(given))})\n{script}"
        python = f"PYTHONPATH={LAUNCHER} timeout 240 {PYTHON.format(self.sdk)}"
        said = self.run(host, f"{python} -B - <<'END-OF-SCRIPT'\n{lines}\nEND-OF-SCRIPT\n")
        return json.loads(said.splitlines()[-1])

    def password(self, host: str, instance: str) -> str:
        return self.run(host, f"cat /etc/fedlearn/rounds/{instance}/storage.password").strip()

    def training(self, host: str = "x1") -> str:
        """What the coordinator says of a training under way; empty where none is."""
        return self.run(host, f"cat /run/{COORDINATOR}/training 2>/dev/null || true").strip()

    def complete(self) -> None:
        """An honest third completes the training, and all three end with the exact numbers."""
        known = pytest.approx(KNOWN, abs=1e-9)
        assert self.python("x2", THIRD_OF_IMAGES, settings=steps(2))["values"] == known
        self.all_end_with(known)
        assert self.training() == ""

    def all_end_with(self, known: Any) -> None:
        """Deployed participants have these numbers, before long."""
        for host in ("x2", "x3"):
            path = f"/var/lib/{self.participant}/result.json"
            self.run(host, f"for i in $(seq 60); do test -e {path} && break; sleep 1; done")
            assert json.loads(self.run(host, f"cat {path}"))["values"] == known


class Masks(Rounds):
    """The same with the generation `pet`, a federation of its own."""

    document, federation, stack, sdk = "masked.yml", "masks", "masked", "xaynet_sdk"
    participant = "fedlearn-masks-masked-participant"

    def forget(self) -> None:
        """Nothing: rounds have no end."""


class Counts(Rounds):
    """The same with the generation `poc`, a federation of its own."""

    document, federation, stack, sdk = "counts.yml", "counts", "first", "xain_sdk.http"
    coordinator, aggregator, participant = (
        f"fedlearn-counts-first-{word}" for word in ("coordinator", "aggregator", "participant")
    )

    def forget(self) -> None:
        """What there is of a training of former tests, where the hosts stand already."""
        for host in ("x1", "x2"):
            self.run(host, f"systemctl try-restart {self.program(host)} 2>/dev/null || true")
        for host in ("x2", "x3"):
            self.run(host, f"rm -f /var/lib/{self.participant}/finished-* /var/lib/{self.participant}/result.json")

    def program(self, host: str) -> str:
        """The unit of coordinator or aggregator, which are on a host each."""
        return {"x1": self.coordinator, "x2": self.aggregator}[host]

    def training(self, host: str = "x1") -> str:
        """What a program's launcher says of a training under way; empty where none is."""
        return self.run(host, f"cat /run/{self.program(host)}/training 2>/dev/null || true").strip()

    def said(self, host: str) -> str:
        """A program's log since its last start."""
        started = self.run(host, f"systemctl show -p InvocationID --value {self.program(host)}").strip()
        return self.run(host, f"journalctl -o cat --no-pager _SYSTEMD_INVOCATION_ID={started}")

    def complete(self, rounds: int = 3) -> None:
        """An honest third completes the training, and all three end with the exact numbers."""
        known = pytest.approx(list(answer([adds(index) for index in range(3)], rounds)), abs=1e-9)
        assert self.python("x3", THIRD, settings=adds(2))["values"] == known
        self.all_end_with(known)
