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
        self.server_loc = f"{server_protocol}://{server_host_ip}:{server_port}"
        self.global_model_version_changed_callback = global_model_version_changed_callback
        self.get_worker_version_global_model = get_worker_version_of_global_model
        self.session = requests.Session()
        self.worker_id = self.key = self.public_key_str = None
        if private_key_file is not None:
            with open(private_key_file) as file, open(f"{private_key_file}.pub") as public:
                self.key = SigningKey(file.read().encode(), encoder=HexEncoder)
                self.public_key_str = public.read()

    def get_signed_phrase(self, message):
        return self.key.sign(message).hex() if self.key else "No private key was provided when worker was started."

    def _post(self, path, **more):
        return self.session.post(f"{self.server_loc}/{path}", **more).content

    def register_worker(self):
        if self.worker_id is None:
            key = self.public_key_str or "No public key was provided when worker was started."
            asked = {"public_key_str": key, "signed_phrase": self.get_signed_phrase(b"Please authenticate me")}
            self.worker_id = self._post("register_worker", json=asked).decode()
            if self.worker_id == "Invalid Worker":
                raise ValueError("the server doesn't know this worker's key")
        return self.worker_id

    def _proof(self):
        phrase = self.session.get(f"{self.server_loc}/challenge_phrase/{self.worker_id}").content
        return {"worker_id": self.worker_id, "signed_phrase": self.get_signed_phrase(phrase)}

    def get_global_model(self):
        asked = {**self._proof(), "last_worker_model_version": self.get_worker_version_global_model()}
        told = self._post("notify_me_if_gm_version_updated", json=asked)
        if told != UPDATED:
            return told
        answer = self._post("return_global_model", json=self._proof())
        try:
            return msgpack.unpackb(zlib.decompress(answer))
        except zlib.error:
            return answer

    def send_model_update(self, update):
        signed = self.get_signed_phrase(hashlib.sha256(update).digest())
        files = {"worker_model_update": zlib.compress(update), "signed_phrase": signed}
        return self._post(f"receive_worker_update/{self.worker_id}", files=files)

    def run(self):
        try:
            while True:
                model = self.get_global_model()
                if isinstance(model, dict):
                    self.global_model_version_changed_callback(model)
        except Exception:
            return
