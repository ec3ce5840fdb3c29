# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A worker of others, and an attacker, as small as they can be: runs on a test host, in the workers' environment."""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import msgpack
import requests
from nacl.signing import SigningKey


class Client:
    """Somebody with a key, known to the server or not."""

    def __init__(self, url: str, ca: str, key: str) -> None:
        self.url, self.key = url, SigningKey(bytes.fromhex(key))
        self.public = self.key.verify_key.encode().hex()
        self.session = requests.Session()
        self.session.verify = ca

    def post(self, path: str, **more: Any) -> list[Any]:
        answer = self.session.post(f"{self.url}{path}", timeout=86400, **more)
        return [answer.status_code, answer.text[:200]]

    def register(self, signer: str = "") -> list[Any]:
        """Registers; with ``signer`` another key signs."""
        key = SigningKey(bytes.fromhex(signer)) if signer else self.key
        signed = key.sign(b"Please authenticate me").hex()
        return self.post("/register_worker", json={"public_key_str": self.public, "signed_phrase": signed})

    def phrase(self) -> bytes:
        return self.session.get(f"{self.url}/challenge_phrase/{self.public}", timeout=60).content

    def proof(self) -> dict[str, str]:
        return {"worker_id": self.public, "signed_phrase": self.key.sign(self.phrase()).hex()}

    def poll(self, version: Any, proof: dict[str, str] | None = None) -> list[Any]:
        """Asks to be told of a model that isn't this one."""
        asked = {**(proof or self.proof()), "last_worker_model_version": version}
        return self.post("/notify_me_if_gm_version_updated", json=asked)

    def disturbed_poll(self, version: Any) -> list[Any]:
        """Polls after somebody without its key has asked in its name."""
        proof, other = self.proof(), SigningKey.generate().sign(self.phrase()).hex()
        self.post("/return_global_model", json={"worker_id": self.public, "signed_phrase": other})
        return self.poll(version, proof)

    def repeated_poll(self, version: Any) -> list[Any]:
        """Polls by what it polled by."""
        proof = self.proof()
        self.poll(version, proof)
        return self.poll(version, proof)

    def hold(self) -> list[Any]:
        """Asks to be told of a model after the one there is."""
        packed = self.session.post(f"{self.url}/return_global_model", json=self.proof(), timeout=60).content
        return self.poll(msgpack.unpackb(zlib.decompress(packed))["global_model_version"])

    def update(self, content: bytes, signed: bytes = b"") -> list[Any]:
        """Sends an update; with ``signed`` the signature is of something else."""
        signature = self.key.sign(hashlib.sha256(signed or content).digest()).hex()
        files = {"worker_model_update": zlib.compress(content), "signed_phrase": signature}
        return self.post(f"/receive_worker_update/{self.public}", files=files)

    def packed_zeros(self, megabytes: int) -> list[Any]:
        """Sends zeros that are so many megabytes when packed, and a thousand times that unpacked."""
        packing, zeros = zlib.compressobj(9), bytes(1 << 24)
        begin = packing.compress(zeros) + packing.flush(zlib.Z_FULL_FLUSH)
        again = packing.compress(zeros) + packing.flush(zlib.Z_FULL_FLUSH)  # means the same wherever it stands
        packed = begin + again * (megabytes * 1_000_000 // len(again))
        # by its key it says that it is another one
        files = {"worker_model_update": packed, "signed_phrase": self.key.sign(bytes(32)).hex()}
        return self.post(f"/receive_worker_update/{self.public}", files=files)


def main() -> None:
    """``url ca key verb arguments``, in JSON on standard input; the answer is JSON, too."""
    asked = json.loads(Path(sys.argv[1]).read_text())
    client = Client(asked["url"], asked["ca"], asked["key"])
    answers = []
    for verb, *arguments in asked["calls"]:
        given = [
            bytes.fromhex(one[4:]) if isinstance(one, str) and one.startswith("hex:") else one for one in arguments
        ]
        answers.append(getattr(client, verb)(*given))
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main()
