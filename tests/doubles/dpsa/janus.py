# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A contract double of Janus' programs and of dpsa4fl-janus-manager: it aggregates nothing.

It reads the configuration as the generation does, wants the real environment, looks at the database's schema, and
serves the real paths with the answers of somebody who knows no task. Its name, or in generation C its first argument,
says which program it stands in for. Needs PyYAML and asyncpg.

The task that DPSA is about, and which a program without the feature doesn't know: Prio3FixedPointBoundedL2VecSum.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import http.server
import json
import os
import random
import re
import signal
import socket
import ssl
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import yaml

GENERATION = "B"
SCHEMA = {"B": 1, "C": 9}
MANAGER = "dpsa4fl-janus-manager"


class ConfigError(Exception):
    """The configuration can't be read, as serde would say."""


# -- types, as serde has them -----------------------------------------------------------------------------------------


def number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"invalid type: {value!r}, expected an unsigned integer")
    return value


def decimal(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"invalid type: {value!r}, expected f64")
    return value


def boolean(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ConfigError(f"invalid type: {value!r}, expected a boolean")
    return value


def text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ConfigError(f"invalid type: {value!r}, expected a string")
    return value


def url(value: Any) -> Any:
    if not urlsplit(text(value)).scheme:
        raise ConfigError(f"relative URL without a base: {value!r}")
    return value


def address(value: Any) -> Any:
    match = re.fullmatch(r"\[?([0-9A-Fa-f:.]+)\]?:([0-9]{1,5})", text(value))
    if not match:
        raise ConfigError(f"invalid socket address syntax: {value!r}")
    return match[1], int(match[2])


class Struct:
    """A struct: required and optional fields; unknown ones are errors where the generation says so."""

    def __init__(self, required: dict[str, Any], optional: dict[str, Any], *, lenient: bool = False) -> None:
        self.required, self.optional, self.lenient = required, optional, lenient

    def __call__(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ConfigError(f"invalid type: {value!r}, expected a struct")
        known = {**self.required, **self.optional}
        for key in self.required:
            if key not in value:
                raise ConfigError(f"missing field `{key}`")
        unknown = [key for key in value if key not in known]
        if unknown and GENERATION == "C" and not self.lenient:
            raise ConfigError(f"unknown field `{unknown[0]}`, expected one of {', '.join(known)}")
        found = {}
        for key, inner in value.items():
            if key in known:
                try:
                    found[key] = None if inner is None and key in self.optional else known[key](inner)
                except ConfigError as error:
                    raise ConfigError(f"{key}: {error}") from None
        return found


def listed(of: Any) -> Any:
    def check(value: Any) -> Any:
        if not isinstance(value, list):
            raise ConfigError(f"invalid type: {value!r}, expected a sequence")
        return [of(one) for one in value]

    return check


def anything(value: Any) -> Any:
    return value


COMMON_B = {
    "logging_config": Struct(
        {},
        {
            "use_test_writer": boolean,
            "force_json_output": boolean,
            "stackdriver_json_output": boolean,
            "tokio_console_config": Struct({}, {"enabled": boolean, "listen_address": address}),
            "open_telemetry_config": anything,
            "chrome": boolean,
        },
        lenient=True,
    ),
    "metrics_config": Struct({}, {"exporter": anything, "tokio": anything}, lenient=True),
    "health_check_listen_address": address,
}
DATABASE = {
    "B": Struct({"url": url}, {"connection_pool_timeouts_secs": number, "check_schema_version": boolean}),
    "C": Struct(
        {"url": url},
        {
            "connection_pool_timeouts_s": number,
            "connection_pool_timeouts_secs": number,
            "connection_pool_max_size": number,
            "check_schema_version": boolean,
            "tls_trust_store_path": text,
        },
    ),
}
DRIVER_B = dict.fromkeys(
    (
        "min_job_discovery_delay_secs",
        "max_job_discovery_delay_secs",
        "max_concurrent_job_workers",
        "worker_lease_duration_secs",
        "worker_lease_clock_skew_allowance_secs",
        "maximum_attempts_before_failure",
        "batch_aggregation_shard_count",
    ),
    number,
)
DRIVER_C = dict.fromkeys(
    (
        "job_discovery_interval_s",
        "max_concurrent_job_workers",
        "worker_lease_duration_s",
        "worker_lease_clock_skew_allowance_s",
        "maximum_attempts_before_failure",
        "batch_aggregation_shard_count",
    ),
    number,
)
DRIVER_C_MORE = dict.fromkeys(
    (
        "http_request_connection_timeout_s",
        "http_request_timeout_s",
        "retry_initial_interval_ms",
        "retry_max_interval_ms",
        "retry_max_elapsed_time_ms",
    ),
    number,
)
UPLOADS = dict.fromkeys(
    ("max_upload_batch_size", "max_upload_batch_write_delay_ms", "batch_aggregation_shard_count"), number
)
COLLECTED = Struct(
    dict.fromkeys(("gc_frequency_s", "report_limit", "aggregation_limit", "collection_limit"), number),
    {"tasks_per_tx": number, "concurrent_tx_limit": number},
)
TASKPROV = Struct({"enabled": boolean}, {})
PROGRAMS: dict[str, dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "B": {
        "aggregator": (
            {"listen_address": address, **UPLOADS},
            {
                "garbage_collection": COLLECTED,
                "response_headers": listed(Struct({"name": text, "value": text}, {})),
                "global_hpke_configs_refresh_interval": number,
                "taskprov_config": TASKPROV,
                "aggregator_api": anything,
            },
        ),
        "aggregation_job_creator": (
            dict.fromkeys(
                (
                    "tasks_update_frequency_secs",
                    "aggregation_job_creation_interval_secs",
                    "min_aggregation_job_size",
                    "max_aggregation_job_size",
                ),
                number,
            ),
            {},
        ),
        "aggregation_job_driver": (DRIVER_B, {"taskprov_config": TASKPROV}),
        "collection_job_driver": (DRIVER_B, {}),
        MANAGER: (
            {
                "listen_address": address,
                **dict.fromkeys(("leader_endpoint", "helper_endpoint", "external_leader", "external_helper"), url),
            },
            {},
        ),
    },
    "C": {
        "aggregator": (
            {"listen_address": address, **UPLOADS},
            {
                "garbage_collection": COLLECTED,
                "key_rotator": anything,
                "max_future_concurrency": number,
                "task_counter_shard_count": number,
                "global_hpke_configs_refresh_interval": number,
                "task_cache_ttl_s": number,
                "task_cache_capacity": number,
                "require_global_hpke_keys": boolean,
                "helper_aggregation_request_queue": anything,
                "taskprov_config": TASKPROV,
                "aggregator_api": anything,
                "log_forbidden_mutations": text,
            },
        ),
        "aggregation_job_creator": (
            dict.fromkeys(
                (
                    "batch_aggregation_shard_count",
                    "tasks_update_frequency_s",
                    "aggregation_job_creation_interval_s",
                    "min_aggregation_job_size",
                    "max_aggregation_job_size",
                ),
                number,
            ),
            {"aggregation_job_creation_report_window": number, "late_report_grace_period_s": number},
        ),
        "aggregation_job_driver": (
            DRIVER_C,
            {**DRIVER_C_MORE, "task_counter_shard_count": number, "taskprov_config": TASKPROV},
        ),
        "collection_job_driver": (
            DRIVER_C,
            {
                **DRIVER_C_MORE,
                "min_collection_job_retry_delay_s": number,
                "max_collection_job_retry_delay_s": number,
                "collection_job_retry_delay_exponential_factor": decimal,
                "max_future_concurrency": number,
            },
        ),
        "garbage_collector": ({"garbage_collection": COLLECTED}, {}),
    },
}


def read_config(program: str, path: str) -> dict[str, Any]:
    """The file, as the program in this generation reads it."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(str(error)) from None
    required, optional = PROGRAMS[GENERATION][program]
    more = {"max_transaction_retries": number, "thread_pool_stack_size": number} if GENERATION == "C" else {}
    struct = Struct({"database": DATABASE[GENERATION], **required}, {**COMMON_B, **more, **optional})
    return struct(values)


def check_keys(text_: str) -> None:
    """The datastore keys, as both generations want them."""
    for key in text_.split(","):
        if not re.fullmatch(r"[A-Za-z0-9_-]+", key) or len(base64.urlsafe_b64decode(key + "==")) != 16:
            raise ConfigError("couldn't base64-decode datastore keys")


def check_schema(database: dict[str, Any], password: str | None) -> None:
    """The version that the record of migrations says."""
    parts = urlsplit(database["url"])
    if parts.password and password:
        raise ConfigError("database config & password override are both specified")
    trusts = database.get("tls_trust_store_path")
    given = {"host": parts.hostname, "port": parts.port or 5432, "database": parts.path[1:], "user": parts.username}
    # as the program's own client does, this one asks a server for no channel binding that comes through a tunnel
    found = asyncio.run(
        latest(ssl=ssl.create_default_context(cafile=trusts) if trusts else False, password=password, **given)
    )
    if database.get("check_schema_version", True):
        if found is None:
            raise ConfigError("unsupported schema: there is no migration")
        if found[0] != SCHEMA[GENERATION]:
            raise ConfigError(f"unsupported schema version {found[0]} / {found[1]}")


async def latest(**given: Any) -> Any:
    """The newest migration, by the statement that the programs ask with."""
    connection = await asyncpg.connect(timeout=10, **given)
    try:
        return await connection.fetchrow(
            "SELECT version, description FROM _sqlx_migrations WHERE success = TRUE ORDER BY version DESC LIMIT(1)"
        )
    finally:
        await connection.close()


# -- what it serves ---------------------------------------------------------------------------------------------------

EMPTY = object()
SESSIONS: dict[int, dict[str, Any]] = {}
TASKS: dict[str, dict[str, Any]] = {}
AGGREGATOR: tuple[tuple[dict[str, str], str], ...] = (
    ({"GET": ""}, r"/hpke_config(?:\?.*)?"),
    ({"PUT": "report"}, r"/tasks/([^/]+)/reports"),
    (
        {"PUT": "aggregation-job-init-req", "POST": "aggregation-job-continue-req"},
        r"/tasks/([^/]+)/aggregation_jobs/([^/]+)",
    ),
    ({"PUT": "collect-req", "POST": "", "DELETE": ""}, r"/tasks/([^/]+)/collection_jobs/([^/]+)"),
    ({"POST": "aggregate-share-req"}, r"/tasks/([^/]+)/aggregate_shares"),
)
"""By methods the type that the body has to be said to have."""
LENGTHS = (43, 22)
"""Of the ids of tasks and of jobs, as a path has them."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers, in JSON."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        status, content = self.answer(self.command, self.path, self.rfile.read(length))
        body = b"" if content is EMPTY else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        raise NotImplementedError

    def log_message(self, *_arguments: Any) -> None:
        """Quiet."""


class Health(Handler):
    """/healthz of this process."""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        return (200 if path == "/healthz" and method in ("GET", "HEAD") else 404), EMPTY


class Aggregator(Handler):
    """Who knows no task: DAP's problem document."""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        for methods, pattern in AGGREGATOR:
            found = re.fullmatch(pattern, path)
            if found:
                if method not in methods:
                    return 405, EMPTY
                said = self.headers.get("Content-Type", "")
                if methods[method] and said != f"application/dap-{methods[method]}":
                    return 400, EMPTY
                for number_, length in zip(found.groups(), LENGTHS):  # noqa: B905 - Python 3.9 has no strict
                    if not re.fullmatch(f"[A-Za-z0-9_-]{{{length}}}", number_):
                        return 400, EMPTY
                task = found[1] if found.groups() else None
                problem = "urn:ietf:params:ppm:dap:error:" + ("unrecognizedTask" if task else "missingTaskID")
                return 400, {"type": problem, "status": 400, "taskid": task}
        return 404, EMPTY


class Manager(Handler):
    """Sessions in memory; tokens on stdout, as the real one has them."""

    locations: dict[str, str] = {}

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if (method, path) == ("GET", "/get_main_locations"):
            return 200, self.locations
        if method != "POST":
            return 405, EMPTY
        try:
            request = json.loads(body)
            return 200, {
                "/create_session": self.create,
                "/end_session": self.end,
                "/start_round": self.start,
                "/get_vdaf_parameter": self.parameter,
            }[path](request)
        except ConfigError as error:
            return 400, str(error)
        except (ValueError, KeyError, TypeError):
            return 404 if path not in ("/create_session", "/end_session", "/start_round") else 400, "bad request"

    @staticmethod
    def create(request: Any) -> Any:
        known = request["trainingSessionId"]
        if known in SESSIONS:
            raise ConfigError(f"There already exists a training session with id {known}.")
        number_ = random.randrange(65536) if known is None else known
        for key in ("role", "verifyKeyEncoded", "collectorHpkeConfig", "vdafParameter"):
            request[key]  # KeyError where it is missing
        SESSIONS[number_] = request
        print(f"creating training session with id {number_}", flush=True)
        return {"trainingSessionId": number_}

    @staticmethod
    def end(session: Any) -> Any:
        if SESSIONS.pop(session, None) is None:
            raise ConfigError(f"Attempted to remove session with id {session}, but there was no such session.")
        return None

    @staticmethod
    def start(request: Any) -> Any:
        session = SESSIONS.get(request["trainingSessionId"])
        if session is None:
            raise ConfigError(f"There is no training session with id {request['trainingSessionId']}")
        leader = list(session["leaderAuthTokenEncoded"].encode())
        collector = list(base64.urlsafe_b64decode(session["collectorAuthTokenEncoded"] + "=="))
        print(
            f"Got training session request with auth token for aggregator: {leader}, collector: {collector}", flush=True
        )
        TASKS[request["taskIdEncoded"]] = session
        return {}

    @staticmethod
    def parameter(request: Any) -> Any:
        session = TASKS.get(request["taskIdEncoded"])
        if session is None:
            raise ConfigError(f"Could not find session containing task with id {request['taskIdEncoded']}.")
        return {"vdafParameter": session["vdafParameter"]}


def serve(place: tuple[str, int], handler: type[Handler]) -> None:
    """In a thread of its own."""

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        daemon_threads = True

    threading.Thread(target=Server(place, handler).serve_forever, daemon=True).start()


def options(program: str, words: list[str]) -> argparse.Namespace:
    """Those of every program; what is secret may be in the environment."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--config-file", default=os.environ.get("CONFIG_FILE"))
    parser.add_argument("--datastore-keys", default=os.environ.get("DATASTORE_KEYS"))
    parser.add_argument("--database-password", default=os.environ.get("PGPASSWORD"))
    given = parser.parse_args(words)
    for name in ("config_file", "datastore_keys"):
        if not getattr(given, name):
            parser.error(f"the following required arguments were not provided: --{name.replace('_', '-')}")
    return given


def main() -> None:
    """One program, until it is ended."""
    words = sys.argv[1:]
    program = Path(sys.argv[0]).name
    if program == "janus_aggregator":
        program, words = words[0], words[1:]
    if program == MANAGER:
        for ignored in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ignored, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    given = options(program, words)
    try:
        config = read_config(program, given.config_file)
        check_keys(given.datastore_keys)
        check_schema(config["database"], given.database_password)
    except (ConfigError, asyncpg.PostgresError, OSError) as error:
        sys.exit(f"Error: {error}")
    serve(config.get("health_check_listen_address") or ("127.0.0.1", 9001), Health)
    if program == "aggregator":
        serve(config["listen_address"], Aggregator)
    elif program == MANAGER:
        Manager.locations = {key: config[key].rstrip("/") + "/" for key in ("external_leader", "external_helper")}
        serve(config["listen_address"], Manager)
    threading.Event().wait()


if __name__ == "__main__":
    main()
