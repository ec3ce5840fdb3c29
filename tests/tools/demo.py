# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demo: inventories/demo made true on test hosts and proven by a round.

demo.py up      bring it up, or bring up to date what stands; build/demo/verify.json is left
demo.py down    remove its hosts and what it wrote; stop the engine if the demo started it and no test host is left
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
BUILD = CHECKOUT / "build"
INVENTORY = CHECKOUT / "inventories" / "demo"
VAULT_PASSWORD = BUILD / "vault-pass"
SUBNET = "10.20.0.0/24"
# the only Debian whose own Python MindSpore Federated runs on
SUITE = "bullseye"
# what plays write beside the document; git-ignored
STATE = (".secrets", ".ca", "public")


def run(*command: str) -> None:
    """Run a tool of the environment in the checkout; its output is the demo's output."""
    subprocess.run(command, check=True, cwd=CHECKOUT)


def hosts(*arguments: str) -> None:
    """Call molecule/shared/hosts.py."""
    run(sys.executable, "molecule/shared/hosts.py", *arguments)


def playbook(name: str, *arguments: str) -> None:
    """Run a playbook on the demo's inventory with its vault password."""
    run("ansible-playbook", "-i", str(INVENTORY), "--vault-password-file", str(VAULT_PASSWORD), name, *arguments)


@contextmanager
def step(title: str, times: dict[str, float]) -> Iterator[None]:
    """Announce a step and note its wall time in seconds."""
    print(f"\n=== {title}", flush=True)
    began = time.monotonic()
    yield
    times[title] = time.monotonic() - began


def up() -> None:
    """Hosts, secrets, site, verify with a round."""
    times: dict[str, float] = {}
    make_vault_password()
    with step("three test hosts", times):
        hosts("up", "--suite", SUITE, "--subnet", SUBNET, "--inventory", str(INVENTORY), "demo")
    with step("secrets", times):
        playbook("fedlearn.infra.secrets")
    with step("site", times):
        playbook("site.yml")
    with step("verify with a round", times):
        playbook("fedlearn.infra.verify", "-e", "verify=round")
    tell(times)


def make_vault_password() -> None:
    """Make the vault password once; secrets of a former one can't be read any more and go."""
    if VAULT_PASSWORD.exists():
        return
    remove_state()
    BUILD.mkdir(exist_ok=True)
    descriptor = os.open(VAULT_PASSWORD, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")


def tell(times: dict[str, float]) -> None:
    """What runs where, the round's numbers, the time."""
    listed = subprocess.run(
        ["ansible-inventory", "-i", str(INVENTORY), "--list"], check=True, cwd=CHECKOUT, capture_output=True, text=True
    )
    print("\nWhat runs where")
    found = json.loads(listed.stdout, object_hook=plain)
    for name, values in sorted(found["_meta"]["hostvars"].items()):
        services = ", ".join(values.get("fedlearn_expected", {}).get("services", []))
        print(f"  {name:<8} {values.get('ansible_host', ''):<16} {services}")
    report: dict[str, Any] = json.loads((BUILD / "demo" / "verify.json").read_text())
    print("\nThe round")
    for name, stack in report["stacks"].items():
        verdict = "passed" if stack["passed"] else "FAILED"
        print(f"  {name}: {verdict}, expected {stack['expected']}, observed {stack['observed']}")
        print(f"  {'':{len(name)}}  largest error {stack['max_error']}, {stack['seconds']} s")
    (BUILD / "demo" / "times.json").write_text(json.dumps(times, indent=2) + "\n")
    print("\nTime")
    for title, seconds in times.items():
        print(f"  {title:<24} {seconds:6.1f} s")
    print(f"  {'all':<24} {sum(times.values()):6.1f} s")


def plain(found: dict[str, Any]) -> Any:
    """A string of the document, which ansible-inventory marks as no template, as the string it is."""
    return found["__ansible_unsafe"] if found.keys() == {"__ansible_unsafe"} else found


def down() -> None:
    """Remove hosts and state; the record of the engine decides whether it is stopped."""
    hosts("down", "demo")
    remove_state()
    shutil.rmtree(BUILD / "demo", ignore_errors=True)
    VAULT_PASSWORD.unlink(missing_ok=True)
    hosts("engine", "--stop-if-idle")


def remove_state() -> None:
    """Remove what the plays wrote beside the demo's document."""
    for name in STATE:
        shutil.rmtree(INVENTORY / name, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """The command line; a tool that failed has said why itself."""
    verbs = {"up": up, "down": down}
    if len(arguments) != 1 or arguments[0] not in verbs:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        verbs[arguments[0]]()
    except subprocess.CalledProcessError as error:
        print(f"demo.py {arguments[0]}: failed at: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
