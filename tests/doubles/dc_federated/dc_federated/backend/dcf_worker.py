# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The double's worker."""

import hashlib
import zlib

import msgpack
import requests
from nacl.encoding import HexEncoder
from nacl.signing import SigningKey

UPDATED = b"Global model has been updated"


class DCFWorker:
    """Takes what the library's takes."""

    def __init__(
        self,
        server_protocol,
        server_host_ip,
        server_port,
        global_model_version_changed_callback,
        get_worker_version_of_global_model,
        private_key_file,
    ):
        self.url = f"{server_protocol}://{server_host_ip}:{server_port}"
        self.changed = global_model_version_changed_callback
        self.version = get_worker_version_of_global_model
        self.session = requests.Session()
        self.worker_id = self.key = self.public_key = None
        if private_key_file is not None:
            with open(private_key_file) as file, open(f"{private_key_file}.pub") as public:
                self.key = SigningKey(file.read().encode(), encoder=HexEncoder)
                self.public_key = public.read()

    def _signed(self, message):
        return self.key.sign(message).hex() if self.key else "No private key was provided when worker was started."

    def _post(self, path, **more):
        return self.session.post(f"{self.url}/{path}", **more).content

    def register_worker(self):
        if self.worker_id is None:
            key = self.public_key or "No public key was provided when worker was started."
            asked = {"public_key_str": key, "signed_phrase": self._signed(b"Please authenticate me")}
            self.worker_id = self._post("register_worker", json=asked).decode()
            if self.worker_id == "Invalid Worker":
                raise ValueError("the server doesn't know this worker's key")
        return self.worker_id

    def _proof(self):
        phrase = self.session.get(f"{self.url}/challenge_phrase/{self.worker_id}").content
        return {"worker_id": self.worker_id, "signed_phrase": self._signed(phrase)}

    def get_global_model(self):
        asked = {**self._proof(), "last_worker_model_version": self.version()}
        told = self._post("notify_me_if_gm_version_updated", json=asked)
        if told != UPDATED:
            return told
        answer = self._post("return_global_model", json=self._proof())
        try:
            return msgpack.unpackb(zlib.decompress(answer))
        except zlib.error:
            return answer

    def send_model_update(self, update):
        signed = self._signed(hashlib.sha256(update).digest())
        files = {"worker_model_update": zlib.compress(update), "signed_phrase": signed}
        return self._post(f"receive_worker_update/{self.worker_id}", files=files)

    def run(self):
        while True:
            model = self.get_global_model()
            if isinstance(model, dict):
                self.changed(model)
