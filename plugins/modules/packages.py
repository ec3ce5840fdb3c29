#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Debian packages, installed without starting their daemons
description:
  - Installs what is missing. When nothing is, it costs one C(dpkg-query), and no package list is fetched.
  - Daemons of the packages are not started, so that they never run unconfigured. They are enabled as their package
    wants it.
  - An installation that was cut off, also by a power failure, is finished first.
  - An installation for which apt would remove other packages is refused, unless O(replaces) names them.
  - Links that a package laid to a default of its own can be withdrawn, as long as nobody touched them.
  - What packages do while they are installed can be told them by files that are there only then.
  - Numbers in packages' configuration files that are too small can be raised, and put back later; a comment above says
    from what to what. All else in these files stays.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  names:
    description: Packages, as V(NAME) or V(NAME=VERSION). A given version is installed also where a later one is.
    type: list
    elements: str
    required: true
  withdraw:
    description:
      - Links to take away, such as the site that nginx serves by default. Only a link that leads where its package
        laid it, to a configuration file as the package brought it, is taken away.
    type: list
    elements: dict
    default: []
    suboptions:
      link:
        description: Path of the link.
        type: str
        required: true
      target:
        description: Where the package let it lead, an absolute path.
        type: str
        required: true
      package:
        description: The package that brought the target.
        type: str
        required: true
  replaces:
    description: Packages that may go for these, where they can't be installed beside each other.
    type: list
    elements: str
    default: []
  during:
    description:
      - Configuration files that are there while packages are installed, and only then, such as the one that keeps
        PostgreSQL's from making a cluster. A file that is there already is put aside meanwhile.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it lies, an absolute path. What its lines begin comments with is C(#).
        type: str
        required: true
      content:
        description: What it says.
        type: str
        required: true
  minimums:
    description:
      - Numbers in configuration files that are to be at least so large. A larger one stays. Reloading what reads the
        file is up to the caller.
      - What was raised is put back by V(0) as the value, unless somebody has changed it since.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file, an absolute path.
        type: str
        required: true
      directive:
        description: What stands before the number, such as V(worker_connections).
        type: str
        required: true
      value:
        description: The least it may be; V(0) for nothing any more.
        type: int
        required: true
      needed_by:
        description: Files of who still needs the number, as a glob. While there is one, nothing is put back.
        type: path
  otherwise:
    description: What to do where a package isn't to be had; the message of a failure ends with it.
    type: list
    elements: dict
    default: []
    suboptions:
      package:
        description: As O(names) has it.
        type: str
        required: true
      text:
        description: What to do.
        type: str
        required: true
  lock_timeout:
    description:
      - Seconds to wait in all for others who install packages; then the module fails and names them. By default what
        the host's variable C(fedlearn_apt_wait_seconds) says, else V(120).
    type: int
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details:
      - Reports what would be installed, withdrawn and raised, and fails where packages would have to go, or aren't to
        be had. Where apt's lists don't have them, newer ones are fetched for the look alone. Where these can't be
        fetched, and there are none, nothing is known of it.
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Install nginx, and take its welcome page away
  fedlearn.infra.packages:
    names: [nginx]
    withdraw:
      - {link: /etc/nginx/sites-enabled/default, target: /etc/nginx/sites-available/default, package: nginx-common}
"""

RETURN = r"""
missing:
  description: Packages that were or would be installed.
  returned: always
  type: list
  elements: str
present:
  description: Packages that were asked for, and are or would be there.
  returned: success
  type: list
  elements: str
coming:
  description: In check mode all that would be installed, what the missing ones need among it.
  returned: success
  type: list
  elements: str
withdrawn:
  description: Links that were or would be taken away.
  returned: always
  type: list
  elements: str
raised:
  description: "Numbers that were or would be raised or put back, as V(PATH: DIRECTIVE OLD -> NEW)."
  returned: success
  type: list
  elements: str
"""

import glob
import hashlib
import os
import re
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._packages import (
    LOCKED,
    LOCKS,
    QUIET,
    foreseen,
    holder,
    missing,
    reason,
    refusal,
    removals,
    run,
    simulate,
    versions,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._service import files

WAITS = 120
MARK = "# laid by fedlearn.infra.packages while it installs\n"
MINIMUM = {
    "path": {"type": "str", "required": True},
    "directive": {"type": "str", "required": True},
    "value": {"type": "int", "required": True},
    "needed_by": {"type": "path"},
}


class During:
    """A file that is there while packages are installed; what a killed run left behind is put right."""

    def __init__(self, path: str, text: str, mode: int = 0o644) -> None:
        self.path, self.text, self.mode = path, text, mode
        self.aside = f"{path}.fedlearn-aside"

    @property
    def left(self) -> bool:
        """Whether it is there, or what it replaced isn't."""
        return os.path.lexists(self.aside) or self._is_ours()

    def _is_ours(self) -> bool:
        try:
            with open(self.path, encoding="utf-8", errors="replace") as stream:
                return MARK in stream.read()
        except OSError:
            return False

    def lay(self) -> None:
        """Puts it in place, and aside what is there."""
        if os.path.lexists(self.path) and not self._is_ours():
            os.replace(self.path, self.aside)
        files.write_atomically(self.path, self.text.encode(), self.mode)

    def put_back(self) -> None:
        """What the administrator had there, or nothing."""
        if os.path.lexists(self.aside):
            os.replace(self.aside, self.path)
        elif self._is_ours():
            os.unlink(self.path)


NO_DAEMONS = During("/usr/sbin/policy-rc.d", f"#!/bin/sh\n{MARK}exit 101\n", 0o755)


def install(module: AnsibleModule, names: list[str]) -> None:
    """Installs packages; the package lists are fetched only when it doesn't go without."""
    wanted = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
    # apt's own refusal costs nothing, but it knows no package that may go
    wanted += [] if module.params["replaces"] else ["--no-remove"]
    wanted += ["--no-install-recommends", "--allow-downgrades", "install", "--", *names]
    waiting = Waiting(module, names)
    if module.params["replaces"]:
        refuse_removals(module, names)
    code, output = waiting.apt(wanted)
    if code != 0:
        refuse_removals(module, names)
    configure = ["dpkg", "--configure", "--pending", "--force-confdef", "--force-confold"]
    for remedy in (lambda: run(module, configure), lambda: waiting.apt(["update"])):
        if code == 0:
            return
        remedy()
        refuse_removals(module, names)
        code, output = waiting.apt(wanted)
    if code != 0:
        refuse(module, names, reason(output), *versions(module, names))


class Waiting:
    """Calls of apt that wait for others, in all no longer than they may."""

    def __init__(self, module: AnsibleModule, names: list[str]) -> None:
        self._module, self._names = module, names
        given = module.params["lock_timeout"]
        self._seconds = WAITS if given is None else given
        self._until = time.monotonic() + self._seconds

    def apt(self, words: list[str]) -> tuple[int, str]:
        """Status and output of a call."""
        while any(map(holder, LOCKS)):
            if time.monotonic() >= self._until:
                self._refuse()
            time.sleep(0.2)
        # another may be quicker now
        left = max(0, round(self._until - time.monotonic()))
        argv = ["apt-get", "--quiet", "--assume-yes", "-o", f"DPkg::Lock::Timeout={left}", *words]
        code, output = run(self._module, argv)
        if code != 0 and LOCKED.search(output):
            self._refuse(output)
        return code, output

    def _refuse(self, output: str = "") -> None:
        held = [f"{path} is held by {who}" for path in LOCKS if (who := holder(path))]
        why = f"{', '.join(held) or reason(output)}, and {self._seconds} seconds of waiting are over"
        refuse(self._module, self._names, why, "wait until that has ended, or give fedlearn_apt_wait_seconds more")


def refuse(module: AnsibleModule, names: list[str], why: str, *way_out: str) -> None:
    """Fails, with what to do instead where that is known."""
    module.fail_json(msg=refusal(names, why, module.params["otherwise"], *way_out), missing=names, withdrawn=[])


def refuse_removals(module: AnsibleModule, names: list[str]) -> None:
    """Fails where apt would remove what nobody said may go."""
    others = removals(simulate(module, names)[1], module.params["replaces"])
    if others:
        refuse(module, names, others)


def untouched(module: AnsibleModule, link: str, target: str, package: str) -> bool:
    """Whether a link leads where its package laid it, to a file as the package brought it."""
    if not os.path.islink(link) or os.path.realpath(link) != target:
        return False
    query = ["dpkg-query", "--show", "--showformat", "${Conffiles}", package]
    code, output, _errors = module.run_command(query, environ_update=QUIET)
    sums = dict(line.split()[:2] for line in output.splitlines() if len(line.split()) >= 2)
    with open(target, "rb") as stream:
        # dpkg keeps MD5 sums; a collision would gain nobody anything here
        present = hashlib.new("md5", stream.read(), usedforsecurity=False).hexdigest()
    return code == 0 and sums.get(target) == present


def raised(path: str, directive: str, value: int) -> tuple[str, list[str]]:
    """A file's text with its directive at least so large, and what that changes. Raises ServiceError without one.

    A comment on the line above remembers what it was, for a value of 0 to put back.
    """
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        text = stream.read()
    note = f"# fedlearn.infra raised {directive} from "
    pattern = re.compile(
        rf"^(?:[ \t]*{re.escape(note)}(?P<before>[0-9]+) to (?P<ours>[0-9]+)\n)?"
        rf"(?P<indent>[ \t]*)(?P<directive>{re.escape(directive)}[ \t]+)(?P<number>[0-9]+)(?=[ \t]*;)",
        re.MULTILINE,
    )
    changes: list[str] = []

    def settled(match: re.Match[str]) -> str:
        number = int(match["number"])
        before = int(match["before"]) if match["ours"] == match["number"] else number
        wanted = max(number, value) if value else before
        if value and wanted == number:
            return match[0]
        if wanted != number:
            changes.append(f"{path}: {directive} {number} -> {wanted}")
        noted = f"{match['indent']}{note}{before} to {wanted}\n" if value else ""
        return f"{noted}{match['indent']}{match['directive']}{wanted}"

    result, found = pattern.subn(settled, text)
    if value and not found:
        raise files.ServiceError(f"{path}: there is no line '{directive} NUMBER;': add one with at least {value}")
    return result, changes


def settle_numbers(module: AnsibleModule) -> list[str]:
    """Raises what is too small; a file that isn't there yet is one of a package that would be installed."""
    changed: list[str] = []
    for minimum in module.params["minimums"]:
        path, needed_by = minimum["path"], minimum.pop("needed_by")
        if not os.path.exists(path) or (needed_by and glob.glob(needed_by)):
            continue
        text, changes = raised(**minimum)
        changed += changes
        if changes and not module.check_mode:
            mode = os.stat(path).st_mode & 0o7777
            files.write_atomically(path, text.encode(errors="surrogateescape"), mode)
    return changed


def main() -> None:
    """Looks, installs, withdraws, raises."""
    link = {key: {"type": "str", "required": True} for key in ("link", "target", "package")}
    file = {key: {"type": "str", "required": True} for key in ("path", "content")}
    otherwise = {key: {"type": "str", "required": True} for key in ("package", "text")}
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "withdraw": {"type": "list", "elements": "dict", "options": link, "default": []},
            "replaces": {"type": "list", "elements": "str", "default": []},
            "during": {"type": "list", "elements": "dict", "options": file, "default": []},
            "minimums": {"type": "list", "elements": "dict", "options": MINIMUM, "default": []},
            "otherwise": {"type": "list", "elements": "dict", "options": otherwise, "default": []},
            "lock_timeout": {"type": "int"},
        },
        supports_check_mode=True,
    )
    names = missing(module, module.params["names"])
    coming: list[str] = []
    if names and module.check_mode:
        told, coming = foreseen(module, names, module.params["replaces"], module.params["otherwise"])
        if told:
            module.fail_json(msg=told, missing=names, withdrawn=[])
    during = [NO_DAEMONS, *(During(one["path"], MARK + one["content"]) for one in module.params["during"])]
    if not module.check_mode and (names or any(one.left for one in during)):
        try:
            if names:
                for one in during:
                    one.lay()
                install(module, names)
        except files.ServiceError as error:
            refuse(module, names, str(error))
        finally:
            for one in during:
                one.put_back()
    withdrawn = [one["link"] for one in module.params["withdraw"] if untouched(module, **one)]
    if not module.check_mode:
        for path in withdrawn:
            os.unlink(path)
    try:
        numbers = settle_numbers(module)
    except (files.ServiceError, OSError) as error:
        module.fail_json(msg=str(error), missing=names, withdrawn=withdrawn)
    module.exit_json(
        changed=bool(names or withdrawn or numbers),
        missing=names,
        present=module.params["names"],
        coming=coming,
        withdrawn=withdrawn,
        raised=numbers,
    )


if __name__ == "__main__":
    main()
