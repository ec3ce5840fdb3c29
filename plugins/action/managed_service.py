# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders what a role's templates say of its services, and has the host converge them in one execution."""

from __future__ import annotations

import base64
import getpass
import hashlib
import json
import os
import signal
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from jinja2.exceptions import TemplateError

from ansible_collections.fedlearn.infra.plugins.module_utils._service.redact import MASK
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.role_settings import WrongSettingsError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._service import description
from ansible_collections.fedlearn.infra.plugins.plugin_utils._service.description import DescriptionError

MODULE = "fedlearn.infra.managed_service"
_SHORTEST_SECRET = 8  # characters; shorter ones are found everywhere by chance
INLINE_BYTES = 256 * 1024  # larger files travel only when the host's digest differs
_OPTIONS = ("instances", "service", "restart", "plan", "remove_data", "transient", "lock_timeout")
_TEST_HOOK = "FEDLEARN_TEST_KILL"  # a step's name: that step ends ansible-playbook by SIGKILL


class ActionModule(ActionBase):
    _supports_check_mode = True
    _requires_connection = True
    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = self._arguments()
        instances = args.pop("instances")
        if not instances:
            return {**result, "changed": False, "services": {}, "deferred": [], "kept": [], "unwell": []}
        try:
            renderer = _Renderer(self, task_vars or {}, args["service"])
            services = [renderer.service(instance) for instance in instances]
            _refuse_same_names(services)
            _refuse_leaks(services)
        except DescriptionError as error:
            raise AnsibleActionFail(str(error)) from None
        _point("rendered")
        sent = {"services": services, "uploads": {}, "who": self._who()}
        names = [{"name": service["name"], "state": service["state"]} for service in services]
        answer = self._converge({**args, "instances": names}, sent, task_vars)
        if "needed" in answer:
            sent["uploads"] = {digest: self._upload(renderer.sources[digest], digest) for digest in answer["needed"]}
            answer = self._converge({**args, "instances": names}, sent, task_vars)
        _point("converged")
        answer.pop("invocation", None)
        if answer.get("failed") and "services" in answer:
            host = (task_vars or {}).get("inventory_hostname", "")
            lines = [line if line.startswith(" ") else f"{host}: {line}" for line in str(answer["msg"]).splitlines()]
            answer["msg"] = "\n".join(lines)
        result.update(answer)
        return result

    def _arguments(self) -> dict[str, Any]:
        unknown = sorted(set(self._task.args) - set(_OPTIONS))
        if unknown:
            raise AnsibleActionFail(
                f"managed_service has no option {', '.join(unknown)}; there are {', '.join(_OPTIONS)}"
            )
        args = dict(self._task.args)
        if not isinstance(args.get("service"), str):
            raise AnsibleActionFail("managed_service needs `service`, the role's template that describes one service")
        if not isinstance(args.get("instances"), list):
            raise AnsibleActionFail("managed_service needs `instances`, a list")
        return args

    def _who(self) -> str:
        return f"started by {getpass.getuser()} on {socket.gethostname()} for {self._task.get_name()}"[:200]

    def _converge(self, args: dict[str, Any], sent: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        payload = base64.b64encode(zlib.compress(json.dumps(sent).encode(), 6)).decode()
        answer: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args={**args, "payload": payload}, task_vars=task_vars
        )
        return answer

    def _upload(self, source: str, digest: str) -> str:
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        remote = self._connection._shell.join_path(self._connection._shell.tmpdir, digest)
        self._transfer_file(source, remote)
        return str(remote)

    # What a _Renderer needs of an action.

    def template_source(self, name: str) -> tuple[str, str]:
        """Path and text of a template of the role."""
        try:
            found = self._find_needle("templates", name)
        except AnsibleError:
            raise DescriptionError(f"there is no template '{name}' in this role") from None
        text: str = self._loader.get_text_file_contents(found)
        return found, text

    def file_source(self, name: str) -> str:
        """Path of a file on the control node."""
        try:
            return str(self._find_needle("files", name))
        except AnsibleError:
            raise DescriptionError(f"there is no file '{name}' on the control node") from None

    def render(self, text: str, found: str, variables: dict[str, Any], search: list[str]) -> Any:
        """Renders the text of a role's template. Only that text is trusted: variables' strings stay data."""
        folders = [str(Path(found).parent), *(str(Path(folder, "templates")) for folder in search), *search]
        templar = self._templar.copy_with_new_env(searchpath=folders, available_variables=variables)
        return templar.template(
            trust_as_template(text), escape_backslashes=False, overrides={"trim_blocks": True, "lstrip_blocks": False}
        )


class _Renderer:
    """Renders the descriptions and files of one role's services."""

    def __init__(self, action: ActionModule, task_vars: dict[str, Any], template: str) -> None:
        self._action, self._variables, self._template = action, task_vars, template
        self._search = list(task_vars.get("ansible_search_path", []))
        self._sources: dict[str, tuple[str, str]] = {}
        self.sources: dict[str, str] = {}  # digest -> path on the control node, of files too large to send unasked
        self._role = str(task_vars.get("role_name") or "managed_service")
        self._default = str(task_vars.get("fedlearn_federation") or "default")

    def service(self, instance: Any) -> dict[str, Any]:
        """One service, complete, as the module takes it."""
        name, federation = description.instance_name(instance, self._default)
        instance = {**instance, "name": name, "federation": federation}
        if instance.get("state") == "absent":
            service = description.absent()
        else:
            found, source = self._source(self._template)
            description.check_interpolations(source, self._template)
            text = self._text(self._template, {"instance": instance})
            service = description.describe(description.load(text, self._template), f"{name}: {Path(found).name}")
            if service["state"] == "absent":
                raise DescriptionError(f"{name}: say `state: absent` of the instance, not in {self._template}")
        service.update(name=name, federation=federation)
        variables = {"instance": instance, "service": service}
        texts = [(unit, self._text(unit["template"], variables)) for unit in service["units"]]
        files = [self._file(file, variables) for file in service["files"]]
        for unit, text in texts:
            _refuse_smuggled_lines(text, instance, f"{name}: {unit.pop('template')}")
            unit.update(content=text, install="\n[Install]" in "\n" + text)
        service["files"] = files
        return service

    def _source(self, name: str) -> tuple[str, str]:
        if name not in self._sources:
            self._sources[name] = self._action.template_source(name)
        return self._sources[name]

    def _text(self, name: str, extra: dict[str, Any]) -> str:
        found, source = self._source(name)
        try:
            text = self._action.render(source, found, {**self._variables, **extra}, self._search)
        except (AnsibleError, TemplateError) as error:
            wrong = _wrong_settings(error)
            if wrong is not None:
                who = f"{self._role}/{extra['instance']['name']}"
                raise DescriptionError("\n".join(f"{who}: {line}" for line in str(wrong).splitlines())) from None
            told = _without_values(error, extra["instance"], source)
            raise DescriptionError(f"{extra['instance']['name']}: {name}: {told}") from None
        if isinstance(text, (dict, list)) or text is None:
            raise DescriptionError(
                f"{extra['instance']['name']}: {name}: renders to {type(text).__name__} and not to text"
            )
        return str(text)

    def _file(self, file: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Content or digest of one file, its mode as a number."""
        sent = {
            key: file[key] for key in ("path", "owner", "group", "secret", "validate", "change", "restore", "keeps")
        }
        if file["source"] is not None:
            content = self._read(self._action.file_source(file["source"]), sent)
        else:
            content = (
                file["content"] if file["content"] is not None else self._text(file["template"], variables)
            ).encode()
        sent["mode"] = int(file["mode"], 8)
        if content is not None:
            sent.update(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
            try:
                sent["content"] = content.decode()
            except UnicodeDecodeError:
                sent["binary"] = base64.b64encode(content).decode()
        return sent

    def _read(self, source: str, sent: dict[str, Any]) -> bytes | None:
        """The content of a small file; of a large one only the digest, into `sent`."""
        with Path(source).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size <= INLINE_BYTES:
                return stream.read()
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        sent.update(sha256=digest, size=size, content=None)
        self.sources[digest] = source
        return None


def _wrong_settings(error: BaseException) -> WrongSettingsError | None:
    """What the filter `settings` said, if that is what the template failed on."""
    return next((cause for cause in (error, *_causes(error)) if isinstance(cause, WrongSettingsError)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What led to an error, as Python shows it: `raise ... from None` says that it was told in words of one's own."""
    cause = error.__cause__ if error.__suppress_context__ else error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ if cause.__suppress_context__ else cause.__context__


def _without_values(error: BaseException, instance: dict[str, Any], source: str) -> str:
    """A template's error: what Ansible's own plugins say, but not what Python says of a value, which may be a secret.

    Nor the instance's own strings, as where one of them was taken for a key: the template's words say enough.
    """
    text = str(error)
    for cause in _causes(error):
        if not isinstance(cause, (AnsibleError, TemplateError)) and str(cause):
            text = text.replace(str(cause), type(cause).__name__)
    values = {one for one in _strings([*instance.values()]) if len(one) >= _SHORTEST_SECRET and one not in source}
    for value in sorted(values - {instance["name"], instance["federation"]}, key=len, reverse=True):
        text = text.replace(value, MASK)
    return text


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return _strings([*value.keys(), *value.values()])
    return [text for one in value for text in _strings(one)] if isinstance(value, list) else []


def _refuse_smuggled_lines(text: str, instance: dict[str, Any], where: str) -> None:
    """An instance's string that brings lines of its own into a unit could bring ExecStartPre= too."""
    for one in _strings(instance):
        if len(one.splitlines()) > 1 and one.strip() and one.strip() in text:
            raise DescriptionError(f"{where}: a value of the instance would bring lines of its own into the unit")


def _refuse_same_names(services: list[dict[str, Any]]) -> None:
    names = [service["name"] for service in services]
    for name in names:
        if names.count(name) > 1:
            raise DescriptionError(f"instances: '{name}' stands there twice")


def _refuse_leaks(services: list[dict[str, Any]]) -> None:
    """A one-line secret that also stands in a unit, a command or a file for all to read is a mistake of the role."""
    for service in services:
        for path, secret in _texts(service["files"], secret=True):
            if len(secret) < _SHORTEST_SECRET or "\n" in secret:
                continue
            shown = [(unit["name"], unit["content"]) for unit in service["units"]]
            shown += _texts(service["files"], secret=False)
            shown.append(
                ("its description", json.dumps([service[key] for key in ("validate", "health", "watch", "data")]))
            )
            for where, text in shown:
                if secret in text:
                    raise DescriptionError(f"{service['name']}: the secret of {path} would also stand in {where}")


def _texts(files: list[dict[str, Any]], secret: bool) -> list[tuple[str, str]]:
    return [(file["path"], str(file.get("content") or "").strip()) for file in files if file["secret"] is secret]


def _point(step: str) -> None:
    """A named step at which tests kill the controller: only where whoever runs it asked for it by environment."""
    if os.environ.get(_TEST_HOOK) == step:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
