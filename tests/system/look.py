# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on the host, as root: prints as JSON all that managed_service could have changed there."""

import grp
import hashlib
import json
import pathlib
import pwd
import socket
import subprocess

ROOTS = (
    "etc/fedlearn",
    "var/lib/fedlearn",
    "etc/systemd/system/fedlearn-*",
    "etc/systemd/system/*.wants/fedlearn-*",
    "run/systemd/system/fedlearn-*",
    "etc/sysusers.d/fedlearn-*",
)
PROPERTIES = ("ActiveState", "UnitFileState", "MainPID", "NeedDaemonReload", "InvocationID")


def matching(pattern):
    return sorted(pathlib.Path("/").glob(pattern))


def below(root):
    yield root
    if root.is_dir() and not root.is_symlink():
        for path in root.iterdir():
            yield from below(path)


def entry(path):
    status = path.lstat()
    content = str(path.readlink()) if path.is_symlink() else ""
    if path.is_file() and not path.is_symlink():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    owner = f"{pwd.getpwuid(status.st_uid).pw_name}:{grp.getgrgid(status.st_gid).gr_name}"
    return {
        "kind": "link" if path.is_symlink() else "directory" if path.is_dir() else "file",
        "content": content,
        "mode": f"{status.st_mode & 0o7777:04o}",
        "owner": owner,
        "modified": 0 if path.is_dir() else status.st_mtime_ns,
    }


def contents(pattern):
    return {str(path): json.loads(path.read_text()) for path in matching(pattern)}


def show(unit):
    argv = ["systemctl", "show", "--property", ",".join(PROPERTIES), unit]
    lines = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def answer(config):
    port = json.loads(config.read_text().split("}")[0] + "}")["port"]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: connection.recv(4096), b"")).decode().partition("\r\n\r\n")[2]
    except (OSError, ValueError):
        return None


roots = [path for pattern in ROOTS for path in matching(pattern)]
listed = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "fedlearn-*"]
loaded = subprocess.run(listed, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n")
units = {path.name for path in matching(ROOTS[2])} | {line.split()[0] for line in loaded if line}
configs = matching("etc/fedlearn/*/*/thing.conf")
print(
    json.dumps(
        {
            "files": {str(path): entry(path) for root in roots for path in below(root)},
            "units": {unit: show(unit) for unit in sorted(units)},
            "owned": contents("var/lib/fedlearn/*/owned.json"),
            "records": contents("var/lib/fedlearn/*/services/*.json"),
            "answers": {path.parent.name: answer(path) for path in configs},
            "data": [str(path) for path in matching("var/lib/private/fedlearn-*") + matching("var/lib/fedlearn-*")],
        }
    )
)
