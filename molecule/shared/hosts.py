# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test hosts: sets of systemd machines in containers, reached as users reach theirs, by ssh and sudo.

    hosts.py up --subnet 10.20.0.0/24 SET ms1=10.20.0.11 ms2=10.20.0.12@bullseye
    hosts.py down SET
    hosts.py list

A set is a network and the containers ``SET-<host>`` on it; sets live side by side. ``build/hosts/SET/`` holds what
reaches them: ``ssh_config``, ``known_hosts`` with the hosts' real keys, and ``hosts.yml``, an inventory. For breaking
things there is ``docker exec SET-<host>``; everything else goes through ssh.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import ipaddress
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import engine
import image
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool

CHECKOUT = Path(__file__).resolve().parents[2]
ROOM = CHECKOUT / "build" / "hosts"
KEY = ROOM / "id_ed25519"
# a real machine's systemd shares its mounts; in a container nobody does, and a unit's credentials would never reach it
BOOT = ["/bin/sh", "-c", "mount --make-rshared / && exec /lib/systemd/systemd"]
LABEL_SET = "fedlearn.set"
LABEL_CHECKOUT = "fedlearn.checkout"
LABEL_SPEC = "fedlearn.spec"
LABEL_HOST = "fedlearn.host"
BOOT_SECONDS = 90
# a service that ends within this is not killed by the engine when its host is stopped
STOP_SECONDS = 90


class HostsError(Exception):
    """A set could not be brought to what was asked; the message says which host and why."""


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of a set: numeric addresses, the one ssh uses first."""

    name: str
    addresses: tuple[str, ...]
    suite: str

    @classmethod
    def parse(cls, text: str, suite: str) -> Host:
        """``name=address[,address][@suite]``; ``suite`` is the set's default."""
        name, found, rest = text.partition("=")
        addresses, _at, own_suite = rest.partition("@")
        try:
            numeric = tuple(str(ipaddress.ip_address(address)) for address in addresses.split(","))
        except ValueError as error:
            raise HostsError(f"'{text}': {error}; expected name=address[,address][@suite]") from error
        if not found or not name:
            raise HostsError(f"'{text}': expected name=address[,address][@suite]")
        return cls(name, numeric, own_suite or suite)

    def address(self, version: int) -> str | None:
        """The first address of that IP version."""
        return next((a for a in self.addresses if ipaddress.ip_address(a).version == version), None)


@dataclass(frozen=True, slots=True)
class Request:
    """What ``up`` was asked for."""

    name: str
    hosts: tuple[Host, ...]
    subnets: tuple[str, ...]
    fuse: bool


# --- up -------------------------------------------------------------------------------------------


def up(client: docker.DockerClient, request: Request) -> None:
    """Bring the set's hosts up, keep those that already are as asked, and write how to reach them."""
    with _lock():
        _make_key()
        images = {suite: image.ensure(client, suite) for suite in sorted({host.suite for host in request.hosts})}
    _network(client, request)
    containers = [_container(client, request, host, images[host.suite]) for host in request.hosts]
    for container in containers:
        _wait_for_system(container)
        _furnish(container)
    for host in request.hosts:
        _wait_for_ssh(host)
    _write_access(client, request.name)


def _network(client: docker.DockerClient, request: Request) -> None:
    try:
        present = client.networks.get(request.name)
    except NotFound:
        pools = [IPAMPool(subnet=subnet) for subnet in request.subnets]
        client.networks.create(
            request.name,
            driver="bridge",
            ipam=IPAMConfig(pool_configs=pools),
            enable_ipv6=any(ipaddress.ip_network(subnet).version == 6 for subnet in request.subnets),
            labels={LABEL_SET: request.name, LABEL_CHECKOUT: str(CHECKOUT)},
        )
        return
    _own(present.attrs["Labels"], request.name)
    has = {pool["Subnet"] for pool in present.attrs["IPAM"]["Config"]}
    if has != set(request.subnets):
        asked = ", ".join(request.subnets)
        raise HostsError(
            f"the network '{request.name}' has {', '.join(sorted(has))}, not {asked}: take the set down first"
        )


def _own(labels: dict[str, str], name: str) -> None:
    """Refuse what another checkout (or somebody else) made under the set's name."""
    owner = labels.get(LABEL_CHECKOUT)
    if owner != str(CHECKOUT):
        raise HostsError(
            f"'{name}' belongs to {owner or 'somebody else'}: name the set otherwise, or take that one down"
        )


def _container(client: docker.DockerClient, request: Request, host: Host, host_image: str) -> Container:
    name = f"{request.name}-{host.name}"
    spec = hashlib.sha256(repr((host, host_image, request.fuse)).encode()).hexdigest()[:12]
    try:
        present = client.containers.get(name)
    except NotFound:
        return _create(client, request, host, host_image, spec)
    _own(present.labels, name)
    if present.labels.get(LABEL_SPEC) != spec:
        present.remove(force=True, v=True)
        return _create(client, request, host, host_image, spec)
    if present.status != "running":
        present.start()
    return present


def _create(client: docker.DockerClient, request: Request, host: Host, host_image: str, spec: str) -> Container:
    packages = ROOM / "packages" / host.suite
    wheels = ROOM / "pip-cache"
    for folder in (packages, wheels):
        folder.mkdir(parents=True, exist_ok=True)
    settings = client.api.create_host_config(
        network_mode=request.name,
        cgroupns="host",
        tmpfs={"/run": "", "/run/lock": "", "/tmp": "exec"},
        # What systemd needs to run every hardening option of a unit; NET_ADMIN for firewall rules and network faults.
        cap_add=["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        devices=["/dev/fuse"] if request.fuse else [],
        binds=["/sys/fs/cgroup:/sys/fs/cgroup", f"{packages}:/var/cache/shared-packages", f"{wheels}:/root/.cache/pip"],
    )
    # what `docker run` calls systempaths=unconfined: units with PrivateUsers and ProtectProc mount a /proc of their own
    settings.update(MaskedPaths=[], ReadonlyPaths=[])
    endpoint = client.api.create_endpoint_config(ipv4_address=host.address(4), ipv6_address=host.address(6))
    created = client.api.create_container(
        host_image,
        BOOT,
        name=f"{request.name}-{host.name}",
        hostname=host.name,
        labels={
            LABEL_SET: request.name,
            LABEL_CHECKOUT: str(CHECKOUT),
            LABEL_SPEC: spec,
            LABEL_HOST: json.dumps([host.name, *host.addresses]),
        },
        host_config=settings,
        networking_config={"EndpointsConfig": {request.name: endpoint}},
        environment={"container": "docker"},
        stop_signal="SIGRTMIN+3",
    )
    container = client.containers.get(created["Id"])
    container.start()
    return container


def _exec(container: Container, command: list[str], **environment: str) -> str:
    """What a command inside the host prints; its exit code is not judged."""
    output = container.exec_run(command, environment=environment).output
    assert isinstance(output, bytes)
    return output.decode().strip()


def _answer(container: Container, command: list[str], **environment: str) -> str:
    """Likewise of a command that always prints something: on a loaded machine the engine may lose it, so ask again."""
    for _try in range(10):
        if said := _exec(container, command, **environment):
            return said
        time.sleep(1)
    raise HostsError(f"{container.name}: nothing is heard of {' '.join(command)}")


def _wait_for_system(container: Container) -> None:
    """Until the host's systemd has finished booting; failed units are a warning, not a reason to stop."""
    deadline = time.monotonic() + BOOT_SECONDS
    state = "none"
    while time.monotonic() < deadline:
        try:
            state = _exec(container, ["systemctl", "is-system-running"])
        except APIError as error:
            raise HostsError(f"{container.name}: {error.explanation}\n{container.logs(tail=20).decode()}") from error
        if state == "running":
            return
        if state == "degraded":
            failed = _exec(container, ["systemctl", "--failed", "--plain", "--no-legend"])
            print(f"warning: {container.name} is degraded: {failed}", file=sys.stderr)
            return
        time.sleep(0.2)
    raise HostsError(f"{container.name} did not boot within {BOOT_SECONDS} s (systemd says: {state})")


FURNISH = """set -eu
install -d -m 0700 -o {user} -g {user} /home/{user}/.ssh
printf '%s\\n' "$KEY" > /home/{user}/.ssh/authorized_keys
chown {user}:{user} /home/{user}/.ssh/authorized_keys
for package in /var/cache/shared-packages/*.deb; do
    name=$(basename "$package")
    if [ -e "$package" ] && [ ! -e "/var/cache/apt/archives/$name" ]; then ln -s "$package" /var/cache/apt/archives/; fi
done
echo furnished
"""


def _furnish(container: Container) -> None:
    """Let the key in, and show apt the packages that other hosts downloaded."""
    public = KEY.with_suffix(".pub").read_text().strip()
    said = _answer(container, ["sh", "-c", FURNISH.format(user=image.USER)], KEY=public)
    if said != "furnished":
        raise HostsError(f"{container.name}: {said}")


def _wait_for_ssh(host: Host) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    problem = "no answer"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host.addresses[0], 22), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError as error:
            problem = str(error)
        time.sleep(0.2)
    raise HostsError(f"{host.name}: no ssh at {host.addresses[0]} within {BOOT_SECONDS} s ({problem})")


# --- how to reach them ----------------------------------------------------------------------------


@contextmanager
def _lock() -> Iterator[None]:
    """Two sets that come up at once make one key and each image once."""
    ROOM.mkdir(parents=True, exist_ok=True)
    with (ROOM / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_key() -> None:
    if not KEY.exists():
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fedlearn test hosts", "-f", str(KEY)]
        subprocess.run(make, check=True)


def _write_access(client: docker.DockerClient, name: str) -> None:
    """Write ``known_hosts``, ``ssh_config`` and ``hosts.yml`` for all hosts of the set."""
    room = ROOM / name
    room.mkdir(parents=True, exist_ok=True)
    known: list[str] = []
    blocks: list[str] = []
    inventory: dict[str, Any] = {}
    common = f'-F "{room / "ssh_config"}"'
    for container in _containers(client, name):
        host, *addresses = json.loads(container.labels[LABEL_HOST])
        keys = _answer(container, ["sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub"])
        for key in keys.splitlines():
            known.append(" ".join([",".join([host, *addresses]), *key.split()[:2]]))
        blocks.append(f"Host {host}\n    HostName {addresses[0]}\n")
        inventory[host] = {"ansible_host": addresses[0], "ansible_user": image.USER, "ansible_ssh_common_args": common}
    (room / "known_hosts").write_text("\n".join(known) + "\n")
    everywhere = SSH_CONFIG.format(user=image.USER, key=KEY, known=room / "known_hosts")
    (room / "ssh_config").write_text("".join(blocks) + everywhere)
    (room / "hosts.yml").write_text(json.dumps({"all": {"hosts": inventory}}, indent=2) + "\n")


SSH_CONFIG = """Host *
    User {user}
    IdentityFile "{key}"
    IdentitiesOnly yes
    UserKnownHostsFile "{known}"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
"""


# --- the other verbs ------------------------------------------------------------------------------


def down(client: docker.DockerClient, name: str) -> None:
    """Remove the set's containers (with their volumes), its network and how to reach them."""
    for container in _containers(client, name):
        _own(container.labels, str(container.name))
        container.remove(force=True, v=True)
    try:
        network = client.networks.get(name)
    except NotFound:
        pass
    else:
        _own(network.attrs["Labels"], name)
        network.remove()
    for file in ("known_hosts", "ssh_config", "hosts.yml"):
        (ROOM / name / file).unlink(missing_ok=True)
    if (ROOM / name).is_dir() and not any((ROOM / name).iterdir()):
        (ROOM / name).rmdir()


def restart(client: docker.DockerClient, name: str, hosts: Sequence[str], hard: bool) -> None:
    """Reboot hosts of the set at once, all when none is named; ``hard`` cuts the power instead of shutting down."""
    containers = [c for c in _containers(client, name) if not hosts or json.loads(c.labels[LABEL_HOST])[0] in hosts]
    if len(containers) < len(hosts):
        raise HostsError(f"the set '{name}' has no host of one of these names: {', '.join(hosts)}")
    for container in containers:
        if container.status == "running":
            container.kill("SIGKILL" if hard else "SIGRTMIN+3")
    for container in containers:
        container.wait(timeout=STOP_SECONDS)
        container.start()
    for container in containers:
        _wait_for_system(container)
        host, *addresses = json.loads(container.labels[LABEL_HOST])
        _wait_for_ssh(Host(host, tuple(addresses), ""))


def show(client: docker.DockerClient, name: str | None) -> None:
    """Print each host: set, name, addresses, state."""
    label = f"{LABEL_SET}={name}" if name else LABEL_SET
    for container in client.containers.list(all=True, filters={"label": label}):
        host, *addresses = json.loads(container.labels[LABEL_HOST])
        print(f"{container.labels[LABEL_SET]:<16} {host:<24} {','.join(addresses):<32} {container.status}")


def stop_engine_if_idle() -> None:
    """Stop the engine if it was started here and nothing of anybody runs in it any more."""
    answering = engine.connect()
    if answering is not None and not answering.containers.list(all=True) and engine.stop(ROOM):
        print("stopped the engine that was started here")


def _containers(client: docker.DockerClient, name: str) -> list[Container]:
    found = client.containers.list(all=True, filters={"label": f"{LABEL_SET}={name}"})
    return sorted(found, key=lambda container: str(container.name))


def inventory_hosts(source: str, suite: str) -> list[Host]:
    """The hosts an inventory names with a numeric ``ansible_host``, as a set would have them."""
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", source, "--list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    if listed.returncode != 0:
        raise HostsError(f"the inventory {source} can't be read:\n{listed.stderr.strip()}")
    hosts = json.loads(listed.stdout)["_meta"]["hostvars"]
    remote = {name: values for name, values in hosts.items() if values.get("ansible_connection") != "local"}
    return [Host(name, (_plain(values["ansible_host"]),), suite) for name, values in remote.items()]


def _plain(value: str | dict[str, str]) -> str:
    """A document's strings are never templates, and ansible-inventory marks each as such."""
    return value["__ansible_unsafe"] if isinstance(value, dict) else value


# --- the command line -----------------------------------------------------------------------------


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("engine", help="see that a container engine answers; install and start one when none does")
    verb.add_argument("--stop-if-idle", action="store_true", help="stop it, if it was started here and no host is left")
    verb = verbs.add_parser("image", help="make the images of these suites")
    verb.add_argument("suites", nargs="+", choices=image.SUITES)
    verb = verbs.add_parser("up", help="bring a set up; hosts that already are as asked are kept")
    verb.add_argument("set")
    verb.add_argument("hosts", nargs="*", metavar="name=address[,address][@suite]")
    verb.add_argument("--inventory", help="take the hosts from this inventory")
    verb.add_argument("--subnet", action="append", required=True, help="of the set's network; twice for IPv4 and IPv6")
    verb.add_argument("--suite", default="bookworm", choices=image.SUITES)
    verb.add_argument("--fuse", action=argparse.BooleanOptionalAction, default=False, help="give the hosts /dev/fuse")
    verb = verbs.add_parser("down", help="remove a set")
    verb.add_argument("set")
    verb = verbs.add_parser("restart", help="reboot hosts of a set, all at once, and wait for them")
    verb.add_argument("set")
    verb.add_argument("hosts", nargs="*")
    verb.add_argument("--hard", action="store_true", help="cut the power instead of shutting down")
    verb = verbs.add_parser("list", help="list hosts")
    verb.add_argument("set", nargs="?")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> None:
    if arguments.verb == "engine" and arguments.stop_if_idle:
        stop_engine_if_idle()
        return
    client = engine.client(ROOM)
    match arguments.verb:
        case "image":
            with _lock():
                for suite in arguments.suites:
                    print(image.ensure(client, suite))
        case "up":
            hosts = [Host.parse(text, arguments.suite) for text in arguments.hosts]
            if arguments.inventory:
                hosts += inventory_hosts(arguments.inventory, arguments.suite)
            up(client, Request(arguments.set, tuple(hosts), tuple(arguments.subnet), arguments.fuse))
            show(client, arguments.set)
        case "down":
            down(client, arguments.set)
        case "restart":
            restart(client, arguments.set, arguments.hosts, arguments.hard)
        case "list":
            show(client, arguments.set)


def main() -> int:
    """Run one verb; 1 with a message when it can't be done."""
    arguments = _arguments()
    try:
        _run(arguments)
    except (HostsError, engine.EngineError, image.ImageError, DockerException, subprocess.CalledProcessError) as error:
        print(f"hosts.py {arguments.verb}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
