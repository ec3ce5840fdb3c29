# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the deployment counts on of Janus' programs: run by doubles and, with FEDLEARN_UPSTREAM_DIR, by the real ones.

Each program is started by hand beside the deployed ones, on ports of its own and with their database.
"""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote
from typing import Any

import pytest
import yaml

DRIVER_B = {
    "min_job_discovery_delay_secs": 1,
    "max_job_discovery_delay_secs": 2,
    "max_concurrent_job_workers": 10,
    "worker_lease_duration_secs": 600,
    "worker_lease_clock_skew_allowance_secs": 60,
    "maximum_attempts_before_failure": 10,
    "batch_aggregation_shard_count": 32,
}
DRIVER_C = {
    "job_discovery_interval_s": 1,
    "max_concurrent_job_workers": 10,
    "worker_lease_duration_s": 600,
    "worker_lease_clock_skew_allowance_s": 60,
    "maximum_attempts_before_failure": 10,
    "batch_aggregation_shard_count": 32,
}
UPLOADS = {
    "listen_address": "127.0.0.1:9871",
    "max_upload_batch_size": 50,
    "max_upload_batch_write_delay_ms": 500,
    "batch_aggregation_shard_count": 32,
}
CREATOR = {"min_aggregation_job_size": 1, "max_aggregation_job_size": 100}
URLS = dict.fromkeys(("leader_endpoint", "helper_endpoint", "external_leader", "external_helper"), "http://127.0.0.1:9")
NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    ("B", "aggregator"): UPLOADS,
    ("B", "aggregation_job_creator"): {
        **CREATOR,
        "tasks_update_frequency_secs": 10,
        "aggregation_job_creation_interval_secs": 10,
    },
    ("B", "aggregation_job_driver"): DRIVER_B,
    ("B", "collection_job_driver"): DRIVER_B,
    ("B", "dpsa4fl-janus-manager"): {"listen_address": "127.0.0.1:9871", **URLS},
    ("C", "aggregator"): UPLOADS,
    ("C", "aggregation_job_creator"): {
        **CREATOR,
        "tasks_update_frequency_s": 10,
        "aggregation_job_creation_interval_s": 10,
        "batch_aggregation_shard_count": 32,
    },
    ("C", "aggregation_job_driver"): DRIVER_C,
    ("C", "collection_job_driver"): DRIVER_C,
    ("C", "garbage_collector"): {
        "garbage_collection": {
            "gc_frequency_s": 60,
            "report_limit": 1,
            "aggregation_limit": 1,
            "collection_limit": 1,
        }
    },
}
KEY = "Qoj3fugWbEGvQNEWr1Waqw"
LOGINS = {"B": ("one_a", "CANARY-B", "janus_b"), "C": ("two_a", "CANARY-C", "janus_c")}
KEYRINGS = {"B": "/var/lib/fedlearn-b/datastore-keys", "C": "/var/lib/fedlearn-c/datastore-keys"}
RUNS = 124
"""What `timeout` ends with when the program was still at work."""


@dataclass
class Program:
    """One program, and the host it is started on."""

    host: Any
    generation: str
    name: str

    def config(self, **changed: Any) -> dict[str, Any]:
        user, _password, database = LOGINS[self.generation]
        file = {
            "database": {"url": f"postgres://{user}@127.0.0.1:5432/{database}"},
            "health_check_listen_address": "127.0.0.1:9872",
            **NEEDED[self.generation, self.name],
            **changed,
        }
        return {key: value for key, value in file.items() if value is not None}

    @property
    def key(self) -> str:
        """The deployed one: an aggregator of C opens at its start what the database has sealed."""
        with self.host.sudo():
            return str(self.host.file(KEYRINGS[self.generation]).content_string).strip().partition(",")[0]

    def start(self, config: dict[str, Any], then: str = "sleep 2", **environment: str) -> tuple[int, str]:
        """Its exit status and what it said; ``then`` is done while it runs."""
        if self.name == "dpsa4fl-janus-manager":
            words = "/opt/test/manager-B/bin/dpsa4fl-janus-manager"
        elif self.generation == "C":
            words = f"/opt/test/janus-C/bin/janus_aggregator {self.name}"
        else:
            words = f"/opt/test/janus-B/bin/{self.name}"
        known = {"DATASTORE_KEYS": self.key, "PGPASSWORD": LOGINS[self.generation][1], **environment}
        given = " ".join(f"{name}={quote(value)}" for name, value in known.items() if value)
        script = (
            f"printf %s {quote(yaml.safe_dump(config))} > /tmp/conformance.yml; {{ {then}; }} & "
            f'env {given} timeout -s KILL 4 {words} --config-file /tmp/conformance.yml 2>&1; echo "status $?"'
        )
        with self.host.sudo():
            text = self.host.run(f"sh -c {quote(script)}").stdout
        output, _word, status = text.rpartition("status ")
        # KILL is told as 137
        return (RUNS if int(status) in (124, 137) else int(status)), output


@pytest.fixture(params=list(NEEDED), ids="-".join)
def program(request: pytest.FixtureRequest, host: Any) -> Program:
    return Program(host, *request.param)


def test_it_runs_with_what_it_needs_and_says_that_it_is_well(program: Program) -> None:
    ask = "sleep 2.5; python3 -c \"import urllib.request as r; print('healthz', r.urlopen('http://127.0.0.1:9872/healthz').status)\""
    status, output = program.start(program.config(), ask)
    assert status == RUNS, output
    assert "healthz 200" in output


def test_what_it_needs_it_does_need(program: Program) -> None:
    for key in NEEDED[program.generation, program.name]:
        status, output = program.start(program.config(**{key: None}), "true")
        assert status not in (0, RUNS), key
        assert key in output
        if key == "listen_address":
            break  # one is enough of a program: each start takes its time


def test_an_unknown_key_is_an_error_in_c_and_nothing_in_b(program: Program) -> None:
    status, output = program.start(program.config(unknown_key=1), "true")
    assert (status == RUNS) is (program.generation == "B"), output


def test_a_number_in_quotes_is_refused(program: Program) -> None:
    config = program.config()
    name = "connection_pool_timeouts_secs" if program.generation == "B" else "connection_pool_timeouts_s"
    config["database"][name] = "60"
    status, output = program.start(config, "true")
    assert status not in (0, RUNS), output


@pytest.mark.parametrize(
    "keys", ["vWoEFA7F+ojcF+HohGLn/Q", f"{KEY}==", "short", ""], ids=["standard", "padded", "short", "none"]
)
def test_it_wants_keys_in_its_alphabet(program: Program, keys: str) -> None:
    status, output = program.start(program.config(), "true", DATASTORE_KEYS=keys)
    assert status not in (0, RUNS), output


def test_several_keys_are_taken(program: Program) -> None:
    assert program.start(program.config(), "true", DATASTORE_KEYS=f"{program.key},{KEY}")[0] == RUNS


def test_it_comes_to_the_database_with_the_password_it_is_given(program: Program) -> None:
    """It tries for as long as it would wait for a connection: a minute, where nobody says."""
    config = program.config()
    name = "connection_pool_timeouts_secs" if program.generation == "B" else "connection_pool_timeouts_s"
    config["database"][name] = 1
    status, output = program.start(config, "true", PGPASSWORD="wrong")
    assert status not in (0, RUNS), output


def test_it_wants_the_schema_of_its_generation(program: Program) -> None:
    other = "C" if program.generation == "B" else "B"
    user, password, database = LOGINS[other]
    config = program.config(database={"url": f"postgres://{user}@127.0.0.1:5432/{database}"})
    status, output = program.start(config, "true", PGPASSWORD=password)
    assert status not in (0, RUNS), output
    assert "schema" in output


ASK = """
import urllib.request as r, urllib.error as e
for path, kind in {asked}:
    put = r.Request("http://127.0.0.1:9871/tasks/" + path, b"", {{"Content-Type": kind}}, method="PUT")
    try:
        r.urlopen(put)
    except e.HTTPError as answer:
        print("answer", answer.code, "unrecognizedTask" in answer.read().decode())
"""


@pytest.mark.parametrize("generation", ["B", "C"])
def test_an_aggregator_is_known_by_its_answer_only_where_a_request_could_be_right(host: Any, generation: str) -> None:
    """What the audit goes by: it has to ask as the leader does."""
    task, job, kind = "A" * 43, "A" * 22, "application/dap-aggregation-job-init-req"
    asked = [
        (f"{task}/aggregation_jobs/{job}", kind),
        (f"{task}/aggregation_jobs/{job}", "application/json"),
        (f"AAAA/aggregation_jobs/{job}", kind),
        (f"{task}/aggregation_jobs/AAAA", kind),
    ]
    program = Program(host, generation, "aggregator")
    ask = f"sleep 2.5; python3 -c {quote(ASK.format(asked=asked))}"
    _status, output = program.start(program.config(), ask)
    assert [line for line in output.splitlines() if line.startswith("answer")] == [
        "answer 400 True",
        *["answer 400 False"] * 3,
    ]


def test_a_manager_doesn_t_stop_when_asked(host: Any) -> None:
    """So its unit kills it; Janus' own programs do stop."""
    for name, stops in (("dpsa4fl-janus-manager", False), ("aggregator", True)):
        program = Program(host, "B", name)
        pid = "$(ss -Hltnp 'sport = :9872' | sed 's/.*pid=\\([0-9]*\\).*/\\1/')"
        status, output = program.start(program.config(), f"sleep 2; kill -TERM {pid}")
        assert (status != RUNS) is stops, output
