# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of a role's variables is said alike everywhere, and what a role can't work with is told exactly."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
from graphlib import CycleError
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import catalogue
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import (
    INSTANCES,
    ROLES,
    kept,
    mistakes,
    packages,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.xain import check_coordinators

CHECKOUT = Path(__file__).resolve().parents[5]
WRITER = runpy.run_path(str(CHECKOUT / "tests" / "tools" / "roles.py"))
WANTED: dict[Path, str] = dict(WRITER["wanted"]())

OF_JANUS: dict[str, Any] = {
    "name": "one",
    "programs": {"path": "/opt/janus"},
    "keyring": "leader",
    "database": {"name": "janus", "login": "program", "secret": "leader_database"},
    "health_port": 9001,
}

OF_XAIN = {"endpoint": "http://127.0.0.1:9000", "bucket": "models", "user": "somebody", "secret": "storage"}
OF_PET = {"pet": {"sum": 0.5, "update": 0.5}, "mask": {"data_type": "F32", "bound_type": "B0"}, "model": {"length": 4}}

RIGHT: dict[str, dict[str, Any]] = {
    "firewall_services": {"name": "web", "addresses": ["10.20.0.11"], "port": 8000},
    "firewall_others": {"name": "web", "port": 8000},
    "mongodb_instances": {"name": "store"},
    "postgresql_instances": {"name": "store"},
    "minio_instances": {"name": "store"},
    "redis_instances": {"name": "store"},
    "s3fs_mounts": {
        "name": "shared",
        "path": "/srv/shared",
        "s3": {"url": "https://store:9000", "bucket": "imaging", "client": "imaging_a", "secret": "s"},
    },
    "registry_instances": {"name": "images", "users": [{"name": "ci", "secret": "registry_ci"}]},
    "registry_trust_instances": {"name": "images", "registry": "r.example:5000", "ca": "/etc/ssl/ca.pem"},
    "nginx_sites": {
        "name": "front",
        "listen": [{"address": "127.0.0.1", "port": 80}],
        "upstream": {"servers": ["127.0.0.1:81"]},
    },
    "pki_certificates": {
        "name": "web",
        "federation": "demo",
        "authority": "lab",
        "common_name": "web",
        "dns_names": ["web.example"],
    },
    "pki_authorities": {"name": "lab", "party": "lab", "common_name": "Lab CA"},
    "time_sync_instances": {"name": "lab"},
    "tunnel_instances": {
        "name": "store",
        "listen": {"port": 5432},
        "connect": {"host": "10.20.0.12", "port": 5432},
        "tls": {"ca": "/etc/ca.pem"},
    },
    "neursafe_ctl_instances": {"name": "imaging", "api": "10.20.0.12:30083"},
    "neursafe_standalone_instances": {
        "name": "clinic",
        "listen": {"address": "10.30.0.11"},
        "server": "10.20.0.12:30091",
    },
    "janus_instances": {**OF_JANUS, "program": "aggregator", "listen": {"port": 9971}},
    "dpsa_manager_instances": {
        **OF_JANUS,
        "listen": {"port": 9961},
        "gate": {"port": 9965},
        "max_epsilon": 1.0,
        "role": "leader",
        "urls": dict.fromkeys(
            ("leader_endpoint", "helper_endpoint", "external_leader", "external_helper"), "https://leader.example:9991"
        ),
    },
    "dpsa_round_instances": {
        "name": "round",
        "managers": {"leader": "http://127.0.0.1:11981", "helper": "http://127.0.0.1:11982"},
        "epsilon": 100.0,
        "vectors": [[0.5, 0.5], [0.25, -0.5]],
    },
    "mindspore_scheduler_instances": {
        "name": "sched",
        "listen": {"address": "127.0.0.1"},
        "redis": {"address": "127.0.0.1"},
        "settings": {"fl_name": "first"},
    },
    "mindspore_server_instances": {
        "name": "server",
        "http": {"address": "127.0.0.1"},
        "tcp_address": "127.0.0.1",
        "redis": {"address": "127.0.0.1"},
        "checkpoints": {"address": "127.0.0.1"},
        "settings": {"fl_name": "first"},
    },
    "mindspore_worker_instances": {
        "name": "worker",
        "server": {"address": "127.0.0.1"},
        "settings": {"fl_name": "first", "server_mode": "CLOUD_TRAINING"},
    },
    "dc_federated_server_instances": {
        "name": "server",
        "application": {"callable": "myapp.server:build"},
        "listen": {"address": "127.0.0.1"},
        "admin": {"secret": "vision_admin"},
    },
    "dc_federated_worker_instances": {
        "name": "worker",
        "application": {"callable": "myapp.worker:run"},
        "server": {"host": "127.0.0.1"},
    },
    "neursafe_server_instances": {
        "name": "demo-imaging-server",
        "images": {"tag": "1.0"},
        "storage": {"type": "posix"},
        "database": {"address": "10.20.0.13:5432", "username": "neursafe", "secret": "database"},
        "token": "token",
    },
    "neursafe_client_instances": {
        "name": "demo-imaging-client-a",
        "server": "10.20.0.12:30091",
        "external_address": "10.30.0.12:30090",
        "database": {"address": "10.20.0.13:5432", "username": "neursafe", "secret": "database"},
    },
    "xain_coordinator_instances": {
        "name": "coordinator",
        "storage": OF_XAIN,
        "settings": {"ai": {"rounds": 3}},
    },
    "xain_aggregator_instances": {
        "name": "aggregator",
        "settings": {"federated_learning": {"rounds": 3}},
    },
    "xain_participant_instances": {
        "name": "participant",
        "storage": OF_XAIN,
        "application": {"callable": "myapp.participant:Mine"},
        "coordinator": {"host": "127.0.0.1"},
    },
}
"""The least that an instance needs."""

TLS = {"certificate": "/c", "key": "/k"}
HTTPS = {"address": "127.0.0.1", "port": 443}
SUM = "0" * 64
CLIENT_TLS = {**TLS, "ca": "/ca", "client_ca": "/ca"}
TWICE = [{"name": "one"}, {"name": "one"}]
NOTHING_PROVES = "[0]: clients[0]: says who it is by nothing: give secret, or certificate: subject"
IPV4 = " is not an IPv4 address that MindSpore Federated takes: its first and last number are from 1 to 254"


def client(**changed: Any) -> dict[str, Any]:
    """A PostgreSQL server's databases and clients: one of each, the latter with something wrong."""
    one = {"name": "a", "database": "one", "secret": "s", **changed}
    return {"databases": TWICE[:1], "clients": [one]}


WRONG: list[tuple[str, Any, str]] = [
    # tunnel
    (
        "tunnel_instances",
        [{"listen": {"address": "10.20.0.11", "port": 5432}}],
        "[0]: listen.address: '10.20.0.11' is reached by others, who would come out at the other end as this host: "
        "127.0.0.1",
    ),
    (
        "tunnel_instances",
        [{}, {"name": "other"}],
        "[1]: listen: 127.0.0.1 port 5432 is taken by 'store'",
    ),
    (
        "tunnel_instances",
        [{"tls": {"ca": "/etc/ca.pem", "key": "/etc/key.pem"}}],
        "[0]: tls: 'certificate' and 'key' go together",
    ),
    ("tunnel_packages", [], ": expected a list of at least 1, found 0"),
    ("tunnel_program", "stunnel4", ": 'stunnel4' is no absolute path: it begins with '/' and has no '..'"),
    (
        "tunnel_health_timeout_seconds",
        0,
        ": expected a whole number from 1 to 3600, found the number 0",
    ),
    ("tunnel_remove_data", "no", ": expected true or false, found the text 'no'"),
    # janus
    (
        "janus_instances",
        [{"listen": {"address": "10.20.0.11", "port": 9971}}],
        "[0]: listen.address: '10.20.0.11' is reached by others, and the program speaks no TLS: 127.0.0.1",
    ),
    (
        "janus_instances",
        [{"program": "aggregation_job_driver"}],
        "[0]: program: the aggregator, and none of the others, has 'listen'",
    ),
    (
        "janus_instances",
        [{"database": {**OF_JANUS["database"], "host": "10.20.0.12"}}],
        "[0]: database.host: '10.20.0.12' is reached unencrypted: give ca, or place it on loopback",
    ),
    (
        "janus_instances",
        [{"database": {**OF_JANUS["database"], "ca": "/etc/ca.pem"}}],
        "[0]: database.ca: generation B speaks no TLS to its database: place it on loopback",
    ),
    (
        "janus_instances",
        [{"program": "garbage_collector", "listen": None}],
        "[0]: program: generation B has no 'garbage_collector'",
    ),
    (
        "janus_instances",
        [{"settings": {"max_upload_batch_sise": 5}}],
        "[0]: settings.max_upload_batch_sise: unknown key 'max_upload_batch_sise' (did you mean "
        "'max_upload_batch_size'?)",
    ),
    (
        "janus_instances",
        [{"settings": {"database": {"check_schema_version": False}}}],
        "[0]: settings.database.check_schema_version: can't be set: a program on a schema it doesn't know would lose "
        "reports",
    ),
    (
        "janus_instances",
        [{}, {"name": "two", "listen": {"port": 9972}}],
        "[1]: health_port: 127.0.0.1 port 9001 is taken by 'one'",
    ),
    (
        "janus_instances",
        [{"programs": {}}],
        "[0]: programs: one of 'path' and 'archive' says where the programs come from",
    ),
    ("janus_packages", [], ": expected a list of at least 1, found 0"),
    (
        "janus_instances",
        [{"escrow": {"recipient": "AGE-SECRET-KEY-1"}}],
        "[0]: escrow.recipient: 'AGE-SECRET-KEY-1' is not a public key of age (age1...)",
    ),
    ("janus_escrow_directory", "", ": is empty"),
    ("janus_accept_unrecoverable", "yes", ": expected true or false, found the text 'yes'"),
    ("janus_keys_step", "drop", ": expected one of add, promote, withdraw, found the text 'drop'"),
    ("janus_log", "", ": is empty"),
    ("janus_nofile", 10, ": expected a whole number from 1024 to 1073741816, found the number 10"),
    ("janus_memory_max", "much", ": 'much' is not bytes such as 2G"),
    ("janus_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("janus_max_skew_ms", 0, ": expected a whole number from 1 to 86400000, found the number 0"),
    ("janus_remove_data", "no", ": expected true or false, found the text 'no'"),
    # dpsa_manager
    (
        "dpsa_manager_instances",
        [{"max_epsilon": 0}],
        "[0]: max_epsilon: expected a number above 0, found the number 0",
    ),
    (
        "dpsa_manager_instances",
        [{"gate": {"port": 9961}}],
        "[0]: gate.port: 127.0.0.1 port 9961 is taken by 'one'",
    ),
    (
        "dpsa_manager_instances",
        [{"settings": {"max_upload_batch_size": 50}}],
        "[0]: settings.max_upload_batch_size: can't be set: the manager doesn't read it, whatever its sample says",
    ),
    ("dpsa_manager_instances", [{"generation": "C"}], "[0]: generation: generation C has no 'manager'"),
    ("dpsa_manager_log", "", ": is empty"),
    ("dpsa_manager_nofile", 10, ": expected a whole number from 1024 to 1073741816, found the number 10"),
    ("dpsa_manager_memory_max", "much", ": 'much' is not bytes such as 2G"),
    ("dpsa_manager_log_seconds", 1, ": expected a whole number from 60 to 604800, found the number 1"),
    ("dpsa_manager_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("dpsa_manager_disrupt", True, ": expected text, found true: write it in quotes"),
    ("dpsa_manager_remove_data", "no", ": expected true or false, found the text 'no'"),
    # dpsa_round
    ("dpsa_round_instances", [{"fixed_bits": 24}], "[0]: fixed_bits: 16 or 32, not 24: the programs know no others"),
    ("dpsa_round_instances", [{"vectors": [[0.5]]}], "[0]: vectors: expected a list of at least 2, found 1"),
    (
        "dpsa_round_instances",
        [{"vectors": [[0.5, 0.5], [0.5]]}],
        "[0]: vectors[1]: has 1 numbers, and the first has 2",
    ),
    (
        "dpsa_round_instances",
        [{"vectors": [[0.5, 0.5], [1.0, 0.5]]}],
        "[0]: vectors[1]: is 1.12 long, and reports longer than 1 are dropped",
    ),
    ("dpsa_round_packages", "python3", ": expected a list, found the text 'python3'"),
    ("dpsa_round_memory_max", "much", ": 'much' is not bytes such as 4G, or infinity"),
    ("dpsa_round_remove_data", "no", ": expected true or false, found the text 'no'"),
    # nginx: steps of paths
    (
        "nginx_sites",
        [{"paths": [{"path": "/tasks/a*"}]}],
        "[0]: paths[0].path: '/tasks/a*' is not a path without query: / and A-Z, a-z, 0-9, ._~-, or * as a whole step",
    ),
    # limits
    ("limits_state", "stopped", ": expected one of present, absent, found the text 'stopped'"),
    (
        "limits_nofile",
        "65535",
        ": expected a whole number from 1024 to 1073741816, found the text '65535': leave out the quotes",
    ),
    ("limits_nofile", 1023, ": expected a whole number from 1024 to 1073741816, found the number 1023"),
    ("limits_nofile", True, ": expected a whole number from 1024 to 1073741816, found true"),
    (
        "limits_sysctls",
        {"fs.file-max": 0},
        ": 'fs.file-max': expected a whole number from 1 to 9223372036854775807, found the number 0",
    ),
    ("limits_sysctls", {"file-max": 1}, ": file-max: 'file-max' is not a kernel parameter such as fs.file-max"),
    ("limits_nproc", -1, ": expected a whole number from 0 to 4194304, found the number -1"),
    ("limits_ephemeral_ports", {"first": 15000}, ": last: is missing: first and last go together"),
    ("limits_ephemeral_ports", {"first": 60999, "last": 15000}, ": last: is not above first"),
    ("limits_sysctls", ["fs.file-max"], ": expected a mapping, found a list"),
    # redis
    ("redis_instances", "store", ": expected a list"),
    ("redis_instances", [{"name": "Store"}], "[0]: name: 'Store' is not a name: a-z, 0-9 and '-', no '-' at its ends"),
    (
        "redis_instances",
        [{"port": "6379"}],
        "[0]: port: expected a whole number from 1 to 65535, found the text '6379': leave out the quotes",
    ),
    ("redis_instances", [{"port": 0}], "[0]: port: expected a whole number from 1 to 65535, found the number 0"),
    (
        "redis_instances",
        [{"adresses": ["127.0.0.1"]}],
        "[0]: adresses: unknown key 'adresses' (did you mean 'addresses'?)",
    ),
    ("redis_instances", [{"addresses": ["0.0.0.0"]}], "[0]: addresses[0]: '0.0.0.0' is no address of one host"),
    ("redis_instances", [{"addresses": ["localhost"]}], "[0]: addresses[0]: 'localhost' is no numeric address"),
    ("redis_instances", [{"addresses": []}], "[0]: addresses: expected a list of at least 1, found 0"),
    (
        "redis_instances",
        [{"settings": {"requirepass": "x"}}],
        "[0]: settings.requirepass: can't be set: it would be a secret in a file for all to read",
    ),
    (
        "redis_instances",
        [{"settings": {"port": 1}}],
        "[0]: settings.port: follows from the instance's 'port': set that",
    ),
    (
        "redis_instances",
        [{"settings": {"maxmemory": "1\nrequirepass x"}}],
        (
            "[0]: settings.maxmemory: expected true or false or a whole number or a number or a "
            "text without control characters or a list, found the text '1?requirepass x'"
        ),
    ),
    *(
        (
            "redis_instances",
            [{"settings": {"maxmemory": value}}],
            f"[0]: settings.maxmemory: '{value}' is no number of bytes, such as 512mb",
        )
        for value in ("half", "50%", "-1", "1.5gb", "1tb", "999999999999gb", True, "")
    ),
    (
        "redis_instances",
        [{"persistence": "both"}],
        "[0]: persistence: expected one of none, rdb, aof, found the text 'both'",
    ),
    ("redis_instances", [{}, {}], "[1]: name: 'store' is also the name of [0]"),
    ("redis_instances", [{}, {"name": "other"}], "[1]: port: 127.0.0.1 port 23456 is taken by 'store'"),
    (
        "redis_instances",
        [{"addresses": ["10.9.9.9"]}],
        "[0]: addresses[0]: '10.9.9.9' is reached by others, and nobody is asked who they are: give tls.client_ca or "
        "users, listen on 127.0.0.1, or say allow_unauthenticated: true",
    ),
    (
        "redis_instances",
        [{"addresses": ["10.9.9.9"], "tls": {"certificate": "/c", "key": "/k", "server_ca": "/a"}}],
        "[0]: addresses[0]: '10.9.9.9' is reached by others, and nobody is asked who they are: give tls.client_ca or "
        "users, listen on 127.0.0.1, or say allow_unauthenticated: true",
    ),
    (
        "redis_instances",
        [{"addresses": ["127.0.0.1", "10.9.9.9"], "users": [{"name": "one", "secret": "s"}]}],
        "[0]: addresses[1]: '10.9.9.9' is reached by others, and without tls passwords can be read on the way: give "
        "tls, listen on 127.0.0.1, or say allow_unencrypted: true",
    ),
    (
        "redis_instances",
        [{"users": [{"name": "one", "secret": "s"}], "allow_unauthenticated": True}],
        "[0]: allow_unauthenticated: with users everybody is asked who they are: leave it out",
    ),
    (
        "redis_instances",
        [{"users": [{"name": "one", "secret": "s"}, {"name": "one", "secret": "t"}]}],
        "[0]: users[1].name: 'one' stands there twice",
    ),
    (
        "redis_instances",
        [{"users": [{"name": "default", "secret": "s"}]}],
        (
            "[0]: users[0].name: 'default' is not a login: letters, digits, '.', '_', '-', and neither default nor "
            "fedlearn"
        ),
    ),
    (
        "redis_instances",
        [{"users": [{"name": "one"}]}],
        "[0]: users[0]: the key 'secret' is missing (the name of a secret)",
    ),
    (
        "redis_instances",
        [{"users": [{"name": "one", "secret": "s", "commands": ["@all"]}]}],
        "[0]: users[0].commands[0]: '@all' is not a rule of commands, such as +@read, -@dangerous or +config|get",
    ),
    (
        "redis_instances",
        [{"users": [{"name": "one", "secret": "s", "keys": ["a b"]}]}],
        "[0]: users[0].keys[0]: 'a b' is not a pattern such as jobs:*, without white space, quotes and \\",
    ),
    (
        "redis_instances",
        [{"users": [{"name": "one", "secret": "s", "channels": ["a\n+@all"]}]}],
        "[0]: users[0].channels[0]: 'a?+@all' is not a pattern such as jobs:*, without white space, quotes and \\",
    ),
    (
        "redis_instances",
        [{"settings": {"user": "x"}}],
        "[0]: settings.user: follows from the instance's 'users': set that",
    ),
    (
        "minio_instances",
        [
            {
                "buckets": [{"name": "one"}],
                "clients": [
                    {"name": "job", "bucket": "one", "secret": "s", "in_turn": True},
                    {"name": "job_b", "bucket": "one", "secret": "t"},
                    {"name": "j" * 63, "bucket": "one", "secret": "u", "in_turn": True},
                ],
            }
        ],
        "[0]: clients[1].name: 'job_b' stands there twice\n"
        "minio_instances[0]: clients[2].name: has no room for '_a' and '_b': at most 62 characters",
    ),
    (
        "mongodb_instances",
        [
            {
                "users": [
                    {"name": "job_a", "database": "one", "secret": "t"},
                    {"name": "job", "database": "one", "secret": "s", "in_turn": True},
                    {"name": "job", "database": "two", "secret": "s", "in_turn": True},
                    {"name": "j" * 62, "database": "two", "secret": "s", "in_turn": True},
                ],
            }
        ],
        "[0]: users[1].name: 'job_a' of one stands there twice\n"
        "mongodb_instances[0]: users[3].name: has no room for '_a' and '_b': at most 61 characters",
    ),
    (
        "registry_instances",
        [{"users": [{"name": "ci", "secret": "s", "in_turn": True}, {"name": "ci_a", "secret": "t"}]}],
        "[0]: users[1].name: 'ci_a' stands there twice",
    ),
    ("redis_packages", [], ": expected a list of at least 1, found 0"),
    ("redis_program", "redis-server", ": 'redis-server' is no absolute path: it begins with '/' and has no '..'"),
    ("redis_client", 1, ": expected an absolute path on the host, found the number 1: write it in quotes"),
    ("redis_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    (
        "redis_instances",
        [{"settings": {"dbfilename": "other.rdb", "replicaof": ["10.0.0.1", 6379]}}],
        "[0]: settings.dbfilename: can't be set: backup and restore know its file by its name\n"
        "redis_instances[0]: settings.replicaof: can't be set: the role knows servers that stand alone",
    ),
    ("redis_backup_packages", "age", ": expected a list, found the text 'age'"),
    ("redis_space_mb", -1, ": expected a whole number from 0 to 1000000000, found the number -1"),
    ("redis_backup_directory", "", ": is empty"),
    ("redis_backup_recipient", "age1", ": 'age1' is not a public key of age (age1...)"),
    ("redis_backup_secret", 1, ": expected text, found the number 1: write it in quotes"),
    ("redis_restore_from", 1, ": expected text, found the number 1: write it in quotes"),
    ("redis_remove_data", "no", ": expected true or false, found the text 'no'"),
    # postgresql
    (
        "postgresql_instances",
        [{"version": 12}],
        "[0]: version: expected a whole number from 13 to 99, found the number 12",
    ),
    (
        "postgresql_instances",
        [{"locale": "C'; x"}],
        "[0]: locale: 'C'; x' is not the name of a locale, such as C.UTF-8",
    ),
    ("postgresql_instances", [{}, {"name": "other"}], "[1]: port: 127.0.0.1 port 5432 is taken by 'store'"),
    (
        "postgresql_instances",
        [{"databases": [{"name": "pg_mine"}]}],
        "[0]: databases[0].name: 'pg_mine' is not a name: a-z, 0-9, '_' and '-', a letter or '_' first, and not pg_, "
        "nor a database of PostgreSQL itself",
    ),
    ("postgresql_instances", [{"databases": TWICE}], "[0]: databases[1].name: 'one' stands there twice"),
    (
        "postgresql_instances",
        [{"databases": TWICE[:1], "clients": [{"name": "a", "secret": "s", "database": "on"}]}],
        "[0]: clients[0].database: no database of this instance is called 'on' (there are one)",
    ),
    (
        "postgresql_instances",
        [{"clients": [{"name": "a", "secret": "s"}]}],
        "[0]: clients[0].database: is missing: which one may it reach (there are none)?",
    ),
    ("postgresql_instances", [client(secret=None)], NOTHING_PROVES),
    (
        "postgresql_instances",
        [
            {
                **client(in_turn=True, certificate="subject"),
                "tls": {"certificate": "/c", "key": "/k", "ca": "/c", "client_ca": "/c"},
            }
        ],
        "[0]: clients[0].certificate: no certificate's common name is that of both its logins: say any, or leave out "
        "in_turn",
    ),
    (
        "postgresql_instances",
        [client(in_turn=True, name="a" * 62)],
        "[0]: clients[0].name: has no room for '_a' and '_b': at most 61 characters",
    ),
    (
        "postgresql_instances",
        [
            {
                **client(),
                "clients": [
                    {"name": "a", "database": "one", "secret": "s", "in_turn": True},
                    {"name": "a_b", "database": "one", "secret": "s", "connections": 1},
                ],
            }
        ],
        "[0]: clients[1].name: 'a_b' stands there twice",
    ),
    (
        "postgresql_instances",
        [client(in_turn=True, connections=20)],
        "[0]: clients: may open 40 connections, and there is room for 27 (half of memory_mb: 512, 8 MB each, 5 in "
        "reserve): raise it, or lower theirs",
    ),
    (
        "postgresql_instances",
        [client(name="one_read")],
        "[0]: clients[0].name: 'one_read' is the role that databases are owned or granted by: nobody logs in as that",
    ),
    (
        "postgresql_instances",
        [client(certificate="any")],
        "[0]: clients[0].certificate: needs tls.client_ca: the CA that vouches for it",
    ),
    (
        "postgresql_instances",
        [{"tls": {**TLS, "ca": "/ca", "client_crl": "/crl"}}],
        "[0]: tls.client_crl: needs client_ca: the CA whose certificates are withdrawn",
    ),
    (
        "postgresql_instances",
        [client(addresses=["127.0.0.1", "10.0.0.0/8"])],
        "[0]: clients[0].addresses[1]: '10.0.0.0/8' is beyond this host, and without tls all it is sent can be read on "
        "the way: give the instance tls, or say allow_unencrypted: true",
    ),
    (
        "postgresql_instances",
        [{"tls": CLIENT_TLS, **client(certificate="any", allow_unencrypted=True)}],
        "[0]: clients[0].certificate: is shown over TLS only: leave out allow_unencrypted",
    ),
    (
        "postgresql_instances",
        [client(addresses=["127.0.0.1/8"])],
        "[0]: clients[0].addresses[0]: '127.0.0.1/8' has host bits set: write 127.0.0.0/8",
    ),
    (
        "postgresql_instances",
        [{**client(), "clients": client()["clients"] * 2}],
        "[0]: clients[1].name: 'a' stands there twice",
    ),
    (
        "postgresql_instances",
        [client(connections=60)],
        "[0]: clients: may open 60 connections, and there is room for 27 (half of memory_mb: 512, 8 MB each, 5 in "
        "reserve): raise it, or lower theirs",
    ),
    (
        "postgresql_instances",
        [{**client(), "settings": {"max_connections": 14}}],
        "[0]: clients: may open 10 connections, and there is room for 9 (max_connections: 14, 5 in reserve): raise it, "
        "or lower theirs",
    ),
    (
        "postgresql_instances",
        [{"settings": {"max_connections": "14"}}],
        "[0]: settings.max_connections: is a whole number above 5, without quotes",
    ),
    (
        "postgresql_instances",
        [{"settings": {"ssl": False}}],
        "[0]: settings.ssl: follows from the instance's 'tls': set that",
    ),
    (
        "postgresql_instances",
        [{"settings": {"restore_command": "x"}}],
        "[0]: settings.restore_command: can't be set: it would be run as a command",
    ),
    ("postgresql_packages", [], ": expected a list of at least 1, found 0"),
    ("postgresql_space_mb", -1, ": expected a whole number from 0 to 1000000000, found the number -1"),
    ("postgresql_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("postgresql_backup_directory", "", ": is empty"),
    ("postgresql_restore_from", 1, ": expected text, found the number 1: write it in quotes"),
    ("postgresql_backup_recipient", "age1", ": 'age1' is not a public key of age (age1...)"),
    ("postgresql_backup_secret", 1, ": expected text, found the number 1: write it in quotes"),
    ("postgresql_restore_until", "yesterday", ": 'yesterday' is not a time such as 2026-11-28 08:30:00+00"),
    ("postgresql_base_days", 0, ": expected a whole number from 1 to 366, found the number 0"),
    ("postgresql_withdraw_seconds", -1, ": expected a whole number from 0 to 86400, found the number -1"),
    ("postgresql_remove_data", "no", ": expected true or false, found the text 'no'"),
    # minio
    (
        "minio_instances",
        [{"tls": {"certificate": "/c", "key": "/k", "ca": "/a"}, "public_url": "http://store"}],
        "[0]: public_url: is http, and with tls the server speaks nothing but https",
    ),
    (
        "minio_instances",
        [{"address": "10.0.0.1"}],
        "[0]: address: '10.0.0.1' is reached by others, and without tls all they send can be read on the way: give "
        "tls, listen on 127.0.0.1, or say allow_unencrypted: true",
    ),
    (
        "minio_instances",
        [{}, {"name": "other", "address": "127.0.0.2"}],
        "[1]: port: 127.0.0.1 port 9000 is taken by 'store'",
    ),
    (
        "minio_instances",
        [{"tls": {"certificate": "/c", "key": "/k"}}],
        "[0]: tls: the key 'ca' is missing (an absolute path on the host)",
    ),
    (
        "minio_instances",
        [{"buckets": [{"name": "Imaging"}]}],
        "[0]: buckets[0].name: 'Imaging' is no name of a bucket: a-z, 0-9, '-' and '.', each "
        "'.' between two of a-z and 0-9; no address, no xn--",
    ),
    (
        "minio_instances",
        [{"buckets": [{"name": "imaging", "expire_former_days": 3}]}],
        "[0]: buckets[0].expire_former_days: needs versioning: true; without it there are no former versions",
    ),
    (
        "minio_instances",
        [{"buckets": [{"name": "one"}] * 2}],
        "[0]: buckets[1].name: 'one' stands there twice",
    ),
    (
        "minio_instances",
        [{"clients": [{"name": "a_program", "secret": "s"}]}],
        "[0]: clients[0].bucket: is missing: which one may it reach (there are none)?",
    ),
    (
        "minio_instances",
        [{"buckets": [{"name": "one"}], "clients": [{"name": "a_program", "secret": "s", "bucket": "two"}]}],
        "[0]: clients[0].bucket: no bucket of this instance is called 'two' (there are one)",
    ),
    (
        "minio_instances",
        [{"buckets": [{"name": "one"}], "clients": [{"name": "a_program", "bucket": "one"}]}],
        "[0]: clients[0].secret: is missing: the name of the secret that is its password",
    ),
    (
        "minio_instances",
        [
            {
                "buckets": [{"name": "one"}],
                "clients": [{"name": "watcher", "access": "metrics", "secret": "s", "bucket": "one"}],
            }
        ],
        "[0]: clients[0].bucket: isn't reached by access: metrics; leave it out",
    ),
    (
        "minio_instances",
        [{"clients": [{"name": "administrator", "access": "metrics", "secret": "s"}]}],
        "[0]: clients[0].name: 'administrator' is the server's own",
    ),
    (
        "minio_instances",
        [{"settings": {"MINIO_VOLUMES": "/data"}}],
        "[0]: settings.MINIO_VOLUMES: follows from the instance's 'name': set that",
    ),
    (
        "minio_instances",
        [{"settings": {"MINIO_BROWSER": "on"}}],
        "[0]: settings.MINIO_BROWSER: can't be set: the server offers no console: what is in it is said here",
    ),
    (
        "minio_instances",
        [{"settings": {"MINIO_ROOT_PASSWORD": "x"}}],
        "[0]: settings.MINIO_ROOT_PASSWORD: can't be set: it would be a secret in a file for all to read",
    ),
    (
        "minio_instances",
        [{"settings": {"MINIO_REGION": 'a" b'}}],
        "[0]: settings.MINIO_REGION: 'a\" b' is not a text without control characters, quotes, \\ and $",
    ),
    (
        "minio_instances",
        [
            {
                "buckets": [{"name": "aaa"}],
                "clients": [{"name": "one", "bucket": "aaa", "secret": "s", "access": "some"}],
            }
        ],
        "[0]: clients[0].objects: is missing: which objects may it get and put?",
    ),
    (
        "minio_instances",
        [{"buckets": [{"name": "aaa"}], "clients": [{"name": "one", "bucket": "aaa", "secret": "s", "objects": {}}]}],
        "[0]: clients[0].objects: is for access: some only",
    ),
    (
        "minio_instances",
        [
            {
                "buckets": [{"name": "aaa"}],
                "clients": [
                    {"name": "one", "bucket": "aaa", "secret": "s", "access": "some", "objects": {"get": ["a b"]}}
                ],
            }
        ],
        "[0]: clients[0].objects.get[0]: 'a b' is not a name of objects: A-Z, a-z, 0-9, '.', '_', '-', '/', and * for "
        "anything",
    ),
    (
        "minio_instances",
        [
            {
                "buckets": [{"name": "aaa"}],
                "clients": [{"name": "one", "bucket": "aaa", "secret": "s", "also": [{"bucket": "bbb"}]}],
            }
        ],
        "[0]: clients[0].also[0].bucket: no bucket of this instance is called 'bbb' (there are aaa)",
    ),
    (
        "minio_instances",
        [
            {
                "buckets": [{"name": "aaa"}],
                "clients": [{"name": "one", "bucket": "aaa", "secret": "s", "also": [{"bucket": "aaa"}]}],
            }
        ],
        "[0]: clients[0].also[0].bucket: 'aaa' stands there twice",
    ),
    (
        "minio_instances",
        [
            {
                "buckets": [{"name": "aaa"}],
                "clients": [{"name": "one", "secret": "s", "access": "metrics", "also": [{"bucket": "aaa"}]}],
            }
        ],
        "[0]: clients[0].also: isn't reached by access: metrics; leave it out",
    ),
    ("minio_version", "latest", ": 'latest' is not a version such as v0.0.0-20260212201848-7aac2a2c5b7c"),
    ("minio_go", "", ": is empty"),
    ("minio_go_toolchain", "newest", ": 'newest' is not local, or a version such as go1.26.8"),
    ("minio_build_directory", "", ": is empty"),
    ("minio_program", "minio", ": 'minio' is not an absolute path on the host, or empty"),
    ("minio_packages", [], ": expected a list of at least 1, found 0"),
    ("minio_space_mb", -1, ": expected a whole number from 0 to 1000000000, found the number -1"),
    ("minio_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("minio_backup_directory", "", ": is empty"),
    ("minio_backup_recipient", "lab", ": 'lab' is not a public key of age (age1...)"),
    ("minio_backup_secret", 1, ": expected text, found the number 1: write it in quotes"),
    ("minio_restore_from", 1, ": expected text, found the number 1: write it in quotes"),
    ("minio_remove_data", "no", ": expected true or false, found the text 'no'"),
    # s3fs
    (
        "s3fs_mounts",
        [{"directory": "/srv/source"}],
        "[0]: needs exactly one of s3, nfs, directory: what is mounted there; found s3 and directory",
    ),
    (
        "s3fs_mounts",
        [{"s3": None}],
        "[0]: needs exactly one of s3, nfs, directory: what is mounted there; found none",
    ),
    (
        "s3fs_mounts",
        [{"path": "/srv/../etc"}],
        "[0]: path: '/srv/../etc' is not an absolute path of letters, digits, '_', '.' and '-', without '..'",
    ),
    (
        "s3fs_mounts",
        [{"there": True}],
        "[0]: s3: means nothing with 'there', which something else mounts",
    ),
    ("s3fs_mounts", [{}, {"name": "other"}], "[1]: path: '/srv/shared' is where 'shared' is mounted"),
    (
        "s3fs_mounts",
        [{"s3": {"url": "http://store:9000", "bucket": "imaging", "client": "imaging_a", "secret": "s"}}],
        "[0]: s3.url: 'http://store:9000' is beyond this host, and all that is read and written could be read on the "
        "way: say https, or allow_unencrypted: true",
    ),
    (
        "s3fs_mounts",
        [{"s3": None, "nfs": "store"}],
        "[0]: nfs: 'store' is not an export such as store.example:/imaging",
    ),
    ("s3fs_mounts", [{"options": ["url=x"]}], "[0]: options[0]: 'url': follows from s3.url"),
    (
        "s3fs_mounts",
        [{"options": ["suid"]}],
        "[0]: options[0]: 'suid': a file there would give its owner's rights to who runs it",
    ),
    (
        "s3fs_mounts",
        [{"options": ["dev"]}],
        "[0]: options[0]: 'dev': a file there would count as a device of this host",
    ),
    (
        "s3fs_mounts",
        [{"options": ["a,b"]}],
        "[0]: options[0]: 'a,b' is not an option such as retries=5",
    ),
    ("s3fs_packages", [], ": expected a list of at least 1, found 0"),
    ("s3fs_nfs_packages", [], ": expected a list of at least 1, found 0"),
    ("s3fs_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("s3fs_watch_seconds", 1, ": expected a whole number from 5 to 3600, found the number 1"),
    # nginx
    ("nginx_sites", [{"listen": []}], "[0]: listen: expected a list of at least 1, found 0"),
    (
        "nginx_sites",
        [{"listen": [{"address": "[::1]", "port": 80}]}],
        "[0]: listen[0].address: '[::1]' has brackets, which are for URLs: write the address without",
    ),
    (
        "nginx_sites",
        [{"listen": [{"address": "127.0.0.1", "port": 80}, {"address": "127.0.0.1", "port": 80}]}],
        "[0]: listen[1]: 127.0.0.1 port 80 stands there twice",
    ),
    ("nginx_sites", [{"redirect": [{"address": "127.0.0.2"}]}], "[0]: redirect: needs tls: it leads there"),
    (
        "nginx_sites",
        [{"tls": TLS, "redirect": [{"address": "127.0.0.1"}]}],
        "[0]: redirect[0]: 127.0.0.1 port 80 stands there twice",
    ),
    (
        "nginx_sites",
        [{}, {"name": "other", "tls": TLS, "listen": [HTTPS], "redirect": [{"address": "127.0.0.1"}]}],
        "[1]: redirect: 127.0.0.1 port 80 is also listened on by 'front': both need server_names to be told apart",
    ),
    ("nginx_sites", [{"server_names": ["a b"]}], "[0]: server_names[0]: 'a b' is no DNS name"),
    ("nginx_sites", [{"allow": ["10.0.0.1/8"]}], "[0]: allow[0]: '10.0.0.1/8' has host bits set: write 10.0.0.0/8"),
    (
        "nginx_sites",
        [{"tls": {"certificate": "/c"}}],
        "[0]: tls: the key 'key' is missing (an absolute path on the host)",
    ),
    (
        "nginx_sites",
        [{"tls": {**TLS, "client_names": ["a"]}}],
        "[0]: tls.client_names: needs client_ca: the CA that vouches for them",
    ),
    (
        "nginx_sites",
        [{"tls": {**TLS, "client_crl": "/crl"}}],
        "[0]: tls.client_crl: needs client_ca: the CA that vouches for them",
    ),
    (
        "nginx_sites",
        [{"upstream": {"servers": ["127.0.0.1"]}}],
        "[0]: upstream.servers[0]: '127.0.0.1' is no address and port, such as 10.20.0.11:6666 or [fd00::11]:6666",
    ),
    (
        "nginx_sites",
        [{"upstream": {"servers": ["127.0.0.1:1"], "tls": {"ca": "/ca", "name": "a", "key": "/k"}}}],
        "[0]: upstream.tls: 'certificate' and 'key' go together",
    ),
    (
        "nginx_sites",
        [{"body_size_mb": 0}],
        "[0]: body_size_mb: expected a whole number from 1 to 1048576, found the number 0",
    ),
    (
        "nginx_sites",
        [{}, {"name": "other"}],
        "[1]: listen: 127.0.0.1 port 80 is also listened on by 'front': both need server_names to be told apart",
    ),
    (
        "nginx_sites",
        [{"server_names": ["a.test"]}, {"name": "other", "server_names": ["A.test"]}],
        "[1]: listen: 127.0.0.1 port 80 is also listened on by 'front': both are named 'a.test'",
    ),
    (
        "nginx_sites",
        [{}, {"name": "other", "tls": TLS}],
        "[1]: listen: 127.0.0.1 port 80 is also listened on by 'front': only one of them speaks TLS",
    ),
    (
        "nginx_sites",
        [{"tls": {**TLS, "alpn": ["h2"]}}],
        "[0]: tls.alpn: is for protocol: tcp; nginx itself speaks HTTP/1.1",
    ),
    (
        "nginx_sites",
        [{"protocol": "tcp", "tls": {**TLS, "alpn": ["H 2"]}}],
        "[0]: tls.alpn[0]: 'H 2' is not the name of a protocol, such as h2",
    ),
    *(
        (
            "nginx_sites",
            [{"protocol": "tcp", **changed}],
            f"[0]: {path}: is for protocol: http; connections are passed on without a look into them",
        )
        for path, changed in {
            "server_names": {"server_names": ["a.test"]},
            "paths": {"paths": [{"path": "/"}]},
            "tls.subject_header": {"tls": {**TLS, "client_ca": "/ca", "subject_header": "Client"}},
            "upstream.host": {"upstream": {"servers": ["127.0.0.1:1"], "host": "a.test"}},
            "upstream.retries": {"upstream": {"servers": ["127.0.0.1:1"], "retries": 0}},
            "limits.requests_per_second": {"limits": {"requests_per_second": 1}},
            "limits.total_requests_per_second": {"limits": {"total_requests_per_second": 1}},
        }.items()
    ),
    (
        "nginx_sites",
        [{"server_names": ["a.test"]}, {"name": "other", "protocol": "tcp"}],
        "[1]: listen: 127.0.0.1 port 80 is also listened on by 'front': connections of protocol: tcp can't be told "
        "apart",
    ),
    ("nginx_stream_packages", [], ": expected a list of at least 1, found 0"),
    ("nginx_open_files", 100, ": expected a whole number from 1024 to 1073741816, found the number 100"),
    ("nginx_packages", "nginx", ": expected a list of at least 1, found the text 'nginx'"),
    ("nginx_hardening", 1, ": expected true or false, found the number 1"),
    ("nginx_disable_default_site", None, ": expected true or false, found nothing"),
    ("nginx_program", "", ": is empty"),
    ("nginx_health_timeout_seconds", 3601, ": expected a whole number from 1 to 3600, found the number 3601"),
    ("nginx_remove_data", "yes", ": expected true or false, found the text 'yes'"),
    # pki
    ("pki_certificates", [{"authority": None}], ": [0]: the key 'authority' is missing"),
    (
        "pki_certificates",
        [{"usages": []}],
        ": [0].usages: are none: say server, client or both; or give only 'trust', where it is to be no certificate",
    ),
    (
        "pki_certificates",
        [{"dns_names": []}],
        ": [0]: a server's certificate needs at least one of 'dns_names' and 'addresses'",
    ),
    (
        "pki_certificates",
        [{"key_type": "rsa-2048"}],
        ": [0].key_type: RSA keys have 3072 to 8192 bits: MindSpore Federated fails with less",
    ),
    (
        "pki_certificates",
        [{"key_type": "rsa"}],
        ": [0].key_type: 'rsa' is not a type of key: ec-p256, ec-p384, rsa-3072, rsa-4096",
    ),
    (
        "pki_certificates",
        [{"usages": ["mail"]}],
        ": [0].usages[0]: expected one of server, client, found the text 'mail'",
    ),
    (
        "pki_certificates",
        [{"lifetime_days": 0}],
        ": [0].lifetime_days: expected a whole number from 1 to 36500, found the number 0",
    ),
    (
        "pki_certificates",
        [{"name": "../web"}],
        ": [0].name: '../web' is not a name: a-z, 0-9, '-' and '_', a letter or digit at its ends",
    ),
    ("pki_certificates", [{"addresses": ["web"]}], ": [0].addresses[0]: 'web' is no numeric address"),
    (
        "pki_authorities",
        [{"mode": "own"}],
        (
            ": [0].mode: expected one of ownca, external, csr, provided, acme, found the text "
            "'own' (did you mean 'ownca'?)"
        ),
    ),
    (
        "pki_authorities",
        [{"revoked": ["0x12"]}],
        ": [0].revoked[0]: '0x12' is not a serial number as `openssl x509 -noout -serial` prints it",
    ),
    (
        "pki_authorities",
        [{"party": None}],
        ": [0]: the key 'party' is missing (a name: a-z, 0-9, '-' and '_', a letter or digit at its ends)",
    ),
    (
        "pki_authorities",
        [{"common_name": "a/b"}],
        ": [0].common_name: 'a/b' is not a common name: letters, digits, blanks and . _ @ : -",
    ),
    ("pki_remove_absent", "no", ": expected true or false, found the text 'no'"),
    ("pki_acme_packages", [], ": expected a list of at least 1, found 0"),
    ("pki_authorities", [{"mode": "acme"}], ": [0].acme: is what mode acme takes, and only that"),
    (
        "pki_authorities",
        [{"mode": "acme", "acme": {"directory": "http://a/d"}}],
        ": [0].acme.directory: 'http://a/d' is not a URL of https",
    ),
    (
        "pki_authorities",
        [{"mode": "acme", "acme": {"directory": "https://a/d", "challenge": "dns-01"}}],
        ": [0].acme.hook: is the program that changes the DNS for challenge dns-01: they are given together",
    ),
    ("pki_change_step", "start", ": expected one of begin, switch, end, finish, found the text 'start'"),
    ("pki_keep", "yes", ": expected true or false, found the text 'yes'"),
    ("pki_renew", "yes", ": expected true or false, found the text 'yes'"),
    ("pki_state_directory", "", ": is empty"),
    ("pki_packages", [], ": expected a list of at least 1, found 0"),
    # mindspore_scheduler
    ("mindspore_scheduler_instances", [{"listen": {"address": "0.0.0.0"}}], "[0]: listen.address: '0.0.0.0'" + IPV4),
    ("mindspore_scheduler_instances", [{"listen": {"address": "::1"}}], "[0]: listen.address: '::1'" + IPV4),
    (
        "mindspore_scheduler_instances",
        [{"redis": {"address": "store.example"}}],
        "[0]: redis.address: 'store.example' is no numeric address",
    ),
    (
        "mindspore_scheduler_instances",
        [{"settings": {"fl_name": "first", "fl_iteration_num": "3"}}],
        (
            "[0]: settings.fl_iteration_num: expected a whole number from 1 to 4294967295, found "
            "the text '3': leave out the quotes"
        ),
    ),
    (
        "mindspore_scheduler_instances",
        [{"settings": {"fl_name": "first", "enable_ssl": True}}],
        "[0]: settings.enable_ssl: is derived from the stack's `tls`: leave it out",
    ),
    (
        "mindspore_scheduler_instances",
        [{"runtime": {"python": {"source": "path"}}}],
        "[0]: runtime.python.source: 'path' is needed with source: path",
    ),
    (
        "mindspore_scheduler_instances",
        [{}, {"name": "other"}],
        "[1]: listen.port: 127.0.0.1 port 11202 is taken by 'sched'",
    ),
    ("mindspore_scheduler_memory_max", "4GB", ": '4GB' is not bytes such as 4G, or infinity"),
    ("mindspore_scheduler_ready_seconds", 1, ": expected a whole number from 2 to 3600, found the number 1"),
    ("mindspore_scheduler_tasks_max", 15, ": expected a whole number from 16 to 4194304, found the number 15"),
    ("mindspore_scheduler_log_level", 4, ": expected a whole number from 0 to 3, found the number 4"),
    ("mindspore_scheduler_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    (
        "mindspore_scheduler_remove_data",
        "false",
        ": expected true or false, found the text 'false': leave out the quotes",
    ),
    # mongodb
    (
        "mongodb_instances",
        [{"address": "10.0.0.1"}],
        "[0]: address: '10.0.0.1' is reached by others, and without tls all it is sent can be read on the way: give "
        "tls, or listen on 127.0.0.1",
    ),
    (
        "mongodb_instances",
        [{"tls": CLIENT_TLS}],
        "[0]: tls.client_certificate: is missing: client_ca, client_certificate, client_key go together",
    ),
    (
        "mongodb_instances",
        [{"external": {"hosts": ["mongo.example:27017"]}}],
        "[0]: external: has no tls: give tls, or say allow_unencrypted: true",
    ),
    (
        "mongodb_instances",
        [{"external": {"hosts": ["m.example:1"], "tls": {"ca": "/ca", "key": "/k"}}}],
        "[0]: external.tls.certificate: is missing: certificate and key go together",
    ),
    (
        "mongodb_instances",
        [{"external": {"hosts": ["m.example:1"], "tls": {"ca": "/ca"}}, "debug_port": 1}],
        "[0]: debug_port: is of a server that the role runs; of an external one only 'external' and 'users' are said",
    ),
    (
        "mongodb_instances",
        [{"postgresql": {"host": "10.0.0.2", "database": "d", "user": "u", "secret": "s"}}],
        "[0]: postgresql.ca: is missing: '10.0.0.2' isn't this host, so it is spoken to by TLS",
    ),
    (
        "mongodb_instances",
        [{"users": [{"name": "a", "database": "jobs"}]}],
        "[0]: users[0].secret: is missing: the name of the secret that is its password",
    ),
    (
        "mongodb_instances",
        [{"users": [{"name": "a", "database": "jobs", "secret": "s"}] * 2}],
        "[0]: users[1].name: 'a' of jobs stands there twice",
    ),
    (
        "mongodb_instances",
        [{"users": [{"name": "a", "database": "admin", "secret": "s"}]}],
        "[0]: users[0].database: 'admin' is not a database: letters, digits, '_', '-', a letter first, and not admin, "
        "config, local or fedlearn_",
    ),
    (
        "mongodb_instances",
        [{}, {"name": "other", "debug_port": 1}],
        "[1]: port: 127.0.0.1 port 27017 is taken by 'store'",
    ),
    ("mongodb_instances", [{"debug_port": 27017}], "[0]: debug_port: 127.0.0.1 port 27017 is taken by 'store'"),
    ("mongodb_go", "", ": is empty"),
    ("mongodb_go_toolchain", "1.26", ": '1.26' is not local, or a version such as go1.26.8"),
    ("mongodb_build_directory", "", ": is empty"),
    ("mongodb_program", "ferretdb", ": 'ferretdb' is not an absolute path on the host, or empty"),
    ("mongodb_packages", [], ": expected a list of at least 1, found 0"),
    ("mongodb_space_mb", -1, ": expected a whole number from 0 to 1000000000, found the number -1"),
    ("mongodb_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("mongodb_backup_directory", "", ": is empty"),
    ("mongodb_backup_recipient", "ssh-ed25519", ": 'ssh-ed25519' is not a public key of age (age1...)"),
    ("mongodb_backup_secret", 1, ": expected text, found the number 1: write it in quotes"),
    ("mongodb_restore_from", 1, ": expected text, found the number 1: write it in quotes"),
    ("mongodb_remove_data", "no", ": expected true or false, found the text 'no'"),
    # registry_trust
    (
        "registry_trust_instances",
        [{"registry": "r.example/team"}],
        "[0]: registry: 'r.example/team' is not a registry without a path, such as registry.example:5000",
    ),
    ("registry_trust_instances", [{"ca": ""}], "[0]: ca: is empty"),
    (
        "registry_trust_instances",
        [{}, {"name": "other"}],
        "[1]: registry: 'r.example:5000' is that of 'images' already",
    ),
    ("registry_trust_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("registry_trust_remove_data", "no", ": expected true or false, found the text 'no'"),
    # registry
    ("registry_instances", [{"users": []}], "[0]: users: expected a list of at least 1, found 0"),
    (
        "registry_instances",
        [{"users": [{"name": "a:b", "secret": "s"}]}],
        "[0]: users[0].name: 'a:b' is not a login: letters, digits, '.', '_', '-'",
    ),
    (
        "registry_instances",
        [{"users": [{"name": "a", "secret": "s"}] * 2}],
        "[0]: users[1].name: 'a' stands there twice",
    ),
    (
        "registry_instances",
        [{"address": "10.0.0.1"}],
        "[0]: address: '10.0.0.1' is reached by others, and without tls passwords can be read on the way: give tls, or "
        "listen on 127.0.0.1",
    ),
    ("registry_instances", [{"tls": TLS}], "[0]: tls: the key 'ca' is missing (an absolute path on the host)"),
    (
        "registry_instances",
        [{"tls": CLIENT_TLS}],
        "[0]: tls.client_certificate: is missing: client_ca, client_certificate, client_key go together",
    ),
    (
        "registry_instances",
        [{"tls": {**TLS, "ca": "/ca"}, "public_url": "http://images.example"}],
        "[0]: public_url: is http, and with tls the registry speaks nothing but https",
    ),
    (
        "registry_instances",
        [{"collect_garbage": "Sun 03:00\nExecStart=x"}],
        "[0]: collect_garbage: 'Sun 03:00?ExecStart=x' is not a time as systemd.time(7) has it, such as Sun 03:00, or "
        "never",
    ),
    ("registry_instances", [{}, {"name": "other"}], "[1]: port: 127.0.0.1 port 5000 is taken by 'images'"),
    ("registry_instances", [{"metrics_port": 5000}], "[0]: metrics_port: 127.0.0.1 port 5000 is taken by 'images'"),
    ("registry_packages", [], ": expected a list of at least 1, found 0"),
    ("registry_space_mb", -1, ": expected a whole number from 0 to 1000000000, found the number -1"),
    ("registry_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("registry_backup_directory", "", ": is empty"),
    ("registry_backup_recipient", "ssh-ed25519", ": 'ssh-ed25519' is not a public key of age (age1...)"),
    ("registry_backup_secret", 1, ": expected text, found the number 1: write it in quotes"),
    ("registry_restore_from", 1, ": expected text, found the number 1: write it in quotes"),
    ("registry_remove_data", "no", ": expected true or false, found the text 'no'"),
    # mindspore_server
    ("mindspore_server_instances", [{"tcp_address": "ms2"}], "[0]: tcp_address: 'ms2'" + IPV4),
    (
        "mindspore_server_instances",
        [{"http": {"port": 6666}}],
        (
            "[0]: http: the key 'address' is missing (an IPv4 address that MindSpore Federated "
            "takes: its first and last number are from 1 to 254)"
        ),
    ),
    (
        "mindspore_server_instances",
        [{"checkpoints": {"address": "127.0.0.1", "peers": ["127.0.0.2:7666"], "tls": {**TLS, "ca": "/ca"}}}],
        "[0]: checkpoints.peers[0]: has no 'name': with tls a peer is known by its certificate's common name",
    ),
    (
        "mindspore_server_instances",
        [{"checkpoints": {"address": "127.0.0.1", "port": 6666}}],
        "[0]: checkpoints.port: 127.0.0.1 port 6666 is taken by 'server'",
    ),
    (
        "mindspore_server_instances",
        [
            {},
            {
                "name": "other",
                "http": {"address": "127.0.0.1", "port": 7666},
                "checkpoints": {"address": "127.0.0.1", "port": 7667},
            },
        ],
        "[1]: http.port: 127.0.0.1 port 7666 is taken by 'server-checkpoints'",
    ),
    (
        "mindspore_server_instances",
        [{"initial_model": {}}],
        "[0]: initial_model: is empty: give 'source' with 'sha256', or 'shapes'",
    ),
    (
        "mindspore_server_instances",
        [{"initial_model": {"source": "a.ckpt"}}],
        "[0]: initial_model: 'source' and 'sha256' go together: another file is refused before anything starts",
    ),
    (
        "mindspore_server_instances",
        [{"initial_model": {"source": "a.bin", "sha256": SUM}}],
        "[0]: initial_model.source: 'a.bin' is not a file whose name ends with .ckpt or .npz",
    ),
    (
        "mindspore_server_instances",
        [{"settings": {"fl_name": "first", "round": {"start_fl_job_threshold": 0}}}],
        (
            "[0]: settings.round.start_fl_job_threshold: expected a whole number from 1 to "
            "4294967295, found the number 0"
        ),
    ),
    ("mindspore_server_exchange_seconds", 0, ": expected a number from 0.1 to 3600, found the number 0"),
    (
        "mindspore_server_wait_for_peers_seconds",
        "60",
        ": expected a number from 0 to 3600, found the text '60': leave out the quotes",
    ),
    ("mindspore_server_nofile", 1, ": expected a whole number from 1024 to 1073741816, found the number 1"),
    ("mindspore_server_exchange_memory_max", "", ": is empty"),
    ("mindspore_server_memory_max", "0", ": '0' is not bytes such as 4G, or infinity"),
    ("mindspore_server_tasks_max", 0, ": expected a whole number from 16 to 4194304, found the number 0"),
    ("mindspore_server_log_level", -1, ": expected a whole number from 0 to 3, found the number -1"),
    (
        "mindspore_server_health_timeout_seconds",
        3601,
        ": expected a whole number from 1 to 3600, found the number 3601",
    ),
    ("mindspore_server_remove_data", 0, ": expected true or false, found the number 0"),
    # mindspore_worker
    (
        "mindspore_worker_instances",
        [{"settings": {"fl_name": "first"}}],
        (
            "[0]: settings.server_mode: FEDERATED_LEARNING has devices and no workers: set "
            "CLOUD_TRAINING, as on the servers"
        ),
    ),
    (
        "mindspore_worker_instances",
        [{"server": {"address": "proxy.example"}}],
        "[0]: server.address: 'proxy.example'" + IPV4,
    ),
    (
        "mindspore_worker_instances",
        [{"application": {"callable": "train"}}],
        "[0]: application.callable: 'train' is no Python callable, such as package.module:function",
    ),
    (
        "mindspore_worker_instances",
        [{"tls": {"pkcs12": "/b", "password": "/p", "ca": "/ca", "store_ca": "/s"}}],
        "[0]: tls: 'store_ca', 'store_certificate' and 'store_key' go together",
    ),
    ("mindspore_worker_cpu_quota", "150", ": '150' is not a part such as 150%, or empty"),
    ("mindspore_worker_patience_seconds", 0, ": expected a number of at least 1, found the number 0"),
    ("mindspore_worker_memory_max", "64 G", ": '64 G' is not bytes such as 4G, or infinity"),
    ("mindspore_worker_tasks_max", 15, ": expected a whole number from 16 to 4194304, found the number 15"),
    (
        "mindspore_worker_log_level",
        "2",
        ": expected a whole number from 0 to 3, found the text '2': leave out the quotes",
    ),
    ("mindspore_worker_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("mindspore_worker_remove_data", "no", ": expected true or false, found the text 'no'"),
    # time_sync
    ("time_sync_instances", {"name": "lab"}, ": expected a list"),
    (
        "time_sync_instances",
        [{"servers": ["ntp.example"]}],
        "[0]: servers: unknown key 'servers' (did you mean 'sources'?)",
    ),
    (
        "time_sync_instances",
        [{"sources": [{}]}],
        "[0]: sources[0]: the key 'address' is missing (an address or a DNS name)",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "0.0.0.0"}]}],
        "[0]: sources[0].address: '0.0.0.0' is no address of one host",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "a b iburst"}]}],
        "[0]: sources[0].address: 'a b iburst' is no DNS name",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "10.0.0.1:123"}]}],
        "[0]: sources[0].address: '10.0.0.1:123' has a port in it: leave out ':123' "
        "(ssh's port goes under vars: {ansible_port: 123})",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "a.example", "type": "refclock"}]}],
        "[0]: sources[0].type: expected one of server, pool, peer, found the text 'refclock'",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "a.example", "port": 0}]}],
        "[0]: sources[0].port: expected a whole number from 1 to 65535, found the number 0",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "a.example", "nts": True, "key_id": 1}]}],
        "[0]: sources[0].key_id: 'nts' is given too: a source is known by one of them",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "a.example", "nts": True, "type": "peer"}], "listen": {"addresses": ["127.0.0.1"]}}],
        "[0]: sources[0].nts: peers can't be asked by NTS: give them a key",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "a.example", "key_id": 0}]}],
        "[0]: sources[0].key_id: expected a whole number from 1 to 4294967295, found the number 0",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "a.example", "maxpoll": 5}]}],
        "[0]: sources[0].maxpoll: minpoll 6 is above maxpoll 5",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "a.example", "minpoll": 11}]}],
        "[0]: sources[0].minpoll: minpoll 11 is above maxpoll 10",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "a.example", "minpoll": -7}]}],
        "[0]: sources[0].minpoll: expected a whole number from -6 to 24, found the number -7",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "a.example"}, {"address": "a.example", "nts": True}]}],
        "[0]: sources[1].address: 'a.example' is [0] already",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "10.0.0.2", "type": "peer"}]}],
        "[0]: sources[0].type: a peer asks back: say with 'listen' where it is answered",
    ),
    (
        "time_sync_instances",
        [{"sources": [{"address": "a.example"}], "require_authentication": True}],
        "[0]: require_authentication: no source has nts or a key: none would be left",
    ),
    (
        "time_sync_instances",
        [{"trusted_certificates": "/etc/chrony/ca.pem"}],
        "[0]: trusted_certificates: no source has nts: nothing would be trusted by them",
    ),
    (
        "time_sync_instances",
        [{"trusted_certificates": "/etc/chrony/my ca.pem"}],
        "[0]: trusted_certificates: '/etc/chrony/my ca.pem' is not an absolute path on the host that "
        "chrony.conf can say: without blanks",
    ),
    (
        "time_sync_instances",
        [{"makestep": {"threshold_seconds": 0, "updates": 3}}],
        "[0]: makestep.threshold_seconds: expected a number above 0, found the number 0",
    ),
    (
        "time_sync_instances",
        [{"makestep": {"threshold_seconds": 1, "updates": -2}}],
        "[0]: makestep.updates: expected a whole number from -1 to 1000000, found the number -2",
    ),
    (
        "time_sync_instances",
        [{"makestep": {"threshold_seconds": 1}}],
        "[0]: makestep: the key 'updates' is missing (a whole number from -1 to 1000000)",
    ),
    (
        "time_sync_instances",
        [{"listen": {"addresses": ["10.0.0.1"]}}],
        "[0]: listen.allow: is empty, and there is no peer: nobody would be answered",
    ),
    (
        "time_sync_instances",
        [{"listen": {"addresses": ["10.0.0.1", "10.0.0.2"], "allow": ["10.0.0.0/8"]}}],
        "[0]: listen.addresses[1]: is a second IPv4 address: chrony listens on one of each family",
    ),
    (
        "time_sync_instances",
        [{"listen": {"addresses": ["0.0.0.0"], "allow": ["10.0.0.0/8"]}}],
        "[0]: listen.addresses[0]: '0.0.0.0' is no address of one host",
    ),
    (
        "time_sync_instances",
        [{"listen": {"addresses": ["10.0.0.1"], "allow": ["10.0.0.1/8"]}}],
        "[0]: listen.allow[0]: '10.0.0.1/8' has host bits set: write 10.0.0.0/8",
    ),
    (
        "time_sync_instances",
        [
            {"name": "a", "sources": [{"address": "a.example"}]},
            {"name": "b", "sources": [{"address": "a.example"}]},
        ],
        "[1]: 'a.example' stands in 'a' too, and a host has one chrony",
    ),
    (
        "time_sync_instances",
        [
            {"name": "a", "makestep": {"threshold_seconds": 1, "updates": 3}},
            {"name": "b", "makestep": {"threshold_seconds": 1, "updates": 3}},
        ],
        "[1]: 'makestep' stands in 'a' too, and a host has one chrony",
    ),
    (
        "time_sync_max_skew_ms",
        "1000",
        ": expected a whole number from 1 to 86400000, found the text '1000': leave out the quotes",
    ),
    ("time_sync_max_skew_ms", 0, ": expected a whole number from 1 to 86400000, found the number 0"),
    ("time_sync_packages", [], ": expected a list of at least 1, found 0"),
    ("time_sync_replaces", "ntpsec", ": expected a list, found the text 'ntpsec'"),
    ("time_sync_program", "chronyd", ": 'chronyd' is no absolute path: it begins with '/' and has no '..'"),
    ("time_sync_client", "chronyc", ": 'chronyc' is no absolute path: it begins with '/' and has no '..'"),
    ("time_sync_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    # firewall
    ("firewall_mode", "on", ": expected one of off, report, enforce, found the text 'on'"),
    ("firewall_mode", True, ": expected one of off, report, enforce, found true"),
    ("firewall_services", {}, ": expected a list"),
    ("firewall_services", [{"port": 0}], "[0]: port: expected a whole number from 1 to 65535, found the number 0"),
    ("firewall_services", [{"port": None}], "[0]: port: is missing: where it listens, or ephemeral: true"),
    ("firewall_services", [{"addresses": []}], "[0]: addresses: expected a list of at least 1, found 0"),
    ("firewall_services", [{"addresses": ["ms1"]}], "[0]: addresses[0]: 'ms1' is no numeric address"),
    (
        "firewall_services",
        [{"sources": ["10.20.0.1/24"]}],
        "[0]: sources[0]: '10.20.0.1/24' has host bits set: write 10.20.0.0/24",
    ),
    (
        "firewall_services",
        [{"sources": ["w1.lab.example"]}],
        "[0]: sources[0]: 'w1.lab.example' is no network, such as 10.20.0.0/16 or fd00::/64",
    ),
    (
        "firewall_services",
        [{"name": 'web" accept'}],
        "[0]: name: 'web\" accept' is not a name: a-z, 0-9 and '-', no '-' at its ends",
    ),
    ("firewall_services", [{}, {}], "[1]: name: 'web' is also the name of [0]"),
    (
        "firewall_services",
        [{"protocol": "icmp"}],
        "[0]: protocol: expected one of tcp, udp, found the text 'icmp' (did you mean 'tcp'?)",
    ),
    ("firewall_services", [{"last_port": 7999}], "[0]: last_port: 7999 is below port 8000"),
    (
        "firewall_services",
        [{"ephemeral": True}],
        "[0]: port: an ephemeral port is chosen at each start: leave it out",
    ),
    (
        "firewall_services",
        [{"ephemeral": True, "port": None, "protocol": "udp"}],
        "[0]: protocol: of an ephemeral port only attempts to connect are judged, and udp has none",
    ),
    ("firewall_others", [{"addresses": ["fe80::1"]}], "[0]: addresses[0]: 'fe80::1' is no address to listen on"),
    (
        "firewall_others",
        [{"port": 70000}],
        "[0]: port: expected a whole number from 1 to 65535, found the number 70000",
    ),
    ("firewall_ssh_ports", [], ": expected a list of at least 1, found 0"),
    (
        "firewall_ssh_ports",
        ["22"],
        ": [0]: expected a whole number from 1 to 65535, found the text '22': leave out the quotes",
    ),
    ("firewall_ssh_sources", ["0.0.0.0"], ": [0]: '0.0.0.0' is nobody's address: everybody is 0.0.0.0/0"),
    ("firewall_default_drop", "yes", ": expected true or false, found the text 'yes'"),
    ("firewall_keep_left", "later", ": expected true or false, found the text 'later'"),
    ("firewall_confirm_seconds", 4, ": expected a whole number from 5 to 600, found the number 4"),
    ("firewall_packages", [], ": expected a list of at least 1, found 0"),
    ("firewall_program", "nft", ": 'nft' is no absolute path: it begins with '/' and has no '..'"),
    # shared_mindspore
    ("shared_mindspore_instances", {}, ": expected a list, found a mapping"),
    ("shared_mindspore_python_packages", [""], ": [0]: is empty"),
    ("shared_mindspore_archive_packages", "libc6", ": expected a list, found the text 'libc6'"),
    ("shared_mindspore_full_packages", [1], ": [0]: expected text, found the number 1: write it in quotes"),
    # dc_federated_server
    (
        "dc_federated_server_instances",
        [{"listen": {"address": "0.0.0.0"}}],
        "[0]: listen.address: '0.0.0.0' is no address of one host",
    ),
    (
        "dc_federated_server_instances",
        [{"application": {"callable": "myapp.server"}}],
        "[0]: application.callable: 'myapp.server' is no Python callable, such as package.module:function",
    ),
    (
        "dc_federated_server_instances",
        [{"application": {"callable": "myapp:build", "source": "myapp", "archive": {"source": "a", "sha256": SUM}}}],
        "[0]: application.archive: 'source' is given too: the code comes from one place",
    ),
    (
        "dc_federated_server_instances",
        [{"library": {"source": "checkout", "preinstalled": "/opt/x"}}],
        "[0]: library.preinstalled: 'source' is given too: the library comes from one place",
    ),
    (
        "dc_federated_server_instances",
        [{"settings": {"server_host_ip": "10.0.0.1"}}],
        "[0]: settings.server_host_ip: can't be set: it follows from `server`: its bind",
    ),
    (
        "dc_federated_server_instances",
        [{"settings": {"model_check_interval": 0}}],
        "[0]: settings.model_check_interval: expected a number above 0 and of at most 3600, found the number 0",
    ),
    (
        "dc_federated_server_instances",
        [{"settings": {"server_mode_safe": False}, "key_files": ["a.keys"]}],
        "[0]: key_files: settings.server_mode_safe is false, so nobody's key is looked at",
    ),
    (
        "dc_federated_server_instances",
        [{"settings": {"server_mode_safe": False}, "key_lists": ["a.keys"]}],
        "[0]: key_lists: settings.server_mode_safe is false, so nobody's key is looked at",
    ),
    (
        "dc_federated_server_instances",
        [{}, {"name": "other"}],
        "[1]: listen.port: 127.0.0.1 port 5000 is taken by 'server'",
    ),
    ("dc_federated_server_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    (
        "dc_federated_server_nofile",
        1000,
        ": expected a whole number from 1024 to 1073741816, found the number 1000",
    ),
    ("dc_federated_server_tasks_max", 1, ": expected a whole number from 16 to 4194304, found the number 1"),
    ("dc_federated_server_memory_max", "4 GB", ": '4 GB' is not bytes such as 4G, or infinity"),
    ("dc_federated_server_allow_empty_key_list", "no", ": expected true or false, found the text 'no'"),
    ("dc_federated_server_remove_data", 1, ": expected true or false, found the number 1"),
    ("dc_federated_server_packages", [""], ": [0]: is empty"),
    ("dc_federated_server_backup_directory", "", ": is empty"),
    ("dc_federated_server_backup_recipient", "ssh-ed25519", ": 'ssh-ed25519' is not a public key of age (age1...)"),
    ("dc_federated_server_backup_secret", 1, ": expected text, found the number 1: write it in quotes"),
    ("dc_federated_server_restore_from", 1, ": expected text, found the number 1: write it in quotes"),
    # dc_federated_worker
    (
        "dc_federated_worker_instances",
        [{"server": {"host": "a b"}}],
        "[0]: server.host: expected a numeric address or a DNS name, found the text 'a b'",
    ),
    (
        "dc_federated_worker_instances",
        [{"public_key_file": "worker.pub"}],
        "[0]: public_key_file: needs 'key': the key that it is the public half of",
    ),
    (
        "dc_federated_worker_instances",
        [{"key": "worker.key"}],
        "[0]: key: this is no absolute path: it begins with '/' and has no '..'",
    ),
    (
        "dc_federated_worker_instances",
        [{"key": "/var/lib/keys/worker.key"}],
        "[0]: key: lies in a folder of the worker's own, which goes with it: .../worker/worker.key",
    ),
    ("dc_federated_worker_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("dc_federated_worker_tasks_max", 1, ": expected a whole number from 16 to 4194304, found the number 1"),
    ("dc_federated_worker_memory_max", "-1", ": '-1' is not bytes such as 4G, or infinity"),
    ("dc_federated_worker_remove_data", 1, ": expected true or false, found the number 1"),
    ("dc_federated_worker_kit_directory", "", ": is empty"),
    ("dc_federated_worker_kit_ca", 1, ": expected text, found the number 1: write it in quotes"),
    # neursafe_client
    (
        "neursafe_client_instances",
        [{"name": "a"}, {"name": "b", "directory": "/srv/fl/b"}],
        "[1]: settings.task_manager.port: 30090 of the nodes is that of 'a' already",
    ),
    (
        "neursafe_client_instances",
        [{"name": "a"}, {"name": "b", "directory": "/mnt/b", "settings": {"task_manager": {"port": 30190}}}],
        "[1]: user: 71001 is the user of 'a', too, and pods of both have the folder that both directories lie in: say "
        "another number, or each would have the other's files",
    ),
    (
        "neursafe_server_instances",
        [{"namespaces": ["models"]}],
        "[0]: namespaces[0]: 'models' is the folder of model_manager.models_dir, whose files its users would have: "
        "another name",
    ),
    (
        "neursafe_client_instances",
        [{"directory": "/srv/fl", "lmdb": {"node": "n", "path": "/srv/fl/lmdb"}}],
        "[0]: lmdb.path: '/srv/fl/lmdb' is in the shared directory, and lmdb maps its file: a node's own disk",
    ),
    (
        "neursafe_client_instances",
        [{"directory": "/srv/fl/a", "lmdb": {"node": "n", "path": "/srv/fl"}}],
        "[0]: lmdb.path: '/srv/fl' has the shared directory in it, and all of lmdb's folder is given to its client: a "
        "folder with nothing else in it",
    ),
    (
        "neursafe_client_instances",
        [{"server": "10.67.134.15.9001"}],
        "[0]: server: '10.67.134.15.9001' is no address and port, such as 10.20.0.11:6666 or [fd00::11]:6666",
    ),
    ("neursafe_client_kubeconfig", "", ": is empty"),
    ("neursafe_client_render", 1, ": expected text, found the number 1: write it in quotes"),
    ("neursafe_client_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("neursafe_client_prune", "no", ": expected true or false, found the text 'no'"),
    ("neursafe_client_remove_data", 1, ": expected true or false, found the number 1"),
    # neursafe_server
    (
        "neursafe_server_instances",
        [{"name": "n" * 64}],
        "[0]: name: is longer than 63 characters",
    ),
    (
        "neursafe_server_instances",
        [{"settings": {"job_scheduler": {"port": 8001}}}],
        "[0]: settings.job_scheduler.port: 8001 is that of the kubectl proxy in the same pod: take another",
    ),
    (
        "neursafe_server_instances",
        [{"images": {"tag": "1", "pull": {"username": "a", "secret": "b"}}}],
        "[0]: images.pull: needs 'registry': the login is of none",
    ),
    (
        "neursafe_server_instances",
        [{"database": {"address": "[fd00::1]:5432", "username": "a", "secret": "b"}}],
        "[0]: database.address: the programs know no IPv6 address: write a name",
    ),
    (
        "neursafe_server_instances",
        [
            {
                "database": {
                    "address": "h:1",
                    "username": "a",
                    "secret": "b",
                    "engine": "mongodb",
                    "owner": {"username": "o", "secret": "p"},
                }
            }
        ],
        "[0]: database.owner: is of PostgreSQL: in MongoDB whoever writes a collection makes it",
    ),
    (
        "neursafe_ctl_instances",
        [{"api": "10.20.0.12"}],
        "[0]: api: '10.20.0.12' is no address and port, such as 10.20.0.11:6666 or [fd00::11]:6666",
    ),
    (
        "neursafe_ctl_instances",
        [{"name": "a"}, {"name": "b"}],
        "[1]: its settings are one file of the host, /etc/nsfl.json: 'a' has it already",
    ),
    (
        "neursafe_ctl_health_timeout_seconds",
        0,
        ": expected a whole number from 1 to 3600, found the number 0",
    ),
    ("neursafe_ctl_remove_data", "no", ": expected true or false, found the text 'no'"),
    (
        "neursafe_standalone_instances",
        [{"server": "10.67.134.15.9001"}],
        "[0]: server: '10.67.134.15.9001' is no address and port, such as 10.20.0.11:6666 or [fd00::11]:6666",
    ),
    (
        "neursafe_standalone_instances",
        [{"server": "[fd00::1]:30091"}],
        "[0]: server: the program parts an address at its only colon, and knows no IPv6: write a name",
    ),
    (
        "neursafe_standalone_instances",
        [
            {
                "way": {
                    "port": 22091,
                    "connect": {"host": "10.20.0.21", "port": 30093},
                    "tls": {"ca": "/etc/ca.pem"},
                }
            }
        ],
        "[0]: server: is the beginning of its way, 127.0.0.1:22091",
    ),
    (
        "neursafe_standalone_instances",
        [{"listen": {"address": "::"}}],
        "[0]: listen.address: '::' is no address of one host",
    ),
    (
        "neursafe_standalone_instances",
        [{"program": {"archive": "n.tar.gz"}}],
        "[0]: program: 'archive' and 'sha256' go together",
    ),
    (
        "neursafe_standalone_instances",
        [{"container": {"image": "r.example/nsfl-client-cpu:1.0"}}],
        "[0]: container.image: 'r.example/nsfl-client-cpu:1.0' is not an image with its digest, such as "
        "registry.example:5000/nsfl-client-cpu@sha256:... of 64",
    ),
    (
        "neursafe_standalone_instances",
        [{"container": {"engine": "lxc", "image": "r.example/n@sha256:" + 64 * "a"}}],
        "[0]: container.engine: expected one of docker, podman, found the text 'lxc'",
    ),
    (
        "neursafe_standalone_instances",
        [{"program": {"path": "/opt/n"}, "container": {"image": "r.example/n@sha256:" + 64 * "a"}}],
        "[0]: container: can't be said beside 'program': the image has the program",
    ),
    (
        "neursafe_standalone_instances",
        [{"task_configs": "/root/tasks"}],
        "[0]: task_configs: '/root/tasks': the process sees no homes, and a /tmp of its own: put it elsewhere",
    ),
    (
        "neursafe_standalone_instances",
        [{"settings": {"ssl": "/etc/tls"}}],
        "[0]: settings.ssl: can't be set: the program registers without TLS, whatever it says",
    ),
    (
        "neursafe_standalone_instances",
        [{"name": "a"}, {"name": "b"}],
        "[1]: listen.port: 10.30.0.11 port 22000 is taken by 'a'",
    ),
    (
        "neursafe_standalone_health_timeout_seconds",
        0,
        ": expected a whole number from 1 to 3600, found the number 0",
    ),
    ("neursafe_standalone_tasks_max", 1, ": expected a whole number from 16 to 4194304, found the number 1"),
    ("neursafe_standalone_memory_max", "much", ": 'much' is not bytes such as 4G, or infinity"),
    ("neursafe_standalone_remove_data", "no", ": expected true or false, found the text 'no'"),
    (
        "neursafe_client_instances",
        [
            {
                "database": {"address": "h:1", "username": "a", "secret": "b", "ca": "/ca", "engine": "mongodb"},
                "images": {"digests": {"client-cpu": f"sha256:{'0' * 64}"}},
            }
        ],
        "[0]: images: say 'tag', a digest of proxy, or 'tunnel': it leads to MongoDB by TLS",
    ),
    (
        "neursafe_server_instances",
        [{"root_cert": "/roots.pem"}],
        "[0]: root_cert: goes with settings: client_selector.root_cert, which a document says it by",
    ),
    (
        "neursafe_server_instances",
        [{"name": "a"}, {"name": "b"}],
        "[1]: a cluster takes one server: jobs of several would run in one namespace, and be mixed up",
    ),
    ("neursafe_server_kubeconfig", "", ": is empty"),
    ("neursafe_server_render", 1, ": expected text, found the number 1: write it in quotes"),
    ("neursafe_server_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("neursafe_server_prune", "no", ": expected true or false, found the text 'no'"),
    ("neursafe_server_remove_data", 1, ": expected true or false, found the number 1"),
    # shared_dc_federated
    ("shared_dc_federated_instances", {}, ": expected a list, found a mapping"),
    ("shared_dc_federated_packages", [""], ": [0]: is empty"),
    ("shared_dc_federated_role", "", ": is empty"),
    # xain_coordinator
    (
        "xain_coordinator_instances",
        [{"listen": {"address": "10.0.0.1"}}],
        "[0]: listen.address: '10.0.0.1' is reached by others, and the program asks nobody who they are: 127.0.0.1, "
        "behind nginx",
    ),
    (
        "xain_coordinator_instances",
        [{"storage": {**OF_XAIN, "endpoint": "http://store.example:9000"}}],
        "[0]: storage.endpoint: 'http://store.example:9000' is another host's, and without https all can be read on "
        "the way",
    ),
    (
        "xain_coordinator_instances",
        [{"settings": {"ai": {"rounds": -1}}}],
        "[0]: settings.ai.rounds: expected a whole number from 1 to 1000000, found the number -1",
    ),
    (
        "xain_coordinator_instances",
        [{"settings": {"ai": {"rounds": 1}, "server": {"heartbeat_time": 5, "heartbeat_timeout": 5}}}],
        "[0]: settings.server.heartbeat_timeout: together with heartbeat_time it is 10 s, and participants send a "
        "heartbeat each 10 s: each would be taken for gone before its next one",
    ),
    (
        "xain_coordinator_instances",
        [{"settings": {"ai": {"rounds": 1}, "storage": {"bucket": "models"}}}],
        "[0]: settings.storage.bucket: can't be set: it follows from `storage.bucket`",
    ),
    (
        "xain_coordinator_instances",
        [{"settings": {"ai": {"rounds": 1}, "metrics": {"enable": True}}}],
        "[0]: settings.metrics.password: is missing: the name of the secret that is the password of `user`",
    ),
    (
        "xain_coordinator_instances",
        [{}, {"name": "other"}],
        "[1]: listen.port: 127.0.0.1 port 50050 is taken by 'coordinator'",
    ),
    (
        "xain_coordinator_instances",
        [{"generation": "pet", "settings": OF_PET}],
        "[0]: redis: is missing: the generation 'pet' needs it",
    ),
    (
        "xain_coordinator_instances",
        [{"generation": "pet", "redis": {"user": "a", "secret": "b"}, "settings": {**OF_PET, "ai": {"rounds": 3}}}],
        "[0]: settings.ai: unknown key 'ai': generation 'pet' has pet, mask, model, log and restore",
    ),
    *(
        ("xain_coordinator_instances", [{"generation": "poc", "settings": {}, **changed}], told)
        for changed, told in (
            (
                {"rpc": {}, "aggregator_url": "https://10.0.0.1:8082"},
                "[0]: storage: is for the generation 'python' or 'pet', and this is 'poc'",
            ),
            ({"storage": None, "rpc": {}}, "[0]: aggregator_url: is missing: the generation 'poc' needs it"),
            (
                {"storage": None, "rpc": {}, "aggregator_url": "http://10.0.0.1:8082"},
                "[0]: aggregator_url: 'http://10.0.0.1:8082' is another host's, and without https all can be read on "
                "the way",
            ),
            (
                {"storage": None, "rpc": {"port": 50050}, "aggregator_url": "https://10.0.0.1:8082"},
                "[0]: rpc.port: 127.0.0.1 port 50050 is taken by 'coordinator'",
            ),
        )
    ),
    *(
        (
            "xain_coordinator_instances",
            [{"storage": {"endpoint": "https://h:9000", "user": "u", "secret": "s", "bucket": name}}],
            f"[0]: storage.bucket: '{name}' is no name of a bucket: a-z, 0-9, '-' and '.', each '.' between two of a-z "
            "and 0-9; no address, no xn--",
        )
        for name in ("a..b", "192.168.1.1", "xn--abc", "a.-b", "a-.b")
    ),
    ("xain_coordinator_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("xain_coordinator_tasks_max", 1, ": expected a whole number from 16 to 4194304, found the number 1"),
    ("xain_coordinator_memory_max", "4 GB", ": '4 GB' is not bytes such as 4G, or infinity"),
    ("xain_coordinator_disrupt", True, ": expected text, found true: write it in quotes"),
    ("xain_coordinator_remove_data", 1, ": expected true or false, found the number 1"),
    # xain_aggregator
    (
        "xain_aggregator_instances",
        [{"listen": {"address": "10.0.0.1"}}],
        "[0]: listen.address: '10.0.0.1' is reached by others, and the program asks nobody who they are: 127.0.0.1, "
        "behind nginx",
    ),
    (
        "xain_aggregator_instances",
        [{"settings": {"aggregation": {"python": {"class": "Mine"}}}}],
        "[0]: settings.aggregation.python.class: can't be set: it follows from `aggregator.python_class`",
    ),
    (
        "xain_aggregator_instances",
        [{"python_class": "mine"}],
        "[0]: python_class: 'mine' is no Python callable, such as package.module:function",
    ),
    (
        "xain_aggregator_instances",
        [{}, {"name": "other", "rpc": {"port": 6667}}],
        "[1]: listen.port: 127.0.0.1 port 50052 is taken by 'aggregator'",
    ),
    (
        "xain_aggregator_instances",
        [{"rpc": {"port": 6666, "coordinator_port": 6666}}],
        "[0]: rpc.coordinator_port: 6666 is its own port, too",
    ),
    ("xain_aggregator_instances", [{"memory_max": "1"}], "[0]: memory_max: '1' is not bytes such as 4G, or infinity"),
    *(
        (
            "xain_aggregator_instances",
            [{"runtime": {"python": path}}],
            f"[0]: runtime.python: '{path}' is not an absolute path of letters, digits and ._+-",
        )
        for path in ("/usr/bin/my python", "/opt/%n/python3", "/$HOME/python3", "/opt/../python3")
    ),
    ("xain_aggregator_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("xain_aggregator_tasks_max", 1, ": expected a whole number from 16 to 4194304, found the number 1"),
    ("xain_aggregator_memory_max", "4 GB", ": '4 GB' is not bytes such as 4G, or infinity"),
    ("xain_aggregator_disrupt", True, ": expected text, found true: write it in quotes"),
    ("xain_aggregator_remove_data", 1, ": expected true or false, found the number 1"),
    # xain_participant
    (
        "xain_participant_instances",
        [{"coordinator": {"host": "xain.example"}}],
        "[0]: tls: is missing: 'xain.example' is another host, and the SDK by itself speaks in the clear",
    ),
    (
        "xain_participant_instances",
        [{"tls": {"ca": "/ca", "key": "/k"}}],
        "[0]: tls: 'certificate' and 'key' go together",
    ),
    (
        "xain_participant_instances",
        [{"application": {"callable": "myapp:M", "source": "myapp", "archive": {"source": "a", "sha256": SUM}}}],
        "[0]: application.archive: 'source' is given too: the code comes from one place",
    ),
    ("xain_participant_health_timeout_seconds", 0, ": expected a whole number from 1 to 3600, found the number 0"),
    ("xain_participant_tasks_max", 1, ": expected a whole number from 16 to 4194304, found the number 1"),
    ("xain_participant_memory_max", "-1", ": '-1' is not bytes such as 4G, or infinity"),
    ("xain_participant_remove_data", 1, ": expected true or false, found the number 1"),
    # shared_xain
    ("shared_xain_instances", {}, ": expected a list, found a mapping"),
    ("shared_xain_packages", [""], ": [0]: is empty"),
    ("shared_xain_cargo", "", ": is empty"),
    ("shared_xain_build_directory", "", ": is empty"),
]
"""A variable, a value, and what follows the variable's name in the message. Of instances only what differs."""


def role_of(variable: str) -> str:
    return next(role for role, variables in ROLES.items() if variable in variables)


def value_of(variable: str, value: Any) -> Any:
    if variable not in RIGHT or not isinstance(value, list):
        return value
    return [{**RIGHT[variable], **change} for change in value]


@pytest.mark.parametrize("variable", RIGHT)
def test_the_least_of_an_instance_is_right(variable: str) -> None:
    assert mistakes(role_of(variable), {variable: [RIGHT[variable]]}) == []


@pytest.mark.parametrize(("variable", "value", "message"), WRONG)
def test_a_wrong_value_is_told_exactly(variable: str, value: Any, message: str) -> None:
    told = mistakes(role_of(variable), {variable: value_of(variable, value)})
    assert told == (variable + message).splitlines()


def test_each_variable_of_each_role_has_a_wrong_value() -> None:
    every = {name for variables in ROLES.values() for name in variables}
    assert every == {variable for variable, _value, _message in WRONG}


def test_all_mistakes_are_told_at_once() -> None:
    given = {
        "redis_instances": [{"name": "a", "port": 0, "tls": {"certificate": "c", "key": "/k"}}, {"port": 1}],
        "redis_remove_data": "no",
    }
    assert mistakes("redis", given) == [
        "redis_instances[0]: port: expected a whole number from 1 to 65535, found the number 0",
        "redis_instances[0]: tls.certificate: 'c' is no absolute path: it begins with '/' and has no '..'",
        "redis_instances[0]: tls.server_ca: is missing: without client_ca, the CA of the certificate",
        "redis_instances[1]: the key 'name' is missing (a name: a-z, 0-9 and '-', no '-' at its ends)",
        "redis_remove_data: expected true or false, found the text 'no'",
    ]


@pytest.mark.parametrize(
    ("clients", "files", "told"),
    [
        (30_000, 65535, []),
        (
            40_000,
            65535,
            [
                "nginx_open_files: 65535 are too few, since the sites' limits.clients ask for 80512 connections, a "
                "file each: say at least 81024, or fewer clients"
            ],
        ),
        (40_000, 81_024, []),
    ],
)
def test_nginx_has_files_for_its_connections(clients: int, files: int, told: list[str]) -> None:
    least = {"listen": [{"address": "127.0.0.1", "port": 1}], "upstream": {"servers": ["127.0.0.1:2"]}}
    sites = [
        {"name": "front", **least, "limits": {"clients": clients}},
        {"name": "gone", "state": "absent", "limits": {"clients": 10**6}},
    ]
    assert mistakes("nginx", {"nginx_sites": sites, "nginx_open_files": files}) == told


@pytest.mark.parametrize(
    ("megabytes", "memory", "told"),
    [
        (1000, "4G", []),
        (
            2000,
            "4G",
            [
                "dc_federated_server_memory_max: 4G is too little, since settings.max_update_size is 2000, and an "
                "update of so many MB is in memory 3 times: say at least 6G"
            ],
        ),
        (2000, "6G", []),
        (2000, "infinity", []),
    ],
)
def test_a_server_has_memory_for_the_updates_it_takes(megabytes: int, memory: str, told: list[str]) -> None:
    least = {"application": {"callable": "a:b"}, "listen": {"address": "127.0.0.1"}, "admin": {"secret": "a"}}
    instances = [
        {"name": "server", **least, "settings": {"max_update_size": megabytes}},
        {"name": "gone", "state": "absent", "settings": {"max_update_size": 10**6}},
    ]
    values = {"dc_federated_server_instances": instances, "dc_federated_server_memory_max": memory}
    assert mistakes("dc_federated_server", values) == told


@pytest.mark.parametrize("variable", [name for name in INSTANCES if not name.startswith("pki_")])
def test_an_absent_instance_needs_its_name_only(variable: str) -> None:
    absent = [{"name": "gone", "state": "absent", "settings": "no longer looked at"}]
    assert mistakes(role_of(variable), {variable: absent}) == []


def test_an_absent_instance_is_still_its_stack_s() -> None:
    """By which a run is told that it may go."""
    (checked,) = check_coordinators([{"name": "gone", "state": "absent", "stack": "counts", "rpc": 1}])
    assert checked == {"name": "gone", "state": "absent", "stack": "counts", "transient": False}


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_the_catalogues(role: str) -> None:
    defaults = yaml.safe_load((CHECKOUT / "roles" / role / "defaults" / "main.yml").read_text())
    # as JSON: what Python takes for equal (1, 1.0 and True) isn't the same default
    assert json.dumps(defaults, sort_keys=True) == json.dumps(
        {name: key.default for name, key in ROLES[role].items()}, sort_keys=True
    )
    # a template can't be checked before it is rendered
    plain = {name: value for name, value in defaults.items() if "{{" not in str(value)}
    assert mistakes(role, plain) == []


def test_every_role_has_what_galaxy_and_ansible_read_of_it() -> None:
    for role in (path for path in (CHECKOUT / "roles").iterdir() if path.is_dir()):
        for file in ("README.md", "defaults/main.yml", "meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml"):
            assert (role / file).exists(), f"{role.name} has no {file}"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("file", ["meta/argument_specs.yml", "README.md"])
def test_written_files_are_as_the_variables_are(role: str, file: str) -> None:
    path = CHECKOUT / "roles" / role / file
    assert path.read_text() == WANTED[path], "run .venv/bin/python tests/tools/roles.py"


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_has_the_table_and_every_entry_point(role: str) -> None:
    readme = (CHECKOUT / "roles" / role / "README.md").read_text()
    assert WRITER["table"](role) in readme
    entry_points = readme.partition("## Entry points")[2].partition("\n## ")[0]
    for task in (CHECKOUT / "roles" / role / "tasks").iterdir():
        if task.stem in WRITER["ENTRY_POINTS"]:
            assert f"`{task.stem}`" in entry_points


@pytest.mark.parametrize("role", ROLES)
def test_the_readmes_example_is_right(role: str) -> None:
    readme = (CHECKOUT / "roles" / role / "README.md").read_text()
    block = re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)
    assert block
    applied = [entry for play in yaml.safe_load(block[1]) for entry in play["roles"]]
    assert applied[-1]["role"] == f"fedlearn.infra.{role}"
    for entry in applied:
        name = entry["role"].removeprefix("fedlearn.infra.")
        assert set(entry["vars"]) <= set(ROLES[name])
        assert mistakes(name, entry["vars"]) == []


def test_infrastructure_is_in_alphabetical_order_but_for_who_is_waited_for() -> None:
    stages = {"pki": "base", "limits": "base", "time_sync": "base", "redis": "data"}
    assert list(catalogue.in_order(stages, {})) == ["limits", "pki", "redis", "time_sync"]
    ordered = catalogue.in_order(stages, {"time_sync": ["pki"], "limits": ["time_sync"]})
    assert list(ordered) == ["limits", "redis", "time_sync", "pki"]
    assert ordered == stages


@pytest.mark.parametrize(
    ("before", "message"),
    [({"clock": ["pki"]}, "'clock' and 'pki' are not both roles"), ({"pki": ["clock"]}, "'pki' and 'clock' are not")],
)
def test_nobody_is_waited_for_who_is_not_there(before: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        catalogue.in_order({"pki": "base"}, before)


def test_two_roles_cannot_wait_for_each_other() -> None:
    with pytest.raises(CycleError):
        catalogue.in_order({"a": "base", "b": "base"}, {"a": ["b"], "b": ["a"]})


def test_a_site_may_lead_out_to_a_peer_by_its_name() -> None:
    """Plain HTTP on loopback in, mutual TLS out: for programs that trust public CAs only."""
    tls = {"ca": "/ca.pem", "name": "helper.example", "certificate": "/chain.pem", "key": "/key.pem"}
    upstream = {"servers": ["helper.example:443"], "host": "helper.example", "tls": tls}
    site = {"name": "egress", "listen": [{"address": "127.0.0.1", "port": 9700}], "upstream": upstream}
    plain = {"name": "plain", "listen": site["listen"], "upstream": {"servers": ["10.0.0.1:80"]}}
    folder = jinja2.FileSystemLoader(CHECKOUT / "roles/nginx/templates/etc/nginx/conf.d")
    environment = jinja2.Environment(loader=folder, undefined=jinja2.ChainableUndefined)
    environment.filters |= {
        "to_json": json.dumps,
        "regex_escape": re.escape,
        "regex_replace": lambda text, pattern, by: re.sub(pattern, by, text),
        "hash": lambda text, name: hashlib.new(name, text.encode()).hexdigest(),
    }
    template = environment.get_template("fedlearn-site.conf.j2")
    once = {**plain, "upstream": {**plain["upstream"], "keep_connections": False}}
    sites = [template.render(instance=INSTANCES["nginx_sites"]([each])[0]) for each in (site, plain, once)]
    out, through, anew = sites
    assert "server helper.example:443 max_fails" in out
    assert "proxy_set_header Host helper.example;" in out
    assert 'proxy_ssl_certificate "/chain.pem";' in out
    assert "proxy_set_header Host $http_host;" in through
    assert ["keepalive 32;" in each for each in sites] == [True, True, False]
    assert "proxy_set_header Connection close;" in anew


def asked(roles: list[str], values: dict[str, Any]) -> dict[str, list[Any]]:
    """The options that say something."""
    return {option: items for option, items in packages(roles, values).items() if items}


def test_what_encrypts_a_redis_copy_is_there_where_one_is_made() -> None:
    durable = {"name": "b", "persistence": "aof"}
    assert asked(["redis"], {"redis_instances": [{"name": "a"}, durable]}) == {"names": ["redis-tools", "age"]}
    gone = [{"name": "a"}, {**durable, "state": "absent"}]
    assert asked(["redis"], {"redis_instances": gone}) == {"names": ["redis-tools"]}


def test_a_backup_is_made_of_what_runs_and_keeps_data() -> None:
    """So a restore wants a file of no others."""
    stopped = {"name": "c", "persistence": "rdb", "state": "stopped"}
    redis = [{"name": "a"}, {"name": "b", "persistence": "aof"}, stopped]
    mongodb = [{"name": "theirs", "external": {"hosts": ["10.0.0.1:27017"]}}, {"name": "ours"}]
    assert (kept("redis", redis), kept("mongodb", mongodb)) == (["b"], ["ours"])
    assert kept("postgresql", [{"name": "a"}, {"name": "b", "state": "absent"}]) == ["a"]


def test_what_keeps_a_package_from_starting_its_own_server_is_asked_for_with_it() -> None:
    """So one call for all roles of a host brings these, too."""
    values = {
        "postgresql_instances": [{"name": "a"}, {"name": "b"}],
        "registry_instances": [{"name": "images", "users": []}],
    }
    found = asked(["postgresql", "registry"], values)
    assert {"postgresql", "docker-registry"} < set(found["names"])
    assert [one["path"].rpartition("/")[2] for one in found["during"]] == ["fedlearn.conf", "docker-registry.service"]
    assert asked(["postgresql", "registry"], {"postgresql_instances": [{"name": "a", "state": "absent"}]}) == {}


def test_packages_are_asked_for_once_and_by_what_is_present() -> None:
    values = {
        "redis_instances": [{"name": "a"}, {"name": "b"}],
        "redis_packages": ["redis-tools=5:7.0"],
        "nginx_sites": [{"name": "gone", "state": "absent"}],
        "mindspore_server_instances": [{"name": "s", "runtime": {"flavour": "full", "python": {"source": "archive"}}}],
        "mindspore_worker_instances": [{"name": "w", "state": "stopped"}, {"name": "gone", "state": "absent"}],
        "shared_mindspore_archive_packages": ["libffi8"],
    }
    python = ROLES["shared_mindspore"]["shared_mindspore_python_packages"].default
    assert asked(["limits", "redis", "nginx"], values) == {"names": ["redis-tools=5:7.0"]}
    assert packages(["mindspore_server"], values)["names"] == ["libffi8", "libgomp1"]
    assert packages(["mindspore_worker"], values)["names"] == python
    both = packages(["mindspore_worker", "mindspore_worker", "mindspore_server"], values)
    assert both["names"] == [*python, "libffi8", "libgomp1"]
    assert asked(["shared_mindspore"], {}) == {}


def test_foundations_need_programs_only_for_what_is_present() -> None:
    certificate = {"name": "c", "federation": "f", "authority": "own", "common_name": "c", "usages": ["client"]}
    own = {"name": "own", "party": "p"}
    public = {**own, "name": "public", "mode": "acme", "acme": {"directory": "https://acme.example/directory"}}
    clock = {"name": "clock", "sources": [{"address": "10.0.0.1"}]}
    values = {"pki_certificates": [certificate], "pki_authorities": [own], "time_sync_instances": [clock]}
    assert asked(["pki", "time_sync"], values) == {"names": ["openssl", "chrony"], "replaces": ["systemd-timesyncd"]}
    assert asked(["pki"], {**values, "pki_authorities": [own, public]}) == {"names": ["openssl", "dehydrated"]}
    gone = {
        "pki_certificates": [{"name": "c", "federation": "f", "state": "absent"}],
        "time_sync_instances": [{**clock, "state": "absent"}],
    }
    assert asked(["pki", "time_sync"], gone) == asked(["pki", "time_sync"], {}) == {}


@pytest.mark.parametrize("disable", [True, False])
def test_nginx_comes_without_the_welcome_page(disable: bool) -> None:
    needed = packages(["nginx"], {"nginx_sites": [{"name": "front"}], "nginx_disable_default_site": disable})
    assert needed["names"] == ["nginx", "openssl"]
    assert [link["link"] for link in needed["withdraw"]] == ["/etc/nginx/sites-enabled/default"] * disable


def test_nginx_has_its_part_for_connections_where_some_are_passed_on() -> None:
    found = [
        packages(["nginx"], {"nginx_sites": [{"name": "front", "protocol": protocol}]})["names"]
        for protocol in ("http", "tcp")
    ]
    assert found == [["nginx", "openssl"], ["nginx", "openssl", "libnginx-mod-stream"]]


@pytest.mark.parametrize(
    ("clients", "connections"), [([None], 4096), ([100, None], 4096), ([5000], 10512), ([5000, 5000], 20512)]
)
def test_nginx_has_two_connections_for_each_client_it_is_for(clients: list[int | None], connections: int) -> None:
    sites = [{"name": f"site{index}", "limits": {"clients": count}} for index, count in enumerate(clients)]
    (minimum,) = packages(["nginx"], {"nginx_sites": sites})["minimums"]
    assert (minimum["path"], minimum["directive"]) == ("/etc/nginx/nginx.conf", "worker_connections")
    assert minimum["value"] == connections
