# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every key of Janus' configuration files, of both generations: type, range, default, and the rules across keys.

A program's file is what ``common`` says, under what its own section says, under what is derived (addresses, URLs).
Generation B ignores keys it doesn't know, C ends with an error: so keys of the other generation are mistakes here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from ...model import Path
from ...schema import Anything, Boolean, Choice, Integer, Items, Key, Number, Rule, Section, Text

Breaches = list[tuple[Path, str]]

GENERATIONS = ("B", "C")
SEED = "deployment-setup/README.md of dpsa4fl-infrastructure"
CODE_B = "janus 269b675c, aggregator/src"
CODE_C = "janus 0.7.135, aggregator/src"

UINT64_MAX = 18_446_744_073_709_551_615
_COUNT = Integer(1, 1_000_000_000)
_SECONDS = Integer(0, 1_000_000_000)
_SHARDS = Integer(1, 1_000_000)


def _b(type_: Any, doc: str, default: Any = None, unit: str = "") -> Key:
    return Key(type_, doc, default=default, unit=unit, source=CODE_B)


def _c(type_: Any, doc: str, default: Any = None, unit: str = "") -> Key:
    return Key(type_, doc, default=default, unit=unit, source=CODE_C)


def _derived(follows: str) -> Key:
    """A key of the program that nobody sets here; the type's rule says what it follows from."""
    return Key(Anything(), f"Refused: follows from {follows}.")


def _refuses(reasons: Mapping[str, str]) -> Rule:
    """The rule that tells why keys can't be set."""

    def check(values: Mapping[str, Any]) -> Breaches:
        return [((key,), f"can't be set: {reason}") for key, reason in reasons.items() if key in values]

    return Rule("What is derived isn't set.", check)


# -- what every program reads -----------------------------------------------------------------------------------------

_DATABASE_FOLLOWS = {
    "url": "it follows from the placement `database`, and the password is a secret",
    "check_schema_version": "a program on a schema it doesn't know would lose reports",
    "tls_trust_store_path": "it follows from the placement `database`",
}


def _database(generation: str) -> Section:
    keys: dict[str, Key] = {
        "url": _derived("`database` and its secret"),
        "check_schema_version": _derived("nothing: the schema is always checked"),
    }
    doc = "How long to wait for a connection."
    if generation == "B":
        keys["connection_pool_timeouts_secs"] = _b(_SECONDS, doc, default=60, unit="s")
    else:
        keys["connection_pool_timeouts_s"] = _c(_SECONDS, doc, default=60, unit="s")
        keys["connection_pool_max_size"] = _c(
            Integer(1, 1000), "Connections of one process; the stack's `connections` unless told."
        )
        keys["tls_trust_store_path"] = _derived("`database`")
    reasons = {key: reason for key, reason in _DATABASE_FOLLOWS.items() if key in keys}
    return Section(keys, rules=(_refuses(reasons),))


_SOCKET = Text(format="address_port")
_OTLP = Text(format="url")


def _metadata(generation: str) -> Mapping[str, Key]:
    if generation == "C":
        return {}
    why = "Refused: a header with a token would stand in a file; OTLP_TRACING_METADATA is not given here."
    return {"metadata": Key(Anything(), why)}


def _otlp(generation: str) -> Section:
    metadata = _metadata(generation)
    refusal = {"metadata": "what it holds may be a token, and the file is readable"} if metadata else {}
    return Section(
        {"endpoint": Key(_OTLP, "Where it is sent.", required=True), **metadata},
        rules=(_refuses(refusal),) if refusal else (),
    )


def _logging(generation: str) -> Section:
    console = Section(
        {
            "enabled": Key(Boolean(), "Serve tokio-console.", default=False),
            "listen_address": Key(_SOCKET, "Where: the program's own is 127.0.0.1:6669 for each.", default=None),
        }
    )
    return Section(
        {
            "force_json_output": Key(Boolean(), "Log lines are JSON also on a terminal.", default=False),
            "stackdriver_json_output": Key(Boolean(), "JSON as Google Cloud's Stackdriver reads it.", default=False),
            "tokio_console_config": Key(console, "For tokio-console; needs the program's feature."),
            "open_telemetry_config": Key(
                Section({"otlp": Key(_otlp(generation), "OTLP over gRPC.", required=True)}),
                "Traces to a collector; needs the program's feature `otlp`.",
            ),
            "chrome": Key(Boolean(), "Refused unless false: it fills the working directory.", default=False),
            "use_test_writer": Key(Choice(("",)), "Refused: for the program's own tests."),
        },
        rules=(
            _refuses({"use_test_writer": "it is for the program's own tests"}),
            Rule("No trace files.", lambda values: [(("chrome",), _NO_CHROME)] if values["chrome"] else []),
        ),
    )


_NO_CHROME = "can't be set: a trace file that nothing bounds would fill the disk"


def _one_exporter(values: Mapping[str, Any]) -> Breaches:
    return [] if len(values) == 1 else [((), "one of 'prometheus' and 'otlp', no more and no less")]


_PROMETHEUS = Key(
    Section(
        {
            "host": Key(Text(format="address"), "The program's own default is every address.", default="127.0.0.1"),
            "port": Key(Integer(1, 65535), "A port for this process alone.", required=True),
        }
    ),
    "Served for Prometheus; needs the program's feature `prometheus`.",
)


def _metrics(generation: str, *, of_all: bool = True, of_one: bool = True) -> Section:
    """What is measured: all programs may send it to one place, and Prometheus asks each at a port of its own."""
    exporters = {"prometheus": _PROMETHEUS} if of_one else {}
    if of_all:
        exporters["otlp"] = Key(_otlp(generation), "Sent by OTLP over gRPC; needs the program's feature `otlp`.")
    exporter = Section(exporters, rules=(Rule("One exporter.", _one_exporter),))
    keys = {"exporter": Key(exporter, "Where numbers go.")}
    if generation == "C" and of_all:
        keys["tokio"] = Key(_TOKIO, "Numbers of the program's own scheduler.")
    return Section(keys)


_HISTOGRAM = Section(
    {
        "linear": _c(
            Section(
                {
                    "resolution_us": _c(_COUNT, "Width of a bucket.", default=100, unit="us"),
                    "num_buckets": _c(Integer(1, 10_000), "Buckets.", default=10),
                }
            ),
            "Buckets of one width.",
        ),
        "log": _c(
            Section(
                {
                    "min_value_us": _c(_COUNT, "Lowest value.", unit="us"),
                    "max_value_us": _c(_COUNT, "Highest value.", unit="us"),
                    "max_relative_error": _c(Number(above=0, below=1), "Error of a bucket."),
                }
            ),
            "Buckets that widen.",
        ),
    }
)

_TOKIO = Section(
    {
        "enabled": _c(Boolean(), "Collect them.", default=False),
        "enable_poll_time_histogram": _c(Boolean(), "How long polls take.", default=False),
        "poll_time_histogram": _c(_HISTOGRAM, "In which buckets."),
    }
)

_METRICS_DOC = "What is measured, and where it goes."
_COMMON_FOLLOWS = {"health_check_listen_address": "it follows from `health_port`: a port for each process"}


def _common(generation: str) -> dict[str, Key]:
    keys = {
        "database": Key(_database(generation), "The database.", default={}),
        "logging_config": Key(_logging(generation), "What is logged, and where traces go.", default={}),
        "metrics_config": Key(_metrics(generation), _METRICS_DOC, default={}),
        "health_check_listen_address": _derived("`health_port`"),
    }
    if generation == "C":
        keys["max_transaction_retries"] = _c(Integer(0, UINT64_MAX), "How often a transaction is tried.", default=1000)
        keys["thread_pool_stack_size"] = _c(Integer(65536, 1 << 30), "Stack of a worker thread.", unit="bytes")
    return keys


# -- the programs -----------------------------------------------------------------------------------------------------

_TASKPROV = Section(
    {"enabled": Key(Choice(("",)), "Refused: tasks come from the manager.")},
    rules=(_refuses({"enabled": "tasks come from the manager, not in-band"}),),
)


def _collection(generation: str) -> Section:
    keys = {
        "gc_frequency_s": Key(_COUNT, "How often.", required=True, unit="s"),
        "report_limit": Key(_COUNT, "Reports of a task that one run deletes at most.", default=5000),
        "aggregation_limit": Key(_COUNT, "Aggregation jobs of a task, likewise.", default=500),
        "collection_limit": Key(_COUNT, "Collection jobs of a task, likewise.", default=50),
    }
    if generation == "C":
        keys["tasks_per_tx"] = _c(Integer(1, 10_000), "Tasks in one transaction.", default=1)
        keys["concurrent_tx_limit"] = _c(Integer(1, 1000), "Transactions at once.")
    return Section(keys)


_KEY_ROTATOR = Section(
    {
        "frequency_s": _c(_COUNT, "How often it looks.", default=3600, unit="s"),
        "hpke": _c(
            Section(
                {
                    "pending_duration_s": _c(_SECONDS, "Before a new key is told to clients.", default=3600, unit="s"),
                    "active_duration_s": _c(_COUNT, "A key's life.", default=7_257_600, unit="s"),
                    "expired_duration_s": _c(_SECONDS, "How long it still opens.", default=604_800, unit="s"),
                }
            ),
            "Of the keys that clients seal reports with.",
            default={},
        ),
    }
)

_API = "its tokens would have to be given, and the manager makes the tasks"


def _aggregator(generation: str) -> Section:
    keys = {
        "listen_address": _derived("`inner_port`"),
        "max_upload_batch_size": Key(
            _COUNT, "Reports written together; 1 writes each at once.", default=50, source=SEED
        ),
        "max_upload_batch_write_delay_ms": Key(
            _COUNT, "How long one waits for others.", default=500, unit="ms", source=SEED
        ),
        "batch_aggregation_shard_count": Key(_SHARDS, _SHARD_DOC, default=32),
        "garbage_collection": Key(
            _collection(generation), "Delete what has expired, in this process; nothing is without."
        ),
        "global_hpke_configs_refresh_interval": Key(_COUNT, "How often keys are read anew.", unit="ms"),
        "aggregator_api": Key(Anything(), f"Refused: {_API}."),
        "taskprov_config": Key(_TASKPROV, "Refused: tasks come from the manager."),
    }
    if generation == "B":
        header = Section(
            {
                "name": Key(Text(pattern=r"[A-Za-z0-9-]+", pattern_name="a header's name"), "Its name.", required=True),
                "value": Key(Text(pattern=r"[ -~]*", pattern_name="printable ASCII"), "Its value.", required=True),
            }
        )
        keys["response_headers"] = _b(Items(header), "Headers of every answer.", default=[])
    else:
        keys |= {
            "max_future_concurrency": _c(_COUNT, "Pieces of work at once.", default=10_000),
            "task_counter_shard_count": _c(_SHARDS, "Shards of a task's counters.", default=32),
            "log_forbidden_mutations": Key(Anything(), "Refused: it writes reports to a file."),
            "key_rotator": _c(_KEY_ROTATOR, "Rotate the keys of clients' reports in this process."),
            "task_cache_ttl_s": _c(_COUNT, "How long a task is remembered.", unit="s"),
            "task_cache_capacity": _c(_COUNT, "How many are."),
            "require_global_hpke_keys": _c(Boolean(), "Every task uses the aggregator's keys.", default=False),
            "helper_aggregation_request_queue": _c(
                Section(
                    {
                        "depth": _c(_COUNT, "Requests that wait.", default=None),
                        "concurrency": _c(_COUNT, "Requests under way.", default=None),
                        "timeout_ms": _c(_COUNT, "How long one waits.", unit="ms"),
                    }
                ),
                "The helper's queue.",
            ),
        }
    follows = {"listen_address": "it follows from `inner_port`", "aggregator_api": _API}
    if generation == "C":
        follows["log_forbidden_mutations"] = "it would write parts of reports to a file"
    return _program(generation, keys, follows)


_SHARD_DOC = "Shards of a batch; never more than the collection_job_driver's."


def _job_driver(generation: str) -> dict[str, Key]:
    keys = {
        "max_concurrent_job_workers": Key(_COUNT, "Jobs at once.", default=10),
        "maximum_attempts_before_failure": Key(_COUNT, "How often a job is tried.", default=10),
        "batch_aggregation_shard_count": Key(_SHARDS, _SHARD_DOC, default=32),
    }
    lease, skew = "How long a job is one worker's.", "What of that is left for clocks that differ."
    if generation == "B":
        return keys | {
            "min_job_discovery_delay_secs": _b(_COUNT, "The shortest wait for jobs.", default=1, unit="s"),
            "max_job_discovery_delay_secs": _b(_COUNT, "The longest.", default=10, unit="s"),
            "worker_lease_duration_secs": _b(_COUNT, lease, default=600, unit="s"),
            "worker_lease_clock_skew_allowance_secs": _b(_SECONDS, skew, default=60, unit="s"),
        }
    return keys | {
        "job_discovery_interval_s": _c(_COUNT, "How often it looks for jobs.", default=10, unit="s"),
        "worker_lease_duration_s": _c(_COUNT, lease, default=600, unit="s"),
        "worker_lease_clock_skew_allowance_s": _c(_SECONDS, skew, default=60, unit="s"),
        "http_request_connection_timeout_s": _c(_COUNT, "For connecting to the helper.", default=10, unit="s"),
        "http_request_timeout_s": _c(_COUNT, "For its answer.", default=30, unit="s"),
        "retry_initial_interval_ms": _c(_COUNT, "Before the first repetition.", default=1000, unit="ms"),
        "retry_max_interval_ms": _c(_COUNT, "The longest before one.", default=30_000, unit="ms"),
        "retry_max_elapsed_time_ms": _c(_COUNT, "When it gives up.", default=300_000, unit="ms"),
    }


def _ordered(low: str, high: str, *, equal: bool = True) -> Rule:
    """``low`` is no more than ``high``, or less where they may not be equal."""

    def check(values: Mapping[str, Any]) -> Breaches:
        if values[low] < values[high] or (equal and values[low] == values[high]):
            return []
        return [
            ((low,), f"is {values[low]}, and {high} is {values[high]}: it has to be {'no more' if equal else 'less'}")
        ]

    return Rule(f"`{low}` and `{high}` fit.", check)


def _driver_rules(generation: str) -> tuple[Rule, ...]:
    if generation == "B":
        return (
            _ordered("min_job_discovery_delay_secs", "max_job_discovery_delay_secs"),
            _ordered("worker_lease_clock_skew_allowance_secs", "worker_lease_duration_secs", equal=False),
        )
    return (
        _ordered("worker_lease_clock_skew_allowance_s", "worker_lease_duration_s", equal=False),
        _ordered("retry_initial_interval_ms", "retry_max_interval_ms"),
    )


def _aggregation_job_driver(generation: str) -> Section:
    keys = _job_driver(generation) | {"taskprov_config": Key(_TASKPROV, "Refused: tasks come from the manager.")}
    if generation == "C":
        keys["task_counter_shard_count"] = _c(_SHARDS, "Shards of a task's counters.", default=32)
    return _program(generation, keys, {}, _driver_rules(generation))


def _collection_job_driver(generation: str) -> Section:
    keys, rules = _job_driver(generation), _driver_rules(generation)
    if generation == "C":
        keys |= {
            "min_collection_job_retry_delay_s": _c(_COUNT, "Before a job is looked at again.", default=600, unit="s"),
            "max_collection_job_retry_delay_s": _c(_COUNT, "The longest.", default=3600, unit="s"),
            "collection_job_retry_delay_exponential_factor": _c(Number(minimum=1), "How it grows.", default=1.25),
            "max_future_concurrency": _c(_COUNT, "Pieces of work at once.", default=10_000),
        }
        rules = (*rules, _ordered("min_collection_job_retry_delay_s", "max_collection_job_retry_delay_s"))
    return _program(generation, keys, {}, rules)


def _aggregation_job_creator(generation: str) -> Section:
    keys = {
        "min_aggregation_job_size": Key(_COUNT, "Fewer reports wait for more.", default=1),
        "max_aggregation_job_size": Key(_COUNT, "Reports of one job.", default=500),
    }
    tasks, create = "How often tasks are read.", "How often jobs are made of reports."
    if generation == "B":
        keys["tasks_update_frequency_secs"] = _b(_COUNT, tasks, default=10, unit="s")
        keys["aggregation_job_creation_interval_secs"] = _b(_COUNT, create, default=10, unit="s")
    else:
        keys |= {
            "tasks_update_frequency_s": _c(_COUNT, tasks, default=10, unit="s"),
            "aggregation_job_creation_interval_s": _c(_COUNT, create, default=10, unit="s"),
            "batch_aggregation_shard_count": _c(_SHARDS, _SHARD_DOC, default=32),
            "aggregation_job_creation_report_window": _c(_COUNT, "Reports looked at in one run.", default=5000),
            "late_report_grace_period_s": _c(_SECONDS, "How long late reports are waited for.", default=3600, unit="s"),
        }
    return _program(generation, keys, {}, (_ordered("min_aggregation_job_size", "max_aggregation_job_size"),))


def _garbage_collector(generation: str) -> Section:
    what = Key(_collection(generation), "What is deleted.", default={"gc_frequency_s": 60})
    return _program(generation, {"garbage_collection": what}, {})


_MANAGER_FOLLOWS = {
    "listen_address": "it follows from `manager.inner_port`",
    "leader_endpoint": "it follows from the placement `leader`",
    "helper_endpoint": "it follows from the placement `helper`",
    "external_leader": "it follows from `leader.public_url` or `local_ports`, equal on both sides",
    "external_helper": "it follows from `helper.public_url` or `local_ports`, equal on both sides",
    "max_upload_batch_size": "the manager doesn't read it, whatever its sample says",
    "max_upload_batch_write_delay_ms": "the manager doesn't read it, whatever its sample says",
    "batch_aggregation_shard_count": "the manager doesn't read it, whatever its sample says",
}


def _manager(generation: str) -> Section:
    keys = {key: Key(Anything(), f"Refused: {reason}.") for key, reason in _MANAGER_FOLLOWS.items()}
    return _program(generation, keys, _MANAGER_FOLLOWS)


def _program(
    generation: str, keys: Mapping[str, Key], follows: Mapping[str, str], rules: tuple[Rule, ...] = ()
) -> Section:
    """A program's whole file, but for what is derived."""
    return Section({**_common(generation), **keys}, rules=(_refuses({**_COMMON_FOLLOWS, **follows}), *rules))


_PROGRAMS: Mapping[str, tuple[Callable[[str], Section], str, str]] = {
    "aggregator": (_aggregator, "BC", "The aggregator, of leader and helper."),
    "aggregation_job_creator": (_aggregation_job_creator, "BC", "Makes jobs of reports; the leader's."),
    "aggregation_job_driver": (_aggregation_job_driver, "BC", "Aggregates with the helper; the leader's."),
    "collection_job_driver": (_collection_job_driver, "BC", "Collects for the controller; the leader's."),
    "garbage_collector": (_garbage_collector, "C", "Deletes what has expired; of leader and helper."),
    "manager": (_manager, "B", "dpsa4fl-janus-manager, of leader and helper."),
}

PROGRAMS = tuple(_PROGRAMS)
JANUS_PROGRAMS = tuple(program for program in PROGRAMS if program != "manager")


@cache
def program_section(program: str, generation: str) -> Section:
    """The file of a program in a generation, without what is derived."""
    make, generations, _doc = _PROGRAMS[program]
    if generation not in generations:
        raise ValueError(f"generation {generation} has no '{program}'")
    return make(generation)


def generations_of(program: str) -> str:
    """In which generations there is such a program."""
    return _PROGRAMS[program][1]


def _union(sections: Mapping[str, Section]) -> Section:
    """Keys of both generations, those of one marked; rules are the generation's own, run when it is known."""
    keys: dict[str, Key] = {}
    for generation, section in sections.items():
        for name, key in section.keys.items():
            others = {other: each.keys[name] for other, each in sections.items() if name in each.keys}
            if name in keys:
                continue
            if len(others) == 1 and len(sections) > 1:
                keys[name] = replace(key, doc=f"{key.doc} Generation {generation} only.")
            elif isinstance(key.type, Section):
                inner = {other: each.type for other, each in others.items() if isinstance(each.type, Section)}
                keys[name] = replace(key, type=_union(inner))
            else:
                keys[name] = key
    return Section(keys)


def _own(program: str) -> Section:
    """A program's own keys, and where it alone is asked for its numbers."""
    sections = {}
    for generation in generations_of(program):
        section = program_section(program, generation)
        keys = {name: key for name, key in section.keys.items() if name not in _common(generation)}
        metrics = Key(_metrics(generation, of_all=False), _METRICS_DOC)
        sections[generation] = Section({"metrics_config": metrics, **keys})
    return _union(sections)


def _of_all(generation: str) -> Section:
    """What all programs may be told alike: a port of one's own isn't."""
    metrics = Key(_metrics(generation, of_one=False), _METRICS_DOC)
    return Section({**_common(generation), "metrics_config": metrics})


SETTINGS = Section(
    {
        "common": Key(
            _union({generation: _of_all(generation) for generation in GENERATIONS}),
            "What every program reads; a program's own section goes over it.",
        ),
        **{program: Key(_own(program), doc) for program, (_make, _which, doc) in _PROGRAMS.items()},
    }
)


def foreign_keys(given: Mapping[str, Any], generation: str) -> Breaches:
    """Keys of settings that only the other generation has, with what this one calls them where it has another name."""
    breaches: Breaches = []
    for program, values in given.items():
        if program != "common" and generation not in generations_of(program):
            breaches.append(((program,), f"generation {generation} has no such program"))
        elif program == "common":
            breaches += _foreign(values, Section(_common(generation)), generation, (program,))
        else:
            breaches += _foreign(values, program_section(program, generation), generation, (program,))
    return breaches


def _foreign(values: Mapping[str, Any], section: Section, generation: str, path: Path) -> Breaches:
    breaches: Breaches = []
    for name, value in values.items():
        key = section.keys.get(name)
        if key is None:
            breaches.append(((*path, name), f"generation {generation} has no such key{_otherwise(name, section)}"))
        elif isinstance(key.type, Section) and isinstance(value, Mapping):
            breaches += _foreign(value, key.type, generation, (*path, name))
    return breaches


def _otherwise(name: str, section: Section) -> str:
    """What the generation calls it instead."""
    if "job_discovery" in name:
        instead = [key for key in section.keys if "job_discovery" in key]
    else:
        stem = name.removesuffix("_secs").removesuffix("_s")
        instead = [key for key in section.keys if key in (f"{stem}_secs", f"{stem}_s")]
    return f": it is {' and '.join(instead)} there" if instead else ""


def shards(files: Mapping[str, Mapping[str, Any]]) -> Breaches:
    """No program has more shards of a batch than the one that collects them; ``files`` are the leader's, by program."""
    key = "batch_aggregation_shard_count"
    if "collection_job_driver" not in files:
        return []
    most = files["collection_job_driver"][key]
    return [
        ((program, key), f"is {values[key]}, and the collection_job_driver's is {most}: what it doesn't know is lost")
        for program, values in files.items()
        if key in values and values[key] > most
    ]
