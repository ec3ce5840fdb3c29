# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A contract double of Neursafe's model manager: wants its environment, and copies models to where models lie.

With `posix` it does that in the shared directory; with `s3` it only wants what says where the store is. It keeps in
memory what it knows of models.
"""

from __future__ import annotations

import os
import shutil

from neursafe_fl.python.serving import HEALTH, SUCCEEDED, Answer, failed, reach_database, serve, wants

DOUBLE = True
MODELS: dict[tuple[str, str], list[dict[str, object]]] = {}


def create(namespace: str, told: dict[str, str]) -> Answer:
    for key in ("name", "runtime"):
        if key not in told:
            return failed(f"'{key}'", 400)
    versions = MODELS.setdefault((namespace, told["name"]), [])
    version = f"V{len(versions)}"
    source, _colon, path = told["model_path"].partition(":")
    workspace = os.environ["WORKSPACE"]
    target = os.path.join(workspace, os.environ["MODELS_DIR"], namespace, told["name"], version, os.path.basename(path))
    model: dict[str, object] = {"name": told["name"], "version_info": {"version": version}, "state": "ready"}
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(os.path.join(workspace, source, path.lstrip("/")), target)
    except OSError as error:
        model |= {"state": "error", "error_msg": str(error)}
    versions.append(model)
    return 201, model


def get(namespace: str, name: str, _body: object) -> Answer:
    found = MODELS.get((namespace, name))
    return (200, {"models": {name: found}}) if found else failed(f"Model {namespace}-{name} not exist.", 404)


def delete(namespace: str, name: str, _body: object) -> Answer:
    if MODELS.pop((namespace, name), None) is None:
        return failed(f"Model {namespace}-{name} not exist.", 404)
    shutil.rmtree(os.path.join(os.environ["WORKSPACE"], os.environ["MODELS_DIR"], namespace, name))
    return 200, SUCCEEDED


def main() -> None:
    wants("DB_TYPE", "DB_ADDRESS", "DB_USERNAME", "DB_PASSWORD", "DB_NAME", "DB_COLLECTION_NAME", "PORT", "WORKSPACE")
    wants("MODELS_DIR", "STORAGE_TYPE")
    if os.environ["STORAGE_TYPE"] == "s3":
        wants("STORAGE_ENDPOINT", "ACCESS_KEY", "SECRET_KEY")
    reach_database()
    models = "/api/v1/namespaces/([^/]+)/models"
    ways = [
        ("GET", HEALTH, lambda _body: (200, SUCCEEDED)),
        ("POST", models, create),
        ("GET", f"{models}/([^/]+)", get),
        ("DELETE", f"{models}/([^/]+)", delete),
    ]
    serve(int(os.environ["PORT"]), ways)


if __name__ == "__main__":
    main()
