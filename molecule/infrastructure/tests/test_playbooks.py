# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's playbooks on all infrastructure roles: site, rotate, backup of a part, restore on new hosts."""

from __future__ import annotations

import json
import re
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from standing_demo import recap

NOTHING = {"localhost": 0, "store": 0, "front": 0}
"""What a run changes that finds all as it is to be."""
CACHE = "/etc/fedlearn/base/pki/cache"
SERVED = {
    ("store", 5432): "-starttls postgres",
    ("store", 9000): "",
    ("store", 23456): f"-cert {CACHE}/cert.pem -key {CACHE}/key.pem",
    ("front", 27017): "",
    ("front", 5000): "",
    ("front", 8443): "",
}
"""Where certificates are shown, and what else openssl is told to see one."""
RESTARTED = {"base-documents", "base-images"}
"""What reads certificates at its start only."""

PUSH = """
import base64, hashlib, json, ssl, sys, urllib.request
url, login, content = json.load(sys.stdin)
ca = "/etc/fedlearn/base/pki/host/ca.pem"
kind = "application/vnd.oci.image.manifest.v1+json"
def ask(method, path, body=b"", kind="application/octet-stream"):
    headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode(), "Content-Type": kind}
    asked = urllib.request.Request(path if "://" in path else url + path, body or None, headers, method=method)
    return urllib.request.urlopen(asked, context=ssl.create_default_context(cafile=ca))
blob = content.encode()
digest = "sha256:" + hashlib.sha256(blob).hexdigest()
place = ask("POST", "/v2/one/image/blobs/uploads/").headers["Location"]
ask("PUT", place + ("&" if "?" in place else "?") + "digest=" + digest, blob)
part = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": len(blob)}
image = {"schemaVersion": 2, "mediaType": kind, "config": part, "layers": [part]}
ask("PUT", "/v2/one/image/manifests/v1", json.dumps(image).encode(), kind)
"""
"""Somebody who pushes an image of one layer."""

DOCUMENTS = """
import hashlib, json, pymongo, sys
address, password, added = json.load(sys.stdin)
ca = "/etc/fedlearn/base/pki/host/ca.pem"
login = {"username": "jobs", "password": password, "authSource": "jobs", "authMechanism": "SCRAM-SHA-256"}
there = pymongo.MongoClient(address, 27017, tls=True, tlsCAFile=ca, directConnection=True, **login)
if added:
    there.jobs.kept.drop()
    there.jobs.kept.insert_many([{"_id": number, "text": "job %d" % number} for number in range(added)])
found = sorted(json.dumps(one, sort_keys=True) for one in there.jobs.kept.find())
print(len(found), hashlib.sha256("".join(found).encode()).hexdigest())
"""
"""Somebody who adds documents, and tells the sum of those there are."""


def program(hosts: Any, host: str, text: str, *given: Any) -> str:
    """What a Python program prints that is told something on its standard input."""
    return str(hosts.run(host, f"printf %s {quote(json.dumps(given))} | python3 -c {quote(text)}"))


def sql(hosts: Any, command: str) -> str:
    psql = "psql -XAt -h /run/fedlearn-base-databases -U postgres -v ON_ERROR_STOP=1"
    return str(hosts.run("store", f"{psql} -c {quote(command)} survey"))


def cache(hosts: Any, script: str) -> str:
    """What a script prints that asks Redis by the command `cli`."""
    tls = f"--tls --cert {CACHE}/cert.pem --key {CACHE}/key.pem --cacert {CACHE}/ca.pem"
    asking = f'cli() {{ redis-cli -h {hosts.addresses["store"]} -p 23456 {tls} "$@"; }}\n'
    return str(hosts.run("store", asking + script))


def fill(hosts: Any) -> None:
    """Something of one's own in each role that keeps data."""
    secrets = hosts.secrets()
    rows = "SELECT number, md5(number::text) FROM generate_series(1, 5000) AS number"
    sql(hosts, f"DROP TABLE IF EXISTS kept; CREATE TABLE kept AS {rows}")
    hosts.run(
        "front", "cd /srv/imaging && mkdir -p kept && seq 9000 >kept/text && head -c 9000000 /dev/urandom >kept/bytes"
    )
    cache(hosts, "cli eval \"for i = 1, 500 do redis.call('set', 'kept:' .. i, i * i) end\" 0")
    program(hosts, "store", PUSH, f"https://{hosts.addresses['front']}:5000", f"ci:{secrets['images']}", "a layer")
    program(hosts, "front", DOCUMENTS, hosts.addresses["front"], secrets["jobs"], 300)


def sums(hosts: Any) -> dict[str, str]:
    """By role, the sum of all it keeps for others."""
    images = (
        "cd /var/lib/fedlearn-base-images/docker/registry/v2 && find repositories blobs -type f ! -path '*/_uploads/*'"
    )
    return {
        "postgresql": sql(hosts, "SELECT count(*), md5(string_agg(kept::text, ',' ORDER BY number)) FROM kept"),
        "redis": cache(hosts, "cli --scan --pattern 'kept:*' | sort >/run/kept; cli mget $(cat /run/kept) | sha256sum"),
        "minio": hosts.run("front", "cd /srv/imaging && find kept -type f -exec sha256sum {} + | sort"),
        "registry": hosts.run("front", images + " -exec sha256sum {} + | sort"),
        "mongodb": program(hosts, "front", DOCUMENTS, hosts.addresses["front"], hosts.secrets()["jobs"], 0),
    }


def shown(hosts: Any) -> dict[tuple[str, int], str]:
    """By host and port, the number of the certificate that is shown there."""
    found = {}
    for (host, port), more in SERVED.items():
        asked = f"openssl s_client {more} -connect {hosts.addresses[host]}:{port} </dev/null 2>/dev/null"
        found[host, port] = hosts.run(host, f"{asked} | openssl x509 -noout -serial")
    return found


def changed(done: Any) -> dict[str, int]:
    """How many tasks of a run changed something, by host."""
    return {name: row["changed"] for name, row in recap(done.output).items()}


@contextmanager
def asked_all_along(hosts: Any, folder: Path) -> Iterator[list[str]]:
    """Somebody who comes in by the entrance, and so to MinIO, again and again; each answer, or why there was none."""
    ca, ends, answers = folder / "ca.pem", threading.Event(), list[str]()
    ca.write_text(hosts.run("front", "cat /etc/fedlearn/base/pki/host/ca.pem"))
    url = f"https://{hosts.addresses['front']}:8443/minio/health/live"

    def ask() -> None:
        while not ends.wait(0.1):
            try:
                context = ssl.create_default_context(cafile=str(ca))
                with urllib.request.urlopen(url, context=context, timeout=20) as answer:
                    answers.append(str(answer.status))
            except OSError as error:
                answers.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        ends.set()
        thread.join()


def test_site_finds_nothing_to_do_where_the_roles_were_called_one_by_one(hosts: Any) -> None:
    before = (hosts.files(), hosts.processes())
    done = hosts.site()
    assert changed(done) == NOTHING
    assert (hosts.files(), hosts.processes()) == before


def test_every_certificate_is_replaced_and_who_comes_meanwhile_is_answered(hosts: Any, tmp_path: Path) -> None:
    before = shown(hosts)
    with asked_all_along(hosts, tmp_path) as answers:
        done = hosts.playbook("rotate", "-e", "what=certificates")
    assert done.returncode == 0, done.output[-6000:]
    assert (set(answers), len(answers) > 50) == ({"200"}, True)
    after = shown(hosts)
    assert {place: after[place] != before[place] for place in before} == dict.fromkeys(before, True)
    told = set(re.findall(r"(base-[a-z]+) was restarted, and back after [0-9.]+ s", done.output))
    assert told == RESTARTED
    assert changed(hosts.site()) == NOTHING


def test_new_hosts_get_all_data_back(hosts: Any, tmp_path: Path) -> None:
    """A backup of each host by itself; then both are destroyed, and others take their places."""
    fill(hosts)
    before = sums(hosts)
    assert all(before.values())
    pair = hosts.run("store", "age-keygen 2>/dev/null").split()
    hosts.secrets(backup=pair[-1])
    to = ["-e", f"fedlearn_backup_directory={tmp_path}", "-e", f"fedlearn_backup_recipient={pair[-2]}"]
    for host, stack, roles in (
        ("front", ["-e", "stack=base"], "mongodb registry"),
        ("store", [], "minio postgresql redis"),
    ):
        assert not (tmp_path / host).exists()
        done = hosts.playbook("backup", "--limit", host, *stack, *to)
        assert done.returncode == 0, done.output[-6000:]
        assert sorted(path.name.partition("-")[0] for path in tmp_path.glob(f"{host}/*")) == roles.split()
    assert {path.read_bytes()[:21] for path in tmp_path.glob("*/*")} == {b"age-encryption.org/v1"}

    hosts.renew()
    hosts.site()
    assert "kept" not in hosts.run("front", "ls /srv/imaging")
    of = ["-e", f"from={tmp_path}", "-e", "fedlearn_backup_secret=backup"]
    for host, stack in (("store", ["-e", "stack=base"]), ("front", [])):
        done = hosts.playbook("restore", "--limit", host, *stack, *of)
        assert done.returncode == 0, done.output[-6000:]
    hosts.become_well()
    assert sums(hosts) == before
    assert changed(hosts.site()) == NOTHING
