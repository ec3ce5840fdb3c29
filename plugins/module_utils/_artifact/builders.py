# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a version comes into its folder: a Python environment, an unpacked archive, plain files."""

from __future__ import annotations

import base64
import fnmatch
import glob
import hashlib
import os
import shutil
import subprocess
import tarfile
import urllib.request
import zipfile
from typing import Any

from ansible_collections.fedlearn.infra.plugins.module_utils._artifact.store import ArtifactError

PIP_LINES = 12
KEPT_PROGRAMS = "python*"
PROGRAMS = "bin"  # what is packed without a folder around it may have this one alone
DOWNLOAD_SECONDS = 120
MOST_LINKS = 40  # that lead from one to the next: the kernel's own bound
# what packages bring for another Python doesn't compile, and needn't
COMPILE = "import compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2)"
FIND_WHEELS = """\
import glob, importlib.util, os
found = importlib.util.find_spec("ensurepip")
own = os.path.join(os.path.dirname(found.origin), "_bundled") if found else ""
# Debian keeps them, and what its pip needs, in a place of their own
wheels = glob.glob(os.path.join(own if os.path.isdir(own) else "/usr/share/python-wheels", "*.whl"))
print(os.pathsep.join(sorted(wheels)))
"""


def library_path(python: str) -> str:
    """The folder a Python finds its own library in, where it was built shared and isn't the system's; '' otherwise."""
    folder = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(python))), "lib")
    return folder if not folder.startswith("/usr/lib") and glob.glob(os.path.join(folder, "libpython3*.so*")) else ""


def run(command: list[str], what: str, python: str = "", **variables: str) -> str:
    """Runs a command; raises ArtifactError with its last lines. `python`: whose library the command needs."""
    environment = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "LC_ALL": "C.UTF-8",
        **variables,
    }
    if python and library_path(python):
        environment["LD_LIBRARY_PATH"] = library_path(python)
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise ArtifactError(f"{what}: {error}") from error
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        raise ArtifactError(f"{what} ended with {done.returncode}:\n" + "\n".join(output.splitlines()[-PIP_LINES:]))
    return output


def build_environment(item: dict[str, Any], folder: str, python: str, wheels: str) -> None:
    """A virtual environment with exactly the locked requirements, without pip.

    Its console programs would name the folder it was built in, so only `python -m` is left.
    """
    run([python, "-m", "venv", "--without-pip", folder], f"{python} -m venv", python)
    own = os.path.join(folder, "bin", "python")
    _install(item, folder, python, wheels)
    for packages in glob.glob(os.path.join(folder, "lib", "python3*", "site-packages")):
        _drop(packages, item.get("exclude", []))
        # pip would compile what was just dropped, too, and takes longer for that than for all else
        run([own, "-c", COMPILE, packages], f"{item['program']}: compiling", python)
    drop_programs(os.path.join(folder, "bin"))
    if item.get("check"):
        run([own, "-c", item["check"]], f"{item['program']}: the built environment", python)


def drop_programs(folder: str) -> None:
    """Only Pythons are left; what a package brings may be a folder, too (pip compiles Python programs into one)."""
    _drop(folder, [glob.escape(name) for name in os.listdir(folder) if not fnmatch.fnmatch(name, KEPT_PROGRAMS)])


def _install(item: dict[str, Any], folder: str, python: str, wheels: str) -> None:
    """Brings exactly the locked requirements, from the wheels that were sent where there are any."""
    requirements = os.path.join(folder, "requirements.txt")
    with open(requirements, "w", encoding="utf-8") as file:
        file.write(item["requirements"])
    command = [os.path.join(folder, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-input"]
    # what pip itself stands on is in no environment, so nothing counts as installed
    command += [*_cache_options(), "--only-binary=:all:", "--require-hashes", "--no-deps"]
    command += ["--ignore-installed", "--no-compile"]
    command += ["--requirement", requirements]
    if wheels:
        command += ["--no-index", "--find-links", wheels]
    elif item.get("index_url"):
        command += ["--index-url", item["index_url"]]
    run(command, f"{item['program']}: pip install", python, PYTHONPATH=_bundled_pip(python))


def _bundled_pip(python: str) -> str:
    """The wheels that a Python makes pip of where it is asked to (ensurepip), as a path to import from.

    Installing pip only to remove it would take as long as a small environment does.
    """
    found = run([python, "-c", FIND_WHEELS], f"{python}: looking for its pip", python).strip()
    if "/pip-" not in found:
        raise ArtifactError(f"{python} brings no pip of its own (Debian has it in python3-venv)")
    return found


def _cache_options() -> list[str]:
    """A cache that the administrator keeps is used; none is begun."""
    return [] if os.path.isdir(os.path.expanduser("~/.cache/pip")) else ["--no-cache-dir"]


def _drop(folder: str, patterns: list[str]) -> None:
    for pattern in patterns:
        for path in glob.glob(os.path.join(glob.escape(folder), pattern), recursive=True):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)


def build_files(item: dict[str, Any], folder: str, uploads: dict[str, str]) -> None:
    """Plain files, small ones from the task itself, large ones from where the action laid them."""
    for name, file in item["files"].items():
        path = os.path.join(folder, *name.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if file.get("content") is not None:
            with open(path, "wb") as stream:
                stream.write(base64.b64decode(file["content"]))
        else:
            shutil.copyfile(uploads[file["sha256"]], path)
        check_sum(path, file["sha256"], name)
        os.utime(path, (0, 0))


def build_program(built: str, path: str) -> None:
    """A program that the control node built."""
    shutil.copyfile(built, path)
    os.chmod(path, 0o755)  # noqa: S103 - services of any user run it


def check_sum(path: str, wanted: str, name: str) -> None:
    """Raises ArtifactError where a file isn't what its sum says."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            total.update(chunk)
    if total.hexdigest() != wanted:
        raise ArtifactError(f"{name} has the sha256 {total.hexdigest()}, not {wanted}: nothing was changed")


def download(url: str, path: str, wanted: str) -> None:
    """Fetches an archive by https and checks its sum."""
    if not url.startswith("https://"):
        raise ArtifactError(f"{url}: archives come by https, or from a file of the control node")
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_SECONDS) as answer, open(path, "wb") as file:  # noqa: S310 - https
            shutil.copyfileobj(answer, file)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{url}: {error}") from error
    check_sum(path, wanted, url)


def build_archive(archive: str, folder: str, name: str) -> None:
    """Unpacks a tar or zip archive; a single folder around all is left out, unless it is a package of Python.

    Nothing may land outside.
    """
    inner = os.path.join(folder, ".unpacked")
    os.mkdir(inner)
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            symbolic = [member for member in members if member.issym()]
            links = {os.path.normpath(member.name): member.linkname for member in symbolic}
            if len(links) < len(symbolic):
                raise ArtifactError(f"{name}: a link stands there twice")
            for member in members:
                if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
                    raise ArtifactError(f"{name}: '{member.name}' is neither file, folder nor link")
                for path in (member.name, member.linkname if member.islnk() else ""):
                    if _leads_out(path, links):
                        raise ArtifactError(f"{name}: '{member.name}' leads out of the archive")
            tar.extractall(inner)  # noqa: S202 - each member was looked at; Python 3.9 has no filters
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.namelist():
                if _leads_out(entry, {}):
                    raise ArtifactError(f"{name}: '{entry}' leads out of the archive")
            packed.extractall(inner)  # noqa: S202 - each entry was looked at
    else:
        raise ArtifactError(f"{name} is neither a tar nor a zip archive")
    top = os.listdir(inner)
    around = os.path.join(inner, top[0]) if len(top) == 1 and top[0] != PROGRAMS else ""
    wrapped = os.path.isdir(around) and not os.path.exists(os.path.join(around, "__init__.py"))
    source = around if wrapped else inner
    for entry in os.listdir(source):
        os.rename(os.path.join(source, entry), os.path.join(folder, entry))
    shutil.rmtree(inner)


def _leads_out(path: str, links: dict[str, str]) -> bool:
    """Whether a path, with the archive's links followed as a kernel would, is anywhere else than inside.

    Each link may be harmless by its words, and lead out by way of another: `a/up` to `..`, `out` to `a/up/../..`.
    """
    ahead, followed = path.split("/")[::-1], 0
    at: list[str] = []
    if path.startswith("/"):
        return True
    while ahead:
        part = ahead.pop()
        if part == "..":
            if not at:
                return True
            at.pop()
        elif part not in ("", "."):
            at.append(part)
            target = links.get("/".join(at))
            if target is not None:
                followed += 1
                if target.startswith("/") or followed > MOST_LINKS:
                    return True
                at.pop()
                ahead += target.split("/")[::-1]
    return False
