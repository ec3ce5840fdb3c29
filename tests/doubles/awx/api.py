# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A contract double of AWX's API: it keeps what it is sent, and answers look-ups, pages and associations as AWX does.

It proves in which order objects can be made, and that a second run sends no write. It isn't AWX: of AWX's validation it
has what is here (fields that there are, references that lead somewhere, names that are unique, playbooks that the
project has, surveys and answers to them), and it runs no job.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PREFIX = "/api/v2/"
TOKEN = "of the double"
PAGE = 3
"""Objects on a page: few, so that lists have several."""

READ_ONLY = {"id", "type", "url", "related", "summary_fields", "managed"}
NAMED = {"name": None, "description": ""}
HOOKS = ("notification_templates_started", "notification_templates_success", "notification_templates_error")
NODES = ("success_nodes", "failure_nodes", "always_nodes")
SURVEY_TYPES = {"text", "textarea", "password", "multiplechoice", "multiselect", "integer", "float"}


@dataclass(frozen=True)
class Kind:
    """A list of the API: its objects' type, fields with defaults (None: has to be given, or may be empty), which of
    these are references to which list, what names are unique in, and what can be associated.
    """

    type: str
    fields: Mapping[str, Any]
    references: Mapping[str, str] = field(default_factory=dict)
    unique: tuple[str, ...] = ("name",)
    associations: tuple[str, ...] = ()
    required: tuple[str, ...] = ("name",)


ASKED = (
    "variables", "limit", "tags", "skip_tags", "job_type", "diff_mode", "verbosity", "inventory", "credential",
    "scm_branch",
)  # fmt: skip
KINDS = {
    "organizations": Kind("organization", {**NAMED, "max_hosts": 0}, associations=(*HOOKS, "galaxy_credentials")),
    "credential_types": Kind("credential_type", {**NAMED, "kind": None, "inputs": {}, "injectors": {}}),
    "credentials": Kind(
        "credential",
        {**NAMED, "organization": None, "credential_type": None, "inputs": {}},
        {"organization": "organizations", "credential_type": "credential_types"},
        ("name", "organization", "credential_type"),
        required=("name", "credential_type"),
    ),
    "execution_environments": Kind(
        "execution_environment",
        {**NAMED, "organization": None, "image": None, "pull": "", "credential": None},
        {"organization": "organizations", "credential": "credentials"},
        required=("name", "image"),
    ),
    "notification_templates": Kind(
        "notification_template",
        {**NAMED, "organization": None, "notification_type": None, "notification_configuration": {}, "messages": None},
        {"organization": "organizations"},
        ("name", "organization"),
        required=("name", "organization", "notification_type"),
    ),
    "projects": Kind(
        "project",
        {
            **NAMED, "organization": None, "scm_type": "", "scm_url": "", "scm_branch": "", "scm_clean": False,
            "scm_update_on_launch": False, "credential": None, "default_environment": None, "scm_revision": "",
        },
        {
            "organization": "organizations",
            "credential": "credentials",
            "default_environment": "execution_environments",
        },
        ("name", "organization"),
        HOOKS,
    ),
    "inventories": Kind(
        "inventory",
        {**NAMED, "organization": None, "kind": "", "host_filter": None, "variables": ""},
        {"organization": "organizations"},
        ("name", "organization"),
        required=("name", "organization"),
    ),
    "inventory_sources": Kind(
        "inventory_source",
        {
            **NAMED, "inventory": None, "source": None, "source_path": "", "source_vars": "", "source_project": None,
            "execution_environment": None, "overwrite": False, "overwrite_vars": False, "update_on_launch": False,
        },
        {
            "inventory": "inventories",
            "source_project": "projects",
            "execution_environment": "execution_environments",
        },
        ("name", "inventory"),
        HOOKS,
        required=("name", "inventory", "source"),
    ),
    "job_templates": Kind(
        "job_template",
        {
            **NAMED, "job_type": "run", "inventory": None, "project": None, "playbook": "", "organization": None,
            "execution_environment": None, "extra_vars": "", "become_enabled": False, "allow_simultaneous": False,
            "survey_enabled": False, **{f"ask_{what}_on_launch": False for what in ASKED},
        },
        {
            "inventory": "inventories",
            "project": "projects",
            "organization": "organizations",
            "execution_environment": "execution_environments",
        },
        ("name", "organization"),
        ("credentials", *HOOKS),
        required=("name", "project", "playbook"),
    ),
    "workflow_job_templates": Kind(
        "workflow_job_template",
        {**NAMED, "organization": None, "allow_simultaneous": False, "extra_vars": "", "survey_enabled": False},
        {"organization": "organizations"},
        ("name", "organization"),
        (*HOOKS, "notification_templates_approvals"),
    ),
    "workflow_job_template_nodes": Kind(
        "workflow_job_template_node",
        {
            "identifier": None, "workflow_job_template": None, "unified_job_template": None, "extra_data": {},
            "all_parents_must_converge": False,
        },
        {"workflow_job_template": "workflow_job_templates", "unified_job_template": "unified_job_templates"},
        ("identifier", "workflow_job_template"),
        NODES,
        required=("identifier", "workflow_job_template"),
    ),
    "workflow_approval_templates": Kind("workflow_approval_template", {**NAMED, "timeout": 0}, unique=()),
}  # fmt: skip
UNIFIED = ("projects", "inventory_sources", "job_templates", "workflow_job_templates", "workflow_approval_templates")
MANAGED = (("Machine", "ssh"), ("Source Control", "scm"), ("Vault", "vault"))
"""Types of credentials that AWX has by itself."""


class RefusedError(Exception):
    """What the API answers instead, with its status."""

    def __init__(self, status: int, **why: Any) -> None:
        super().__init__(str(why))
        self.status, self.why = status, why


@dataclass
class Store:
    """All objects, whatever they are, by their ids, and which requests changed any."""

    playbooks: tuple[str, ...]
    objects: dict[int, dict[str, Any]] = field(default_factory=dict)
    surveys: dict[int, Any] = field(default_factory=dict)
    associated: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, kind in MANAGED:
            self.make("credential_types", {"name": name, "kind": kind})["managed"] = True

    def of(self, endpoint: str) -> list[dict[str, Any]]:
        """The objects of a list, oldest first."""
        lists = UNIFIED if endpoint == "unified_job_templates" else (endpoint,)
        types = [KINDS[each].type for each in lists]
        return [each for each in self.objects.values() if each["type"] in types]

    def one(self, endpoint: str, number: int) -> dict[str, Any]:
        """An object of a list."""
        for each in self.of(endpoint):
            if each["id"] == number:
                return each
        raise RefusedError(404, detail="Not found.")

    def make(self, endpoint: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """A new object."""
        kind, number = KINDS[endpoint], len(self.objects) + 1
        made = {
            "id": number,
            "type": kind.type,
            "url": f"{PREFIX}{endpoint}/{number}/",
            "related": {},
            "summary_fields": {},
            "managed": False,
            **json.loads(json.dumps(dict(kind.fields))),
        }
        self._fill(endpoint, made, given)
        for name in kind.required:
            if made[name] in (None, ""):
                raise RefusedError(400, **{name: ["This field is required."]})
        self.objects[number] = made
        return made

    def change(self, endpoint: str, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """An object, changed."""
        changed = dict(self.one(endpoint, number))
        self._fill(endpoint, changed, given)
        self.objects[number] = changed
        return changed

    def _fill(self, endpoint: str, one: dict[str, Any], given: Mapping[str, Any]) -> None:
        kind = KINDS[endpoint]
        for name, value in given.items():
            if name in READ_ONLY:
                continue
            if name not in kind.fields:
                raise RefusedError(400, **{name: ["there is no such field"]})
            if name in kind.references and value is not None:
                self._refer(kind.references[name], name, value)
            one[name] = value
        if endpoint == "job_templates":
            self._check_template(one)
        if endpoint in ("job_templates", "workflow_job_templates"):
            one["related"]["survey_spec"] = f"{one['url']}survey_spec/"
        if endpoint == "projects":
            one["summary_fields"] = {"current_update": {"id": one["id"]}}
        if endpoint == "workflow_job_template_nodes" and one["unified_job_template"]:
            one["related"]["unified_job_template"] = self.objects[one["unified_job_template"]]["url"]
        same = [
            each
            for each in self.of(endpoint)
            if kind.unique and each["id"] != one["id"] and all(each[name] == one[name] for name in kind.unique)
        ]
        if same:
            raise RefusedError(400, __all__=[f"{kind.type} with this {' and '.join(kind.unique)} already exists."])

    def _refer(self, endpoint: str, name: str, value: Any) -> None:
        try:
            self.one(endpoint, value)
        except RefusedError:
            raise RefusedError(400, **{name: [f'Invalid pk "{value}" - object does not exist.']}) from None

    def _check_template(self, one: dict[str, Any]) -> None:
        if one["project"] is not None:
            one["organization"] = self.objects[one["project"]]["organization"]
        if one["playbook"] and one["playbook"] not in self.playbooks:
            raise RefusedError(400, playbook=["Playbook not found for project."])

    def survey(self, number: int, spec: Any) -> None:
        """Keep a template's survey."""
        if not isinstance(spec, dict) or not {"name", "description", "spec"} <= set(spec) or not spec["spec"]:
            raise RefusedError(400, error="a survey has a name, a description and questions")
        for index, asked in enumerate(spec["spec"]):
            for name, kind in (("type", str), ("question_name", str), ("variable", str), ("required", bool)):
                if not isinstance(asked.get(name), kind):
                    raise RefusedError(
                        400, error=f"'{name}' in survey question {index} expected to be {kind.__name__}."
                    )
            if asked["type"] not in SURVEY_TYPES:
                raise RefusedError(400, error=f"'{asked['type']}' in survey question {index} is not one of the types.")
            if any(asked.get(name) is not None and not isinstance(asked[name], int) for name in ("min", "max")):
                raise RefusedError(400, error=f"The limits in survey question {index} expected to be integer.")
            if asked["type"] in ("multiplechoice", "multiselect"):
                if not asked.get("choices"):
                    raise RefusedError(
                        400, error=f"Survey question {index} of type {asked['type']} must specify choices."
                    )
                if asked.get("default") not in (None, "", *asked["choices"]):
                    raise RefusedError(400, error=f"Default choice must be answered from the choices of {index}.")
        self.surveys[number] = spec

    def launch(self, number: int, answers: Mapping[str, Any]) -> dict[str, Any]:
        """The variables of a job; RefusedError where an answer is none that the template's survey takes."""
        self.one("job_templates", number)
        asked = {each["variable"]: each for each in self.surveys.get(number, {}).get("spec", [])}
        wrong = [f"Variables {name} are not allowed on launch" for name in answers if name not in asked]
        given = {name: each["default"] for name, each in asked.items() if "default" in each} | dict(answers)
        for name, each in asked.items():
            if name in given:
                wrong += _refused(each, given[name])
            elif each["required"]:
                wrong.append(f"'{name}' value missing")
        if wrong:
            raise RefusedError(400, variables_needed_to_start=wrong)
        return given

    def associate(self, endpoint: str, number: int, relation: str, given: Mapping[str, Any]) -> None:
        """Add to an association, or take from it."""
        if relation not in KINDS[endpoint].associations:
            raise RefusedError(404, detail="Not found.")
        self.one(endpoint, number)
        members = self.associated.setdefault((number, relation), [])
        self.objects.get(given["id"]) or self._refer(endpoint, "id", given["id"])
        if given.get("disassociate"):
            members.remove(given["id"])
        elif given["id"] not in members:
            members.append(given["id"])


def _refused(asked: Mapping[str, Any], answer: Any) -> list[str]:
    """Why an answer isn't one."""
    name, kind = asked["variable"], asked["type"]
    if kind in ("multiplechoice", "multiselect"):
        return (
            []
            if answer in asked["choices"]
            else [f"Value {answer} for '{name}' expected to be one of {asked['choices']}."]
        )
    wanted = int if kind == "integer" else str
    if not isinstance(answer, wanted) or isinstance(answer, bool):
        return [f"Value {answer} for '{name}' expected to be {wanted.__name__}."]
    size = answer if isinstance(answer, int) else len(answer)
    if asked["min"] is not None and size < asked["min"]:
        return [f"'{name}' value {answer} is too small (must be at least {asked['min']})."]
    if asked["max"] is not None and size > asked["max"]:
        return [f"'{name}' value {answer} is too large (must be no more than {asked['max']})."]
    return []


class Handler(BaseHTTPRequestHandler):
    """HTTP to the store."""

    store: Store
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: tests look at the store."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PATCH(self) -> None:
        self._answer(self._patch)

    def _answer(self, method: Any) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        parts = urlsplit(self.path)
        try:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise RefusedError(401, detail="Authentication credentials were not provided.")
            if not parts.path.startswith(PREFIX) or not parts.path.endswith("/"):
                raise RefusedError(404, detail="Not found.")
            way = parts.path.removeprefix(PREFIX).strip("/").split("/")
            status, found = method(way, json.loads(body) if body else dict(parse_qsl(parts.query)))
        except RefusedError as error:
            status, found = error.status, error.why
        content = b"" if found is None else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-API-Product-Name", "AWX")
        self.send_header("X-API-Product-Version", "24.6.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _get(self, way: list[str], query: dict[str, Any]) -> tuple[int, Any]:
        match way:
            case [endpoint] if endpoint in {*KINDS, "unified_job_templates"}:
                return 200, self._page([each for each in self.store.of(endpoint) if _matches(each, query)], query)
            case ["project_updates", number]:
                return 200, {"id": int(number), "status": "successful", "scm_revision": "0", "finished": "now"}
            case [endpoint, number] if endpoint in KINDS:
                return 200, self.store.one(endpoint, int(number))
            case [endpoint, number, "survey_spec"]:
                self.store.one(endpoint, int(number))
                return 200, self.store.surveys.get(int(number), {})
            case [endpoint, number, relation] if endpoint in KINDS and relation in KINDS[endpoint].associations:
                members = self.store.associated.get((int(number), relation), [])
                return 200, self._page([self.store.objects[each] for each in members], query)
        raise RefusedError(404, detail="Not found.")

    def _page(self, found: list[dict[str, Any]], query: dict[str, Any]) -> dict[str, Any]:
        number = int(query.get("page", 1))
        path, kept = urlsplit(self.path).path, [f"{key}={value}" for key, value in query.items() if key != "page"]
        after = f"{path}?{'&'.join([*kept, f'page={number + 1}'])}" if len(found) > number * PAGE else None
        return {"count": len(found), "next": after, "results": found[(number - 1) * PAGE : number * PAGE]}

    def _post(self, way: list[str], given: dict[str, Any]) -> tuple[int, Any]:
        self.store.writes.append(f"POST {'/'.join(way)}")
        match way:
            case [endpoint] if endpoint in KINDS:
                return 201, self.store.make(endpoint, given)
            case [("job_templates" | "workflow_job_templates") as endpoint, number, "survey_spec"]:
                self.store.one(endpoint, int(number))
                self.store.survey(int(number), given)
                return 200, {}
            case ["job_templates", number, "launch"]:
                return 201, {"extra_vars": json.dumps(self.store.launch(int(number), given.get("extra_vars", {})))}
            case ["workflow_job_template_nodes", number, "create_approval_template"]:
                made = self.store.make("workflow_approval_templates", given)
                self.store.change("workflow_job_template_nodes", int(number), {"unified_job_template": made["id"]})
                return 201, made
            case [endpoint, number, relation] if endpoint in KINDS:
                self.store.associate(endpoint, int(number), relation, given)
                return 204, None
        raise RefusedError(404, detail="Not found.")

    def _patch(self, way: list[str], given: dict[str, Any]) -> tuple[int, Any]:
        self.store.writes.append(f"PATCH {'/'.join(way)}")
        match way:
            case [endpoint, number] if endpoint in KINDS:
                return 200, self.store.change(endpoint, int(number), given)
        raise RefusedError(404, detail="Not found.")


def _matches(one: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    for name, value in query.items():
        if name in ("page", "page_size"):
            continue
        if name not in one:
            raise RefusedError(400, detail=f"{name} is no field to look up by")
        if str(one[name]) != value:
            return False
    return True


def playbooks_of(files: Mapping[str, str]) -> tuple[str, ...]:
    """The files of a project that AWX takes for playbooks: by a line that begins so."""
    looks = re.compile(r"^\s*?-?\s*?(?:hosts|include|import_playbook):\s*?.*?$", re.MULTILINE)
    return tuple(name for name, text in files.items() if name.endswith((".yml", ".yaml")) and looks.search(text))


@contextmanager
def serving(store: Store) -> Iterator[str]:
    """The double on a port of loopback: its URL, until the caller goes on."""
    handler = type("StoreHandler", (Handler,), {"store": store})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
