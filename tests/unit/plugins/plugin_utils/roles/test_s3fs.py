# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mount has the unit that systemd knows its path by, and says of its storage what was asked and no more."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.stages import STAGES
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import INFRASTRUCTURE, packages
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.s3fs import check, unit_of

TEMPLATES = Path(__file__).resolve().parents[5] / "roles/s3fs/templates/etc"
UNIT = TEMPLATES / "systemd/system/instance.mount.j2"
STORAGE = TEMPLATES / "fedlearn/federation/instance/storage.sh.j2"
S3 = {"url": "https://store:9000", "bucket": "imaging", "client": "imaging_a", "secret": "s"}


def rendered(template: Path, **given: Any) -> str:
    """What a template of the role says of a mount."""
    (instance,) = check([{"name": "shared", "path": "/srv/shared", **given}])
    variables = {"instance": {"federation": "one", **instance}}
    return str(Templar(DataLoader(), variables=variables).template(trust_as_template(template.read_text())))


def section(**given: Any) -> dict[str, str]:
    """What the unit's section [Mount] says, but for hardening."""
    lines = rendered(UNIT, **given).partition("[Mount]")[2].partition("\n\n")[0].splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


# as systemd-escape --path --suffix=mount says
@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/srv/shared", "srv-shared.mount"),
        ("/srv/shared-data", r"srv-shared\x2ddata.mount"),
        ("/srv/deep/read.only", "srv-deep-read.only.mount"),
        ("/.hidden/a_b", r"\x2ehidden-a_b.mount"),
    ],
)
def test_a_path_has_one_unit(path: str, unit: str) -> None:
    assert unit_of(path) == unit


def test_a_bucket_comes_by_s3fs() -> None:
    told = section(s3={**S3, "gid": 7, "ca": "/ca.pem"}, options=["retries=9", "use_sse"])
    assert (told["What"], told["Type"], told["Environment"]) == ("imaging", "fuse.s3fs", "CURL_CA_BUNDLE=/ca.pem")
    assert told["Options"].split(",") == [
        "_netdev",
        "nofail",
        "nosuid",
        "nodev",
        "allow_other",
        "use_path_request_style",
        "url=https://store:9000",
        "passwd_file=/etc/fedlearn/one/shared/passwd",
        "uid=0",
        "gid=7",
        "umask=0027",
        "connect_timeout=10",
        "readwrite_timeout=30",
        "tmpdir=/var/tmp",
        "retries=9",
        "use_sse",
    ]


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ("nodev\tproc\n\text4\nnodev\tnfs4\n", ""),
        ("nodev\tproc\n\text4\nnodev\tnfsd\n", "store:/imaging can't be mounted: this host's kernel has no NFS"),
    ],
    ids=["NFS", "none"],
)
def test_a_kernel_without_nfs_is_told_before_anything_changes(tmp_path: Path, known: str, told: str) -> None:
    filesystems, programs = tmp_path / "filesystems", tmp_path / "bin"
    filesystems.write_text(known)
    programs.mkdir()
    for name in ("findmnt", "modprobe"):
        (programs / name).write_text("#!/bin/sh\nexit 1\n")
        (programs / name).chmod(0o755)
    script = rendered(STORAGE, nfs="store:/imaging", path=str(tmp_path / "shared"))
    assert script.count("/proc/filesystems") == 1
    done = subprocess.run(
        ["/bin/sh", "-c", script.replace("/proc/filesystems", str(filesystems)), "storage.sh", "try"],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.startswith(told), done.stderr) == (1 if told else 0, True, "")


def test_an_export_comes_by_nfs() -> None:
    told = section(nfs="store:/imaging", read_only=True, options=["vers=4.2"])
    assert (told["What"], told["Type"]) == ("store:/imaging", "nfs")
    assert told["Options"] == "_netdev,nofail,nosuid,nodev,ro,vers=4.2"
    assert "Environment" not in told


def test_a_folder_is_bound() -> None:
    told = section(directory="/srv/source")
    assert (told["What"], told["Type"], told["Options"]) == ("/srv/source", "none", "bind")


def test_only_what_is_mounted_asks_for_packages() -> None:
    def asked(**source: Any) -> list[Any]:
        return packages(["s3fs"], {"s3fs_mounts": [{"name": "shared", **source}]})["names"]

    assert asked(s3=S3) == ["s3fs"]
    assert asked(nfs="store:/imaging") == ["nfs-common"]
    assert asked(directory="/srv/source") == []
    assert asked(s3=S3, state="absent") == []


def test_a_storage_comes_before_what_mounts_it_on_whichever_host() -> None:
    assert STAGES.index(INFRASTRUCTURE["minio"]) < STAGES.index(INFRASTRUCTURE["s3fs"])
