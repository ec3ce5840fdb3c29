# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What AWX is to hold for a federation: an organisation a party, and in it all that its verbs need."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._federation.kinds import dpsa
from .._federation.model import Cluster, Federation
from .._state.location import is_repository
from .surveys import survey
from .verbs import VERBS, Verb

MACHINE, VAULT, SOURCE_CONTROL = "Machine", "Vault", "Source Control"
"""Types of credentials that AWX has by itself."""

ENABLED = "fedlearn.infra.federation"
"""The only inventory plugin of a sync: what isn't a document has no other way to be read."""

JOB_REPORTS = "/tmp/fedlearn"  # noqa: S108 - a job's container has its own
"""Where reports are written that no folder keeps; what `status` finds is also the job's artifact."""

APPROVAL = "Somebody has looked at what precheck found, and has site change the hosts."


@dataclass(frozen=True, slots=True)
class Settings:
    """What only the operator knows. ``state`` is a folder that outlives jobs, or the URL of a repository; of the
    latter ``backups`` is a folder for those, where there is one. ``{federation}`` and ``{party}`` stand for these.
    ``folder`` is where generated playbooks lie in the project, ``version`` the collection's.
    """

    url: str
    image: str
    state: str
    folder: str
    version: str
    branch: str = ""
    webhook: str = ""
    ca_passphrase: bool = False
    backups: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One party as it deploys: what it sees of the document, and where the source lies in the project."""

    party: str
    federation: Federation
    source: str


@dataclass(frozen=True, slots=True)
class Reference:
    """Another object, by its name; the API has ids."""

    endpoint: str
    name: str


@dataclass(frozen=True, slots=True)
class Object:
    """One object of AWX. ``endpoint`` is its list in the API, ``fields`` are as the API has them.

    ``references`` are fields that name another object, ``associations`` lists of others. ``within`` names the field
    that its name is unique in. ``approval`` is what a node of a workflow waits for, where it runs no template.
    """

    endpoint: str
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    references: Mapping[str, Reference] = field(default_factory=dict)
    associations: Mapping[str, tuple[Reference, ...]] = field(default_factory=dict)
    within: str = "organization"
    survey: Mapping[str, Any] = field(default_factory=dict)
    approval: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> Reference:
        """How others name it."""
        return Reference(self.endpoint, self.name)


def objects(sides: Sequence[Side], settings: Settings) -> list[Object]:
    """All objects, each after those that it names."""
    return [each for side in sides for each in _Party(side, settings).objects()]


def verbs_of(federation: Federation) -> list[Verb]:
    """The verbs that make sense for a party of the federation."""
    shared = federation.viewpoint is not None and len(federation.parties) > 1
    separate = shared and any(stack.kind == dpsa.NAME for stack in federation.stacks.values())
    wanted = {"always": True, "shared": shared, "dpsa": separate, "never": False}
    return [verb for verb in VERBS if wanted[verb.where]]


def kubeconfig_variable(cluster: Cluster) -> str:
    """The variable that says where the cluster's kubeconfig lies, in place of the document's."""
    return f"fedlearn_kubeconfig_{cluster.host.replace('-', '_')}"


class _Party:
    """A party's organisation."""

    def __init__(self, side: Side, settings: Settings) -> None:
        self.side, self.settings = side, settings
        self.federation = side.federation
        self.prefix = f"{side.federation.name} {side.party}"
        self.in_repository = is_repository(settings.state)
        self.state = self._own_state(settings.state)
        self.organization = Object("organizations", side.party, {"description": "A party of federations"}, within="")
        self.types, self.credentials = self._credentials()
        self.environment = self._owned(
            "execution_environments",
            f"fedlearn.infra {settings.version}",
            {"image": settings.image, "pull": "missing"},
            within="",
        )
        self.hooks = self._hooks()
        self.project = self._project()
        self.inventory = self._owned("inventories", "hosts", {"kind": "", "variables": "{}"})

    def objects(self) -> Iterator[Object]:
        """In the order in which they can be made."""
        yield self.organization
        yield from self.types
        yield from self.credentials.values()
        yield self.environment
        yield from self.hooks
        yield self.project
        yield self.inventory
        yield self._source()
        keeps_backups = bool(self._backups())
        verbs = (verb for verb in verbs_of(self.federation) if keeps_backups or not verb.backups)
        templates = {verb.name: self._template(verb) for verb in verbs}
        yield from templates.values()
        yield from self._workflow(templates)

    def _own_state(self, state: str) -> str:
        """The party's own part of a folder, or its own repository."""
        own = self._named_in(state)
        return own if self.in_repository else posixpath.join(own, self.federation.name, self.side.party)

    def _named_in(self, place: str) -> str:
        return place.replace("{federation}", self.federation.name).replace("{party}", self.side.party)

    def _backups(self) -> str:
        """The folder of the party's backups; empty where there is none."""
        if not self.in_repository:
            return posixpath.join(self.state, ".backups")
        kept = self._named_in(self.settings.backups)
        return posixpath.join(kept, self.federation.name, self.side.party) if kept else ""

    def _owned(self, endpoint: str, name: str, fields: Mapping[str, Any], **more: Any) -> Object:
        """An object of the organisation; its name has the party in it, since AWX's own modules look names up alone."""
        references = {"organization": self.organization.reference, **more.pop("references", {})}
        return Object(endpoint, f"{self.prefix} {name}", fields, references, **more)

    def _credentials(self) -> tuple[list[Object], dict[str, Object]]:
        """Types of our own, and credentials by what they are for; their values are the operator's to enter."""
        types: list[Object] = []
        credentials = {
            "hosts": self._credential("ssh", MACHINE, "Logs in to the hosts."),
            "vault": self._credential("vault", VAULT, "Opens .secrets/ of what is kept."),
            "project": self._credential("project", SOURCE_CONTROL, "Fetches the project; empty where anybody may."),
        }
        if self.in_repository and not self.state.startswith("file:"):
            types.append(_type("fedlearn state repository", DEPLOY_KEY, HOST_KEYS))
            what = "Writes to the repository with CAs and secrets, on a server of these host keys."
            credentials["state"] = self._credential("state repository", types[-1].name, what)
        if self.settings.ca_passphrase:
            value = Value("passphrase", "Passphrase", "fedlearn_ca_passphrase_file")
            types.append(_type("fedlearn CA passphrase", value))
            credentials["ca"] = self._credential("CA passphrase", types[-1].name, "Opens the keys of the party's CAs.")
        for cluster in self.federation.own_clusters():
            value = Value("kubeconfig", "Kubeconfig", kubeconfig_variable(cluster))
            types.append(_type(f"fedlearn kubeconfig {cluster.name}", value))
            what = f"kubeconfig {cluster.name}"
            credentials[what] = self._credential(what, types[-1].name, f"Asks the API of cluster {cluster.name}.")
        return types, credentials

    def _credential(self, name: str, type_name: str, description: str) -> Object:
        references = {"credential_type": Reference("credential_types", type_name)}
        return self._owned("credentials", name, {"description": description}, references=references)

    def _hooks(self) -> list[Object]:
        if not self.settings.webhook:
            return []
        # every key that the API keeps: it would add those that are missing, and differ from what it was sent
        configuration = {
            "url": self.settings.webhook,
            "headers": {},
            "http_method": "POST",
            "disable_ssl_verification": False,
            "username": "",
            "password": "",
        }
        fields = {"notification_type": "webhook", "notification_configuration": configuration}
        return [self._owned("notification_templates", "webhook", fields)]

    def _told(self, *moments: str) -> dict[str, tuple[Reference, ...]]:
        told = tuple(hook.reference for hook in self.hooks)
        return {f"notification_templates_{moment}": told for moment in moments} if told else {}

    def _project(self) -> Object:
        fields = {
            "description": "The document, and what belongs beside it",
            "scm_type": "git",
            "scm_url": self.settings.url,
            "scm_branch": self.settings.branch,
            "scm_clean": True,
            "scm_update_on_launch": True,
        }
        references = {
            "default_environment": self.environment.reference,
            "credential": self.credentials["project"].reference,
        }
        return self._owned("projects", "project", fields, references=references, associations=self._told("error"))

    def _source(self) -> Object:
        fields = {
            "source": "scm",
            "source_path": self.side.source,
            # of a sync these are its environment: a document with a mistake ends it
            "source_vars": {
                "ANSIBLE_INVENTORY_ENABLED": ENABLED,
                "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
                f"FEDLEARN_STATE_{'REPOSITORY' if self.in_repository else 'DIRECTORY'}": self.state,
            },
            "overwrite": True,
            "overwrite_vars": True,
            "update_on_launch": True,
        }
        references = {
            "inventory": self.inventory.reference,
            "source_project": self.project.reference,
            "execution_environment": self.environment.reference,
        }
        name = f"{self.prefix} document"
        return Object("inventory_sources", name, fields, references, self._told("error"), within="inventory")

    def _template(self, verb: Verb) -> Object:
        stacks = [stack.name for stack in self.federation.stacks.values()]
        asked = survey(verb, stacks, self._backups())
        opened = [self.credentials[what] for what in self._opened(verb)]
        fields = {
            "description": verb.help,
            "job_type": "run",
            "playbook": posixpath.join(self.settings.folder, f"{verb.name}.yml"),
            "extra_vars": {
                # once more: what was synced without it would have CAs made in a folder that is thrown away
                "fedlearn_state": self.state,
                "fedlearn_build": JOB_REPORTS if self.in_repository else posixpath.join(self.state, "build"),
                **({"fedlearn_backup_directory": self._backups()} if self.in_repository and verb.backups else {}),
                "fedlearn_generated_by": self.settings.version,
                **({"fedlearn_credentials": self._given_by(opened)} if opened else {}),
            },
            "become_enabled": False,
            # two that write would wait for each other on every host, and one might end in between
            "allow_simultaneous": not verb.writes,
            "survey_enabled": bool(asked),
            "ask_limit_on_launch": verb.hosts,
            "ask_tags_on_launch": verb.tags,
            # whoever skipped `always` would skip every look at what was asked for
            "ask_skip_tags_on_launch": False,
            "ask_job_type_on_launch": verb.writes,
            "ask_diff_mode_on_launch": verb.writes,
            "ask_verbosity_on_launch": True,
        }
        references = {
            "project": self.project.reference,
            "inventory": self.inventory.reference,
            "execution_environment": self.environment.reference,
        }
        return self._owned(
            "job_templates",
            verb.name,
            fields,
            references=references,
            associations={"credentials": tuple(one.reference for one in opened), **self._told("error")},
            survey=asked,
        )

    def _opened(self, verb: Verb) -> Iterator[str]:
        """The credentials that a verb needs: none else is in its job."""
        if verb.hosts:
            yield "hosts"
        if verb.state and "state" in self.credentials:
            yield "state"
        if verb.vault:
            yield "vault"
            if self.settings.ca_passphrase:
                yield "ca"
        if verb.clusters:
            yield from (f"kubeconfig {cluster.name}" for cluster in self.federation.own_clusters())

    def _given_by(self, credentials: Sequence[Object]) -> dict[str, str]:
        """By a credential's name what a job sees of it: AWX's own type, or the variable with the path of its file."""
        variables = {each.name: next(iter(each.fields["injectors"]["extra_vars"])) for each in self.types}
        names = {each.name: each.references["credential_type"].name for each in credentials}
        return {name: variables.get(type_name, type_name) for name, type_name in names.items()}

    def _workflow(self, templates: Mapping[str, Object]) -> Iterator[Object]:
        """precheck, an approval, site, verify, status; status at once where one fails. Last nodes first: others name
        them.

        AWX takes a failure for mended that leads to a node which ends well; so what comes after one never does.
        """
        workflow = self._owned(
            "workflow_job_templates",
            "deploy",
            {"description": "precheck, approval, site, verify, status", "allow_simultaneous": False},
            associations=self._told("error", "approvals"),
        )
        yield workflow
        status = self._node(workflow, "status", template=templates["status"])
        failed = self._node(
            workflow, "status after a failure", template=templates["status"], answers={"after_failure": "true"}
        )
        verify = self._node(workflow, "verify", template=templates["verify"], success=status, failure=failed)
        site = self._node(workflow, "site", template=templates["site"], success=verify, failure=failed)
        approval = {"name": f"{self.prefix} approval", "description": APPROVAL, "timeout": 0}
        approve = self._node(workflow, "approval", approval=approval, success=site)
        precheck = self._node(workflow, "precheck", template=templates["precheck"], success=approve, failure=failed)
        yield from (status, failed, verify, site, approve, precheck)

    def _node(
        self,
        workflow: Object,
        identifier: str,
        template: Object | None = None,
        approval: Mapping[str, Any] | None = None,
        answers: Mapping[str, str] | None = None,
        **ways: Object,
    ) -> Object:
        runs = {"unified_job_template": template.reference} if template else {}
        return Object(
            "workflow_job_template_nodes",
            identifier,
            {"extra_data": answers} if answers else {},
            references={"workflow_job_template": workflow.reference, **runs},
            associations={f"{way}_nodes": (node.reference,) for way, node in ways.items()},
            within="workflow_job_template",
            approval=approval or {},
        )


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a credential, and the variable that says in which file of the job it lies."""

    name: str
    label: str
    variable: str
    secret: bool = True
    more: Mapping[str, Any] = field(default_factory=dict)
    end: str = ""
    """What follows it in its file."""


# ssh takes no key whose last line doesn't end; of two line breaks at the end of a template Jinja takes one away
DEPLOY_KEY = Value("key", "Deploy key", "fedlearn_state_key_file", more={"format": "ssh_private_key"}, end="\n\n")
HOST_KEYS = Value(
    "known_hosts",
    "Host keys of the git server (known_hosts)",
    "fedlearn_state_known_hosts_file",
    secret=False,
    end="\n\n",
)


def _type(name: str, *values: Value) -> Object:
    """A type of credential whose values lie in files of the job, and whose paths alone are variables of it."""
    inputs = {
        "fields": [
            {
                "id": each.name,
                "label": each.label,
                "type": "string",
                **each.more,
                "secret": each.secret,
                "multiline": True,
            }
            for each in values
        ],
        "required": [each.name for each in values],
    }
    injectors = {
        "file": {f"template.{each.name}": f"{{{{ {each.name} }}}}{each.end}" for each in values},
        "extra_vars": {each.variable: f"{{{{ tower.filename.{each.name} }}}}" for each in values},
    }
    return Object("credential_types", name, {"kind": "cloud", "inputs": inputs, "injectors": injectors}, within="")
