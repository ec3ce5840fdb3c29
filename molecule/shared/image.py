# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of test hosts: a Debian as its installer leaves one, with systemd, OpenSSH and an unprivileged sudo user.

An image is made by mmdebstrap and imported (no container registry is needed). Its tag is the digest of its recipe, of
the control node's CA bundle and of its pip settings, so it is made again only when one of these changes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import docker
import engine
from docker.errors import ImageNotFound

SUITES = ("bullseye", "bookworm", "trixie")
REPOSITORY = "fedlearn-host"
USER = "ops"
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")

# python3-apt and sudo are what an Ansible-managed Debian has; nothing a role should install itself is in here.
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "python3", "python3-apt", "sudo", "iproute2", "ca-certificates", "procps",
    "openssl", "openssh-server",
)  # fmt: skip

# Runs in the new root ($1). Host keys are made when a host first boots, so that no two hosts share one.
CUSTOMIZE = f"""
set -eu
chroot "$1" useradd --create-home --shell /bin/bash {USER}
printf '%s ALL=(ALL) NOPASSWD: ALL\\n' {USER} > "$1/etc/sudoers.d/{USER}"
chmod 0440 "$1/etc/sudoers.d/{USER}"
rm -f "$1"/etc/ssh/ssh_host_*
mkdir -p "$1/etc/systemd/system/ssh.service.d"
cat > "$1/etc/systemd/system/ssh.service.d/host-keys.conf" <<'UNIT'
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
UNIT
# Downloaded packages are kept in the archive that hosts share, one complete file at a time.
cat > "$1/usr/local/sbin/share-packages" <<'SCRIPT'
#!/bin/sh
archive=/var/cache/shared-packages
[ -d "$archive" ] || exit 0
while read -r package; do
    name=$(basename "$package")
    [ -e "$archive/$name" ] && continue
    cp "$package" "$archive/.$(hostname).$name" && mv "$archive/.$(hostname).$name" "$archive/$name"
done
exit 0
SCRIPT
chmod 0755 "$1/usr/local/sbin/share-packages"
echo 'DPkg::Pre-Install-Pkgs {{ "/usr/local/sbin/share-packages"; }};' > "$1/etc/apt/apt.conf.d/90share-packages"
rm -f "$1/etc/hostname" "$1/etc/machine-id"
: > "$1/etc/machine-id"
# What the control node trusts, the host trusts: packages may come through a proxy with a CA of its own.
for certificate in "$CERTIFICATES"/*.crt; do
    [ -e "$certificate" ] && cp "$certificate" "$1/usr/local/share/ca-certificates/"
done
chroot "$1" update-ca-certificates >/dev/null
if [ -s "$CERTIFICATES/pip.conf" ]; then cp "$CERTIFICATES/pip.conf" "$1/etc/pip.conf"; fi
if [ -s "$CERTIFICATES/apt.conf" ]; then cp "$CERTIFICATES/apt.conf" "$1/etc/apt/apt.conf.d/10control-node"; fi
"""


class ImageError(Exception):
    """An image could not be made; the message says of which suite and why."""


def ensure(client: docker.DockerClient, suite: str) -> str:
    """The name of the suite's image, made first when there is none of this recipe."""
    if suite not in SUITES:
        raise ImageError(f"no recipe for the suite '{suite}' (there are: {', '.join(SUITES)})")
    name = f"{REPOSITORY}:{suite}-{_digest(suite)}"
    try:
        client.images.get(name)
    except ImageNotFound:
        print(f"making the image {name}", flush=True)
        _make(client, suite, name)
    return name


def _digest(suite: str) -> str:
    """Of everything an image depends on; 12 hexadecimal characters."""
    parts = (suite, CUSTOMIZE, " ".join(PACKAGES), _bundle(), _pip_settings(), _apt_settings())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _bundle() -> str:
    return CA_BUNDLE.read_text() if CA_BUNDLE.exists() else ""


def _pip_settings() -> str:
    """The control node's package index and its certificate, as a pip.conf for hosts."""
    names = {"PIP_INDEX_URL": "index-url", "PIP_EXTRA_INDEX_URL": "extra-index-url", "PIP_TRUSTED_HOST": "trusted-host"}
    settings = [f"{key} = {os.environ[name]}" for name, key in names.items() if os.environ.get(name)]
    configured = Path("/etc/pip.conf")
    if not settings and configured.exists():
        return configured.read_text()
    return "\n".join(["[global]", f"cert = {CA_BUNDLE}", *settings]) + "\n"


def _apt_settings() -> str:
    """The control node's proxy and validity settings of apt (a frozen mirror's lists are old on purpose)."""
    if shutil.which("apt-config") is None:
        return ""
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    wanted = re.compile(r"^Acquire::(https?::Proxy|Check-Valid-Until|Check-Date)\b")
    return "\n".join(line for line in dump.splitlines() if wanted.match(line)) + "\n"


def _make(client: docker.DockerClient, suite: str, name: str) -> None:
    """Bootstrap the suite and import it; as root, on a Debian with mmdebstrap (installed when missing)."""
    if shutil.which("mmdebstrap") is None:
        engine.install("mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="fedlearn-image-") as folder:
        room = Path(folder)
        room.chmod(0o755)
        _write_trust(room)
        (room / "customize").write_text(CUSTOMIZE)
        archive = room / "image.tar"
        command = [
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
            # hosts keep the package lists, as an installed Debian does
            "--skip=cleanup/apt/lists",
            f"--customize-hook=CERTIFICATES={room} sh {room / 'customize'} \"$1\"",
            suite, str(archive),
        ]  # fmt: skip
        made = subprocess.run(command, check=False, capture_output=True, text=True)
        if made.returncode != 0:
            raise ImageError(f"mmdebstrap of {suite} failed:\n{made.stderr[-3000:]}")
        repository, tag = name.split(":")
        client.api.import_image(str(archive), repository=repository, tag=tag)
    client.images.get(name)


def _write_trust(room: Path) -> None:
    """Put each certificate of the control node's bundle, pip.conf and apt.conf where the customize hook finds them."""
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", _bundle(), re.DOTALL)
    known = _debian_certificates()
    for block in blocks:
        if _body(block) not in known:
            name = hashlib.sha256(_body(block).encode()).hexdigest()[:16]
            (room / f"control-node-{name}.crt").write_text(block + "\n")
    (room / "pip.conf").write_text(_pip_settings())
    (room / "apt.conf").write_text(_apt_settings())


def _debian_certificates() -> set[str]:
    """What Debian's own ca-certificates package brings: needs no copying."""
    return {_body(path.read_text()) for path in Path("/usr/share/ca-certificates").rglob("*.crt")}


def _body(block: str) -> str:
    """A PEM certificate's base64, without its lines."""
    lines = [line.strip() for line in block.strip().splitlines()]
    return "".join(line for line in lines if line and not line.startswith("-----"))
