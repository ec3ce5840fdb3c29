# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the images that instances ask for, and records their digests; all of it on the control node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.neursafe.placements import (
    CLIENT,
    COMPONENTS,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._images import building
from ansible_collections.fedlearn.infra.plugins.plugin_utils._images.record import Record, RecordError, parse
from ansible_collections.fedlearn.infra.plugins.plugin_utils._images.registry import Login, Registry, RegistryError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.keeping import keep

WORDS = (*COMPONENTS, CLIENT)
_TROUBLE = (building.BuildError, RecordError, RegistryError, files.FileTroubleError, AnsibleError)


@dataclass(frozen=True, slots=True)
class _Images:
    """Those of one instance."""

    name: str
    asked: building.Order
    path: str
    registry: Registry
    login: Login | None

    def recorded(self) -> Record | None:
        """What was built last; None where nothing was."""
        found = files.read(self.path)
        return parse(found.content.decode(errors="replace"), self.path) if found else None

    def legible(self) -> Record | None:
        """The same; None too where the file says nothing, since it is written anew then."""
        try:
            return self.recorded()
        except RecordError:
            return None

    def tagged(self) -> dict[str, str | None]:
        """What the registry has for the tag, by component."""
        return {word: self.registry.digest(f"{building.PREFIX}{word}", self.asked.tag) for word in self.asked.words}

    def stands(self, record: Record | None, made_of: str) -> bool:
        """Whether that is what would be built, and the registry has all of it still."""
        if record is None or record.made_of != made_of:
            return False
        digests = {word: record.digests.get(word, "") for word in self.asked.words}
        return all(digests.values()) and all(
            self.registry.digest(f"{building.PREFIX}{word}", digest) == digest for word, digest in digests.items()
        )

    def moved(self, record: Record) -> list[str]:
        """What the registry's tags stand for, where that isn't what was recorded."""
        told = []
        for word, digest in self.tagged().items():
            recorded = record.digests.get(word, "nothing")
            if digest != recorded:
                there = digest or "nothing"
                told.append(f"{self.asked.reference(word)} is {there} in the registry, and {recorded} was recorded")
        return told


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.images)."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What was built; of a plan what differs from what was recorded."""
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "instances": {"type": "list", "elements": "dict", "required": True},
                "logs": {"type": "path", "default": "build"},
                "plan": {"type": "bool", "default": False},
            }
        )
        asking = [one for one in arguments["instances"] if one["state"] == "present" and "build" in one["images"]]
        try:
            if arguments["plan"]:
                return self._plan(asking, task_vars or {})
            return self._ensure(asking, arguments["logs"], task_vars or {})
        except _TROUBLE as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        except OSError as error:
            return {"failed": True, "changed": False, "msg": f"{error.filename or 'a file'}: {error.strerror}"}

    def _images(self, one: Mapping[str, Any], variables: dict[str, Any]) -> _Images:
        images = one["images"]
        told = images["build"].get("login") or images.get("pull")
        login = Login(told["username"], self._password(told["secret"], variables)) if told else None
        registry = Registry(images["registry"], login, images.get("ca", ""))
        return _Images(one["name"], building.order(images, WORDS), images["record"], registry, login)

    def _password(self, name: str, variables: dict[str, Any]) -> str:
        lookup = lookup_loader.get("fedlearn.infra.secret", loader=self._loader, templar=self._templar)
        return str(lookup.run([name], variables=variables)[0])

    # -- building

    def _ensure(self, asking: list[Any], logs: str, variables: dict[str, Any]) -> dict[str, Any]:
        built, digests, warnings = [], {}, []
        for one in asking:
            images = self._images(one, variables)
            record, made_of = images.legible(), building.made_of(images.asked)
            if images.stands(record, made_of) and record is not None:
                digests[images.name] = dict(record.digests)
                warnings += images.moved(record)
                continue
            building.look(images.asked)
            images.tagged()  # a registry that doesn't let us in is known before the hour that a build takes
            built.append(images.name)
            if not self._task.check_mode:
                digests[images.name] = dict(_build(images, made_of, Path(logs)).digests)
        return {"changed": bool(built), "built": built, "digests": digests, "warnings": warnings}

    # -- what differs

    def _lacking(self, one: Mapping[str, Any], record: Record, variables: dict[str, Any]) -> list[str]:
        """What the registry hasn't for who pulls, by the digests that manifests have."""
        images = one["images"]
        if "pull" not in images:
            return []
        login = Login(images["pull"]["username"], self._password(images["pull"]["secret"], variables))
        registry = Registry(images["registry"], login, images.get("ca", ""))
        return [
            f"{building.PREFIX}{word}@{digest}"
            for word, digest in record.digests.items()
            if registry.digest(f"{building.PREFIX}{word}", digest) != digest
        ]

    def _plan(self, asking: list[Any], variables: dict[str, Any]) -> dict[str, Any]:
        differing: dict[str, list[str]] = {}
        ill: dict[str, str] = {}
        for one in asking:
            try:
                images = self._images(one, variables)
                record = images.recorded()
                told = images.moved(record) if record else [f"there is no {images.path}: run fedlearn.infra.images"]
                differing |= {images.name: told} if told else {}
                lacking = self._lacking(one, record, variables) if record else []
                ill |= {images.name: f"nodes would get no {', '.join(lacking)}"} if lacking else {}
            except (RecordError, RegistryError) as error:
                ill[one["name"]] = str(error)
        return {"changed": False, "differing": differing, "ill": ill}


def _build(images: _Images, made_of: str, logs: Path) -> Record:
    """Build them, and write down what the registry has then."""
    building.build(images.asked, images.login, logs / f"{images.name}.log")
    tagged = images.tagged()
    lacking = [images.asked.reference(word) for word, digest in tagged.items() if digest is None]
    if lacking:
        raise building.BuildError(
            f"{images.asked.command[0]} ended well, and the registry has no {', '.join(lacking)}: it is to push them "
            "itself, or say `push: true`"
        )
    digests = {word: digest for word, digest in tagged.items() if digest}
    record = Record(images.asked.registry, images.asked.tag, made_of, digests)
    keep(images.path, f"images of {images.name}", lambda: _write(images.path, record.text()))
    return record


def _write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    files.write(path, text.encode(), 0o644)
