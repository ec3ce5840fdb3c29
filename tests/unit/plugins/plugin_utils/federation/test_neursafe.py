# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a stack of Neursafe FL, and what of it can't be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import reference, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.neursafe.placements import SERVER_USER
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.neursafe.settings import (
    SETTINGS,
    STANDALONE_SETTINGS,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.schema import Anything, check_values
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import INFRASTRUCTURE
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab: {hosts: {h1: 10.20.0.11}}
clusters:
  kc: {party: lab, kubeconfig: files/kc}
  other: {party: lab, kubeconfig: files/other}
stacks:
  imaging:
    kind: neursafe
    server:
      cluster: kc
      node_address: 10.20.0.12
      images: {registry: "registry.example:5000", tag: "1.0"}
    storage: {external: {type: posix}}
    database: {external: {address: "10.20.0.13:5432", username: neursafe, secret: imaging_database}}
"""
S3 = DOCUMENT.replace(
    "{type: posix}", '{type: s3, address: "https://s3.example", username: models, secret: imaging_storage, ca: s3.pem}'
)
CLIENTS = (
    DOCUMENT
    + """\
    clients:
      near: {cluster: kc}
      far: {cluster: other, node_address: 10.30.0.12, directory: /srv/fl/far}
"""
)
SECOND = """\
  second:
    kind: neursafe
    server: {cluster: kc, images: {tag: "1.0"}}
    storage: {external: {type: posix}}
    database: {external: {address: "10.20.0.13:5432", username: neursafe, secret: second_database}}
"""


def instance(federation: Federation) -> dict[str, Any]:
    (found,) = variables.inventory(federation).hosts["cluster-kc"]["neursafe_server_instances"]
    return dict(found)


def client(federation: Federation, cluster: str) -> dict[str, Any]:
    (found,) = variables.inventory(federation).hosts[f"cluster-{cluster}"]["neursafe_client_instances"]
    return dict(found)


def with_settings(settings: str) -> str:
    return f"{DOCUMENT}    settings: {settings}\n"


def test_a_server_is_its_cluster_s(load: Load) -> None:
    found = variables.inventory(load(DOCUMENT)).hosts["cluster-kc"]
    assert found["fedlearn_stages"] == {"service": ["neursafe_server"]}
    assert instance(load(DOCUMENT))["name"] == "demo-imaging-server"
    assert instance(load(DOCUMENT))["namespaces"] == ["default"]
    assert instance(load(DOCUMENT))["settings"]["job_scheduler"]["options"]["MAX_RETRY_TIMES"] == 30


def test_clients_and_users_are_told_ports_of_nodes(load: Load) -> None:
    endpoints = variables.inventory(load(DOCUMENT)).groups["federation_clusters"].variables["fedlearn_endpoints"]
    told = [(one["component"], one["purpose"], one["public"]) for one in endpoints["imaging"]["server"]]
    inside = "demo-imaging-server.svc.cluster.local"
    assert told == [
        ("demo-imaging-server", "http", f"http://nsfl-job-scheduler.{inside}:8088"),
        ("demo-imaging-server", "api", "http://10.20.0.12:30083"),
        ("demo-imaging-model-manager", "http", f"http://nsfl-model-manager.{inside}:50057"),
        ("demo-imaging-selector", "grpc", f"nsfl-client-selector.{inside}:50055"),
        ("demo-imaging-proxy", "grpc", "10.20.0.12:30091"),
        ("demo-imaging-proxy", "health", "http://10.20.0.12:30092"),
    ]


def test_what_leaves_and_enters_the_cluster_is_told(load: Load) -> None:
    told = [
        (flow.source, flow.destination, flow.port, flow.authentication) for flow in load(S3).expansions["imaging"].flows
    ]
    assert told == [
        ("cluster-kc", "10.20.0.13", 5432, "password"),
        ("cluster-kc", "s3.example", 443, "TLS, signatures"),
        ("clients", "cluster-kc", 30091, "none: see the system's page"),
        ("operators", "cluster-kc", 30092, "none"),
        ("users", "cluster-kc", 30083, "none"),
    ]


def test_what_isn_t_external_has_no_port_of_nodes(load: Load) -> None:
    inside = load(with_settings("{proxy: {external: false}, api_server: {external: false}}"))
    assert [flow.source for flow in inside.expansions["imaging"].flows] == ["cluster-kc"]


def test_secrets_are_the_party_s(load: Load) -> None:
    pulled = S3.replace('tag: "1.0"}', 'tag: "1.0", pull: {username: puller, secret: imaging_registry}}')
    told = [(one.name, one.party) for one in load(pulled).expansions["imaging"].secrets]
    names = ("imaging_token", "imaging_registry", "imaging_database", "imaging_storage")
    assert told == [(name, "lab") for name in names]


BUILT = CLIENTS.replace(
    'tag: "1.0"', 'tag: "1.0", ca: registry.pem, build: {checkout: /srv/neursafe, login: {username: ci, secret: push}}'
)


def test_where_users_come_by_the_cluster_s_controller_is_told(load: Load) -> None:
    assert instance(load(DOCUMENT))["api_url"] == "http://10.20.0.12:30083"
    by_tls = DOCUMENT.replace('tag: "1.0"}', 'tag: "1.0"}\n      ingress: {tls_secret: fl, host: fl.example}')
    assert instance(load(by_tls))["api_url"] == "https://10.20.0.12:30084"
    assert "api_url" not in instance(load(DOCUMENT.replace("      node_address: 10.20.0.12\n", "")))
    assert "api_url" not in instance(load(with_settings("{api_server: {external: false}}")))
    assert "api_url" not in instance(load(BY_NGINX))


def test_what_is_built_is_recorded_beside_the_document_for_server_and_clients(load: Load) -> None:
    federation = load(BUILT)
    record = f"{federation.directory}/public/lab/images/imaging.json"
    images = instance(federation)["images"]
    assert (images["record"], images["ca"]) == (record, f"{federation.directory}/registry.pem")
    assert images["build"]["command"] == ["./deploy/scripts/build_images.sh"]
    assert "push" in {secret.name for secret in federation.expansions["imaging"].secrets}
    of_client = client(federation, "kc")["images"]
    assert (of_client["record"], "build" in of_client, "ca" in of_client) == (record, False, False)
    assert "record" not in instance(load(CLIENTS))["images"]


def test_nodes_trust_the_registry_s_ca(load: Load) -> None:
    nodes = "    nodes: {hosts: [h1], absent: [h2]}\n"
    text = DOCUMENT.replace("{h1: 10.20.0.11}", "{h1: 10.20.0.11, h2: 10.20.0.12}") + nodes
    found = load(text.replace("registry.example:5000", "registry.example:5000/fl").replace("tag:", "ca: r.pem, tag:"))
    (one,) = of_host(found, "h1", "registry_trust_instances")
    assert (one["registry"], one["ca"]) == ("registry.example:5000", f"{found.directory}/r.pem")
    assert [each["state"] for each in of_host(found, "h2", "registry_trust_instances")] == ["absent"]
    assert "registry_trust_instances" not in variables.inventory(load(text)).hosts["h1"]


def test_a_stack_that_is_to_go_needs_no_build(load: Load) -> None:
    text = BUILT.partition("    clients:")[0].replace("cluster: kc\n", "cluster: kc\n      state: absent\n", 1)
    assert variables.inventory(load(text)).hosts["cluster-kc"]["neursafe_server_instances"][0]["state"] == "absent"


def test_another_party_s_client_knows_no_record(load: Load) -> None:
    lab = "lab: {hosts: {h1: 10.20.0.11}}"
    text = BUILT.replace(lab, f"{lab}\n  ward: {{hosts: {{w1: 10.30.0.11}}}}")
    database = "database: {external: {address: '10.30.0.13:5432', username: fl, secret: ward}}"
    text = text.replace("other: {party: lab", "other: {party: ward").replace("far: {", f"far: {{{database}, ")
    found = load(text)
    assert "record" not in client(found, "other")["images"]
    assert "record" in client(found, "kc")["images"]


def test_files_lie_beside_the_document(load: Load) -> None:
    found = load(f"{S3}    settings: {{client_selector: {{auth_client: true, root_cert: roots.pem}}}}\n")
    assert instance(found)["storage"]["ca"] == f"{found.directory}/s3.pem"
    assert instance(found)["root_cert"] == f"{found.directory}/roots.pem"


def test_an_absent_server_needs_neither_secrets_nor_flows(load: Load) -> None:
    found = load(DOCUMENT.replace("cluster: kc\n", "cluster: kc\n      state: absent\n"))
    assert (found.expansions["imaging"].secrets, found.expansions["imaging"].flows) == ((), ())
    assert instance(found) == {
        "name": "demo-imaging-server",
        "state": "absent",
        "federation": "demo",
        "stack": "imaging",
    }


def test_each_cluster_may_have_a_stack(load: Load) -> None:
    assert load(DOCUMENT + SECOND.replace("cluster: kc", "cluster: other").replace("tag:", "registry: r.example, tag:"))


# -- clients


def test_a_client_beside_the_server_reaches_it_by_its_service(load: Load) -> None:
    found = client(load(CLIENTS), "kc")
    assert found["name"] == "demo-imaging-client-near"
    assert found["server"] == "nsfl-proxy.demo-imaging-server.svc.cluster.local:30091"
    assert found["external_address"] == "nsfl-task-manager.demo-imaging-client-near.svc.cluster.local:30090"
    assert found["database"]["address"] == "10.20.0.13:5432"


def test_a_client_of_another_cluster_meets_it_at_ports_of_nodes(load: Load) -> None:
    found = client(load(CLIENTS), "other")
    assert (found["server"], found["external_address"]) == ("10.20.0.12:30091", "10.30.0.12:30090")
    told = [(flow.source, flow.destination, flow.port) for flow in load(CLIENTS).expansions["imaging"].flows]
    assert ("cluster-other", "cluster-kc", 30091) in told
    assert ("cluster-kc", "cluster-other", 30090) in told


def test_a_client_s_settings_are_the_stack_s_and_its_own_over_them(load: Load) -> None:
    more = "{task_manager: {runtime: pytorch, storage_quota: 5}}"
    own = CLIENTS.replace("{cluster: kc}", "{cluster: kc, settings: {task_manager: {storage_quota: 7}}}")
    found = load(f"{own}    settings: {more}\n")
    told = [client(found, name)["settings"]["task_manager"] for name in ("kc", "other")]
    assert [(one["runtime"], one["storage_quota"]) for one in told] == [("pytorch", 7), ("pytorch", 5)]
    assert "task_manager" not in instance(found)["settings"]


def test_two_hundred_clients_are_derived_each_with_a_port_a_folder_and_a_user_of_its_own(load: Load) -> None:
    lines = [
        f"      c{number}: {{cluster: other, node_address: 10.30.0.12, directory: /srv/fl/c{number}, "
        f"user: {71001 + number}, settings: {{task_manager: {{port: {30100 + number}}}}}}}\n"
        for number in range(200)
    ]
    found = load(f"{DOCUMENT}    clients:\n{''.join(lines)}")
    (told,) = [variables.inventory(found).hosts["cluster-other"]["neursafe_client_instances"]]
    assert len({one["external_address"] for one in told}) == 200


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "{cluster: kc}",
            "{cluster: kc, mode: standalone}",
            "stacks.imaging.clients.near.mode: 'standalone' is one on hosts: this one is placed on a cluster",
        ),
        (
            "{cluster: kc}",
            "{cluster: kc, datasets: {mnist: /srv/mnist}}",
            "stacks.imaging.clients.near.datasets.mnist: '/srv/mnist' isn't in '/mnt/neursafe_client', the folder that "
            "tasks have",
        ),
        (
            "{cluster: kc}",
            "{cluster: kc, program: {path: /opt/neursafe}}",
            "stacks.imaging.clients.near.program: is of clients on hosts",
        ),
        (
            "{cluster: kc}",
            "{host: h1, lmdb: {storage_class: fast}}",
            "stacks.imaging.clients.near.lmdb: is of clients in clusters",
        ),
        (
            "node_address: 10.30.0.12, ",
            "",
            "stacks.imaging.clients.far: the key 'node_address' is missing: the server's coordinators connect to it "
            "there",
        ),
        (
            "      node_address: 10.20.0.12\n",
            "",
            "stacks.imaging.clients.far: nobody knows where the server is: say server.node_address, or "
            "task_manager.server_address",
        ),
        (
            "{cluster: kc}",
            "{cluster: kc, directory: /mnt/neursafe_fl/client}",
            "stacks.imaging.clients.near.directory: '/mnt/neursafe_fl/client' is the server's too, in 'kc': tasks "
            "would have each other's files",
        ),
        (
            "{cluster: kc}",
            "{cluster: kc, settings: {task_manager: {port: 30091}}}",
            "stacks.imaging.clients.near.settings.task_manager.port: 30091 of the nodes of 'kc' is the server's: give "
            "it another",
        ),
        (
            "{cluster: kc}",
            "{cluster: kc, lmdb: {node: n1, path: /mnt/neursafe_client/lmdb}}",
            "stacks.imaging.clients.near.lmdb.path: '/mnt/neursafe_client/lmdb' is in the shared directory, and lmdb "
            "maps its file: a node's own disk",
        ),
        (
            "{cluster: kc}",
            "{cluster: kc, lmdb: {path: /var/lib/lmdb}}",
            "stacks.imaging.clients.near.lmdb: 'node' and 'path' go together: a folder of that node, where the client "
            "stays",
        ),
        (
            "{cluster: kc}",
            '{cluster: kc, settings: {task_manager: {server_address: "10.67.134.15.9001"}}}',
            "stacks.imaging.clients.near.settings.task_manager.server_address: '10.67.134.15.9001' is no address and "
            "port",
        ),
        (
            "      node_address: 10.20.0.12",
            '      node_address: "fd00::9"',
            "stacks.imaging.clients.far: the server's address would be [fd00::9]:30091, and the programs know no IPv6",
        ),
        (
            "node_address: 10.30.0.12",
            'node_address: "fd00::12"',
            "stacks.imaging.clients.far: its own address would be [fd00::12]:30090, and the programs know no IPv6",
        ),
        (
            "{cluster: kc}",
            '{cluster: kc, settings: {task_manager: {server_address: "[fd00::1]:9001"}}}',
            "stacks.imaging.clients.near: the server's address would be [fd00::1]:9001",
        ),
        (
            "other: {party: lab",
            "other: {party: clinic",
            "stacks.imaging.clients.far: the key 'database' is missing: the stack's is another party's",
        ),
        (
            'tag: "1.0"',
            "digests: {"
            + ", ".join(
                f"{name}: 'sha256:{'0' * 64}'"
                for name in ("job-scheduler", "selector", "model-manager", "proxy", "coordinator")
            )
            + "}",
            "stacks.imaging.clients.far: the key 'images' is missing: the server's have neither a tag nor a digest of "
            "client-cpu",
        ),
    ],
)
def test_what_a_client_can_t_be_is_told(mistakes: Mistakes, before: str, after: str, message: str) -> None:
    text = CLIENTS.replace(before, after).replace(
        "0.11}}\nclusters", "0.11}}\n  clinic: {hosts: {k1: 10.30.0.11}}\nclusters"
    )
    assert text.count(after) or not after
    lines = mistakes(text)
    assert any(message in line for line in lines), lines


def test_a_folder_that_many_clients_have_is_told_once_for_each(mistakes: Mistakes) -> None:
    more = "".join(f"      c{n}: {{cluster: kc, settings: {{task_manager: {{port: 3010{n}}}}}}}\n" for n in range(3))
    told = [line for line in mistakes(CLIENTS + more) if "each other's files" in line]
    assert [line.split(": ")[1] for line in told] == [f"stacks.imaging.clients.c{n}.directory" for n in range(3)]
    assert all("is client 'near''s too" in line for line in told)


BESIDE = CLIENTS.replace(
    "far: {cluster: other, node_address: 10.30.0.12, directory: /srv/fl/far",
    "far: {cluster: kc, directory: /mnt/far, settings: {task_manager: {port: 30190}}",
)
"""Both in the server's cluster, and in one folder."""
OF_NEAR = "stacks.imaging.clients.near."
OF_FAR = "stacks.imaging.clients.far."


@pytest.mark.parametrize(
    ("near", "far", "line"),
    [
        (
            "",
            "",
            f"{OF_FAR}user: 71001 is the user of client 'near', too, and pods of both have the folder that both "
            "directories lie in: say another number, or each would have the other's files",
        ),
        ("", ", user: 71002", ""),
        ("", ", directory: /srv/far", ""),
        ("", ", directory: /mnt/deeper/far", f"{OF_FAR}user: 71001 is the user of client 'near', too"),
        (
            ", lmdb: {node: n1, path: /mnt/far/lmdb}",
            ", user: 71002",
            f"{OF_NEAR}lmdb.path: '/mnt/far/lmdb' is in the directory of client 'far', and lmdb maps its file: a "
            "node's own disk",
        ),
        (
            ", lmdb: {node: n1, path: /srv/b}",
            ", user: 71002, directory: /srv/b/far",
            f"{OF_NEAR}lmdb.path: '/srv/b' has the directory of client 'far' in it, and all of lmdb's folder is given "
            "to its client: a folder with nothing else in it",
        ),
        (
            ", directory: /srv/b/near",
            ", lmdb: {node: n1, path: /srv/b}",
            f"{OF_FAR}lmdb.path: '/srv/b' has the directory of client 'near' in it",
        ),
        (
            ", directory: /srv/b/near, lmdb: {node: n1, path: /srv/b}",
            "",
            f"{OF_NEAR}lmdb.path: '/srv/b' has the shared directory in it",
        ),
        (", directory: /srv/b/near, lmdb: {node: n1, path: /srv/bb}", "", ""),
        (
            ", lmdb: {node: n1, path: /var/lib/lmdb}",
            ", user: 71002, lmdb: {node: n1, path: /var/lib/lmdb/far}",
            f"{OF_FAR}lmdb.path: '/var/lib/lmdb/far' of node 'n1' is of client 'near', too: each has a folder of its "
            "own",
        ),
        (
            ", lmdb: {node: n1, path: /var/lib/lmdb}",
            ", user: 71002, lmdb: {node: n1, path: /var/lib/lmdb}",
            f"{OF_FAR}lmdb.path: '/var/lib/lmdb' of node 'n1' is of client 'near', too: each has a folder of its own",
        ),
        (
            ", lmdb: {node: n1, path: /var/lib/lmdb}",
            ", user: 71002, lmdb: {node: n2, path: /var/lib/lmdb}",
            "",
        ),
        (", directory: /etc/kubernetes", ", user: 71002", f"{OF_NEAR}directory: '/etc/kubernetes' lies in /etc, which"),
        (", directory: /var/lib/fl", ", user: 71002", f"{OF_NEAR}directory: '/var/lib/fl' lies in /var/lib, all of"),
    ],
)
def test_clients_of_one_cluster_have_nothing_of_each_other(
    mistakes: Mistakes, load: Load, near: str, far: str, line: str
) -> None:
    text = BESIDE.replace("near: {cluster: kc", f"near: {{cluster: kc{near}")
    text = text.replace(", directory: /mnt/far", far if "directory" in far else f", directory: /mnt/far{far}")
    if not line:
        assert load(text)
        return
    (told,) = mistakes(text)
    assert told.partition(": ")[2].startswith(line)


THERE = """\
  second:
    kind: neursafe
    server: {cluster: other, images: {tag: "1.0"}, node_address: 10.9.9.9, shared_directory: /mnt/second}
    storage: {external: {type: posix}}
    database: {external: {address: "10.20.0.13:5432", username: neursafe, secret: second_database}}
    settings: {task_manager: {port: 30190}}
    clients: {beside: {cluster: kc, node_address: 10.20.0.12, directory: /srv/b/beside, user: 71003}}
"""
OF_BESIDE = "stacks.second.clients.beside."


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("port: 30190", "port: 30191", ""),
        (
            "port: 30190",
            "port: 30090",
            f"{OF_BESIDE}settings.task_manager.port: 30090 of the nodes of 'kc' is client 'near' of stack 'imaging''s",
        ),
        (
            "port: 30190",
            "port: 30091",
            f"{OF_BESIDE}settings.task_manager.port: 30091 of the nodes of 'kc' is the server",
        ),
        (
            "/srv/b/beside, user",
            "/mnt/neursafe_client/x, user",
            f"{OF_BESIDE}directory: '/mnt/neursafe_client/x' is client 'near' of stack 'imaging''s too, in 'kc'",
        ),
        (
            "user: 71003",
            "lmdb: {node: n1, path: /mnt/neursafe_fl/l}, user: 71003",
            f"{OF_BESIDE}lmdb.path: '/mnt/neursafe_fl/l' is in the server of stack 'imaging''s shared directory",
        ),
        ("user: 71003", "user: 71000", f"{OF_BESIDE}user: 71000 is the server of stack 'imaging''s user, too"),
        ("/srv/b/beside, user: 71003", "/mnt/beside", f"{OF_BESIDE}user: 71001 is the user of client 'near' of stack"),
        (
            "beside: {cluster: kc",
            "beside: {cluster: same",
            "",
        ),
        (
            "beside: {cluster: kc, node_address: 10.20.0.12, directory: /srv/b/beside",
            "beside: {cluster: same, node_address: 10.20.0.12, directory: /mnt/neursafe_client",
            f"{OF_BESIDE}directory: '/mnt/neursafe_client' is client 'near' of stack 'imaging''s too, in 'same'",
        ),
        (
            "server: {cluster: other",
            "server: {cluster: same",
            "stacks.second.server.cluster: 'same' has the stack 'imaging' already",
        ),
    ],
)
def test_clients_of_two_stacks_have_nothing_of_each_other_in_a_cluster_by_whatever_name(
    mistakes: Mistakes, load: Load, before: str, after: str, line: str
) -> None:
    assert before in THERE
    text = (CLIENTS + THERE.replace(before, after)).replace(
        "clusters:\n", "clusters:\n  same: {party: lab, kubeconfig: ./files/kc}\n"
    )
    text = text.replace("far: {cluster: other, node_address: 10.30.0.12, directory: /srv/fl/far}", "")
    if not line:
        assert load(text)
        return
    (told,) = mistakes(text)
    assert told.partition(": ")[2].startswith(line)


def test_lmdb_has_no_server_s_directory_in_it(mistakes: Mistakes) -> None:
    text = CLIENTS.replace("cluster: kc\n", "cluster: kc\n      shared_directory: /srv/deep/fl\n")
    text = text.replace("near: {cluster: kc}", "near: {cluster: kc, lmdb: {node: n1, path: /srv/deep}}")
    (told,) = mistakes(text)
    assert f"{OF_NEAR}lmdb.path: '/srv/deep' has the server's shared directory in it, and all of lmdb's" in told


def test_a_server_s_directory_is_in_no_client_s_lmdb(mistakes: Mistakes) -> None:
    text = CLIENTS.replace("directory: /srv/fl/far", "directory: /srv/fl/far, lmdb: {node: n1, path: /srv/second}")
    second = THERE[: THERE.index("    settings:")].replace("/mnt/second", "/srv/second/fl")
    (told,) = mistakes(text + second)
    line = "'/srv/second', where client 'far' of stack 'imaging' has its lmdb, has '/srv/second/fl' in it, and all of"
    assert f"stacks.second.server.shared_directory: {line}" in told


@pytest.mark.parametrize("path", ["/", "/etc/lmdb", "/mnt", "/var/lib", "/var/lib/kubelet/x", "/usr"])
def test_lmdb_lies_in_no_folder_of_the_node_s_own(mistakes: Mistakes, path: str) -> None:
    lines = mistakes(CLIENTS.replace("near: {cluster: kc}", f"near: {{cluster: kc, lmdb: {{node: n1, path: {path}}}}}"))
    line = f"{OF_NEAR}lmdb.path: '{path}' is the node's own, and would be given to the client"
    assert any(line in told for told in lines), lines


def test_a_client_s_table_is_none_of_the_server_s(mistakes: Mistakes) -> None:
    own = "near: {cluster: kc, settings: {task_manager: {db_collection_name: models}}}"
    (line,) = mistakes(CLIENTS.replace("near: {cluster: kc}", own))
    assert line.endswith(
        f"{OF_NEAR}settings.task_manager.db_collection_name: 'models' is the table of model_manager in the same "
        "database: give it another"
    )


# -- what can't be


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "",
            SECOND,
            "stacks.second.server.cluster: 'kc' has the stack 'imaging' already (federation.yml:13:7): jobs of both "
            "would run in its namespace default, and be mixed up",
        ),
        (
            'tag: "1.0"',
            "digests: {proxy: sha256:" + "0" * 64 + "}",
            "stacks.imaging.server.images: say 'tag', or a digest for each image: job-scheduler, selector, "
            "model-manager, coordinator would be whatever was pushed last",
        ),
        (
            'tag: "1.0"',
            'tag: "1.0", kubectl: registry.k8s.io/kubectl',
            "stacks.imaging.server.images.kubectl: 'registry.k8s.io/kubectl' is not an image with its tag or digest, "
            "such as registry.example:5000/nsfl-proxy:1.0",
        ),
        (
            'registry: "registry.example:5000", tag: "1.0"',
            'tag: "1.0", build: {checkout: /srv/neursafe}',
            "stacks.imaging.server.images.build: needs 'registry': images are pushed there",
        ),
        (
            'registry: "registry.example:5000", tag: "1.0"',
            'tag: "1.0", pull: {username: puller, secret: login}',
            "stacks.imaging.server.images.pull: needs 'registry': the login is of none",
        ),
        (
            'registry: "registry.example:5000", tag: "1.0"',
            'tag: "1.0", ca: registry.pem',
            "stacks.imaging.server.images.ca: needs 'registry': it is of none",
        ),
        (
            "{external: {type: posix}}",
            "{external: {type: posix}}\n"
            '    clients: {a: {cluster: kc, images: {tag: "1", pull: {username: a, secret: b}}}}',
            "stacks.imaging.clients.a.images.pull: needs 'registry': the login is of none",
        ),
        (
            'tag: "1.0"',
            'tag: "1.0", build: {checkout: /srv/neursafe}, digests: {proxy: sha256:' + "0" * 64 + "}",
            "stacks.imaging.server.images.digests: can't be said beside 'build': fedlearn.infra.images records what it "
            "has built",
        ),
        (
            'tag: "1.0"',
            'tag: "1.0", build: {checkout: neursafe}',
            "stacks.imaging.server.images.build.checkout: 'neursafe' ",
        ),
        (
            'tag: "1.0"',
            'tag: "1.0", build: {checkout: /srv/neursafe, command: []}',
            "stacks.imaging.server.images.build.command: expected a list of at least 1, found 0",
        ),
        (
            'tag: "1.0"',
            'tag: "1.0", build: {checkout: /srv/neursafe, engine: none, push: true}',
            "stacks.imaging.server.images.build.push: needs an engine: without one the command pushes itself",
        ),
        (
            'tag: "1.0"',
            'tag: "1.0", build: {checkout: /srv/neursafe, proxies: {https: "http://me:pass@10.20.0.1:3128"}}',
            "stacks.imaging.server.images.build.proxies.https: ",
        ),
        (
            "{type: posix}",
            "{type: poisx}",
            "stacks.imaging.storage.external.type: expected one of posix, s3, found the text 'poisx' (did you mean "
            "'posix'?)",
        ),
        (
            "{type: posix}",
            "{type: s3}",
            "stacks.imaging.storage.external: the key 'address' is missing: S3 needs address, username and secret",
        ),
        (
            "{external: {type: posix}}",
            "{host: h9}",
            "stacks.imaging.storage.host: no party has a host named 'h9' (did you mean 'h1'?)",
        ),
        (
            '"10.20.0.13:5432"',
            '"10.20.0.13.5432"',
            "stacks.imaging.database.external.address: '10.20.0.13.5432' is no address and port, such as "
            "10.20.0.11:6666 or [fd00::11]:6666",
        ),
        (
            '"10.20.0.13:5432"',
            '"[fd00::13]:5432"',
            "stacks.imaging.database.external.address: the programs know no IPv6 address: write a name",
        ),
        (
            "cluster: kc\n",
            "cluster: kc\n      shared_directory: /shared\n",
            "stacks.imaging.server.shared_directory: '/shared' lies in the root folder, all of which pods would have: "
            "put it deeper, as /mnt/neursafe_fl",
        ),
        (
            "cluster: kc\n",
            "cluster: kc\n      namespace: imaging\n",
            "stacks.imaging.server.namespace: expected default, found the text 'imaging'",
        ),
        (
            "    storage:",
            "    namespaces: [Radiology]\n    storage:",
            "stacks.imaging.namespaces[0]: 'Radiology' is not a namespace: a-z, 0-9 and '-', no '-' at its ends",
        ),
        (
            "    storage:",
            "    settings: {proxy: {grpc_port: 30083}}\n    storage:",
            "stacks.imaging.settings.api_server.http_port: 30083 is proxy.grpc_port too: a node's port has one owner",
        ),
        (
            "    storage:",
            "    settings: {proxy: {service_name: nsfl-job-scheduler}}\n    storage:",
            "stacks.imaging.settings.proxy.service_name: 'nsfl-job-scheduler' is that of job_scheduler too",
        ),
        (
            "    storage:",
            "    settings: {client_selector: {service_name: nsfl-proxy-nodes}}\n    storage:",
            "stacks.imaging.settings.client_selector.service_name: 'nsfl-proxy-nodes' is that of the proxy's ports of "
            "nodes too",
        ),
        (
            "    storage:",
            "    settings: {client_selector: {service_name: closed}}\n    storage:",
            "stacks.imaging.settings.client_selector.service_name: 'closed' is what something else in its namespace is "
            "called: take another name",
        ),
        (
            "    storage:",
            "    settings: {task_manager: {service_name: shared}}\n    storage:",
            "stacks.imaging.settings.task_manager.service_name: 'shared' is what something else in its namespace is "
            "called: take another name",
        ),
        (
            "    storage:",
            f"    settings: {{proxy: {{service_name: {60 * 'a'}}}}}\n    storage:",
            "stacks.imaging.settings.proxy.service_name: is longer than 57 characters",
        ),
        (
            "    storage:",
            "    settings: {job_scheduler: {db_collection_name: models}}\n    storage:",
            "stacks.imaging.settings.model_manager.db_collection_name: 'models' is the table of job_scheduler, too: "
            "jobs and models have one each",
        ),
        (
            "    storage:",
            "    settings: {job_scheduler: {coordinator_configs_dir: models}}\n    storage:",
            "stacks.imaging.settings.model_manager.models_dir: 'models' is job_scheduler.coordinator_configs_dir, too: "
            "each has a folder",
        ),
        (
            "    storage:",
            "    namespaces: [default, models]\n    storage:",
            "stacks.imaging.namespaces[1]: 'models' is the folder of model_manager.models_dir, whose files its users "
            "would have: another name",
        ),
        (
            "    storage:",
            "    namespaces: [default, ward, default]\n    storage:",
            "stacks.imaging.namespaces[2]: 'default' stands there twice",
        ),
        (
            "    storage:",
            "    settings: {job_scheduler: {port: 8001}}\n    storage:",
            "stacks.imaging.settings.job_scheduler.port: 8001 is that of the kubectl proxy in the same pod",
        ),
        (
            "imaging_database}}",
            "imaging_database, ca: d.pem}, engine: mongodb}\n    settings: {model_manager: {port: 27017}}",
            "stacks.imaging.settings.model_manager.port: 27017 is that of what leads to MongoDB in the same pod",
        ),
        (
            "    storage:",
            "    settings: {job_scheduler: {options: {COORDINATOR_WORKSPACE_PATH: /}}}\n    storage:",
            "job_scheduler.options.COORDINATOR_WORKSPACE_PATH: '/' is the image's own: a folder such as /fl",
        ),
        (
            "    storage:",
            "    settings: {job_scheduler: {coordinator_configs_dir: default}}\n    storage:",
            "stacks.imaging.namespaces[0]: 'default' is the folder of job_scheduler.coordinator_configs_dir",
        ),
        (
            "    storage: {external: {type: posix}}",
            "    storage: {external: {type: posix}, state: absent}",
            "stacks.imaging.storage: is absent, and the server needs it: say where it is, or make the server absent",
        ),
    ],
)
def test_what_can_t_be_is_told(mistakes: Mistakes, before: str, after: str, message: str) -> None:
    text = DOCUMENT.replace(before, after) if before else DOCUMENT + after
    assert text != DOCUMENT
    lines = mistakes(text)
    assert any(message in line for line in lines), lines


@pytest.mark.parametrize(
    "registry",
    [
        "harbor",
        "harbor/fl",
        "a.",
        "r..example",
        "-a.example",
        "r.example:0",
        "r.example:99999",
        "r.example:65536",
        "r.example:",
        "r.example/a.",
        "r.example//a",
        "R.example",
        "user@r.example",
        "https://r.example",
    ],
)
def test_what_is_no_registry_is_told(mistakes: Mistakes, registry: str) -> None:
    (told,) = mistakes(DOCUMENT.replace("registry.example:5000", registry))
    assert "stacks.imaging.server.images.registry: " in told


@pytest.mark.parametrize(
    "registry",
    [
        "r.example",
        "harbor:5000",
        "localhost",
        "localhost:5000",
        "10.20.0.11",
        "r.example:65535/fl",
        "localhost/a/b__c",
        "r.example:1",
        "a-b.example/x.y/z--z",
    ],
)
def test_what_is_a_registry_is_taken(load: Load, registry: str) -> None:
    found = instance(load(DOCUMENT.replace("registry.example:5000", registry)))
    assert found["images"]["registry"] == registry


def test_a_namespace_s_name_has_63_characters_at_most(mistakes: Mistakes) -> None:
    federation, stack = "f" * 25, "s" * 31
    text = DOCUMENT.replace("federation: demo", f"federation: {federation}").replace("imaging:", f"{stack}:")
    name = f"{federation}-{stack}-server"
    assert mistakes(text) == [
        f"federation.yml:11:5: stacks.{stack}: '{name}' has 64 characters, and a Kubernetes namespace at most 63"
    ]


@pytest.mark.parametrize("engine", ["postgresql", "postgreSQL", "PostgreSQL", "mongodb", "mongo", "MongoDB"])
def test_engines_go_by_the_names_that_people_give_them(load: Load, engine: str) -> None:
    found = load(DOCUMENT.replace("imaging_database}}", f"imaging_database}}, engine: {engine}}}"))
    assert instance(found)["database"]["engine"] == engine


# -- database and storage on hosts

HOSTED = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    hosts:
      h1: 10.20.0.11
      n1: 10.20.0.21
      n2: {addresses: {ssh: 10.20.0.22, internal: [10.20.0.22, "fd00::22"]}}
clusters:
  kc: {party: lab, kubeconfig: files/kc}
  other: {party: lab, kubeconfig: files/other}
stacks:
  imaging:
    kind: neursafe
    server: {cluster: kc, node_address: 10.20.0.21, images: {registry: "r.example", tag: "1.0"}, networks: 10.42.0.0/16}
    storage: {host: h1}
    database: {host: h1}
    nodes: {hosts: [n1, n2]}
    namespaces: [default, radiology]
    clients:
      near: {cluster: kc}
      far: {cluster: other, node_address: 10.30.0.12, directory: /srv/fl/far, networks: [10.30.0.0/24]}
"""
NETWORKS = ["10.20.0.21/32", "10.20.0.22/32", "fd00::22/128", "10.42.0.0/16"]
"""Where pods beside the server come from."""


def of_host(federation: Federation, host: str, variable: str) -> list[dict[str, Any]]:
    found = variables.inventory(federation).hosts[host].get(variable, [])
    return list(found)


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("h1: 10.20.0.11", "h1: 10.20.0.11", ""),
        (
            "storage: {host: h1}",
            "storage: {host: n1, port: 30091}",
            "30091 on host 'n1' is taken by a Service of cluster",
        ),
        (
            "storage: {host: h1}",
            "storage: {host: n1, port: 30090}",
            "30090 on host 'n1' is taken by a Service of cluster",
        ),
        ("storage: {host: h1}", "storage: {host: n1, port: 10250}", "10250 on host 'n1' is taken by the kubelet"),
        ("storage: {host: h1}", "storage: {host: n1, port: 22}", "22 on host 'n1' is taken by sshd"),
        ("storage: {host: h1}", "storage: {host: h1, port: 30091}", ""),
    ],
)
def test_a_node_s_ports_are_the_cluster_s(mistakes: Mistakes, load: Load, before: str, after: str, line: str) -> None:
    text = HOSTED.replace(before, after)
    if not line:
        assert load(text)
        return
    assert [each for each in mistakes(text) if line in each]


def test_tables_are_made_by_one_login_and_written_by_another(load: Load) -> None:
    (found,) = of_host(load(HOSTED), "h1", "postgresql_instances")
    assert found["databases"] == [{"name": name} for name in ("neursafe_fl", "neursafe_fl_near", "neursafe_fl_far")]
    told = [(one["name"], one["database"], one["access"], one["addresses"]) for one in found["clients"]]
    assert told == [
        ("tables", "neursafe_fl", "owner", NETWORKS),
        ("server", "neursafe_fl", "write", NETWORKS),
        ("tables-near", "neursafe_fl_near", "owner", NETWORKS),
        ("client-near", "neursafe_fl_near", "write", NETWORKS),
        ("tables-far", "neursafe_fl_far", "owner", ["10.30.0.0/24"]),
        ("client-far", "neursafe_fl_far", "write", ["10.30.0.0/24"]),
    ]
    assert (found["addresses"], found["port"], found["memory_mb"]) == (["10.20.0.11"], 5432, 848)
    assert all(one["in_turn"] for one in found["clients"])
    assert len({one["secret"] for one in found["clients"]}) == 6


def test_pods_reach_it_by_a_name_that_its_certificate_has(load: Load) -> None:
    found = load(HOSTED)
    told = instance(found)["database"]
    assert (told["address"], told["at"]) == ("demo-imaging-database:5432", "10.20.0.11")
    assert (told["username"], told["owner"]["username"]) == ("server", "tables")
    (shown,) = [one for one in found.expansions["imaging"].certificates if one.name == "demo-imaging-database"]
    assert "demo-imaging-database" in shown.dns_names
    assert (told["ca"], told["ca_follows"]) == (f"{found.state_directory}/public/lab/lab.pem", True)
    assert client(found, "other")["database"]["name"] == "neursafe_fl_far"
    assert client(found, "other")["database"]["owner"]["username"] == "tables-far"


def test_the_certificate_of_another_s_ca_lies_beside_the_document(load: Load) -> None:
    found = load(HOSTED.replace("  lab:\n", "  lab:\n    pki: {mode: csr, ca: ca.pem}\n"))
    told = instance(found)["storage"]
    assert (told["ca"], told["ca_follows"]) == (f"{found.directory}/ca.pem", False)


def test_a_folder_of_the_shared_directory_is_a_bucket_that_every_node_mounts(load: Load) -> None:
    found = load(HOSTED)
    (store,) = of_host(found, "h1", "minio_instances")
    assert [one["name"] for one in store["buckets"]] == ["coordinator-configs", "models", "default", "radiology"]
    for host in ("n1", "n2"):
        mounts = of_host(found, host, "s3fs_mounts")
        assert [(one["path"], one["s3"]["bucket"]) for one in mounts] == [
            ("/mnt/neursafe_fl/coordinator_configs", "coordinator-configs"),
            ("/mnt/neursafe_fl/models", "models"),
            ("/mnt/neursafe_fl/default", "default"),
            ("/mnt/neursafe_fl/radiology", "radiology"),
        ]
        told = {(one["kept_for"], one["s3"]["uid"], one["s3"]["umask"], one["s3"]["client"]) for one in mounts}
        assert told == {(71000, 71000, "0007", "nodes")}
    assert [one.host for one in found.expansions["imaging"].certificates if one.name == "demo-imaging-nodes"] == [
        "n1",
        "n2",
    ]


def test_each_purpose_has_a_user_of_the_store(load: Load) -> None:
    (store,) = of_host(load(HOSTED), "h1", "minio_instances")
    told = {
        one["name"]: [(one["bucket"], one["access"]), *((more["bucket"], more["access"]) for more in one["also"])]
        for one in store["clients"]
    }
    spaces = ("default", "radiology")
    assert told == {
        "models": [("models", "write"), *((name, "read") for name in spaces)],
        "nodes": [(name, "write") for name in ("coordinator-configs", "models", *spaces)],
        "operators": [("models", "write"), *((name, "write") for name in spaces)],
    }
    assert {one["name"]: one["in_turn"] for one in store["clients"]} == {
        "models": True,
        "nodes": True,
        "operators": False,
    }
    turned = [one.name for one in load(HOSTED).expansions["imaging"].secrets if one.in_turn]
    assert ("imaging_nodes_storage" in turned, "imaging_operators_storage" in turned) == (True, False)
    asked = instance(load(HOSTED))["storage"]
    assert (asked["address"], asked["username"]) == ("https://10.20.0.11:9000", "models")


def test_what_comes_to_hosts_is_told_by_where_it_comes_from(load: Load) -> None:
    flows = load(HOSTED).expansions["imaging"].flows
    assert {flow.source for flow in flows if flow.port == 5432} == {"n1", "n2", "10.42.0.0/16", "10.30.0.0/24"}
    assert {flow.source for flow in flows if flow.port == 9000} == {"n1", "n2", "10.42.0.0/16", "operators"}


def test_secrets_of_logins_are_one_each(load: Load) -> None:
    names = [one.name for one in load(HOSTED).expansions["imaging"].secrets]
    assert names == [
        "imaging_token",
        *(f"imaging_{name}_database" for name in ("tables", "server")),
        *(f"imaging_{kind}_{name}_database" for name in ("near", "far") for kind in ("tables", "client")),
        *(f"imaging_{name}_storage" for name in ("models", "nodes", "operators")),
    ]


def test_ports_are_those_that_are_told(load: Load) -> None:
    text = ON_HOST.replace("database: {host: h1}", "database: {host: h1, port: 5433}")
    text = text.replace("storage: {host: h1}", "storage: {host: h1, port: 9001}").replace(
        "k: {host: k1,", "k: {host: k1, port: 22002,"
    )
    found = load(text)
    assert instance(found)["database"]["address"] == "demo-imaging-database:5433"
    assert of_host(found, "h1", "postgresql_instances")[0]["port"] == 5433
    assert instance(found)["storage"]["address"] == "https://10.20.0.11:9001"
    assert (standalone(found)["listen"]["port"], standalone(found)["external_address"]) == (
        22002,
        "k1.clinic.example:22002",
    )
    ports = {flow.port for flow in found.expansions["imaging"].flows}
    assert {5433, 9001, 22002} <= ports
    assert not {5432, 9000, 22000} & ports


def test_a_mongodb_is_a_ferretdb_with_a_user_of_each_database(load: Load) -> None:
    found = load(HOSTED.replace("database: {host: h1}", "database: {host: h1, engine: mongodb}"))
    (server,) = of_host(found, "h1", "mongodb_instances")
    assert (server["port"], server["public_name"]) == (27017, "demo-imaging-database")
    assert [(one["name"], one["database"]) for one in server["users"]] == [
        ("server", "neursafe_fl"),
        ("client-near", "neursafe_fl_near"),
        ("client-far", "neursafe_fl_far"),
    ]
    assert "owner" not in instance(found)["database"]
    assert of_host(found, "h1", "postgresql_instances") == []


def test_an_export_of_nfs_is_mounted_on_the_nodes(load: Load) -> None:
    found = load(HOSTED.replace("storage: {host: h1}", 'storage: {external: {type: posix, nfs: "nas:/fl"}}'))
    assert [(one["path"], one["nfs"], one["kept_for"]) for one in of_host(found, "n1", "s3fs_mounts")] == [
        ("/mnt/neursafe_fl", "nas:/fl", 71000)
    ]
    assert instance(found)["storage"] == {"type": "posix"}


def test_what_goes_is_told_by_name(load: Load) -> None:
    text = HOSTED.replace("kind: neursafe\n", "kind: neursafe\n    state: absent\n")
    found = load(text)
    assert [one["state"] for one in of_host(found, "h1", "minio_instances")] == ["absent"]
    assert [one["state"] for one in of_host(found, "h1", "postgresql_instances")] == ["absent"]
    assert {one["state"] for one in of_host(found, "n2", "s3fs_mounts")} == {"absent"}
    assert len(of_host(found, "n2", "s3fs_mounts")) == 4
    gone = {(one.name, one.host, one.state) for one in found.expansions["imaging"].certificates}
    names = (("database", "h1"), ("storage", "h1"), ("nodes", "n1"), ("nodes", "n2"))
    assert gone == {(f"demo-imaging-{name}", host, "absent") for name, host in names}
    assert found.expansions["imaging"].secrets == ()


def test_a_node_that_goes_has_nothing_mounted(load: Load) -> None:
    found = load(HOSTED.replace("hosts: [n1, n2]", "hosts: [n1], absent: [n2]"))
    assert {one["state"] for one in of_host(found, "n2", "s3fs_mounts")} == {"absent"}
    assert {one["state"] for one in of_host(found, "n1", "s3fs_mounts")} == {"present"}


def test_a_store_that_moves_leaves_its_mounts_where_they_are(load: Load) -> None:
    found = load(HOSTED.replace("storage: {host: h1}", "storage: {host: n1, absent: [h1]}"))
    assert {one["state"] for one in of_host(found, "n1", "s3fs_mounts")} == {"present"}
    assert [one["state"] for one in of_host(found, "h1", "minio_instances")] == ["absent"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "    nodes: {hosts: [n1, n2]}\n",
            "",
            "stacks.imaging: the key 'nodes' is missing: name the cluster's nodes, which mount the shared directory",
        ),
        (
            "storage: {host: h1}\n    database: {host: h1}\n    nodes: {hosts: [n1, n2]}",
            "storage: {external: {type: posix, nfs: 'nas:/fl'}}\n    database: {host: h1}",
            "stacks.imaging.storage.external.nfs: is mounted on `nodes`, and none are named",
        ),
        (
            ", networks: 10.42.0.0/16}\n    storage: {host: h1}\n    database: {host: h1}\n"
            "    nodes: {hosts: [n1, n2]}",
            "}\n    storage: {external: {type: posix}}\n    database: {host: h1}",
            "stacks.imaging.server: nobody knows where its pods come from: say `nodes`, or server.networks",
        ),
        (
            ", networks: [10.30.0.0/24]",
            "",
            "stacks.imaging.clients.far: the key 'networks' is missing: the stack's database lets in those networks "
            "that it knows",
        ),
        (
            "[default, radiology]",
            "[default, ct]",
            "stacks.imaging.namespaces[1]: 'ct' can't be a bucket of S3: 3 to 63 of a-z, 0-9, '-' and '.', neither at "
            "its ends",
        ),
        (
            "    namespaces:",
            "    settings: {model_manager: {models_dir: Models}}\n    namespaces:",
            "stacks.imaging.settings.model_manager.models_dir: 'Models' can't be a bucket of S3",
        ),
        (
            "[default, radiology]",
            "[default, coordinator-configs]",
            "'coordinator_configs' would be the bucket 'coordinator-configs', which another folder is",
        ),
        (
            "storage: {host: h1}",
            "storage: {host: h1, bind: 0.0.0.0}",
            "stacks.imaging.storage.bind: '0.0.0.0' is every address of the host: choose one",
        ),
        (
            "storage: {host: h1}",
            "storage: {host: h1, bind: 127.0.0.1}",
            "stacks.imaging.storage.bind: '127.0.0.1' can't be reached from nodes",
        ),
        (
            "database: {host: h1}",
            "database: {host: h1, name: Jobs}",
            "stacks.imaging.database.name: 'Jobs' can't be the name of one that is made here: a-z, 0-9 and '_', no "
            "digit first",
        ),
        (
            "database: {host: h1}",
            f"database: {{host: h1, name: {'n' * 48}}}",
            f"stacks.imaging.clients.near: '{'n' * 48}_near' has 53 characters, and a database's name at most 50",
        ),
        (
            "database: {host: h1}",
            'database: {external: {address: "db.example:5432", username: u, secret: s}, port: 5433}',
            "stacks.imaging.database.port: is of a database on a host of ours: of an external one its address says it",
        ),
        (
            "  lab:\n",
            "  clinic: {hosts: {k1: 10.30.0.1}}\n  lab:\n",
            "stacks.imaging.database.host: host 'k1' is of party 'clinic', and the server's cluster of 'lab': both are "
            "one party's",
        ),
        (
            "near: {cluster: kc}",
            "near: {cluster: kc, user: 71000}",
            "stacks.imaging.clients.near.user: 71000 is the server's user, too, and this client would have its models",
        ),
        (
            "near: {cluster: kc}",
            "near: {cluster: kc, lmdb: {node: n1, path: /mnt/neursafe_fl/lmdb}}",
            "stacks.imaging.clients.near.lmdb.path: '/mnt/neursafe_fl/lmdb' is in the server's shared directory, and "
            "lmdb maps its file: a node's own disk",
        ),
        (
            "storage: {host: h1}",
            "storage: {external: {type: s3, address: 'https://s3.example', username: u, secret: s, nfs: 'nas:/x'}}",
            "stacks.imaging.storage.external.nfs: means nothing with type: s3, which is no export",
        ),
    ],
)
def test_what_can_t_be_on_hosts_is_told(mistakes: Mistakes, before: str, after: str, message: str) -> None:
    text = HOSTED.replace(before, after)
    assert text != HOSTED
    if "clinic" in after:
        text = text.replace("database: {host: h1}", "database: {host: k1}")
    lines = mistakes(text)
    assert any(message in line for line in lines), lines


def test_a_client_s_images_say_what_leads_to_mongodb(mistakes: Mistakes) -> None:
    digests = "{client-cpu: 'sha256:" + "0" * 64 + "'}"
    text = HOSTED.replace("database: {host: h1}", "database: {host: h1, engine: mongodb}")
    (line,) = mistakes(text.replace("near: {cluster: kc}", f"near: {{cluster: kc, images: {{digests: {digests}}}}}"))
    assert "its images have neither a tag nor a digest of proxy, nor 'tunnel'" in line


def test_nodes_that_have_the_shared_directory_already_are_asked_for_whom_it_is_kept(load: Load) -> None:
    text = HOSTED.replace("storage: {host: h1}", "storage: {external: {type: posix}}")
    (found,) = of_host(load(text), "n1", "s3fs_mounts")
    assert (found["path"], found["there"], found["kept_for"]) == ("/mnt/neursafe_fl", True, SERVER_USER)


# -- clients on hosts

ON_HOST = HOSTED.replace("      near: {cluster: kc}\n", "").replace(
    "      far: {cluster: other, node_address: 10.30.0.12, directory: /srv/fl/far, networks: [10.30.0.0/24]}\n",
    "      k: {host: k1, datasets: {mnist: /srv/mnist}}\n",
)
ON_HOST = ON_HOST.replace(
    "  lab:\n", "  clinic: {hosts: {k1: {address: 10.30.0.11, public_name: k1.clinic.example}}}\n  lab:\n"
)


def standalone(federation: Federation) -> dict[str, Any]:
    (found,) = of_host(federation, "k1", "neursafe_standalone_instances")
    return dict(found)


def test_a_client_on_a_host_has_its_setup_derived(load: Load) -> None:
    found = standalone(load(ON_HOST))
    assert (found["name"], found["program"]) == ("demo-imaging-client-k", {"path": "/opt/neursafe"})
    assert found["listen"] == {"address": "10.30.0.11", "port": 22000}
    assert found["server"] == "10.20.0.21:30091"
    assert found["external_address"] == "k1.clinic.example:22000"
    assert found["datasets"] == {"mnist": "/srv/mnist"}
    assert (found["settings"]["storage_quota"], found["settings"]["options"]["REPORT_HEARTBEAT"]) == (10240, 150)


def test_the_first_node_is_where_clients_find_the_server(load: Load) -> None:
    text = ON_HOST.replace("node_address: 10.20.0.21, ", "").replace("hosts: [n1, n2]", "hosts: [n2, n1]")
    assert standalone(load(text))["server"] == "10.20.0.22:30091"
    named = text.replace("n2: {addresses", "n2: {public_name: node.example, addresses")
    assert standalone(load(named))["server"] == "node.example:30091"


def test_one_of_the_server_s_party_is_reached_within(load: Load) -> None:
    text = ON_HOST.replace("  clinic: {hosts: {k1:", "  lab2: {hosts: {k2: 10.30.0.9}}\n  lab:\n    hosts:\n      k1:")
    text = text.replace("}}}\n  lab:\n    hosts:\n", "}\n")
    assert standalone(load(text))["external_address"] == "10.30.0.11:22000"


def test_a_client_on_a_host_has_what_the_stack_says_of_all(load: Load) -> None:
    options = "{REPORT_HEARTBEAT: 7, MAX_RETRY_TIMES: 3}"
    manager = f"{{runtime: pytorch, service_name: other, options: {options}}}"
    of_all = f"{{task_manager: {manager}, others: {{log_level: debug}}}}"
    own = "settings: {task_manager: {label: clinic, resource: {cpu: 2}}}"
    text = ON_HOST.replace("/srv/mnist}}", f"/srv/mnist}}, {own}}}") + f"    settings: {of_all}\n"
    found = standalone(load(text))["settings"]
    assert (found["runtime"], found["label"], found["log_level"]) == ("pytorch", "clinic", "debug")
    assert (found["options"], found["resource"]) == (
        {"REPORT_HEARTBEAT": 7, "WAIT_WORKER_FINISHED_TIMEOUT": 300},
        {"cpu": 2},
    )


def test_a_program_may_come_as_an_archive(load: Load) -> None:
    program = f"program: {{archive: files/neursafe.tar.gz, sha256: {'a' * 64}}}"
    found = load(ON_HOST.replace("/srv/mnist}}", f"/srv/mnist}}, {program}}}"))
    assert standalone(found)["program"]["archive"] == f"{found.directory}/files/neursafe.tar.gz"
    assert found.expansions["imaging"].fetched == ()
    told = f"program: {{archive: 'https://files.example/n.tar.gz', sha256: {'a' * 64}}}"
    (flow,) = load(ON_HOST.replace("/srv/mnist}}", f"/srv/mnist}}, {told}}}")).expansions["imaging"].fetched
    assert (flow.source, flow.destination, flow.authentication) == ("k1", "files.example", "sha256")


PINNED = "sha256:" + 64 * "a"
IN_CONTAINER = ON_HOST.replace("/srv/mnist}}", "/srv/mnist}, container: {}}").replace(
    'images: {registry: "r.example", tag: "1.0"}',
    f'images: {{registry: "registry.example:5000", tag: "1.0", digests: {{client-cpu: "{PINNED}"}}, ca: files/r.pem, '
    "pull: {username: puller, secret: pull}}",
)


def test_a_client_in_a_container_has_the_server_s_image_by_its_digest_and_pulls_as_nodes_do(load: Load) -> None:
    found = load(IN_CONTAINER)
    assert "program" not in standalone(found)
    assert standalone(found)["container"] == {
        "engine": "docker",
        "image": f"registry.example:5000/nsfl-client-cpu@{PINNED}",
        "pull": {"username": "puller", "secret": "pull"},
    }
    assert {(one.name, one.party) for one in found.expansions["imaging"].secrets if one.name == "pull"} == {
        ("pull", "clinic"),
        ("pull", "lab"),
    }
    (trusted,) = of_host(found, "k1", "registry_trust_instances")
    assert (trusted["registry"], trusted["ca"]) == ("registry.example:5000", f"{found.directory}/files/r.pem")
    (flow,) = found.expansions["imaging"].fetched
    assert (flow.source, flow.destination, flow.port) == ("k1", "registry.example", 5000)


def test_an_image_of_its_own_is_pulled_as_it_says(load: Load) -> None:
    own = f"other.example/nsfl-client-cpu:1.0@{PINNED}"
    found = load(IN_CONTAINER.replace("container: {}", f'container: {{engine: podman, image: "{own}"}}'))
    assert standalone(found)["container"] == {"engine": "podman", "image": own}
    assert "registry_trust_instances" not in variables.inventory(found).hosts["k1"]


# -- a registry on a host

OWN_REGISTRY = HOSTED.replace('registry: "r.example", ', "").replace(
    "    storage: {host: h1}\n", "    storage: {host: h1}\n    registry: {host: h1}\n"
)
BUILD = 'tag: "1.0", build: {checkout: /srv/neursafe}'


def test_a_registry_on_a_host_is_where_the_stack_s_images_are(load: Load) -> None:
    found = load(OWN_REGISTRY)
    (own,) = of_host(found, "h1", "registry_instances")
    assert (own["address"], own["port"], own["public_url"]) == ("10.20.0.11", 5000, "https://10.20.0.11:5000")
    assert own["users"] == [
        {"name": "push", "secret": "imaging_push_registry"},
        {"name": "pull", "secret": "imaging_pull_registry"},
    ]
    pull = {"username": "pull", "secret": "imaging_pull_registry"}
    for images in (instance(found)["images"], client(found, "kc")["images"]):
        assert (images["registry"], images["tag"], images["pull"]) == ("10.20.0.11:5000", "1.0", pull)
    (trusted,) = of_host(found, "n1", "registry_trust_instances")
    ca = f"{found.directory}/public/lab/lab.pem"
    assert (trusted["registry"], trusted["ca"], trusted["ca_follows"]) == ("10.20.0.11:5000", ca, True)
    names = [one.name for one in found.expansions["imaging"].secrets]
    assert (names.count("imaging_push_registry"), names.count("imaging_pull_registry")) == (1, 1)
    flows = {(flow.source, flow.port) for flow in found.expansions["imaging"].flows if flow.purpose == "images"}
    assert flows == {("n1", 5000), ("n2", 5000), ("10.42.0.0/16", 5000)}
    (shown,) = [one for one in found.expansions["imaging"].certificates if one.name == "demo-imaging-registry"]
    assert shown.addresses == ("10.20.0.11",)


def test_what_is_built_is_pushed_there_by_a_login_of_its_own(load: Load) -> None:
    build = instance(load(OWN_REGISTRY.replace('tag: "1.0"', BUILD)))["images"]["build"]
    assert build["login"] == {"username": "push", "secret": "imaging_push_registry"}


def test_a_client_in_a_container_pulls_from_there(load: Load) -> None:
    text = OWN_REGISTRY.replace('tag: "1.0"', f'tag: "1.0", digests: {{client-cpu: "{PINNED}"}}')
    found = load(text.replace("      near:", "      k: {host: n2, container: {}}\n      near:"))
    (own,) = of_host(found, "n2", "neursafe_standalone_instances")
    assert own["container"] == {
        "engine": "docker",
        "image": f"10.20.0.11:5000/nsfl-client-cpu@{PINNED}",
        "pull": {"username": "pull", "secret": "imaging_pull_registry"},
    }


def test_a_registry_that_goes_is_told_by_name(load: Load) -> None:
    found = load(HOSTED.replace("    storage: {host: h1}\n", "    storage: {host: h1}\n    registry: {absent: [h1]}\n"))
    (gone,) = of_host(found, "h1", "registry_instances")
    assert (gone["name"], gone["state"]) == ("demo-imaging-registry", "absent")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            'tag: "1.0"',
            'tag: "1.0", registry: r.example',
            "server.images.registry: follows from `registry`, which is on a host of ours: say one of them",
        ),
        (
            'tag: "1.0"',
            f"{BUILD[:-1]}, login: {{username: ci, secret: ci}}}}",
            "server.images.build.login: follows from `registry`, which is on a host of ours: say one of them",
        ),
        (
            "registry: {host: h1}",
            'registry: {host: h1, bind: "::"}',
            "registry.bind: '::' is every address of the host",
        ),
        ("registry: {host: h1}", "registry: {host: h1, bind: 127.0.0.1}", "'127.0.0.1' can't be reached from nodes"),
        (
            "h1: 10.20.0.11",
            'h1: "fd00::11"',
            "images would be called [fd00::11]:5000, and no name of an image has such",
        ),
        (
            "registry: {host: h1}",
            'registry: {host: h1, internal_url: "https://harbor"}',
            "registry.host: 'harbor' is not a registry with a dot or a port in its name",
        ),
        (
            "  other: {party: lab, kubeconfig: files/other}",
            "  other: {party: clinic, kubeconfig: files/other}",
            "clients.far: the key 'images' is missing: the server's are in another party's registry",
        ),
    ],
)
def test_what_a_registry_can_t_be_is_told(mistakes: Mistakes, before: str, after: str, message: str) -> None:
    text = OWN_REGISTRY.replace(before, after)
    assert text != OWN_REGISTRY
    if "clinic" in after:
        text = text.replace("  lab:\n", "  clinic: {hosts: {k1: 10.30.0.11}}\n  lab:\n", 1)
    lines = mistakes(text)
    assert any(message in line for line in lines), lines


def test_tasks_come_from_where_the_server_s_pods_do(load: Load) -> None:
    told = [(flow.source, flow.destination, flow.port) for flow in load(ON_HOST).expansions["imaging"].flows]
    assert ("k1", "cluster-kc", 30091) in told
    assert {source for source, host, port in told if (host, port) == ("k1", 22000)} == {"n1", "n2", "10.42.0.0/16"}


def test_a_double_of_a_client_makes_no_stack_real(load: Load) -> None:
    assert load(ON_HOST).expansions["imaging"].real
    assert not load(ON_HOST.replace("/srv/mnist}}", "/srv/mnist}, doubles: true}")).expansions["imaging"].real


def test_a_client_that_goes_from_its_host_is_told_by_name(load: Load) -> None:
    found = standalone(load(ON_HOST.replace("k: {host: k1,", "k: {host: k1, state: absent,")))
    assert found == {"name": "demo-imaging-client-k", "state": "absent", "federation": "demo", "stack": "imaging"}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "/srv/mnist}}",
            "/srv/mnist}, mode: cluster}",
            "clients.k.mode: 'cluster' is one in clusters: this one is placed on a host",
        ),
        (
            "/srv/mnist}}",
            "/home/me/mnist}}",
            "clients.k.datasets.mnist: '/home/me/mnist': the process sees no homes, and a /tmp of its own: put it "
            "elsewhere",
        ),
        ("/srv/mnist}}", "mnist}}", "clients.k.datasets.mnist: 'mnist' is no absolute path"),
        (
            "/srv/mnist}}",
            "/srv/mnist}, program: {archive: n.tar.gz}}",
            "clients.k.program: 'archive' and 'sha256' go together",
        ),
        (
            "/srv/mnist}}",
            "/srv/mnist}, container: {}}",
            "clients.k.container: the key 'image' is missing: no registry and no digest of client-cpu is known "
            "of server.images, and an image is a certain one by its digest",
        ),
        (
            "/srv/mnist}}",
            '/srv/mnist}, container: {image: "r.example/nsfl-client-cpu:1.0"}}',
            "clients.k.container.image: 'r.example/nsfl-client-cpu:1.0' is not an image with its digest, such as "
            "registry.example:5000/nsfl-client-cpu@sha256:... of 64",
        ),
        (
            "/srv/mnist}}",
            "/srv/mnist}, program: {path: /opt/n}, container: {}}",
            "clients.k.container: can't be said beside 'program': the image has the program",
        ),
        (
            "/srv/mnist}}",
            "/srv/mnist}, settings: {task_manager: {service_name: mine}}}",
            "clients.k.settings.task_manager.service_name: is of clients in clusters, and this one is on a host",
        ),
        (
            "/srv/mnist}}",
            "/srv/mnist}, settings: {executor: {port: 8051}}}",
            "clients.k.settings.executor.port: is of clients in clusters, and this one is on a host",
        ),
        (
            "/srv/mnist}}",
            '/srv/mnist}, settings: {task_manager: {server_address: "[fd00::1]:30091"}}}',
            "clients.k: the server's address would be [fd00::1]:30091, and the programs know no IPv6 address: say a "
            "name",
        ),
        ("/srv/mnist}}", '/srv/mnist}, bind: "::"}', "clients.k.bind: '::' is every address of the host: choose one"),
        (
            "    namespaces:",
            "    settings: {proxy: {external: false}}\n    namespaces:",
            "clients.k: nobody knows where the server is: say server.node_address, or task_manager.server_address",
        ),
    ],
)
def test_what_a_client_on_a_host_can_t_be_is_told(mistakes: Mistakes, before: str, after: str, message: str) -> None:
    text = ON_HOST.replace(before, after)
    assert text != ON_HOST
    lines = mistakes(text)
    assert any(message in line for line in lines), lines


# -- nginx on the nodes

BY_NGINX = ON_HOST.replace(
    "networks: 10.42.0.0/16}", "networks: 10.42.0.0/16, ingress: {controller: nginx_host, users: [console]}}"
).replace("    nodes:", "    operators: {hosts: [h1]}\n    nodes:")


def sites(federation: Federation, host: str) -> dict[str, dict[str, Any]]:
    return {one["name"].removeprefix("demo-imaging-"): one for one in of_host(federation, host, "nginx_sites")}


def test_who_says_another_way_is_no_matter_of_nginx(load: Load) -> None:
    """Nobody comes by its port for clients then, and nobody of that party's CA."""
    elsewhere = 'k: {host: k1, settings: {task_manager: {server_address: "lb.example:4443"}}, datasets'
    text = BY_NGINX.replace("k: {host: k1, datasets", elsewhere) + "    settings: {proxy: {external: false}}\n"
    found = load(text)
    assert standalone(found)["server"] == "lb.example:4443"
    assert list(sites(found, "n1")) == ["gateway-api"]
    assert "gateway-clients" not in str(found.expansions["imaging"].certificates)


def test_users_and_clients_show_certificates_to_nginx_on_each_node(load: Load) -> None:
    found = load(BY_NGINX)
    for host, address in (("n1", "10.20.0.21"), ("n2", "10.20.0.22")):
        known = sites(found, host)
        assert sorted(known) == ["gateway-api", "gateway-clients"]
        api, clients = known["gateway-api"], known["gateway-clients"]
        assert api["listen"] == [{"address": address, "port": 30084}]
        assert api["upstream"]["servers"] == ["10.20.0.21:30083", "10.20.0.22:30083"]
        assert api["tls"]["client_names"] == ["demo-imaging-operators.h1", "console"]
        assert (clients["protocol"], clients["tls"]["alpn"]) == ("tcp", ["h2"])
        assert clients["upstream"]["servers"] == ["10.20.0.21:30091", "10.20.0.22:30091"]
        assert clients["tls"]["client_names"] == ["demo-imaging-client-k.k1"]


def test_the_certificates_of_both_are_signed_by_who_has_the_host(load: Load) -> None:
    told = {(one.name, one.host): one for one in load(BY_NGINX).expansions["imaging"].certificates}
    shown = told["demo-imaging-gateway", "n1"]
    clients = told["demo-imaging-gateway-clients", "n1"]
    # who has a client of the clinic's could make a certificate by the name of an operator
    assert [(one.authority, one.trust) for one in (shown, clients)] == [("lab", ("lab",)), ("lab", ("lab", "clinic"))]
    assert all("demo-imaging-gateway" in one.dns_names for one in (shown, clients))
    found = {name: site["tls"]["client_ca"] for name, site in sites(load(BY_NGINX), "n1").items()}
    assert found == {
        "gateway-api": "/etc/fedlearn/demo/pki/demo-imaging-gateway/ca.pem",
        "gateway-clients": "/etc/fedlearn/demo/pki/demo-imaging-gateway-clients/ca.pem",
    }
    client_ = told["demo-imaging-client-k", "k1"]
    assert (client_.authority, client_.usages, client_.trust) == ("clinic", ("client",), ("lab",))
    assert told["demo-imaging-operators", "h1"].usages == ("client",)


def test_a_client_goes_by_a_way_of_its_own(load: Load) -> None:
    found = standalone(load(BY_NGINX))
    assert (found["server"], found["way"]["port"]) == ("127.0.0.1:22091", 22091)
    assert found["way"]["connect"] == {"host": "10.20.0.21", "port": 30093, "name": "demo-imaging-gateway"}
    names = [one.name for one in load(BY_NGINX).expansions["imaging"].components if one.host == "k1"]
    assert names == ["demo-imaging-client-k", "demo-imaging-client-k-way"]
    elsewhere = BY_NGINX.replace(
        "/srv/mnist}}", '/srv/mnist}, settings: {task_manager: {server_address: "10.9.9.9:30091"}}}'
    )
    assert "way" not in standalone(load(elsewhere))


def test_operators_have_a_way_to_the_api(load: Load) -> None:
    (way,) = sites(load(BY_NGINX), "h1").values()
    assert way["listen"] == [{"address": "127.0.0.1", "port": 8088}]
    assert way["upstream"]["servers"] == ["10.20.0.21:30084", "10.20.0.22:30084"]
    assert (way["upstream"]["tls"]["name"], way["upstream"]["host"]) == ("demo-imaging-gateway",) * 2


def test_nsfl_ctl_is_set_up_for_the_api_and_the_store(load: Load) -> None:
    (found,) = of_host(load(BY_NGINX), "h1", "neursafe_ctl_instances")
    assert (found["api"], found["program"]) == ("127.0.0.1:8088", {"path": "/opt/neursafe"})
    assert found["data"] == {
        "url": "https://10.20.0.11:9000",
        "user": "operators",
        "secret": "imaging_operators_storage",
        "ca": "/etc/fedlearn/demo/pki/demo-imaging-operators/ca.pem",
    }
    plainly = BY_NGINX.replace("controller: nginx_host, users: [console]", "controller: existing")
    plainly = plainly.replace("storage: {host: h1}", "storage: {external: {type: posix}}")
    (found,) = of_host(load(plainly), "h1", "neursafe_ctl_instances")
    assert (found["api"], "data" in found) == ("10.20.0.21:30083", False)


def test_flows_say_by_what_each_is_known(load: Load) -> None:
    flows = load(BY_NGINX).expansions["imaging"].flows
    told = {(flow.source, flow.destination, flow.port, flow.authentication) for flow in flows}
    assert ("k1", "n1", 30093, "TLS, client certificate") in told
    assert ("h1", "n2", 30084, "TLS, client certificate") in told
    assert [flow for flow in flows if flow.port == 30091] == []  # nobody is asked to open it


def test_with_nothing_to_serve_nginx_has_no_sites(load: Load) -> None:
    quiet = BY_NGINX.replace("    operators: {hosts: [h1]}\n", "").replace(
        "    namespaces:", "    settings: {api_server: {external: false}}\n    namespaces:"
    )
    assert sorted(sites(load(quiet), "n1")) == ["gateway-clients"]
    alone = BY_NGINX.replace("      k: {host: k1, datasets: {mnist: /srv/mnist}}\n", "").replace("    clients:\n", "")
    assert sorted(sites(load(alone), "n1")) == ["gateway-api"]


def test_what_goes_of_it_is_told_by_name(load: Load) -> None:
    found = load(BY_NGINX.replace("kind: neursafe\n", "kind: neursafe\n    state: absent\n"))
    assert {one["state"] for one in sites(found, "n1").values()} == {"absent"}
    assert len(sites(found, "n2")) == 2
    assert [one["state"] for one in sites(found, "h1").values()] == ["absent"]
    gone = {(one.name, one.host) for one in found.expansions["imaging"].certificates}
    gateways = [(name, host) for name in ("gateway", "gateway-clients") for host in ("n1", "n2")]
    names = (*gateways, ("operators", "h1"), ("client-k", "k1"))
    assert {(f"demo-imaging-{name}", host) for name, host in names} <= gone


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            ", users: [console]",
            ", users: []",
            "",
        ),
        (
            "    operators: {hosts: [h1]}\n",
            "",
            "",
        ),
        (
            "    namespaces:",
            "    settings: {api_server: {external: false}}\n    namespaces:",
            "stacks.imaging.operators.hosts: nobody knows where the API is: say `nodes` or server.node_address, and "
            "leave api_server.external",
        ),
        (
            "operators: {hosts: [h1]}",
            "operators: {hosts: [k1]}",
            "stacks.imaging.operators.hosts: host 'k1' isn't of party 'lab', whose password for the store they have",
        ),
        (
            "users: [console]",
            "users: [console], host: api.example",
            "stacks.imaging.server.ingress.host: is for the cluster's own controller: with nginx_host nginx has the "
            "party's certificates",
        ),
        (
            "    storage: {host: h1}\n    database: {host: h1}\n    operators: {hosts: [h1]}\n"
            "    nodes: {hosts: [n1, n2]}\n",
            "    storage: {external: {type: posix}}\n    database: {host: h1}\n",
            "stacks.imaging: the key 'nodes' is missing: with server.ingress.controller: nginx_host they have nginx",
        ),
        (
            "    namespaces:",
            "    settings: {proxy: {external: false}}\n    namespaces:",
            "stacks.imaging.settings.proxy.external: clients on hosts come through nginx to the proxy's port of nodes: "
            "leave it, or their `host`",
        ),
        (
            "users: [console]",
            "users: [console], clients_port: 30091",
            "stacks.imaging.server.ingress.clients_port: 30091 is proxy.grpc_port too: a node's port has one owner",
        ),
        (
            "users: [console]",
            "users: [console], clients_port: 22",
            "stacks.imaging.server.ingress.clients_port: port 22 on host 'n1' is taken by sshd ([::]:22), placed at",
        ),
        (
            "users: [console]",
            "users: [console], clients_port: 10250",
            "stacks.imaging.server.ingress.clients_port: port 10250 on host 'n1' is taken by the kubelet",
        ),
        (
            "      k: {host: k1,",
            "      near: {cluster: kc, settings: {task_manager: {port: 30093}}}\n      k: {host: k1,",
            "settings.task_manager.port: 30093 of the nodes of 'kc' is the server's: give it another",
        ),
        (
            "users: [console]}}\n    storage: {host: h1}\n    database: {host: h1}\n    operators: {hosts: [h1]}\n",
            "users: []}}\n    storage: {host: h1}\n    database: {host: h1}\n",
            "stacks.imaging.server.ingress: nobody may use the API: name `operators`, or `users`, whose certificates "
            "are taken",
        ),
    ],
)
def test_what_nginx_on_nodes_can_t_be_is_told(
    load: Load, mistakes: Mistakes, before: str, after: str, message: str
) -> None:
    text = BY_NGINX.replace(before, after)
    assert text != BY_NGINX
    if not message:  # one of both is enough
        assert sites(load(text), "n1")["gateway-api"]
        return
    lines = mistakes(text)
    assert any(message in line for line in lines), lines


STANDALONE_KEYS: dict[str, tuple[Any, Any]] = {
    "runtime": ("tensorflow", "jax"),
    "storage_quota": (10, 0),
    "registration": (False, "False"),
    "label": ("hospital", 1),
    "max_task_parallelism": (2, 0),
    "resource.cpu": (0.5, "1"),
    "resource.memory": (1024, 0.5),
    "resource.gpu": (1, -1),
    "log_level": ("debug", "trace"),
    "options.REPORT_HEARTBEAT": (5, "5"),
    "options.WAIT_WORKER_FINISHED_TIMEOUT": (5, 0),
}
STANDALONE_DERIVED = sorted(path for path, key in reference.flat(STANDALONE_SETTINGS) if isinstance(key.type, Anything))


def test_every_key_of_a_setup_file_has_a_right_and_a_wrong_value() -> None:
    known = {path for path, _key in reference.flat(STANDALONE_SETTINGS)}
    assert known == {*STANDALONE_KEYS, *STANDALONE_DERIVED}
    for path, (right, other) in STANDALONE_KEYS.items():
        assert check_values(STANDALONE_SETTINGS, nested(path, right))[1] == []
        told = check_values(STANDALONE_SETTINGS, nested(path, other))[1]
        assert [one.path for one in told] == [path]


def test_what_of_it_follows_from_elsewhere_can_t_be_set() -> None:
    for path in STANDALONE_DERIVED:
        (told,) = check_values(STANDALONE_SETTINGS, {path: "x"})[1]
        assert told.message.startswith("can't be set: "), path


# -- every key of the system, one right and one wrong value each

PORT = (8089, 80)
NODES_PORT = (31000, 9090)
SECONDS = (5, "5")
NAME = ("own-name", "Own_Name")
IMAGE = ("registry.example/own:2", "registry.example/own")
KEYS: dict[str, tuple[Any, Any]] = {
    "job_scheduler.service_name": NAME,
    "job_scheduler.port": PORT,
    "job_scheduler.image": IMAGE,
    "job_scheduler.db_collection_name": ("own_jobs", "own jobs"),
    "job_scheduler.coordinator_configs_dir": ("default", "a/b"),
    "job_scheduler.options.REPORT_PERIOD": SECONDS,
    "job_scheduler.options.COORDINATOR_HEARTBEAT_TIMEOUT": SECONDS,
    "job_scheduler.options.MAX_RETRY_TIMES": (3, 0),
    "job_scheduler.options.COORDINATOR_QUERY_INTERVAL": SECONDS,
    "job_scheduler.options.COORDINATOR_WORKSPACE_PATH": ("/fl", "fl"),
    "job_scheduler.options.DEPLOYMENT_WAY": ("cloud", "local"),
    "job_scheduler.options.DEFAULT_CLIENT_NUM": (2, -1),
    "job_scheduler.options.RESOURCE_CHECK_MAX_TIMES": (60, 0.5),
    "client_selector.service_name": NAME,
    "client_selector.port": PORT,
    "client_selector.image": IMAGE,
    "client_selector.auth_client": (False, "false"),
    "client_selector.root_cert": ("roots.pem", "/etc/roots.pem"),
    "client_selector.optimal_select": (True, "True"),
    "client_selector.strategy": ({"data": 1}, {"data": "much"}),
    "client_selector.options.SINGLE_HEART": SECONDS,
    "client_selector.options.CLUSTER_HEART": SECONDS,
    "model_manager.service_name": NAME,
    "model_manager.port": PORT,
    "model_manager.image": IMAGE,
    "model_manager.db_collection_name": ("own_models", 1),
    "model_manager.models_dir": ("own", "/own"),
    "model_manager.options.HEARTBEAT_TIMEOUT": SECONDS,
    "model_manager.options.RETRY_TIMEOUT": SECONDS,
    "model_manager.options.RETRY_TIMES": (2, 0),
    "model_manager.options.DB_RETRY_INTERVAL": SECONDS,
    "proxy.service_name": NAME,
    "proxy.grpc_port": NODES_PORT,
    "proxy.http_port": NODES_PORT,
    "proxy.external": (False, "no"),
    "proxy.image": IMAGE,
    "api_server.http_port": NODES_PORT,
    "api_server.https_port": NODES_PORT,
    "api_server.external": (False, 0),
    "coordinator.image": IMAGE,
    "coordinator.port": PORT,
    "task_manager.service_name": NAME,
    "task_manager.port": NODES_PORT,
    "task_manager.external": (False, "True"),
    "task_manager.db_collection_name": ("own_tasks", "tasks-1"),
    "task_manager.image": IMAGE,
    "task_manager.server_address": ("10.67.134.15:30091", "10.67.134.15.9001"),
    "task_manager.runtime": ("tensorflow,pytorch", "tensorflow, jax"),
    "task_manager.storage_quota": (1024, "1024"),
    "task_manager.registration": (True, "True"),
    "task_manager.label": ("hospital", 1),
    "task_manager.max_task_parallelism": (2, 0),
    "task_manager.resource.cpu": (0.5, "1"),
    "task_manager.resource.memory": (1024, 0.5),
    "task_manager.resource.gpu": (1, -1),
    "task_manager.options.REPORT_HEARTBEAT": SECONDS,
    "task_manager.options.WAIT_WORKER_FINISHED_TIMEOUT": SECONDS,
    "task_manager.options.MAX_RETRY_TIMES": (3, 0),
    "task_manager.options.COORDINATOR_QUERY_INTERVAL": SECONDS,
    "task_manager.options.CLUSTER_LABEL_KEY": ("example.org/zone", "a label"),
    "task_manager.options.CLUSTER_LABEL_VALUE": ("north", "the north"),
    "executor.image": IMAGE,
    "executor.port": PORT,
    "executor.http_proxy": ("http://10.20.0.1:3128", "10.20.0.1:3128"),
    "executor.https_proxy": ("", "https://"),
    "k8s.gpu_rs_key": ("amd.com/gpu", "gpu"),
    "k8s.gpu_res_key": ("amd.com/gpu", "gpu"),
    "k8s.GPU_RS_KEY": ("amd.com/gpu", "gpu"),
    "others.log_level": ("debug", "trace"),
}
UNREAD = {
    **{
        f"job_scheduler.options.{name}": real
        for name, real in {
            "COLLECTION_NAME": "DB_COLLECTION_NAME, and it follows from `db_collection_name`",
            "ROUTE_REGISTER_ADDRESS": "PROXY_ADDRESS, and it follows from `proxy`",
            "HOST_PATH": "SOURCE_MOUNT_PATH, and it follows from `shared_directory`",
            "STORAGE_PATH": "WORKSPACE, and it follows from `shared_directory`",
        }.items()
    },
    "model_manager.options.MOUNT_PATH": "WORKSPACE, and it follows from `shared_directory`",
    "model_manager.options.MODEL_STORE": "MODELS_DIR, and it follows from `models_dir`",
    "task_manager.options.COLLECTION_NAME": "DB_COLLECTION_NAME, and it follows from `db_collection_name`",
    "task_manager.volumes.task_configs": "task-configs, and it is a folder of `directory`",
}
"""Documented, and read by no program under that name; the real one, and what it follows from."""
NAMELESS = "job_scheduler.options.JS_NAMESPACE"
OTHER_WORD = "job_scheduler.options.WORKSPACE_ROOT_PATH"
DERIVED = sorted(
    path for path, key in reference.flat(SETTINGS) if isinstance(key.type, Anything) and path not in (*UNREAD, NAMELESS)
)


def nested(path: str, value: Any) -> dict[str, Any]:
    for step in reversed(path.split(".")):
        value = {step: value}
    return dict(value)


def wrong(path: str, value: Any) -> list[str]:
    return [f"{one.path}: {one.message}" for one in check_values(SETTINGS, nested(path, value))[1]]


def test_the_table_has_every_key() -> None:
    assert sorted([*KEYS, *DERIVED, *UNREAD, NAMELESS, OTHER_WORD]) == sorted(
        path for path, _key in reference.flat(SETTINGS)
    )


@pytest.mark.parametrize("path", KEYS)
def test_a_right_value_is_taken_and_a_wrong_one_told(path: str) -> None:
    right, other = KEYS[path]
    assert wrong(path, right) == []
    assert [line.startswith(path) for line in wrong(path, other)] == [True]


def test_a_document_may_say_each_of_them(load: Load) -> None:
    """A key that sounds like one of a secret, too."""
    for path, (right, _other) in KEYS.items():
        text = CLIENTS.partition("      far:")[0].replace("    storage:", "    namespaces: [ward]\n    storage:")
        assert load(f"{text}    settings: {json.dumps(nested(path, right))}\n"), path


def test_names_of_secrets_of_the_cluster_are_said(load: Load) -> None:
    annotations = {"nginx.ingress.kubernetes.io/auth-tls-secret": "ward/ca"}
    ingress = {"host": "api.example.com", "tls_secret": "api-tls", "annotations": annotations}
    text = DOCUMENT.replace("    storage:", f"      ingress: {json.dumps(ingress)}\n    storage:")
    ((_variable, (server,)),) = load(text).expansions["imaging"].variables["cluster-kc"].items()
    assert {key: server["ingress"][key] for key in ingress} == ingress


@pytest.mark.parametrize("path", DERIVED)
def test_what_follows_from_other_keys_can_t_be_set(path: str) -> None:
    (line,) = wrong(path, "x")
    assert line.startswith(f"{path}: can't be set: ")


@pytest.mark.parametrize("path", [*UNREAD, NAMELESS])
def test_a_documented_name_that_no_program_reads_is_told_its_real_one_and_changes_nothing(
    load: Load, path: str
) -> None:
    section, part, name = path.split(".")
    text = CLIENTS + f"    settings: {{{section}: {{{part}: {{{name}: own}}}}}}\n"
    federation = load(text)
    real = f"the code calls it {UNREAD[path]}" if path in UNREAD else "jobs run in the namespace default"
    (told,) = federation.warnings
    place, _colon, words = told.partition(f" stacks.imaging.settings.{path}: ")
    assert place.startswith("federation.yml:21:")
    assert words == f"no program reads it, and it changes nothing: {real}"
    assert instance(federation) == instance(load(CLIENTS))
    assert client(federation, "kc") == client(load(CLIENTS), "kc")


def test_one_that_is_a_setting_is_taken_and_told(load: Load) -> None:
    federation = load(with_settings("{job_scheduler: {options: {WORKSPACE_ROOT_PATH: /files}}}"))
    options = instance(federation)["settings"]["job_scheduler"]["options"]
    assert (options["COORDINATOR_WORKSPACE_PATH"], "WORKSPACE_ROOT_PATH" in options) == ("/files", False)
    (told,) = federation.warnings
    assert told.endswith(
        "WORKSPACE_ROOT_PATH: the code calls it COORDINATOR_WORKSPACE_PATH, and is told it by that name: write that"
    )


def test_a_client_s_own_is_told_where_it_stands(load: Load) -> None:
    own = "near: {settings: {task_manager: {options: {COLLECTION_NAME: own}}}, "
    (told,) = load(CLIENTS.replace("near: {", own)).warnings
    assert "stacks.imaging.clients.near.settings.task_manager.options.COLLECTION_NAME: no program reads it" in told


def test_a_role_by_itself_refuses_what_no_program_reads() -> None:
    (line,) = wrong("model_manager.options.MODEL_STORE", "own")
    assert line.startswith("model_manager.options.MODEL_STORE: no program reads it")


def test_words_for_one_key_are_one() -> None:
    checked, _mistakes = check_values(SETTINGS, {"k8s": {"GPU_RS_KEY": "amd.com/gpu"}})
    assert checked["k8s"] == {"gpu_rs_key": "amd.com/gpu"}


def test_who_authenticates_clients_knows_by_what() -> None:
    assert wrong("client_selector.auth_client", True) == [
        "client_selector.auth_client: needs 'root_cert', the certificates that clients' are signed by"
    ]


# -- what is written wrong most often, each with all that is said of it

CLUSTERED = f"{CLIENTS}    settings: {{proxy: {{grpc_port: 30091}}}}\n"


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (
            "grpc_port: 30091",
            "grpc_port: 80",
            "21:35: settings.proxy.grpc_port: expected a whole number from 30000 to 32767, found the number 80",
        ),
        (
            "grpc_port: 30091",
            "grpc_port: 32768",
            "21:35: settings.proxy.grpc_port: expected a whole number from 30000 to 32767, found the number 32768",
        ),
        (
            "grpc_port: 30091",
            "grpc_port: 30084",
            "21:15: settings.api_server.https_port: 30084 is proxy.grpc_port too: a node's port has one owner",
        ),
        (
            "near: {cluster: kc}",
            "near: {cluster: kc, settings: {task_manager: {port: 30092}}}",
            (
                "19:59: clients.near.settings.task_manager.port: 30092 of the nodes of 'kc' is the server's: give it "
                "another"
            ),
        ),
        (
            "near: {cluster: kc}",
            'near: {cluster: kc, settings: {task_manager: {server_address: "10.6.1.5.9001"}}}',
            (
                "19:69: clients.near.settings.task_manager.server_address: '10.6.1.5.9001' is no address and port, "
                "such as 10.20.0.11:6666 or [fd00::11]:6666"
            ),
        ),
        (
            "    storage:",
            "    namespaces: [default, -ct]\n    storage:",
            "16:27: namespaces[1]: '-ct' is not a namespace: a-z, 0-9 and '-', no '-' at its ends",
        ),
        (
            "near: {cluster: kc}",
            "near: {cluster: kc, lmdb: {node: n1, path: /mnt/neursafe_client/lmdb}}",
            (
                "19:50: clients.near.lmdb.path: '/mnt/neursafe_client/lmdb' is in the shared directory, and lmdb "
                "maps its file: a node's own disk"
            ),
        ),
        (
            "near: {cluster: kc}",
            "near: {cluster: kc, lmdb: {node: n1, path: /mnt/neursafe_fl/lmdb}}",
            (
                "19:50: clients.near.lmdb.path: '/mnt/neursafe_fl/lmdb' is in the server's shared directory, and "
                "lmdb maps its file: a node's own disk"
            ),
        ),
        (
            "imaging_database}}",
            "imaging_database}, engine: mysql}",
            (
                "17:110: database.engine: expected one of postgresql, postgreSQL, PostgreSQL, mongodb, mongo, "
                "MongoDB, found the text 'mysql'"
            ),
        ),
        (
            'registry: "registry.example:5000", tag: "1.0"',
            'registry: "registry.example:5000"',
            (
                "15:15: server.images: say 'tag', or a digest for each image: job-scheduler, selector, "
                "model-manager, proxy, coordinator would be whatever was pushed last"
            ),
        ),
        (
            "{type: posix}",
            "{type: poisx}",
            ("16:32: storage.external.type: expected one of posix, s3, found the text 'poisx' (did you mean 'posix'?)"),
        ),
        (
            "{proxy: {grpc_port: 30091}}",
            "{job_scheduler: {options: {REPORT_PERIOD: soon}}}",
            (
                "21:57: settings.job_scheduler.options.REPORT_PERIOD: expected a whole number from 1 to 86400, found "
                "the text 'soon'"
            ),
        ),
        (
            "{proxy: {grpc_port: 30091}}",
            "{job_scheduler: {options: {PROXY_ADDRESS: 'a:1'}}}",
            ("21:57: settings.job_scheduler.options.PROXY_ADDRESS: can't be set: it follows from `proxy`"),
        ),
    ],
)
def test_what_is_written_wrong_is_told_in_one_line(mistakes: Mistakes, before: str, after: str, line: str) -> None:
    text = CLUSTERED.replace(before, after)
    assert text != CLUSTERED
    place, _colon, told = line.partition(": ")
    # a client without an image of its own follows where the server has none
    said = [one for one in mistakes(text) if "the server's have neither a tag" not in one]
    assert said == [f"federation.yml:{place}: stacks.imaging.{told}"]


def test_options_may_be_numbers(load: Load) -> None:
    found = load(with_settings("{job_scheduler: {options: {REPORT_PERIOD: 5, DEFAULT_CLIENT_NUM: 2}}}"))
    assert instance(found)["settings"]["job_scheduler"]["options"]["REPORT_PERIOD"] == 5


# -- the verify round


def test_each_client_with_pytorch_takes_part_in_the_round(load: Load) -> None:
    found = variables.inventory(load(CLIENTS)).hosts["cluster-kc"]
    known = found["fedlearn_verify"]["imaging"]
    assert (known["expected"], known["conditions"]["clients"]) == ([1.0, -2.0, 3.0, 0.5], 2)
    assert [one["instance"] for one in known["results"]] == ["demo-imaging-server"]
    assert found["fedlearn_stacks"]["imaging"]["round"] is True
    one = CLIENTS.replace("{cluster: kc}", "{cluster: kc, settings: {task_manager: {runtime: tensorflow}}}")
    known = variables.inventory(load(one)).hosts["cluster-kc"]["fedlearn_verify"]["imaging"]
    assert known["conditions"]["clients"] == 1


def test_without_a_client_that_learns_there_is_no_round(load: Load) -> None:
    doubles = f"{DOCUMENT}    clients: {{k: {{host: h1, doubles: true}}}}\n"
    for text in (DOCUMENT, doubles, f"{CLIENTS}    settings: {{task_manager: {{runtime: tensorflow}}}}\n"):
        found = variables.inventory(load(text)).hosts["cluster-kc"]
        assert (found["fedlearn_verify"], found["fedlearn_stacks"]["imaging"]["round"]) == ({}, False)


def test_a_ca_of_ones_own_is_there_before_nodes_trust_it() -> None:
    order = list(INFRASTRUCTURE)
    assert order.index("pki") < order.index("registry_trust")
