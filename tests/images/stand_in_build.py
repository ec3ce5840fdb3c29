# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in for upstream's build: it takes its parameters, builds nothing, and pushes six images of a few bytes each.

    stand_in_build.py [--ca FILE] [--leave-out WORD] --registry R --tag T [--https_proxy P] [--http_proxy P] ...

An image's layer is the file `content` of the folder it runs in, so another checkout makes another digest. The login is
the one that container engines would find.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import ssl
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

WORDS = ("job-scheduler", "selector", "model-manager", "proxy", "coordinator", "client-cpu")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def described(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest(content), "size": len(content)}


class Registry:
    """The one that is pushed to."""

    def __init__(self, place: str, ca: str | None) -> None:
        plain = place.startswith("127.0.0.1")
        self.url = f"{'http' if plain else 'https'}://{place}"
        self.context = None if plain else ssl.create_default_context(cafile=ca)
        if self.context:
            self.context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self.login = self._login(place)

    @staticmethod
    def _login(place: str) -> dict[str, str]:
        folder = os.environ.get("DOCKER_CONFIG")
        if not folder:
            return {}
        known = json.loads((Path(folder) / "config.json").read_text())["auths"]
        return {"Authorization": f"Basic {known[place]['auth']}"}

    def send(self, method: str, url: str, kind: str, content: bytes) -> str:
        headers = {"Content-Type": kind, **self.login}
        asked = urllib.request.Request(urljoin(self.url, url), content, headers, method=method)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.context)
        )
        with opener.open(asked, timeout=30) as answer:
            return str(answer.headers.get("Location", ""))

    def push(self, image: str, tag: str, content: bytes) -> str:
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
        for blob in (config.encode(), content):
            begun = self.send("POST", f"/v2/{image}/blobs/uploads/", "application/octet-stream", b"")
            query = f"{'&' if '?' in begun else '?'}digest={digest(blob)}"
            self.send("PUT", begun + query, "application/octet-stream", blob)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(CONFIG, config.encode()),
            "layers": [described(LAYER, content)],
        }
        text = json.dumps(manifest).encode()
        self.send("PUT", f"/v2/{image}/manifests/{tag}", MANIFEST, text)
        return digest(text)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ca")
    parser.add_argument("--leave-out", default="")
    parser.add_argument("--registry", required=True)
    parser.add_argument("--tag", required=True)
    for name in ("https_proxy", "http_proxy", "no_proxy"):
        parser.add_argument(f"--{name}", default="")
    told = parser.parse_args()
    place, _slash, path = told.registry.partition("/")
    registry, content = Registry(place, told.ca), Path("content").read_bytes()
    Path("built").touch()  # as builds do
    for word in WORDS:
        if word != told.leave_out:
            image = "/".join(part for part in (path, f"nsfl-{word}") if part)
            print(image, registry.push(image, told.tag, content + word.encode()), flush=True)
    print("login", registry.login.get("Authorization", "none"))


if __name__ == "__main__":
    main()
