# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects of AWX as files: the variables of infra.aap_configuration, plain JSON for the API, and the playbooks that
templates run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from .objects import Object, Reference
from .verbs import Verb

VARIABLES = {
    "organizations": "aap_organizations",
    "credential_types": "controller_credential_types",
    "credentials": "controller_credentials",
    "execution_environments": "controller_execution_environments",
    "notification_templates": "controller_notifications",
    "projects": "controller_projects",
    "inventories": "controller_inventories",
    "inventory_sources": "controller_inventory_sources",
    "job_templates": "controller_templates",
    "workflow_job_templates": "controller_workflows",
}
"""By the list of the API, what infra.aap_configuration calls it."""

FIRST, CREDENTIALS = ("organizations", "credential_types", "credentials"), "credentials"
"""What may be there before the rest, and its tag: a project is fetched as it is made, by a key entered by hand."""

UNIFIED = "job_template"
WRITTEN = "# Written by fedlearn.infra.awx: run it again to change it.\n"
_HOW = (
    "# CONTROLLER_HOST and CONTROLLER_OAUTH_TOKEN say which AWX, and who asks. A second run changes nothing.\n"
    f"# With --tags {CREDENTIALS} these alone, for their values to be entered.\n"
)

MODULES = {
    "organizations": "organization",
    "credential_types": "credential_type",
    "credentials": "credential",
    "execution_environments": "execution_environment",
    "notification_templates": "notification_template",
    "projects": "project",
    "inventories": "inventory",
    "inventory_sources": "inventory_source",
    "job_templates": "job_template",
    "workflow_job_templates": "workflow_job_template",
}
"""By the list of the API, the module of awx.awx."""

_WAY = "{{ item.1.related.WAY | default([]) | map(attribute='identifier') | list }}"
_APPROVES = "item.1.unified_job_template.type == 'workflow_approval'"
_RUNS = {
    "unified_job_template": f"{{{{ omit if {_APPROVES} else item.1.unified_job_template.name }}}}",
    "approval_node": f"{{{{ item.1.unified_job_template if {_APPROVES} else omit }}}}",
    "extra_data": "{{ item.1.extra_data | default(omit) }}",
}
_WAYS = {way: _WAY.replace("WAY", way) for way in ("success_nodes", "failure_nodes", "always_nodes")}


class Verbatim(str):
    """A text with braces that aren't Ansible's to resolve."""


class _Dumper(yaml.SafeDumper):
    """Writes each value where it is used, and texts with braces as Ansible leaves them alone."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# what came by Ansible is a text that remembers from where
_Dumper.add_multi_representer(str, lambda dumper, data: dumper.represent_str("".join(data)))
_Dumper.add_representer(Verbatim, lambda dumper, data: dumper.represent_scalar("!unsafe", str(data), style='"'))


def configuration(objects: Sequence[Object]) -> str:
    """The variables of infra.aap_configuration, as YAML; what it has in common for several is there once."""
    held: dict[str, list[dict[str, Any]]] = {}
    for each in objects:
        if each.endpoint in VARIABLES:
            item = _item(each, objects)
            items = held.setdefault(VARIABLES[each.endpoint], [])
            if item not in items:
                items.append(item)
    ordered = {name: held[name] for name in VARIABLES.values() if name in held}
    return "---\n" + WRITTEN + yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, width=160, allow_unicode=True)


def requests(objects: Sequence[Object]) -> str:
    """The same as plain JSON, in the order in which the API takes it; what names others names them by endpoint and
    name.
    """
    told = [_request(each) for each in _distinct(objects)]
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def playbook(verb: Verb) -> str:
    """What a template of the verb runs. AWX knows a playbook by a line that begins with `import_playbook:`."""
    name = verb.name.capitalize()
    return f"---\n{WRITTEN}# {verb.help}\n- name: {name}\n  import_playbook: fedlearn.infra.{verb.name}\n"


def apply(objects: Sequence[Object]) -> str:
    """A playbook that has AWX hold what objects.yml says, by awx.awx."""
    tasks = [_task(endpoint, variable, _keys(endpoint, objects)) for endpoint, variable in VARIABLES.items()]
    # a link may lead to any node, and what approves is told of its links alone
    nodes = (_nodes_task("Have the nodes of workflows", _RUNS), _nodes_task("Link them", _WAYS))
    play = {
        "name": "Have AWX hold what this federation needs",
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": ["objects.yml"],
        "tasks": [*filter(None, tasks), *nodes],
    }
    return "---\n" + WRITTEN + _HOW + yaml.dump([play], Dumper=_Dumper, sort_keys=False, width=200)


def _keys(endpoint: str, objects: Sequence[Object]) -> list[str]:
    """The keys that items of a list have, but for nodes, which have a module of their own."""
    keys = dict.fromkeys(key for each in objects if each.endpoint == endpoint for key in _item(each, ()))
    return [key for key in keys if key != "workflow_nodes"]


def _task(endpoint: str, variable: str, keys: Sequence[str]) -> dict[str, Any]:
    return (
        {
            "name": f"Have {endpoint.replace('_', ' ')}",
            f"awx.awx.{MODULES[endpoint]}": {key: f"{{{{ item.{key} | default(omit) }}}}" for key in keys},
            "loop": f"{{{{ {variable} }}}}",
            "loop_control": {"label": "{{ item.name }}"},
            **({"tags": [CREDENTIALS]} if endpoint in FIRST else {}),
        }
        if keys
        else {}
    )


def _nodes_task(name: str, options: Mapping[str, str]) -> dict[str, Any]:
    node = {
        "identifier": "{{ item.1.identifier }}",
        "workflow_job_template": "{{ item.0.name }}",
        "organization": "{{ item.0.organization }}",
        **options,
    }
    return {
        "name": name,
        "awx.awx.workflow_job_template_node": node,
        "loop": f"{{{{ {VARIABLES['workflow_job_templates']} | subelements('workflow_nodes') }}}}",
        "loop_control": {"label": "{{ item.0.name }}: {{ item.1.identifier }}"},
    }


def _item(each: Object, objects: Iterable[Object]) -> dict[str, Any]:
    item: dict[str, Any] = {"name": each.name, **_verbatim(each.fields)}
    item |= {name: reference.name for name, reference in each.references.items()}
    item |= {name: [one.name for one in others] for name, others in each.associations.items()}
    if each.endpoint == "inventories":
        item["variables"] = json.loads(each.fields["variables"])
    if each.survey:
        item["survey_spec"] = dict(each.survey)
    if each.endpoint == "workflow_job_templates":
        organization = each.references["organization"].name
        item["workflow_nodes"] = [_node(one, organization) for one in _nodes(each, objects)]
    return item


def _nodes(workflow: Object, objects: Iterable[Object]) -> list[Object]:
    return [each for each in objects if each.references.get("workflow_job_template") == workflow.reference]


def _node(each: Object, organization: str) -> dict[str, Any]:
    """A node as modules and roles take it."""
    if each.approval:
        runs = {**each.approval, "type": "workflow_approval"}
    else:
        name = each.references["unified_job_template"].name
        runs = {"name": name, "type": UNIFIED, "organization": {"name": organization}}
    ways = {way: [{"identifier": one.name} for one in others] for way, others in each.associations.items()}
    return {"identifier": each.name, "unified_job_template": runs, **each.fields, "related": ways}


def _request(each: Object) -> dict[str, Any]:
    name = "identifier" if each.endpoint == "workflow_job_template_nodes" else "name"
    fields = {name: each.name, **each.fields}
    for encoded in ("extra_vars", "source_vars"):
        if encoded in fields:
            fields[encoded] = json.dumps(fields[encoded])
    return {
        "endpoint": each.endpoint,
        "unique_in": each.within,
        "fields": fields,
        "references": {key: _named(reference) for key, reference in each.references.items()},
        "associations": {key: [_named(one) for one in others] for key, others in each.associations.items()},
        **({"survey_spec": dict(each.survey)} if each.survey else {}),
        **({"approval": dict(each.approval)} if each.approval else {}),
    }


def _named(reference: Reference) -> dict[str, str]:
    return {"endpoint": reference.endpoint, "name": reference.name}


def _distinct(objects: Sequence[Object]) -> list[Object]:
    """Each once: a type of credential is of the whole of AWX."""
    return [each for index, each in enumerate(objects) if each not in objects[:index]]


def _verbatim(value: Any) -> Any:
    if isinstance(value, str):
        return Verbatim(value) if "{{" in value else value
    if isinstance(value, Mapping):
        return {key: _verbatim(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_verbatim(child) for child in value]
    return value
