# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The double's server."""

import hashlib
import json
import os
import socket
import zlib

import gevent
import msgpack
from bottle import Bottle, ServerAdapter, auth_basic, request, run
from gevent import pool, queue

from .workers import INVALID, WorkerManager

UNREGISTERED = "Unregistered Worker"
DAY = 86400


class DCFServer:
    """Takes what the library's takes, and answers what it answers."""

    def __init__(
        self,
        register_worker_callback,
        unregister_worker_callback,
        return_global_model_callback,
        is_global_model_most_recent,
        receive_worker_update_callback,
        server_mode_safe,
        key_list_file,
        load_last_session_workers=True,
        path_to_keys_db=".keys_db.json",
        server_host_ip=None,
        server_port=8080,
        ssl_enabled=False,
        ssl_keyfile=None,
        ssl_certfile=None,
        model_check_interval=10,
        debug=False,
    ):
        self.server_host_ip = server_host_ip or socket.gethostbyname(socket.gethostname())
        self.server_port = server_port
        self.register_worker_callback = register_worker_callback
        self.unregister_worker_callback = unregister_worker_callback
        self.return_global_model_callback = return_global_model_callback
        self.is_global_model_most_recent = is_global_model_most_recent
        self.receive_worker_update_callback = receive_worker_update_callback
        self.worker_manager = WorkerManager(server_mode_safe, key_list_file, load_last_session_workers, path_to_keys_db)
        self.gevent_pool = pool.Pool(None)
        self.model_version_req_dict = {}
        self.model_check_interval = model_check_interval
        self.debug = debug
        self.ssl_enabled = ssl_enabled
        if ssl_enabled:
            if ssl_keyfile is None or ssl_certfile is None:
                raise RuntimeError("TLS needs a certificate and its key")
            for path in (ssl_certfile, ssl_keyfile):
                if not os.path.isfile(path):
                    raise OSError(f"{path} isn't there")
        self.ssl_keyfile, self.ssl_certfile = ssl_keyfile, ssl_certfile

    @staticmethod
    def is_admin(username, password):
        wanted = [os.environ.get(f"DCF_SERVER_ADMIN_{word}") for word in ("USERNAME", "PASSWORD")]
        return None not in wanted and [username, password] == wanted

    @staticmethod
    def _mistake(data, **types):
        wrong = [
            key for key, type_ in types.items() if not isinstance(data, dict) or not isinstance(data.get(key), type_)
        ]
        return f"Invalid input: failed to get the following keys from JSON input: {wrong}" if wrong else ""

    def add_and_register_worker(self):
        data = request.json
        mistake = self._mistake(data, public_key_str=str)
        if mistake:
            return mistake
        worker, _is_new = self.worker_manager.authenticate_and_add_worker(
            data["public_key_str"], data.get("signed_phrase", "")
        )
        if worker != INVALID and not self.worker_manager.is_worker_registered(worker):
            self.worker_manager.set_registration_status(worker, True)
            self.register_worker_callback(worker)
        return worker

    def _refused(self, data):
        """Why a worker isn't answered: in words, with status 200."""
        worker = data["worker_id"]
        if not self.worker_manager.is_worker_allowed(worker):
            return INVALID
        if not self.worker_manager.verify_challenge(worker, data["signed_phrase"]):
            return INVALID
        return "" if self.worker_manager.is_worker_registered(worker) else UNREGISTERED

    def return_global_model(self):
        data = request.json
        mistake = self._mistake(data, worker_id=str, signed_phrase=str)
        if mistake:
            return json.dumps({"error": mistake})
        return self._refused(data) or zlib.compress(msgpack.packb(self.return_global_model_callback()))

    def notify_me_if_gm_version_updated(self):
        data = request.json
        mistake = self._mistake(data, worker_id=str, last_worker_model_version=object, signed_phrase=str)
        if mistake or "last_worker_model_version" not in data:
            return json.dumps({"error": mistake})
        refused = self._refused(data)
        if refused:
            return refused
        polls = self.model_version_req_dict.setdefault(data["worker_id"], [])
        if polls:
            greenlet, body = polls.pop()
            body.put("New request for global model version change notification received - existing request terminated.")
            body.put(StopIteration)
            greenlet.kill()
        body = queue.Queue()
        greenlet = gevent.Greenlet(self._poll, polls, body, data["last_worker_model_version"])
        polls.append((greenlet, body))
        greenlet.start()
        return body

    def _poll(self, polls, body, version):
        while self.is_global_model_most_recent(version):
            gevent.sleep(self.model_check_interval)
        body.put("Global model has been updated")
        body.put(StopIteration)
        if polls:
            polls.pop()

    def receive_worker_update(self, worker_id):
        try:
            files = request.files
            if "signed_phrase" not in files:
                return json.dumps({"error": "signed_phrase not found in worker update payload."})
            update = zlib.decompress(files["worker_model_update"].file.read())
            signed = files["signed_phrase"].file.read().decode()
            if not self.worker_manager.authenticate_worker(worker_id, signed, hashlib.sha256(update).digest()):
                return INVALID
            if not self.worker_manager.is_worker_allowed(worker_id):
                return INVALID
            if not self.worker_manager.is_worker_registered(worker_id):
                return UNREGISTERED
            return self.receive_worker_update_callback(worker_id, update)
        except Exception as error:
            return str(error)

    def admin_list_workers(self):
        rows = self.worker_manager.registered.items()
        return json.dumps([{"worker_id": worker, "registered": status} for worker, status in rows])

    def admin_add_worker(self):
        data = request.json
        mistake = self._mistake(data, public_key_str=str, registered=bool)
        if mistake:
            return json.dumps({"error": mistake})
        worker, new = self.worker_manager.add_worker(data["public_key_str"])
        if worker == INVALID:
            return json.dumps({"error": "Unable to validate public key - worker not added."})
        if not new:
            return json.dumps({"error": f"Worker {worker[:8]} already exists."})
        self.worker_manager.set_registration_status(worker, data["registered"])
        if data["registered"]:
            self.register_worker_callback(worker)
        return json.dumps({"success": "added", "worker_id": worker, "registered": data["registered"]})

    def admin_delete_worker(self, worker_id):
        registered = self.worker_manager.is_worker_registered(worker_id)
        if self.worker_manager.remove_worker(worker_id) == INVALID:
            return json.dumps({"error": "Attempt to remove a worker that isn't there."})
        if registered:
            self.unregister_worker_callback(worker_id)
        return json.dumps({"success": "removed", "worker_id": worker_id})

    def admin_set_worker_status(self, worker_id):
        data = request.json
        mistake = self._mistake(data, registered=bool)
        if mistake:
            return json.dumps({"error": mistake})
        before = self.worker_manager.is_worker_registered(worker_id)
        if self.worker_manager.set_registration_status(worker_id, data["registered"]) == INVALID:
            return json.dumps({"error": "Attempt at changing worker status failed."})
        if before != data["registered"]:
            (self.register_worker_callback if data["registered"] else self.unregister_worker_callback)(worker_id)
        return json.dumps({"success": "changed", "worker_id": worker_id, "registered": data["registered"]})

    def application(self):
        """The paths."""
        app = Bottle()
        app.post("/register_worker", callback=self.add_and_register_worker)
        app.get("/challenge_phrase/<worker_id>", callback=self.worker_manager.get_challenge_phrase)
        app.post("/return_global_model", callback=self.return_global_model)
        app.post("/notify_me_if_gm_version_updated", callback=self.notify_me_if_gm_version_updated)
        app.post("/receive_worker_update/<worker_id>", callback=self.receive_worker_update)
        admin = auth_basic(self.is_admin)
        app.get("/workers", callback=admin(self.admin_list_workers))
        app.post("/workers", callback=admin(self.admin_add_worker))
        app.delete("/workers/<worker_id>", callback=admin(self.admin_delete_worker))
        app.put("/workers/<worker_id>", callback=admin(self.admin_set_worker_status))
        return app

    def start_server(self, server_adapter=None):
        if isinstance(server_adapter, ServerAdapter):
            run(self.application(), server=server_adapter, quiet=True)
            return
        tls = {"keyfile": self.ssl_keyfile, "certfile": self.ssl_certfile} if self.ssl_enabled else {}
        run(
            self.application(),
            host=self.server_host_ip,
            port=self.server_port,
            server="gunicorn",
            worker_class="gevent",
            timeout=DAY,
            debug=self.debug,
            quiet=True,
            **tls,
        )
