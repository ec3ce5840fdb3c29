# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The manifests of Neursafe's server, from one checked instance of the role neursafe_server."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._federation import network
from .._federation.kinds.neursafe.names import IN_CLUSTER
from . import neursafe_round, parts
from .neursafe import (
    DATABASE_SECRET,
    JOBS,
    KUBECTL_PATHS,
    MAKES_JOBS,
    OWNER_SECRET,
    SHARED,
    Instance,
    Look,
    Neursafe,
    recorded_in,
    secret_names,
)
from .parts import UNSEEN, Looks, Object, Pod, Secrets

STORAGE_SECRET = "miniosecret"  # noqa: S105 - the name of the Secret
TOKEN_SECRET = "proxytoken"  # noqa: S105 - the name of the Secret
INTERNAL_PORT = 8092
"""Where the proxy takes routes: of the cluster's own job scheduler only."""

ROUND = Path(neursafe_round.__file__).read_text(encoding="utf-8")
MOUNT = "/shared"
HEALTH = "/api/v1/health"
ALONE = True  # jobs of two would run in the one namespace, by names that only one keeps apart


class Server(Neursafe):
    """One instance of the server."""

    def objects(self) -> list[Object]:
        """All of them, in the order they are made in."""
        names = [
            self.service(component) for component in ("job_scheduler", "client_selector", "model_manager", "proxy")
        ]
        return [
            parts.namespace(self.home.namespace, "restricted"),
            *(parts.account(self.home, name) for name in names),
            *self.hidden,
            *self.pulls(),
            *self.trust,
            *self.tunnel_files,
            *parts.shared_volume(
                self.home,
                SHARED,
                self.instance["shared_directory"],
                self.instance["user"],
                self.instance["capacity"],
            ),
            *parts.role(
                self.home,
                self.home.namespace,
                JOBS,
                MAKES_JOBS,
                names[0],
            ),
            *parts.admission(self.home, names[0], [self.instance["shared_directory"]], JOBS),
            parts.closed(self.home),
            *self._job_scheduler(),
            *self._model_manager(),
            *self._client_selector(),
            *self._proxy(),
        ]

    # -- what is said in several places

    def service(self, component: str) -> str:
        found: str = self.settings[component]["service_name"]
        return found

    def reached(self, component: str, port: int | None = None) -> str:
        """Where a component is reached from every namespace."""
        number = port or self.settings[component]["port"]
        return f"{self.service(component)}.{self.home.namespace}.{IN_CLUSTER}:{number}"

    @property
    def workspace(self) -> str:
        """The shared directory as pods see it: in its parent, so that a mount that comes back is seen again."""
        return posixpath.join(MOUNT, posixpath.basename(self.instance["shared_directory"]))

    def _shared_mount(self) -> Object:
        return {"name": SHARED, "mountPath": MOUNT, "mountPropagation": "HostToContainer"}

    def _shared_volume(self) -> Object:
        return {"name": SHARED, "persistentVolumeClaim": {"claimName": SHARED}}

    def secrets(self) -> list[Object]:
        """Those of S3 and of the proxy, too."""
        storage = self.instance["storage"]
        found = super().secrets()
        if "secret" in storage:
            found.append(parts.opaque(self.home, STORAGE_SECRET, self.login(storage)))
        return [*found, parts.opaque(self.home, TOKEN_SECRET, {"token": self.secret(self.instance["token"])})]

    def _pod(self, component: str, containers: list[Object], **more: Any) -> Pod:
        return Pod(containers, self.instance["user"], self.service(component), pull=self.pull, **more)

    def _with_database(self, component: str, containers: list[Object], **more: Any) -> Pod:
        """One that comes to the database: by a sidecar that begins first, where it can't by itself."""
        before = [*self.tunnel_sidecar, *more.pop("before")]
        volumes = [*more.pop("volumes"), *self.tunnel_volumes]
        return self._pod(component, containers, before=before, volumes=volumes, aliases=self.aliases(), **more)

    @property
    def serves_users(self) -> bool:
        """Whether the proxy has a port for the API, to which nginx on nodes leads."""
        by_nginx = self.instance["ingress"]["controller"] == "nginx_host"
        return by_nginx and bool(self.settings["api_server"]["external"])

    def _ingress_peers(self) -> parts.Peers:
        if self.serves_users:
            return parts.own_pods(self.service("proxy"))
        return parts.pods_of(self.instance["ingress"]["namespace"]) if self.settings["api_server"]["external"] else []

    # -- the components

    def _folders(self, image: str) -> Object:
        """Makes the folders that the programs expect, for their user and group; leaves those alone that are there."""
        folders = [
            self.settings["job_scheduler"]["coordinator_configs_dir"],
            self.settings["model_manager"]["models_dir"],
            *self.instance["namespaces"],
        ]
        paths = [posixpath.join(self.workspace, folder) for folder in dict.fromkeys(folders)]
        return parts.container(
            "folders",
            image,
            resources={"cpu": "50m", "memory": "64Mi"},
            mounts=[self._shared_mount()],
            command=["mkdir", "-p", "-m", "0770", "--", *paths],
        )

    def scheduler_environment(self) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
        """The variables of the job scheduler, and those that come of Secrets."""
        settings = self.settings["job_scheduler"]
        plain, hidden = self.database(settings["db_collection_name"])
        values = {
            **self.program(),
            **plain,
            "CLOUD_OS": "k8s",
            "HTTP_PORT": settings["port"],
            "SELECTOR_ADDRESS": self.reached("client_selector"),
            "JOB_SCHEDULER_ADDRESS": self.reached("job_scheduler"),
            "MODEL_MANAGER_ADDRESS": self.reached("model_manager"),
            "PROXY_ADDRESS": self.reached("proxy", INTERNAL_PORT),
            "K8S_ADDRESS": "127.0.0.1:8001",
            "K8S_API_PROTOCOL": "http",
            "COORDINATOR_IMAGE": self.image("coordinator", "coordinator"),
            "COORDINATOR_PORT": self.settings["coordinator"]["port"],
            "GPU_RS_KEY": self.settings["k8s"]["gpu_rs_key"],
            "SOURCE_MOUNT_PATH": self.instance["shared_directory"],
            "WORKSPACE": self.workspace,
            "TEMP_DIR": settings["coordinator_configs_dir"],
            **settings["options"],
        }
        return values, {**hidden, "TOKEN": (TOKEN_SECRET, "token")}

    def _job_scheduler(self) -> list[Object]:
        settings, name = self.settings["job_scheduler"], self.service("job_scheduler")
        image = self.image("job_scheduler", "job-scheduler")
        trusted, volumes = self.trust_mounts()
        sidecar, account = parts.kubectl_proxy(self.instance["images"]["kubectl"], KUBECTL_PATHS)
        program = parts.container(
            name,
            image,
            env=parts.environment(*self.scheduler_environment()),
            ports={"http": settings["port"]},
            probe=parts.http_probe(HEALTH, settings["port"]),
            resources=self.instance["resources"]["job_scheduler"],
            mounts=[self._shared_mount(), *trusted],
        )
        pod = self._with_database(
            "job_scheduler",
            [program],
            before=[self._folders(image), self.table(image, settings["db_collection_name"]), sidecar],
            volumes=[self._shared_volume(), account, *volumes],
            # it reaches coordinators by the bare names of their services
            searches=(f"{JOBS}.{IN_CLUSTER}",),
        )
        jobs, port = parts.pods_of(JOBS), settings["port"]
        way_in = [*jobs, *self._ingress_peers()]
        outgoing = [
            parts.way(
                parts.own_pods(self.service("client_selector")), self.settings["client_selector"]["port"], towards="to"
            ),
            parts.way(
                parts.own_pods(self.service("model_manager")), self.settings["model_manager"]["port"], towards="to"
            ),
            parts.way(parts.own_pods(self.service("proxy")), INTERNAL_PORT, towards="to"),
            parts.way(jobs, self.settings["coordinator"]["port"], towards="to"),
            parts.way(parts.ANYBODY, *self.instance["api_ports"], towards="to"),
            self.to_database(),
        ]
        return [
            parts.opened(self.home, name, [parts.way(way_in, port, towards="from")], outgoing),
            parts.service(self.home, name, name, {"http": port}),
            parts.deployment(self.home, name, pod, self.reads(DATABASE_SECRET, OWNER_SECRET, TOKEN_SECRET)),
            *self._ingress(
                name,
                port,
                (
                    "/api/v1/namespaces/([^/]+)/jobs",
                    "/api/v1/namespaces/([^/]+)/jobs/(.*)",
                    "/api/v1/heartbeat",
                    HEALTH,
                ),
            ),
        ]

    def _ingress(self, name: str, port: int, paths: tuple[str, ...]) -> list[Object]:
        if self.serves_users or not self.settings["api_server"]["external"]:
            return []
        return [parts.ingress(self.home, name, self.instance["ingress"], name, port, paths)]

    def manager_environment(self) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
        """The variables of the model manager, and those that come of Secrets."""
        settings, storage = self.settings["model_manager"], self.instance["storage"]
        plain, hidden = self.database(settings["db_collection_name"])
        values = {
            **self.program(),
            **plain,
            "PORT": settings["port"],
            "WORKSPACE": self.workspace,
            "MODELS_DIR": settings["models_dir"],
            "STORAGE_TYPE": storage["type"],
            **settings["options"],
        }
        if storage["type"] == "s3":
            values["STORAGE_ENDPOINT"] = storage["address"]
            hidden |= {"ACCESS_KEY": (STORAGE_SECRET, "username"), "SECRET_KEY": (STORAGE_SECRET, "password")}
        if "ca" in storage:  # botocore's own variable
            values["AWS_CA_BUNDLE"] = "/trust/storage.pem"
        return values, hidden

    def _model_manager(self) -> list[Object]:
        settings, name = self.settings["model_manager"], self.service("model_manager")
        trusted, volumes = self.trust_mounts()
        port, image = settings["port"], self.image("model_manager", "model-manager")
        program = parts.container(
            name,
            image,
            env=parts.environment(*self.manager_environment()),
            ports={"http": port},
            probe=parts.http_probe(HEALTH, port),
            resources=self.instance["resources"]["model_manager"],
            mounts=[self._shared_mount(), *trusted],
        )
        before = [self.table(image, settings["db_collection_name"])]
        pod = self._with_database("model_manager", [program], before=before, volumes=[self._shared_volume(), *volumes])
        outgoing = [self.to_database()]
        if "address" in self.instance["storage"]:
            url = network.parse_url(self.instance["storage"]["address"])
            number = url.port or network.DEFAULT_PORTS[url.scheme]
            outgoing.append(parts.way(parts.address_block(url.host), number, towards="to"))
        way_in = [*parts.own_pods(self.service("job_scheduler")), *self._ingress_peers()]
        return [
            parts.opened(self.home, name, [parts.way(way_in, port, towards="from")], outgoing),
            parts.service(self.home, name, name, {"http": port}),
            parts.deployment(self.home, name, pod, self.reads(DATABASE_SECRET, OWNER_SECRET, STORAGE_SECRET)),
            *self._ingress(
                name,
                port,
                ("/api/v1/namespaces/([^/]+)/models", "/api/v1/namespaces/([^/]+)/models/(.*)", "/api/v1/models(.*)"),
            ),
        ]

    def selector_setup(self) -> dict[str, Any]:
        """The client selector's own configuration."""
        settings = self.settings["client_selector"]
        found = {
            "port": settings["port"],
            "log_level": self.settings["others"]["log_level"],
            # the program compares words
            "auth_client": str(settings["auth_client"]).lower(),
            "optimal_select": str(settings["optimal_select"]).lower(),
        }
        if "strategy" in settings:
            found["strategy"] = settings["strategy"]
        if "root_cert" in self.instance:
            found["root_cert"] = "/nsfl/config/root_cert.pem"
        return found

    def _client_selector(self) -> list[Object]:
        settings, name = self.settings["client_selector"], self.service("client_selector")
        port = settings["port"]
        files = {"client_selector_setup.json": json.dumps(self.selector_setup(), indent=2, sort_keys=True) + "\n"}
        if "root_cert" in self.instance:
            path = self.instance["root_cert"]
            files["root_cert.pem"] = parts.certificates(path, self.text(path))
        setup = parts.config_map(self.home, name, files)
        program = parts.container(
            name,
            self.image("client_selector", "selector"),
            env=parts.environment({**self.program(), **settings["options"]}, {}),
            ports={"grpc": port},
            probe=parts.tcp_probe(port),
            resources=self.instance["resources"]["client_selector"],
            mounts=[parts.files_mount(name, "/nsfl/config")],
            command=[
                "python3.7",
                "-m",
                "neursafe_fl.python.selector.app",
                "--config_file",
                "/nsfl/config/client_selector_setup.json",
            ],
        )
        pod = self._pod("client_selector", [program], volumes=[parts.files_volume(name)])
        peers = [*parts.own_pods(self.service("job_scheduler"), self.service("proxy")), *parts.pods_of(JOBS)]
        return [
            setup,
            parts.opened(self.home, name, [parts.way(peers, port, towards="from")]),
            parts.service(self.home, name, name, {"grpc": port}),
            parts.deployment(self.home, name, pod, [setup, *self.reads()]),
        ]

    def _proxy(self) -> list[Object]:
        settings, name = self.settings["proxy"], self.service("proxy")
        grpc, http = settings["grpc_port"], settings["http_port"]
        setup = parts.config_map(self.home, name, {"nginx.conf": self.nginx()})
        program = parts.container(
            name,
            self.image("proxy", "proxy"),
            env=parts.environment({}, {"TOKEN": (TOKEN_SECRET, "token")}),
            ports={"grpc": grpc, "http": http, "internal": INTERNAL_PORT},
            probe=parts.http_probe(HEALTH, http),
            resources=self.instance["resources"]["proxy"],
            mounts=[parts.files_mount(name, "/nginx/conf"), {"name": "logs", "mountPath": "/nginx/logs"}],
        )
        logs = {"name": "logs", "emptyDir": {"sizeLimit": "64Mi"}}
        pod = self._pod("proxy", [program], volumes=[parts.files_volume(name), logs])
        scheduler = parts.own_pods(self.service("job_scheduler"))
        incoming = [
            parts.way(parts.ANYBODY, grpc, http, towards="from"),
            parts.way(scheduler, INTERNAL_PORT, towards="from"),
        ]
        selector = self.settings["client_selector"]["port"]
        outgoing = [
            parts.way(parts.own_pods(self.service("client_selector")), selector, towards="to"),
            parts.way(parts.pods_of(JOBS), self.settings["coordinator"]["port"], towards="to"),
        ]
        inside = {"grpc": grpc, "http": http, "internal": INTERNAL_PORT}
        told = {"grpc": grpc, "http": http} if settings["external"] else {}
        if self.serves_users:
            api = self.settings["api_server"]["http_port"]
            told["api"] = api
            incoming.append(parts.way(parts.ANYBODY, api, towards="from"))
            for component in ("job_scheduler", "model_manager"):
                peers, port = parts.own_pods(self.service(component)), self.settings[component]["port"]
                outgoing.append(parts.way(peers, port, towards="to"))
        outside = [parts.service(self.home, f"{name}-nodes", name, told, node_ports=True)] if told else []
        return [
            setup,
            parts.opened(self.home, name, incoming, outgoing),
            parts.service(self.home, name, name, inside),
            *outside,
            parts.deployment(self.home, name, pod, [setup, *self.reads(TOKEN_SECRET)]),
        ]

    def looks(self) -> list[Looks]:
        """Whom job scheduler and model manager reach, and what they may."""
        internal, folder = (
            self.reached("proxy", INTERNAL_PORT),
            self.settings["job_scheduler"]["coordinator_configs_dir"],
        )
        models = self.settings["model_manager"]["models_dir"]
        in_s3: list[Look] = [
            (
                "the store has what is written there",
                "finds_files_in_s3",
                [posixpath.join(self.workspace, models), models],
            )
        ]
        return [
            self.looks_of(
                self.service("job_scheduler"),
                ("it answers", "answers", [f"127.0.0.1:{self.settings['job_scheduler']['port']}", HEALTH]),
                ("the model manager answers", "answers", [self.reached("model_manager"), HEALTH]),
                ("the selector speaks gRPC", "speaks_grpc", [self.reached("client_selector")]),
                ("the proxy takes the token", "takes_the_token", [internal]),
                ("the proxy refuses others", "refuses_another_token", [internal]),
                self.look_at_rows(),
                ("the shared directory takes files", "writes_files", [posixpath.join(self.workspace, folder)]),
                **self._from_outside(),
            ),
            self.looks_of(
                self.service("model_manager"),
                self.look_at_rows(),
                ("the shared directory takes files", "writes_files", [posixpath.join(self.workspace, models)]),
                *(in_s3 if self.instance["storage"]["type"] == "s3" else []),
            ),
        ]

    def _from_outside(self) -> dict[str, str]:
        """Where the cluster's own controller answers users, where that is known."""
        if "api_url" not in self.instance:
            return {}
        return {"url": f"{self.instance['api_url']}{HEALTH}", "host": self.instance["ingress"].get("host", "")}

    def trial(self, name: str, clients: int, seconds: int) -> Looks:
        """Verify's round: a job in the first of its namespaces."""
        told = {"name": name, "namespace": self.instance["namespaces"][0], "clients": clients, "seconds": seconds}
        command = ("python3.7", "-u", "-c", ROUND, json.dumps(told))
        return Looks(self.home.namespace, self.service("job_scheduler"), command)

    def nginx(self) -> str:
        """The proxy's nginx.conf: routes are taken on a port of its own, with a token that is in the environment."""
        settings = self.settings["proxy"]
        values = {
            "GRPC": settings["grpc_port"],
            "HTTP": settings["http_port"],
            "INTERNAL": INTERNAL_PORT,
            "SELECTOR": self.reached("client_selector"),
            "API": self.settings["api_server"]["http_port"],
            "SCHEDULER": self.reached("job_scheduler"),
            "MODELS": self.reached("model_manager"),
        }
        text = NGINX.replace("@USERS@\n", USERS if self.serves_users else "")
        for word, value in values.items():
            text = text.replace(f"@{word}@", str(value))
        return text


NGINX = """\
# the program's own files are in the image: lua/router.lua, lua/router_table.lua, lua/dns_resolver.lua
worker_processes 1;
error_log /dev/stderr notice;
pid /tmp/nginx.pid;
# nginx hands on no variable that isn't named, and the program would fall back to a token that everybody knows
env TOKEN;

events {
    worker_connections 1024;
}

http {
    access_log off;
    server_tokens off;
    lua_shared_dict iptables 128m;
    lua_package_path "lua/?.lua;;";
    client_max_body_size 1000M;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;

    # the program's init.lua takes the first line of resolv.conf for the server, where most runtimes put `search`
    init_worker_by_lua_block {
        for line in io.lines("/etc/resolv.conf") do
            local server = line:match("^%s*nameserver%s+(%d+%.%d+%.%d+%.%d+)")
            if server then
                ngx.shared.iptables:set("DNS SERVER", server)
                break
            end
        end
    }

    upstream selector {
        server @SELECTOR@;
    }

    upstream coordinator {
        server 0.0.0.1;
        balancer_by_lua_block {
            require("ngx.balancer").set_current_peer(ngx.ctx.dest_service)
        }
    }

    server {
        listen @GRPC@ http2;

        location /ClientService {
            grpc_pass grpc://selector;
        }

        location / {
            rewrite_by_lua_file lua/router.lua;
            grpc_pass grpc://coordinator;
        }
    }

    # what everybody may ask
    server {
        listen @HTTP@;

        location = /api/v1/health {
            default_type text/plain;
            return 200 "OK\\n";
        }

        location / {
            return 404;
        }
    }

@USERS@
    # what the job scheduler asks, with the token
    server {
        listen @INTERNAL@;

        location = /api/v1/internal/routers {
            default_type text/plain;
            content_by_lua_file lua/router_table.lua;
        }

        location / {
            return 404;
        }
    }
}
"""


USERS = """\
    upstream scheduler {
        server @SCHEDULER@;
    }

    upstream models {
        server @MODELS@;
    }

    # what users ask, whom nginx on nodes lets in: the paths that an Ingress would have
    server {
        listen @API@;
        proxy_http_version 1.1;
        proxy_set_header Connection "";

        location ~ ^/api/v1/(namespaces/[^/]+/jobs(/.*)?|heartbeat|health)$ {
            proxy_pass http://scheduler;
        }

        location ~ ^/api/v1/(namespaces/[^/]+/models(/.*)?|models.*)$ {
            proxy_pass http://models;
        }

        location / {
            return 404;
        }
    }

"""


def objects(instance: Instance, secret: Secrets, text: Callable[[str], str]) -> list[Object]:
    """The instance's objects, in the order they are made in; ``secret`` and ``text`` give secrets and files."""
    return Server(instance, secret, text).objects()


def looks(instance: Instance) -> list[Looks]:
    """What is tried inside of its pods."""
    return Server(instance, UNSEEN, lambda _path: "").looks()


def trial(instance: Instance, name: str, clients: int, seconds: int) -> Looks:
    """What runs verify's round in its pod: a job of that name."""
    return Server(instance, UNSEEN, lambda _path: "").trial(name, clients, seconds)


def made(instance: Instance) -> Object:
    """A coordinator's pod."""
    server = Server(instance, UNSEEN, lambda _path: "")
    return server.job(server.image("coordinator", "coordinator"), instance["shared_directory"])


def secrets(instance: Instance) -> list[str]:
    """The names of the secrets that it is made with."""
    storage = [instance["storage"]["secret"]] if "secret" in instance["storage"] else []
    return [*secret_names(instance), *storage, instance["token"]]


def files(instance: Instance) -> list[str]:
    """The files of the control node that it is made with."""
    found = [instance[word]["ca"] for word in ("database", "storage") if "ca" in instance[word]]
    found += recorded_in(instance["images"])
    return [*found, *([instance["root_cert"]] if "root_cert" in instance else [])]
