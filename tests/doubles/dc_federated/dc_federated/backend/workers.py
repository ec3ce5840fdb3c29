# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may take part: the double's keys, and the database of them."""

import hashlib
import json
import os
import time

from nacl.encoding import HexEncoder
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from tinydb import Query, TinyDB

INVALID = "Invalid Worker"


class WorkerManager:
    """In safe mode workers are their public keys; otherwise everybody is let in under a new name."""

    def __init__(self, safe, key_list_file, load_last_session_workers, path_to_keys_db):
        if not safe and key_list_file is not None:
            raise ValueError("unsafe mode, and a list of public keys")
        self.do_public_key_auth = safe
        self.public_keys, self.allowed, self.registered, self.challenges = {}, [], {}, {}
        self.database = None
        wanted = []
        if safe and load_last_session_workers:
            wanted += self._open(path_to_keys_db)
        if key_list_file is not None:
            with open(key_list_file) as file:
                wanted += file.read().splitlines()
        for key in dict.fromkeys(wanted):
            self.add_worker(key)

    def _open(self, path):
        """What the former session's database holds; it is written anew, beside a copy."""
        if os.path.exists(path):
            with open(path) as file, open(f"{path}.bak", "w") as copy:
                json.dump(json.load(file), copy)
        self.database = TinyDB(path)
        keys = [row["public_key_str"] for row in self.database.all()]
        self.database.truncate()
        return keys

    def add_worker(self, key):
        if self.do_public_key_auth:
            try:
                self.public_keys[key] = VerifyKey(key.encode(), encoder=HexEncoder)
            except Exception:
                return INVALID, False
        return self._allow(key)

    def _allow(self, key):
        worker = key if self.do_public_key_auth else self._new_name()
        if worker in self.allowed:
            return worker, False
        self.allowed.append(worker)
        self.registered[worker] = False
        if self.database is not None:
            self.database.insert({"public_key_str": key})
        return worker, True

    @staticmethod
    def _new_name():
        return hashlib.sha224(str(time.time()).encode()).hexdigest() + "_unauthenticated"

    def authenticate_and_add_worker(self, key, signed):
        return self._allow(key) if self.authenticate_worker(key, signed) else (INVALID, False)

    def remove_worker(self, worker):
        """The worker stays in ``registered``, as the library leaves it."""
        if worker not in self.allowed:
            return INVALID
        self.allowed.remove(worker)
        self.public_keys.pop(worker, None)
        if self.database is not None:
            self.database.remove(Query()["public_key_str"] == worker)
        return worker

    def set_registration_status(self, worker, status):
        if worker not in self.allowed:
            return INVALID
        self.registered[worker] = status
        return worker

    def is_worker_allowed(self, worker):
        return worker in self.allowed

    def is_worker_registered(self, worker):
        return self.registered.get(worker, False)

    def get_challenge_phrase(self, worker_id):
        if worker_id not in self.allowed:
            return INVALID
        self.challenges[worker_id] = hashlib.sha224(str(time.time()).encode()).hexdigest()
        return self.challenges[worker_id]

    def verify_challenge(self, worker, signed):
        if not self.do_public_key_auth:
            return True
        challenge = self.challenges.pop(worker, None)
        return challenge is not None and self.authenticate_worker(worker, signed, challenge.encode())

    def authenticate_worker(self, key, signed, wanted=None):
        if not self.do_public_key_auth:
            return True
        try:
            message = self.public_keys[key].verify(signed.encode(), encoder=HexEncoder)
        except (KeyError, ValueError, TypeError, BadSignatureError):
            return False
        return wanted is None or message == wanted
