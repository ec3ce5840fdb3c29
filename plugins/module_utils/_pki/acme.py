# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates that an ACME server signs: dehydrated asks for them, and its files are taken over as provided ones are.

``/var/lib/fedlearn/<federation>/acme/<certificate>/`` is one certificate's own world: dehydrated's configuration, what
it keeps, and, for challenge http-01, what a server of ours shows while it asks. A folder there is a certificate wanted.
"""

from __future__ import annotations

import contextlib
import errno
import http.server
import json
import os
import re
import shlex
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from . import files
from .description import Description, key_bits
from .facts import Anchors, Facts, facts_of
from .installed import Layout
from .outcome import Outcome, RefusedError
from .provided import provide, read, split
from .renewal import differences

PROGRAM = "dehydrated"
_TIMEOUT = 600
_TOKEN = re.compile(r"/\.well-known/acme-challenge/([A-Za-z0-9_-]{1,256})")
_CURVES = {"ec-p256": "prime256v1", "ec-p384": "secp384r1"}
_LINES = 6
_DETAIL = re.compile(r'"detail"\]?:?\s*"((?:[^"\\]|\\.)*)"')
_STALE = b"urn:ietf:params:acme:error:badNonce"
_TURNS = 3  # servers forget what they gave out, and say so; some versions of dehydrated take that for the end


@dataclass(frozen=True)
class Server:
    """Whom to ask, and how to prove that a name is ours. ``server_ca`` (PEM) is whom its own certificate is of.

    With ``inner_port`` a proxy may have ``port`` that leads there, to loopback.
    """

    directory: str
    server_ca: str = ""
    challenge: str = "http-01"
    hook: str = ""
    address: str = ""
    port: int = 80
    inner_port: int = 0
    contact: str = ""


def missing() -> bool:
    """Whether the program isn't there."""
    return shutil.which(PROGRAM) is None


def obtain(
    layout: Layout,
    description: Description,
    anchors: Anchors,
    server: Server,
    now: float,
    check: bool = False,
    renew: bool = False,
) -> Outcome:
    """Have the certificate that is described, and take it over. RefusedError when there is none that will do."""
    place = os.path.join(layout.state, "fedlearn", description.federation, "acme", description.name)
    made = os.path.join(place, "certs", description.name)  # links there, which dehydrated turns to the newest
    description = replace(description, certificate_file=f"{made}/fullchain.pem", key_file=f"{made}/privkey.pem")
    wanted = _configuration(place, description, server)
    differing = [name for name, content in wanted.items() if _content(os.path.join(place, name)) != content]
    wrong = ["its renewal was asked for"] if renew else _wrong(description, anchors, now)
    if check and (differing or wrong):
        action = "renewed" if os.path.exists(description.certificate_file) else "issued"
        return Outcome(changed=True, action=action, reasons=wrong or ["it is to be asked for otherwise"])
    failed, began = None, time.monotonic()
    if not check and (differing or wrong):
        failed = _ask(layout, place, wanted, description, forced=bool(wrong or "config" in differing))
        if failed and (wrong or "domains.txt" in differing):
            raise RefusedError(failed)
    outcome = provide(layout, description, anchors, now + time.monotonic() - began, check)
    outcome.reasons = wrong + outcome.reasons
    outcome.warnings += [f"certificate {description.name}: {failed}"] if failed else []
    return outcome


def forget(layout: Layout, federation: str, name: str, check: bool = False) -> list[str]:
    """Remove all that is kept for a certificate that isn't asked for any more; what there is of it."""
    folder = os.path.join(layout.state, "fedlearn", federation, "acme")
    place = os.path.join(folder, name)
    if not os.path.isdir(place):
        return []
    if not check:
        shutil.rmtree(place)
        if not wanted(layout, federation):  # accounts go with the last one
            shutil.rmtree(folder)
    return [place]


def wanted(layout: Layout, federation: str) -> list[str]:
    """The folders of all certificates of a federation that come from an ACME server."""
    folder = os.path.join(layout.state, "fedlearn", federation, "acme")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names if not name.startswith(".")]


def renew(layout: Layout, federation: str) -> list[str]:
    """Ask for what is due, as the timer does; what went wrong, a line each."""
    said = {
        os.path.basename(place): _run(layout, place, forced=False, due=False) for place in wanted(layout, federation)
    }
    return [f"certificate {name}: {line}" for name, line in said.items() if line]


def _configuration(place: str, description: Description, server: Server) -> dict[str, bytes]:
    """The files that say what to ask for: read by bash, and by ``_answering``."""
    bits = key_bits(description.key_type)
    values = {
        "BASEDIR": place,
        "ACCOUNTDIR": os.path.join(os.path.dirname(place), ".accounts"),
        "WELLKNOWN": os.path.join(place, "challenges"),
        "CA": server.directory,
        "CHALLENGETYPE": server.challenge,
        "KEY_ALGO": "rsa" if bits else _CURVES[description.key_type],
        "KEYSIZE": str(bits or 4096),
        "CONTACT_EMAIL": server.contact,
        "HOOK": server.hook,
        "CURL_OPTS": f"--cacert {os.path.join(place, 'server.pem')}" if server.server_ca else "",
        "AUTO_CLEANUP": "yes",
    }
    config = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items() if value)
    names = " ".join(description.dns_names)
    http: dict[str, str | int] = {}
    if server.challenge == "http-01":
        inner = {"inner_port": server.inner_port} if server.inner_port else {}
        http = {"address": server.address, "port": server.port, **inner}
    return {
        "config": config.encode(),
        "domains.txt": f"{names} > {description.name}\n".encode("ascii"),
        "http.json": json.dumps(http).encode("ascii"),
        "server.pem": server.server_ca.encode("ascii"),
    }


def _wrong(description: Description, anchors: Anchors, now: float) -> list[str]:
    """Why what was obtained before won't do; empty when it does. A look that needs no network."""
    if not os.path.exists(description.certificate_file):
        return ["there is no certificate yet"]
    certificate, intermediates = split(read(description.certificate_file))
    anchors = replace(anchors, intermediates=intermediates)
    facts = facts_of(read(description.key_file), certificate, anchors, description.usages)
    return list(differences(description, facts, anchors, now)) if isinstance(facts, Facts) else [facts]


def _ask(layout: Layout, place: str, wanted_files: dict[str, bytes], description: Description, forced: bool) -> str:
    """Write what is to be asked for, and ask; what went wrong, if anything."""
    parts = ("fedlearn", description.federation, "acme", description.name)
    files.directory(layout.state, *parts, create=True)
    for path in (os.path.dirname(place), place):
        os.chmod(path, 0o700)
    os.makedirs(os.path.join(place, "challenges"), mode=0o700, exist_ok=True)
    for name, content in wanted_files.items():
        files.write(os.path.join(place, name), content, 0o600)
    return _run(layout, place, forced and os.path.exists(description.certificate_file))


def _run(layout: Layout, place: str, forced: bool, due: bool = True) -> str:
    """Have dehydrated ask for what its configuration says, if it is due or ``forced``; its last words if it failed."""
    command = [PROGRAM, "--cron", "--accept-terms", "--config", os.path.join(place, "config")]
    command += ["--force"] if forced else []
    try:
        with files.lock(os.path.join(layout.run, "fedlearn-acme.lock"), _TIMEOUT), _answering(place, due) as taken:
            for _turn in range(_TURNS):
                done = subprocess.run(
                    command,
                    env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": place},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    timeout=_TIMEOUT,
                    check=False,
                )
                if not done.returncode:
                    return ""
                if _STALE not in done.stdout:
                    break
            if taken is not None:
                raise taken
    except FileNotFoundError:
        return f"there is no {PROGRAM} on this host"
    except subprocess.TimeoutExpired:
        return f"the ACME server didn't answer to the end in {_TIMEOUT} seconds"
    except OSError as error:
        return f"{error.strerror} while preparing to answer the ACME server ({error.filename})"
    return f"{PROGRAM} ended with {done.returncode}: {_gist(done.stdout.decode('utf-8', 'replace'))}"


def _gist(text: str) -> str:
    """What a server or dehydrated itself says is wrong, of all that it printed; else its last lines."""
    details = dict.fromkeys(match.replace("\\", "") for match in _DETAIL.findall(text))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(details or lines[-_LINES:])[:600]


@contextlib.contextmanager
def _answering(place: str, due: bool = True) -> Iterator[OSError | None]:
    """Show the ACME server what dehydrated lays out for it, and nothing else, where the challenge is http-01.

    Where somebody else has the port that is an error, or given where nothing is known to be ``due``, which needs none.
    """
    found = _content(os.path.join(place, "http.json"))
    settings = json.loads(found) if found else {}
    if not settings:
        yield None
        return
    everywhere = "::" if socket.has_dualstack_ipv6() else ""
    inner = settings.get("inner_port")
    taken: OSError | None = None
    with contextlib.ExitStack() as answering:
        if inner:
            answering.enter_context(_showing(place, "127.0.0.1", inner))
        try:
            answering.enter_context(_showing(place, settings["address"] or everywhere, settings["port"]))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or (due and not inner):
                raise
            taken = None if inner else error  # a proxy has it, which leads to the inner one
        yield taken


@contextlib.contextmanager
def _showing(place: str, address: str, port: int) -> Iterator[None]:
    """Answer on one address and port."""
    try:
        server = _Answers((address, port), os.path.join(place, "challenges"))
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"port {port}") from None
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answers(http.server.ThreadingHTTPServer):
    """Answers with the files of one folder."""

    daemon_threads = True

    def __init__(self, where: tuple[str, int], folder: str) -> None:
        self.folder = folder
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        super().__init__(where, _Answer)

    def server_bind(self) -> None:
        """All addresses means those of IPv4 too; and nobody's name is looked up."""
        if self.address_family == socket.AF_INET6 and self.server_address[0] == "::":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)


class _Answer(http.server.BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self) -> None:
        """The answer to a challenge."""
        match = _TOKEN.fullmatch(self.path)
        # http.server knows only its own base class
        content = _content(os.path.join(self.server.folder, match.group(1))) if match else None  # type: ignore[attr-defined]
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_arguments: object) -> None:
        """Nobody needs to know."""


def _content(path: str) -> bytes | None:
    found = files.read(path)
    return found.content if found else None
