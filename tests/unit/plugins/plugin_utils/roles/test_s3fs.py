# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mount has the unit that systemd knows its path by, and says of its storage what was asked and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import INFRASTRUCTURE, packages
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.s3fs import check, unit_of

UNIT = Path(__file__).resolve().parents[5] / "roles/s3fs/templates/etc/systemd/system/instance.mount.j2"
S3 = {"url": "https://store:9000", "bucket": "imaging", "client": "imaging_a", "secret": "s"}


def section(**given: Any) -> dict[str, str]:
    """What the unit's section [Mount] says, but for hardening."""
    (instance,) = check([{"name": "shared", "path": "/srv/shared", **given}])
    variables = {"instance": {"federation": "one", **instance}}
    loader = DataLoader()
    templar = Templar(loader, variables=variables)
    from ansible.template import trust_as_template

    text = str(templar.template(trust_as_template(UNIT.read_text())))
    lines = text.partition("[Mount]")[2].partition("\n\n")[0].splitlines()
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


def test_a_storage_comes_before_what_mounts_it() -> None:
    order = list(INFRASTRUCTURE)
    assert order.index("minio") < order.index("s3fs")
