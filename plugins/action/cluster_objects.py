# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converges what a role's instances are in a cluster; all of it on the control node, which the API is asked from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster import kubeconfig, rendered
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.api import Api, ApiError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.converge import (
    Cluster,
    Found,
    Key,
    RefusedError,
    Scope,
    words,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.readiness import Readiness
from ansible_collections.fedlearn.infra.plugins.plugin_utils._images.record import RecordError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.catalogue import MANIFESTS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.parts import (
    UNSEEN,
    NoCertificatesError,
    Secrets,
)

Wanted = Mapping[str, list[dict[str, Any]]]

_TROUBLE = (kubeconfig.KubeconfigError, ApiError, RefusedError, RecordError, NoCertificatesError, AnsibleError)


class _Secrets:
    """What the lookup gave for each name."""

    def __init__(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        self.found = found

    def __call__(self, name: str) -> str:
        return str(self.found[name]["valid"][self.turn(name)])

    def turn(self, name: str) -> str:
        return str(self.found[name]["newest"])


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.cluster_objects)."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What was changed, and what isn't well."""
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "role": {"type": "str", "required": True, "choices": sorted(MANIFESTS)},
                "instances": {"type": "list", "elements": "dict", "required": True},
                "federation": {"type": "str", "required": True},
                "party": {"type": "str", "required": True},
                "kubeconfig": {"type": "path", "required": True},
                "plan": {"type": "bool", "default": False},
                "wait": {"type": "bool", "default": True},
                "prune": {"type": "bool", "default": False},
                "remove_data": {"type": "bool", "default": False},
                "render": {"type": "path"},
                "timeout": {"type": "int", "default": 300},
            }
        )
        try:
            wanted = self._wanted(arguments, task_vars or {})
            if arguments["render"]:
                return self._render(arguments, wanted)
            return self._converge(arguments, wanted)
        except _TROUBLE as error:
            return {"failed": True, "changed": False, "msg": str(error)}

    # -- what is wanted

    def _wanted(self, arguments: Mapping[str, Any], variables: dict[str, Any]) -> Wanted:
        """Each present instance's objects."""
        manifests = MANIFESTS[arguments["role"]]
        present = [one for one in arguments["instances"] if one["state"] == "present"]
        names = list(dict.fromkeys(name for one in present for name in manifests.secrets(one)))
        secrets: Secrets = UNSEEN
        if not arguments["render"]:
            lookup = lookup_loader.get("fedlearn.infra.secret", loader=self._loader, templar=self._templar)
            secrets = _Secrets(dict(zip(names, lookup.run(names, variables=variables, turns=True), strict=True)))
        # a CA's certificate may come to be in the very run: what only looks finds a difference then, and what is only
        # written is without it
        only_looks = arguments["plan"] or self._task.check_mode or arguments["render"]
        texts = {path: _text(path, missing=bool(only_looks)) for one in present for path in manifests.files(one)}
        return {one["name"]: manifests.objects(one, secrets, texts.__getitem__) for one in present}

    # -- files

    def _render(self, arguments: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
        scope = Scope(arguments["federation"], arguments["party"], arguments["role"])
        owned = {name: [scope.owned(name, one) for one in objects] for name, objects in wanted.items()}
        owned |= {one["name"]: [] for one in arguments["instances"] if one["state"] == "absent"}
        folder = Path(arguments["render"])
        orphans = rendered.orphans(folder, scope.labels, owned)
        owned |= {name: [] for name in orphans if arguments["prune"]}
        files = rendered.write(folder, owned, check=self._task.check_mode)
        return {"changed": bool(files), "rendered": files, "differing": {}, "ill": {}, "orphans": orphans}

    # -- the cluster

    def _converge(self, arguments: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
        api = Api(kubeconfig.read(arguments["kubeconfig"]))
        try:
            manifests = MANIFESTS[arguments["role"]]
            scope = Scope(arguments["federation"], arguments["party"], arguments["role"], manifests.ALONE)
            cluster = Cluster(api, scope)
            absent = [one["name"] for one in arguments["instances"] if one["state"] == "absent"]
            made = [manifests.made(one) for one in arguments["instances"] if one["state"] == "present"]
            found = cluster.look(wanted, absent, prune=arguments["prune"], made=made)
            if not arguments["remove_data"]:
                cluster.check_losses(_going(arguments, found), f"{arguments['role']}_remove_data")
            changes = not (arguments["plan"] or self._task.check_mode)
            put_in = cluster.change(wanted, found, prune=arguments["prune"]) if changes else {}
            told = self._told(arguments, found) | _afterwards(arguments, Readiness(api), wanted, found, changes)
            back = cluster.back(wanted, found) if changes else {}
            return told | _warnings(put_in, back)
        finally:
            api.close()

    def _told(self, arguments: Mapping[str, Any], found: Found) -> dict[str, Any]:
        going = _going(arguments, found)
        lists = {"created": found.created, "updated": found.changed, "removed": going, "orphans": found.orphans}
        told: dict[str, Any] = {name: [words(key) for key in keys] for name, keys in lists.items()}
        changed = bool(found.created or found.changed or going)
        if self._task.diff and changed:
            marks = (("+", "created"), ("~", "updated"), ("-", "removed"))
            told["diff"] = [{"prepared": "".join(f"{mark} {name}\n" for mark, word in marks for name in told[word])}]
        return told | {"changed": changed and not arguments["plan"], "differing": _differing(found, arguments["role"])}


def _afterwards(
    arguments: Mapping[str, Any], readiness: Readiness, wanted: Wanted, found: Found, changes: bool
) -> dict[str, Any]:
    """What isn't ready, and what didn't go, in the time that they have; a plan waits for nothing."""
    if not changes:
        return {
            "ill": {} if found.created else _ill(readiness.unready(wanted)),
            "simulated": readiness.simulated(wanted),
        }
    left = readiness.wait_gone(_going(arguments, found), arguments["timeout"])
    unready = readiness.wait_ready(wanted, arguments["timeout"]) if arguments["wait"] else {}
    lines = [f"{words(key)} is still there" for key in left]
    lines += [f"{name}: {why}" for name, why in _ill(unready).items()]
    if lines:
        told = "\n".join(lines)
        return {"ill": _ill(unready), "failed": True, "msg": f"after {arguments['timeout']} s:\n{told}"}
    return {"ill": {}}


def _going(arguments: Mapping[str, Any], found: Found) -> list[Key]:
    """What is to go in this run."""
    return [*found.removed, *(found.orphans if arguments["prune"] else [])]


def _text(path: str, *, missing: bool) -> str:
    """What is in a file; nothing where it may be ``missing``."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        if missing:
            return ""
        raise AnsibleError(f"{path} isn't there") from None
    except (OSError, UnicodeError) as error:
        raise AnsibleError(f"{path} can't be read: {getattr(error, 'strerror', error)}") from None


def _differing(found: Found, role: str) -> dict[str, list[str]]:
    """What differs, by the instance where that is known."""
    told: dict[str, list[str]] = {}
    opens = "is of somebody else, and opens what ours close: remove it"
    kinds = (("is missing", found.created), ("differs", found.changed), ("is to go", found.removed))
    for word, keys in (*kinds, (opens, found.opening)):
        for key in keys:
            theirs = ", ".join(found.strange.get(key, ()))
            line = f"{words(key)} {word}{f': {theirs} is of somebody else' if theirs else ''}"
            told.setdefault(found.instances.get(key, key[1] or role), []).append(line)
    return told


def _warnings(put_in: Mapping[Key, list[str]], back: Mapping[Key, list[str]]) -> dict[str, list[str]]:
    """What isn't ours and will stay, or come again, until somebody has the cluster leave our namespaces alone."""
    lines = [
        f"{words(key)}: the cluster itself puts in {', '.join(each)}, and pods have it: a webhook does so. Where that "
        f"isn't wanted, exempt the namespace {key[1]} from it"
        for key, each in put_in.items()
    ]
    lines += [
        f"{words(key)}: {', '.join(each)} was taken away and is back at once: something in the cluster puts it there. "
        f"Exempt the namespace {key[1]} from it, or each run takes it away again"
        for key, each in back.items()
    ]
    return {"warnings": lines} if lines else {}


def _ill(unready: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {name: ", ".join(reasons.values()) for name, reasons in unready.items()}
