# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes what AWX runs the verbs by into the project; runs once, on the control node, and touches no host."""

from __future__ import annotations

import os.path
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils._awx import forms
from ansible_collections.fedlearn.infra.plugins.plugin_utils._awx.objects import (
    Object,
    Settings,
    Side,
    objects,
    verbs_of,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.location import is_repository, trouble
from ansible_collections.fedlearn.infra.plugins.plugin_utils.collection import version

FOLDER = "awx"
"""Where it lies in the project."""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "document": {"type": "path", "required": True},
    "project": {"type": "path", "default": "."},
    "url": {"type": "str", "required": True},
    "branch": {"type": "str", "default": ""},
    "image": {"type": "str", "required": True},
    "state": {"type": "str", "required": True},
    "backups": {"type": "str", "default": ""},
    "webhook": {"type": "str", "default": ""},
    "ca_passphrase": {"type": "bool", "default": False, "no_log": False},
}
WANTED = {
    "url": "where does AWX get the project from? -e awx_url=https://git.example/clinics.git",
    "image": "what do jobs run in? -e awx_image=registry.example/fedlearn:0.1.0",
    "state": "where do CAs and secrets outlive a job? -e awx_state=FOLDER, an absolute path that each job mounts, or "
    "the URL of a git repository",
}


_BRACES = re.compile(r"\{[^}]*\}?")
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
"""As engines take it: a registry, names in small letters, a tag, a digest."""


class WrongProjectError(ValueError):
    """Why nothing can be written for this document, in words for the operator."""


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.awx)."""

    BYPASS_HOST_LOOP = True
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the files that differ, and say which these are."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        state = options["state"]
        for name, question in WANTED.items():
            if not options[name] or (name == "state" and not (posixpath.isabs(state) or is_repository(state))):
                raise AnsibleActionFail(question)
        try:
            _check_words(options)
            _check_state(options)
            sides = list(_sides(options["document"], options["project"]))
            _check_one_each(sides, options)
        except (loading.WrongDocumentError, WrongProjectError) as error:
            raise AnsibleActionFail(str(error)) from None
        made = objects(sides, _settings(options))
        folder = Path(options["project"], FOLDER)
        wanted = _files(sides, made)
        former = {name: _read(folder / name) for name in {*wanted, *_ours(folder)}}
        differing = sorted(name for name, text in former.items() if text != wanted.get(name, ""))
        if not self._task.check_mode:
            _write(folder, {name: wanted.get(name, "") for name in differing})
        result.update(
            changed=bool(differing),
            directory=str(folder),
            written=[name for name in differing if name in wanted],
            removed=[name for name in differing if name not in wanted],
            templates=[each.name for each in made if each.endpoint == "job_templates"],
            diff=[
                {
                    "before": former[name],
                    "after": wanted.get(name, ""),
                    "before_header": str(folder / name),
                    "after_header": str(folder / name),
                }
                for name in differing
            ],
        )
        return result


def _settings(options: dict[str, Any]) -> Settings:
    return Settings(
        url=options["url"],
        image=options["image"],
        state=options["state"],
        folder=FOLDER,
        version=version(),
        branch=options["branch"],
        webhook=options["webhook"],
        ca_passphrase=options["ca_passphrase"],
        backups=options["backups"],
    )


def _check_words(options: dict[str, Any]) -> None:
    """WrongProjectError for what AWX couldn't use, or what nobody is to read in a repository."""
    for name in ("url", "webhook"):
        if _has_login(options[name]):
            raise WrongProjectError(
                f"-e awx_{name}= has a login, and what is written is for a repository: leave it out"
                + {"url": ", and enter it in AWX as the project's credential", "webhook": ""}[name]
            )
    if options["webhook"] and urlsplit(options["webhook"]).scheme not in ("http", "https"):
        raise WrongProjectError("-e awx_webhook=URL begins with https://")
    if not _IMAGE.fullmatch(options["image"]):
        raise WrongProjectError(f"-e awx_image={options['image']} is no name of an image")


def _has_login(url: str) -> bool:
    """Whether it has what proves who somebody is; a user's name alone may be a token, but for ssh."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.password is not None or (parts.scheme in ("http", "https") and parts.username is not None)


def _check_state(options: dict[str, Any]) -> None:
    """WrongProjectError where what jobs keep couldn't be kept there."""
    state, backups = options["state"], options["backups"]
    for name, place in (("state", state), ("backups", backups)):
        unknown = sorted(set(_BRACES.findall(place)) - {"{party}", "{federation}"})
        if unknown:
            raise WrongProjectError(f"-e awx_{name}=: {unknown[0]} stands for nothing: {{party}} and {{federation}} do")
        if place and not is_repository(place) and posixpath.normpath(place) != place.rstrip("/"):
            raise WrongProjectError(f"-e awx_{name}={place} goes up or in circles: give the folder's own path")
    wrong = trouble(state) if is_repository(state) else ""
    if wrong:
        raise WrongProjectError(f"-e awx_state={state} {wrong}")
    if backups and not is_repository(state):
        raise WrongProjectError(f"backups lie below the folder {state}: -e awx_backups= is for a repository")
    if backups and not posixpath.isabs(backups):
        raise WrongProjectError("-e awx_backups=FOLDER is an absolute path that each job mounts")


def _check_one_each(sides: list[Side], options: dict[str, Any]) -> None:
    """WrongProjectError where jobs of one party would have what is another's."""
    kind, way = (
        ("repository", "-e awx_state=git@git.example:demo-{party}.git")
        if is_repository(options["state"])
        else ("folder", "-e awx_state=/var/lib/fedlearn-{party}")
    )
    for place, what, told in (
        (options["state"], kind, way),
        (options["backups"], "folder", "-e awx_backups=/var/backups/{party}"),
    ):
        if len(sides) > 1 and place and "{party}" not in place:
            raise WrongProjectError(
                f"{', '.join(each.party for each in sides)} would see each other's keys and data in one {what}: say "
                f"{{party}} in it, as {told}, and give jobs of each its own alone"
            )


def _sides(document: str, project: str) -> Iterator[Side]:
    """Each party that deploys from the project: by the document where it is alone, else by its viewpoint."""
    federation = loading.load(document)
    parties = _deploying(federation)
    if federation.viewpoint is not None or len(parties) == 1:
        yield Side(federation.viewpoint or parties[0], federation, _source(document, project))
        return
    for party in parties:
        viewpoint = str(Path(document).parent / "parties" / party / "federation.yml")
        if not os.path.lexists(viewpoint):
            raise WrongProjectError(
                f"{viewpoint} isn't there: of several parties each deploys its own side, by a viewpoint there "
                f"(document: ../../{Path(document).name}, party: {party}); or give -i the viewpoint of one of them"
            )
        seen = loading.load(viewpoint)
        if seen.viewpoint != party or seen.digest != federation.digest:
            raise WrongProjectError(f"{viewpoint} is no viewpoint of party '{party}' on {document}")
        yield Side(party, seen, _source(viewpoint, project))


def _deploying(federation: Federation) -> list[str]:
    """The parties with a host or a cluster of ours."""
    clusters = {cluster.party for cluster in federation.own_clusters()}
    return [name for name, party in federation.parties.items() if party.hosts or name in clusters]


def _source(document: str, project: str) -> str:
    """The document's path in the project."""
    path = os.path.relpath(os.path.realpath(document), os.path.realpath(project))
    if path.startswith(os.pardir):
        raise WrongProjectError(f"{document} is outside of the project {project}: give -e awx_project= its root")
    return path


def _files(sides: list[Side], made: list[Object]) -> dict[str, str]:
    verbs = {verb.name: verb for side in sides for verb in verbs_of(side.federation)}
    return {
        "objects.yml": forms.configuration(made),
        "requests.json": forms.requests(made),
        "apply.yml": forms.apply(made),
        **{f"{name}.yml": forms.playbook(verb) for name, verb in verbs.items()},
    }


def _ours(folder: Path) -> Iterator[str]:
    """The playbooks that were written here before."""
    for path in sorted(folder.glob("*.yml")):
        if path.is_file() and forms.WRITTEN in path.read_text(encoding="utf-8"):
            yield path.name


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _write(folder: Path, files: dict[str, str]) -> None:
    """Write each, or remove it where nothing is left of it."""
    if files:
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        if text:
            (folder / name).write_text(text, encoding="utf-8")
        else:
            (folder / name).unlink()
