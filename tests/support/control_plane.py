# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Kubernetes control plane on loopback, whose nodes are simulated: control_plane.py run FOLDER | up FOLDER.

API server, controller manager, scheduler and etcd are the programs themselves (tests/tools/kubernetes.py builds them);
kwok says of pods on the node ``fake-1`` that they run, and runs none. In FOLDER lie ``admin.kubeconfig``, the CA that
makes others, and logs. It lives as long as its folder: who removes that ends it.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import signal
import socket
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

TOOL = Path(__file__).resolve().parents[1] / "tools" / "kubernetes.py"
READY_SECONDS = 90
NODE = "fake-1"


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has, all different."""
    sockets = [socket.socket() for _number in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


class Authority:
    """The cluster's CA, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.certificate_file, self.key_file = folder / "ca.pem", folder / "ca.key"

    def create(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test cluster")])
        made = self._builder(name, name, key.public_key()).add_extension(x509.BasicConstraints(True, None), True)
        self.key_file.write_bytes(_pem(key))
        self.certificate_file.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    @staticmethod
    def _builder(
        subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int = 30
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        begin = now - datetime.timedelta(days=60)
        return x509.CertificateBuilder(
            issuer, subject, key, x509.random_serial_number(), begin, now + datetime.timedelta(days=days)
        )

    def issue(self, name: str, group: str = "", days: int = 30) -> tuple[bytes, bytes]:
        """A certificate for the API server, or of a user in a group, and its key; ``days`` below 0 has expired."""
        authority = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
        signer = serialization.load_pem_private_key(self.key_file.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        named = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        named += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
        subject = x509.Name(named)
        addresses = x509.SubjectAlternativeName([x509.DNSName("kubernetes"), x509.IPAddress(ip_address("127.0.0.1"))])
        made = self._builder(subject, authority.subject, key.public_key(), days).add_extension(addresses, False)
        return made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), _pem(key)


AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Metadata",
            "verbs": ["create", "update", "patch", "delete"],
            "resources": [
                {"resources": ["secrets", "pods", "pods/status"]},
                {"group": "apps", "resources": ["deployments"]},
            ],
        },
        {"level": "None"},
    ],
}
"""What the API server writes down: who changes passwords, deployments and their pods."""


class ControlPlane:
    """One in a folder, as who starts it and as who uses it sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.admin = folder / "admin.kubeconfig"
        self.children: list[subprocess.Popen[bytes]] = []

    # -- using

    def kubeconfig(self, name: str, user: str, group: str = "", days: int = 30, server: str = "") -> Path:
        """A kubeconfig of a user, who has no rights but those that the user or the group is given."""
        certificate, key = self.authority.issue(user, group, days)
        encoded = {
            word: base64.b64encode(value).decode()
            for word, value in {
                "certificate-authority-data": self.authority.certificate_file.read_bytes(),
                "client-certificate-data": certificate,
                "client-key-data": key,
            }.items()
        }
        authority = encoded.pop("certificate-authority-data")
        address = server or (self.folder / "server").read_text()
        values = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": address, "certificate-authority-data": authority}}],
            "users": [{"name": user, "user": encoded}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        }
        path = self.folder / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(values))
        return path

    def kubectl(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """What kubectl, the program itself, says as the administrator."""
        command = [str(self._programs() / "kubectl"), f"--kubeconfig={self.admin}", *arguments]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False)

    def audited(self) -> list[dict[str, Any]]:
        """What the API server wrote down of changes, dry runs apart."""
        lines = (json.loads(line) for line in (self.folder / "audit.log").read_text().splitlines())
        return [line for line in lines if "dryRun" not in line["requestURI"] and line["responseStatus"]["code"] < 300]

    def proxy(self, namespace: str, account: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        """A kubectl proxy by a token of an account, begun with these arguments."""
        token = self.kubectl("create", "token", account, "-n", namespace).stdout.strip()
        server, ca = (self.folder / "server").read_text(), self.authority.certificate_file
        known = [f"--server={server}", f"--certificate-authority={ca}", f"--token={token}", "--kubeconfig=/dev/null"]
        with (self.folder / "proxy.log").open("wb") as log:
            command = [str(self._programs() / "kubectl"), *known, *arguments]
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    # -- running

    @staticmethod
    def _programs() -> Path:
        done = subprocess.run([sys.executable, str(TOOL), "--have"], capture_output=True, text=True, check=True)
        return Path(done.stdout.strip())

    def _start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [str(self._programs() / name), *arguments]
            self.children.append(subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    def run(self) -> None:
        """Until the folder is gone, or this is told to end."""
        signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(0))
        try:
            self._begin()
            while (self.folder / "server").exists() and not any(each.poll() is not None for each in self.children):
                time.sleep(1)
        finally:
            for each in reversed(self.children):
                each.terminate()
            for each in self.children:
                each.wait()

    def _begin(self) -> None:
        etcd, peer, secure, manager, scheduler, kwok = _free_ports(6)
        folder = str(self.folder)
        self.authority.create()
        certificate, key = self.authority.issue("kube-apiserver")
        (self.folder / "server.pem").write_bytes(certificate)
        (self.folder / "server.key").write_bytes(key)
        (self.folder / "accounts.key").write_bytes(_pem(rsa.generate_private_key(65537, 2048)))
        (self.folder / "server").write_text(f"https://127.0.0.1:{secure}")
        self._start(
            "etcd",
            f"--data-dir={folder}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )
        (self.folder / "audit.json").write_text(json.dumps(AUDIT))
        self._start(
            "kube-apiserver",
            f"--audit-policy-file={folder}/audit.json",
            f"--audit-log-path={folder}/audit.log",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={secure}",
            f"--tls-cert-file={folder}/server.pem",
            f"--tls-private-key-file={folder}/server.key",
            f"--client-ca-file={folder}/ca.pem",
            f"--service-account-key-file={folder}/accounts.key",
            f"--service-account-signing-key-file={folder}/accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged",
            "--endpoint-reconciler-type=none",
        )
        self.kubeconfig("admin", "admin", "system:masters")
        self._wait(lambda: self.kubectl("get", "--raw=/readyz").stdout == "ok", "the API server")
        told = f"--kubeconfig={self.admin}"
        self._start(
            "kube-controller-manager",
            told,
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={manager}",
            f"--root-ca-file={folder}/ca.pem",
            f"--service-account-private-key-file={folder}/accounts.key",
            "--use-service-account-credentials",
        )
        self._start(
            "kube-scheduler", told, "--leader-elect=false", "--bind-address=127.0.0.1", f"--secure-port={scheduler}"
        )
        self._start(
            "kwok",
            told,
            "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            "--node-lease-duration-seconds=40",
            f"--server-address=127.0.0.1:{kwok}",
        )
        self.node(NODE)
        ready = ("get", "node", NODE, '-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}')
        self._wait(lambda: self.kubectl(*ready).stdout == "True", "the node")
        self._wait(
            lambda: self.kubectl("-n", "default", "get", "serviceaccount", "default").returncode == 0, "accounts"
        )
        (self.folder / "ready").touch()

    def node(self, name: str) -> None:
        """A simulated node."""
        capacity = {"cpu": "32", "memory": "64Gi", "pods": "500"}
        metadata = {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        }
        status = {"capacity": capacity, "allocatable": capacity}
        made = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}
        self._wait(lambda: self.kubectl("apply", "-f", "-", given=json.dumps(made)).returncode == 0, "a node's object")

    def _wait(self, there: object, what: str) -> None:
        end = time.monotonic() + READY_SECONDS
        while not there():  # type: ignore[operator]
            if time.monotonic() > end:
                raise TimeoutError(f"{what} isn't there after {READY_SECONDS} s: see the logs in {self.folder}")
            time.sleep(0.3)


def up(folder: Path) -> None:
    """Start one that goes on by itself, and wait for it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.log").open("wb") as log:
        command = [sys.executable, __file__, "run", str(folder)]
        child = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, env={**os.environ}
        )
    while not (folder / "ready").exists():
        if child.poll() is not None:
            sys.exit(f"control_plane.py: it ended: {(folder / 'run.log').read_text()[-2000:]}")
        time.sleep(0.3)


if __name__ == "__main__":
    chosen = Path(sys.argv[2]).resolve()
    if sys.argv[1] == "up":
        up(chosen)
    else:
        ControlPlane(chosen).run()
