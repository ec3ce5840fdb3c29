# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A contract double of Neursafe's job scheduler: wants all of its environment, and takes jobs and lets them go.

What it does for one is what the program does: looks for its model, asks the (double of the) selector for clients, tells
the proxy its route with the token, writes its configuration, and has the cluster's API make its service and its pod.
It keeps jobs in memory, and nobody learns anything.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request

from neursafe_fl.python.serving import HEALTH, SUCCEEDED, Answer, failed, reach_database, serve, wants

DOUBLE = True
REQUIRED = (
    "DB_ADDRESS",
    "DB_USERNAME",
    "DB_PASSWORD",
    "DB_TYPE",
    "DB_NAME",
    "DB_COLLECTION_NAME",
    "HTTP_PORT",
    "SELECTOR_ADDRESS",
    "JOB_SCHEDULER_ADDRESS",
    "MODEL_MANAGER_ADDRESS",
    "SOURCE_MOUNT_PATH",
    "TEMP_DIR",
    "COORDINATOR_IMAGE",
    "PROXY_ADDRESS",
    "K8S_ADDRESS",
)
JOBS: dict[tuple[str, str], dict[str, object]] = {}


def ask(method: str, url: str, body: object = None, **headers: str) -> int:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    try:
        return int(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code


def cluster(method: str, kind: str, name: str = "", body: object = None) -> int:
    return ask(
        method, f"http://{os.environ['K8S_ADDRESS']}/api/v1/namespaces/default/{kind}{name and '/' + name}", body
    )


def route(method: str, name: str, port: int) -> int:
    told = {"module-id": name, "module-service": f"{name}:{port}", "token": os.environ.get("TOKEN", "")}
    return ask(method, f"http://{os.environ['PROXY_ADDRESS']}/api/v1/internal/routers", {}, **told)


def has_clients() -> bool:
    host, port = os.environ["SELECTOR_ADDRESS"].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as there:
        there.sendall(b'{"call": "List"}\n')
        return bool(json.loads(there.makefile().readline()))


def begin(namespace: str, job: dict[str, object]) -> None:
    """Until it has a pod, or is gone."""
    name, port = f"{namespace}-{job['id']}", int(os.environ.get("COORDINATOR_PORT", "50051"))
    while (namespace, job["id"]) in JOBS and not has_clients():
        time.sleep(0.2)
    if route("POST", name, port) != 200:
        job["status"] = {"state": "FAILED", "reason": "Server Internal Error."}
        return
    configuration = os.path.join(os.environ["WORKSPACE"], os.environ["TEMP_DIR"], f"{job['id']}")
    os.makedirs(configuration, exist_ok=True)
    with open(os.path.join(configuration, "coordinator.json"), "w") as file:
        json.dump(job, file)
    metadata = {"name": name, "namespace": "default"}
    ports = [{"port": port, "targetPort": port}]
    cluster("POST", "services", body={"metadata": metadata, "spec": {"selector": {"app": name}, "ports": ports}})
    cluster("POST", "pods", body={"metadata": {**metadata, "labels": {"app": name}}, "spec": pod(namespace, job, port)})


def pod(namespace: str, job: dict[str, object], port: int) -> dict[str, object]:
    """Each path of the job is a volume of the node, below the shared directory."""
    source, home = os.environ["SOURCE_MOUNT_PATH"], os.environ.get("COORDINATOR_WORKSPACE_PATH", "/fl")
    paths = {word: str(job[word]).lstrip("/") for word in ("model_path", "output") if word in job}
    volumes = [
        {"name": word.replace("_", "-"), "hostPath": {"path": f"{source}/{namespace}/{path}"}}
        for word, path in paths.items()
    ]
    entry = f"{source}/{os.environ['TEMP_DIR']}/{job['id']}/coordinator.json"
    mounts = [{"name": word.replace("_", "-"), "mountPath": f"{home}/{path}"} for word, path in paths.items()]
    container = {
        "name": f"{namespace}-{job['id']}",
        "image": os.environ["COORDINATOR_IMAGE"],
        "ports": [{"containerPort": port}],
        "command": ["python3.7", "-m", "neursafe_fl.python.coordinator.app"],
        "volumeMounts": mounts,
    }
    volumes.append({"name": "entrypoint", "hostPath": {"path": entry}})
    return {"restartPolicy": "Never", "containers": [container], "volumes": volumes}


def create(namespace: str, job: dict[str, object]) -> Answer:
    for key in ("id", "runtime"):
        if key not in job:
            return failed(f"Required key: '{key}' not exist in job config")
    if (namespace, str(job["id"])) in JOBS:
        return failed(f"namespace: {namespace}, job id: {job['id']} already exist")
    model = os.path.join(os.environ["WORKSPACE"], namespace, str(job.get("model_path", "")).lstrip("/"))
    if not os.path.exists(model):
        return failed(f"Model: {job.get('model_path')} not existing in namespace: {namespace}, job: {job['id']}")
    JOBS[namespace, str(job["id"])] = job
    threading.Thread(target=begin, args=(namespace, job), daemon=True).start()
    return 201, SUCCEEDED


def get(namespace: str, name: str, _body: object) -> Answer:
    found = JOBS.get((namespace, name))
    return (200, found) if found else failed(f"namespace: {namespace}, job id: {name} not exist.", 404)


def delete(namespace: str, name: str, _body: object) -> Answer:
    if JOBS.pop((namespace, name), None) is None:
        return failed(f"namespace: {namespace}, job id: {name} not exist.")
    full = f"{namespace}-{name}"
    for kind in ("services", "pods"):
        cluster("DELETE", kind, full)
    route("DELETE", full, 0)
    return 200, SUCCEEDED


def main() -> None:
    wants(*REQUIRED)
    reach_database()
    jobs = "/api/v1/namespaces/([^/]+)/jobs"
    ways = [
        ("GET", HEALTH, lambda _body: (200, SUCCEEDED)),
        ("PUT", "/api/v1/heartbeat", lambda _body: (200, SUCCEEDED)),
        ("POST", jobs, create),
        ("GET", f"{jobs}/([^/]+)", get),
        ("DELETE", f"{jobs}/([^/]+)", delete),
    ]
    serve(int(os.environ["HTTP_PORT"]), ways)


if __name__ == "__main__":
    main()
