#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: artifact
short_description: Software in versioned folders, complete or absent
description:
  - Brings programs into C(/opt/fedlearn/PROGRAM/VERSION/). A version is built in a folder beside it and renamed into
    place,
    so that it is complete or absent; a manifest inside says what made it.
  - A version's name ends in twelve digits of the digest of what made it (requirements, files, archive, Python), so a
    change
    of any of these is another version. The former versions stay for rollback.
  - One execution on the host for all artifacts when nothing is to be done.
  - A version that was changed by hand (names, sizes, modes or modification times of its files) is built anew.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  artifacts:
    description: The artifacts of this host. Same program and content count once.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the artifact in the result; the program by default.
        type: str
      program:
        description: The folder below O(root).
        type: str
        required: true
      version:
        description: What the version's name begins with, such as the program's own version.
        type: str
        default: ''
      state:
        description:
          - With V(absent), all versions of the program are removed that no service names, in a unit or in its
            configuration.
        type: str
        choices: [present, absent]
        default: present
      source:
        description:
          - V(index), a Python environment with hash-locked requirements.
          - V(archive), an archive of the control node or of a URL, with its sum.
          - V(files), files and folders of the control node.
          - V(go), a Go program, built on the control node when a host lacks it first, and kept there.
          - V(cargo), a program of a crate, built there likewise.
          - V(debian), all programs of a crate, built there likewise by the Rust of an older Debian, in a root of it
            that is made for that (by mmdebstrap, so by root), and packed by a C(pack.py) of the crate's folder.
          - V(preinstalled), a folder that is there already; its fingerprint is recorded and a later difference
            reported.
        type: str
        choices: [index, archive, files, go, cargo, debian, preinstalled]
        default: index
      requirements:
        description: File on the control node, every requirement in it pinned and with its hashes (for V(index)).
        type: path
      python:
        description: The Python an environment is made with (for V(index)).
        type: path
        default: /usr/bin/python3
      python_artifact:
        description: Name of another artifact of the list, an archive that holds the Python at O(artifacts[].python),
          a relative path then.
        type: str
      index_url:
        description: Package index; the host's own pip configuration decides otherwise.
        type: str
      wheels:
        description: Folder of wheels on the control node, used instead of an index.
        type: path
      exclude:
        description: Patterns below site-packages that are removed after installation.
        type: list
        elements: str
        default: []
      check:
        description: Python that must run without an exception in a new environment before it counts as complete.
        type: str
      archive:
        description: Archive (tar or zip), a file of the control node or an https URL (for V(archive)).
        type: str
      sha256:
        description: Sum of the archive, or of the single file of V(files).
        type: str
      files:
        description: Relative path to file or folder of the control node (for V(files)).
        type: dict
      package:
        description: Package of a Go module that is a program (for V(go)), at exactly O(artifacts[].version); or the
          crate that has the program, at the version of the lock (for V(cargo) and V(debian)).
        type: str
      module:
        description: The Go module of O(artifacts[].package). Then it is built in a copy of this, which Go does not
          refuse where the module replaces others (for V(go)).
        type: str
        default: ''
      add:
        description: Files that are added to the copy of O(artifacts[].module), with their content (for V(go)).
        type: dict
        default: {}
      ldflags:
        description: What Go's linker is told (for V(go)).
        type: str
        default: ''
      toolchain:
        description: Which Go builds it (for V(go)); V(local) is that of the control node, V(go1.26.8) one that it
          fetches. Another one makes another version.
        type: str
        default: local
      go:
        description: Go's program on the control node (for V(go)).
        type: path
        default: go
      cache:
        description: Folder of the control node in which built programs are kept (for V(go), V(cargo) and
          V(debian)).
        type: path
      crate:
        description: Folder of the control node with a Cargo.toml that depends on O(artifacts[].package), and its
          Cargo.lock, whose versions and sums are taken (for V(cargo)); for V(debian) also C(pack.py), which is called
          there with the folder of the programs and the archive to make, and C(rustc), where the compiler needs
          something in front of it.
        type: path
      binary:
        description: Which program of the crate (for V(cargo)).
        type: str
      cargo:
        description: Cargo's program on the control node (for V(cargo); for V(debian) it brings the crates).
        type: path
        default: cargo
      suite:
        description: Debian's word for the release that it is built in, such as V(bullseye) (for V(debian)).
        type: str
      root_packages:
        description: The release's packages that building and packing needs (for V(debian)).
        type: list
        elements: str
        default: []
      path:
        description: Folder on the host (for V(preinstalled)).
        type: path
      keep:
        description:
          - Versions kept, the present one included. One that a service names, in a unit or in its configuration, is
            never removed.
        type: int
        default: 2
  packages:
    description: Packages of the distribution the artifacts need, as V(NAME) or V(NAME=VERSION); missing ones are
      installed with M(fedlearn.infra.packages).
    type: list
    elements: str
    default: []
  lock_timeout:
    description:
      - Seconds to wait in all for others who install packages, where some are missing. By default what the host's
        variable C(fedlearn_apt_wait_seconds) says, else V(120).
    type: int
  root:
    description: Folder that holds the programs.
    type: path
    default: /opt/fedlearn
  sources_only:
    description: Only look whether the control node has all files, with the sums that are told; no execution on the
      host.
    type: bool
    default: false
  texts:
    description: With O(sources_only), of files in archives that are on the control node, by how their path ends, a text
      that each has. Files that aren't there, and archives that have a URL, are not looked at.
    type: dict
    default: {}
  without_text:
    description: What is wrong with a file that has nothing of its text, and the way out.
    type: str
    default: it isn't the program that is meant
  also:
    description: Artifacts that an earlier task returned. They are returned beside this one's, so that several tasks may
      register their results under one name, and none of them is removed, though no unit may name them yet.
    type: dict
    default: {}
  payload:
    description: Set by the action plugin. Not for tasks.
    type: str
  uploads:
    description: Set by the action plugin. Not for tasks.
    type: dict
    default: {}
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Reports what would be built; the paths returned are the ones a run would give.
  diff_mode:
    support: full
    details: Names versions that would come and go.
  idempotent:
    support: full
    details: A second run builds and touches nothing.
notes:
  - Needs root. An action plugin of the same name reads the control node's files.
"""

EXAMPLES = r"""
- name: Bring the runtime and the launcher
  fedlearn.infra.artifact:
    packages: [python3.9, python3.9-venv]
    artifacts:
      - program: mindspore-light
        version: 0.1.0
        python: /usr/bin/python3.9
        requirements: requirements-light.txt
      - program: mindspore-launcher
        source: files
        files: {fedlearn_mindspore: "{{ role_path }}/files/fedlearn_mindspore"}
  register: artifacts

- name: Show where it lies
  ansible.builtin.debug:
    msg: "{{ artifacts.artifacts['mindspore-light'].path }}"
"""

RETURN = r"""
artifacts:
  description: What became of each artifact, by name.
  returned: always
  type: dict
  contains:
    path: {description: Its folder., type: str}
    version: {description: Name of the version., type: str}
    digest: {description: Digest of what made it., type: str}
    changed: {description: Whether it was or would be built., type: bool}
    library_path: {description: "Value for LD_LIBRARY_PATH where its Python needs one, else empty.", type: str}
    drift: {description: Whether a preinstalled folder differs from what was recorded., type: bool}
removed:
  description: Former versions that were or would be removed.
  returned: always
  type: list
  elements: str
"""

import base64
import json
import os
import tempfile
import zlib

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._artifact import builders
from ansible_collections.fedlearn.infra.plugins.module_utils._artifact.store import ArtifactError, Store, fingerprint
from ansible_collections.fedlearn.infra.plugins.module_utils._packages import missing as missing_packages


class Converger:
    """Brings the wanted artifacts, or only says what is missing."""

    def __init__(self, store: Store, wanted: list, uploads: dict, check: bool) -> None:
        self._store = store
        self._wanted = wanted
        self._uploads = uploads
        self._check = check
        self.answer: dict = {}
        self.removed: list = []

    def run(self) -> list:
        """Builds what is missing; returns the keys of uploads that are needed first, and changes nothing then."""
        missing = [item for item in self._wanted if item["source"] != "preinstalled" and not self._complete(item)]
        needed = [key for item in missing for key in item["uploads"] if key not in self._uploads]
        if needed and not self._check:
            return needed
        with tempfile.TemporaryDirectory() as scratch:
            archives = {} if self._check else self._archives(missing, scratch)
            for item in self._wanted:
                self._one(item, item in missing, archives)
        self._prune([item for item in self._wanted if item in missing])
        return []

    def _complete(self, item: dict) -> bool:
        return self._store.complete(item["program"], item["version"], item["digest"])

    def _archives(self, missing: list, scratch: str) -> dict:
        """All archives are there and have the right sum before the first version is built."""
        found = {}
        for item in missing:
            if item["source"] != "archive":
                continue
            if "://" in item["archive"]:
                found[item["digest"]] = os.path.join(scratch, item["digest"])
                builders.download(item["archive"], found[item["digest"]], item["sha256"])
            else:
                found[item["digest"]] = self._uploads[item["sha256"]]
                builders.check_sum(found[item["digest"]], item["sha256"], item["archive"])
        return found

    def _one(self, item: dict, missing: bool, archives: dict) -> None:
        if item["source"] == "preinstalled":
            self._preinstalled(item)
            return
        path = self._store.path(item["program"], item["version"])
        if missing and not self._check:
            self._build(item, archives)
        self.answer[item["name"]] = {
            "path": path,
            "version": item["version"],
            "digest": item["digest"],
            "changed": missing,
            "drift": False,
            "library_path": builders.library_path(os.path.join(path, "bin", "python")),
        }

    def _build(self, item: dict, archives: dict) -> None:
        python = self._python(item) if item["source"] == "index" else ""
        about = {"source": item["source"], **({"python": os.path.realpath(python)} if python else {})}
        with self._store.building(item["program"], item["version"], item["digest"], about) as folder:
            if item["source"] == "index":
                builders.build_environment(item, folder, python, self._wheels(item))
            elif item["source"] in ("go", "cargo"):
                builders.build_program(self._uploads[item["digest"]], os.path.join(folder, item["file"]))
            elif item["source"] == "debian":
                builders.build_archive(self._uploads[item["digest"]], folder, item["file"])
            elif item["source"] == "archive":
                builders.build_archive(archives[item["digest"]], folder, item["archive"])
            else:
                builders.build_files(item, folder, self._uploads)

    def _python(self, item: dict) -> str:
        python = item["python"]
        if item.get("python_artifact"):
            python = os.path.join(self.answer[item["python_artifact"]]["path"], python)
        if not os.access(python, os.X_OK):
            raise ArtifactError(
                f"{item['program']}: there is no {python} on this host: name another Python, or bring one in an archive"
            )
        return python

    def _wheels(self, item: dict) -> str:
        folder = ""
        for name, key in item.get("wheels", {}).items():
            folder = os.path.join(os.path.dirname(self._uploads[key]), "wheels-" + item["digest"][:12])
            os.makedirs(folder, exist_ok=True)
            os.replace(self._uploads[key], os.path.join(folder, name))
        return folder

    def _preinstalled(self, item: dict) -> None:
        if not os.path.isdir(item["path"]):
            raise ArtifactError(f"{item['program']}: {item['path']} isn't there, and `preinstalled` brings nothing")
        record = self._store.record(item["program"], item["digest"])
        now, known = fingerprint(item["path"]), ""
        if os.path.exists(record):
            with open(record, encoding="utf-8") as file:
                known = json.load(file)["fingerprint"]
        elif not self._check:
            os.makedirs(os.path.dirname(record), exist_ok=True)
            with open(record, "w", encoding="utf-8") as file:
                json.dump({"path": item["path"], "fingerprint": now}, file)
        self.answer[item["name"]] = {
            "path": item["path"],
            "version": item["version"],
            "digest": now,
            "changed": not known,
            "drift": bool(known) and known != now,
            "library_path": builders.library_path(os.path.join(item["path"], "bin", "python")),
        }

    def _prune(self, built: list) -> None:
        """After something new came; a run without changes removes nothing."""
        if self._check:
            return
        for program in sorted({item["program"] for item in built}):
            mine = [item for item in self._wanted if item["program"] == program]
            needed = {item["version"] for item in mine}
            self.removed += self._store.prune(program, needed, max(item["keep"] for item in mine))


def remove(store: Store, programs: list, check: bool) -> list:
    """Removes the versions that no service names."""
    gone = []
    for program in programs:
        gone += store.unused(program) if check else store.prune(program, set(), 0)
    return gone


def main() -> None:
    # What a task may say is checked by the action plugin; here comes what it made of it.
    module = AnsibleModule(
        argument_spec={
            "payload": {"type": "str"},
            "uploads": {"type": "dict", "default": {}},
            "packages": {"type": "list", "elements": "str", "default": []},
            "root": {"type": "path", "default": "/opt/fedlearn"},
        },
        supports_check_mode=True,
    )
    if not module.params["payload"]:
        module.fail_json(msg="this module runs through its action plugin only")
    given = json.loads(zlib.decompress(base64.b64decode(module.params["payload"])))
    lacking = missing_packages(module, module.params["packages"])
    if lacking and not module.check_mode:
        module.exit_json(changed=False, missing_packages=lacking)
    store = Store(module.params["root"], spared=given["spared"])
    converger = Converger(store, given["artifacts"], module.params["uploads"], module.check_mode)
    try:
        if module.check_mode:
            converger.run()
            gone = remove(store, given["absent"], True)
        else:
            with store.locked():
                needed = converger.run()
                if needed:
                    module.exit_json(changed=False, needed=needed)
                gone = remove(store, given["absent"], False)
    except (ArtifactError, OSError) as error:
        module.fail_json(msg=str(error))
    removed = converger.removed + gone
    built = sorted(one["path"] for one in converger.answer.values() if one["changed"])
    module.exit_json(
        changed=bool(built or removed or lacking),
        artifacts=converger.answer,
        removed=removed,
        diff={"before": "".join(f"{path}\n" for path in removed), "after": "".join(f"{path}\n" for path in built)},
    )


if __name__ == "__main__":
    main()
