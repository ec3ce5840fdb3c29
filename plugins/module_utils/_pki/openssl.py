# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The openssl program (1.1.1 and 3.x), used so that no key or password is in argv, environment or a file of its own.

Keys come out of a pipe and are written by ``files``. What goes in is a path, standard input, or a file in memory only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator

from . import der
from .description import Description, key_bits

_TIMEOUT = 120
_PURPOSES = {"server": "serverAuth", "client": "clientAuth"}
_CURVES = {"ec-p256": "P-256", "ec-p384": "P-384"}


class OpensslError(Exception):
    """openssl refused; the text says what it was asked and its own first lines."""


class OpensslMissingError(OpensslError):
    """There is no openssl program on this host."""


def missing() -> bool:
    """Whether the program isn't there."""
    return shutil.which("openssl") is None


def generate_key(key_type: str) -> bytes:
    """A new private key, as unencrypted PKCS#8 PEM."""
    bits = key_bits(key_type)
    if bits is not None:
        options = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:%d" % bits]
    else:
        options = [
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:" + _CURVES[key_type],
            "-pkeyopt",
            "ec_param_enc:named_curve",
        ]
    return _run(["genpkey", *options], "make a key")


def public_key(key: bytes) -> bytes | None:
    """The SubjectPublicKeyInfo of the private key ``key`` (PEM); None when that is none."""
    try:
        # An encrypted key would have openssl ask at the terminal: an empty password is its answer.
        return _run(["pkey", "-pubout", "-outform", "DER", "-passin", "pass:"], "read a key", key)
    except OpensslMissingError:
        raise
    except OpensslError:
        return None


def request(key_path: str, subject: str, extensions: tuple[str, ...] = ()) -> str:
    """A signing request (PEM) that proves the key at ``key_path`` and says the common name ``subject``.

    ``extensions`` are lines of a configuration; without any it says nothing else.
    """
    asked = ["req_extensions = asked", "[asked]", *extensions] if extensions else []
    lines = ["[req]", "distinguished_name = name", "prompt = no", "string_mask = utf8only", *asked]
    configuration = "\n".join([*lines, "[name]", f"CN = {subject}", ""])
    command = ["req", "-new", "-sha256", "-key", key_path, "-config", "/dev/stdin"]
    return _run(command, "make a signing request", configuration.encode("ascii")).decode("ascii")


def certificate_request(key_path: str, description: Description) -> str:
    """A request for others to sign: it says all that the certificate is to say."""
    names = [f"DNS:{name}" for name in description.dns_names] + [f"IP:{each}" for each in description.addresses]
    extensions = [f"subjectAltName = {','.join(names)}"] if names else []
    extensions.append("extendedKeyUsage = " + ",".join(_PURPOSES[usage] for usage in description.usages))
    return request(key_path, description.common_name, tuple(extensions))


def challenge(nonce: str, name: str) -> str:
    """The common name a request for the certificate ``name`` has to carry in the run that gave ``nonce``."""
    return hashlib.sha256((f"{nonce}/{name}").encode()).hexdigest()


def verify(
    certificate: bytes, issuer: bytes, usages: tuple[str, ...], intermediates: bytes = b"", strict: bool = True
) -> str | None:
    """What is wrong now, if anything, with the chain from ``certificate`` to ``issuer`` (all PEM) for ``usages``.

    ``strict`` is for what we sign ourselves: others' CAs lack what X.509 asks for and nobody looks at.
    """
    options = ["-x509_strict"] if strict else []
    for usage in usages:
        with _memory_file(certificate) as leaf, _memory_file(issuer) as root, _memory_file(intermediates) as between:
            command = ["verify", *options, "-purpose", "ssl" + usage, "-CAfile", _path(root)]
            command += ["-untrusted", _path(between)] if intermediates else []
            try:
                _run([*command, _path(leaf)], "verify the chain", descriptors=(leaf, root, between))
            except OpensslMissingError:
                raise
            except OpensslError as error:
                return str(error)
    return None


def bundle(name: str, key: bytes, chain: bytes, password_path: str) -> bytes:
    """A PKCS#12 file of key and chain that programs on OpenSSL 1.1.1 and 3.x both read."""
    with _memory_file(key) as secret:
        command = ["pkcs12", "-export", "-inkey", _path(secret), "-name", name, "-passout", "file:" + password_path]
        return _run(
            [*command, "-keypbe", "AES-256-CBC", "-certpbe", "AES-256-CBC", "-macalg", "sha256"],
            "make a PKCS#12 file",
            chain,
            (secret,),
        )


def bundle_content(bundle_path: str, password_path: str) -> tuple[bytes, bytes] | None:
    """Public key of the key, and DER of the first certificate, inside a PKCS#12 file; None when it doesn't open."""
    try:
        content = _run(
            ["pkcs12", "-in", bundle_path, "-nodes", "-passin", "file:" + password_path], "open a PKCS#12 file"
        )
        certificates = der.blocks(content)
        key = public_key(content)
    except OpensslMissingError:
        raise
    except (OpensslError, der.DerError):
        return None
    return (key, certificates[0]) if key and certificates else None


def _run(arguments: list[str], purpose: str, given: bytes = b"", descriptors: tuple[int, ...] = ()) -> bytes:
    # An empty trust store: only the CA that is named counts, whatever the host trusts.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "SSL_CERT_FILE": "/dev/null",
        "SSL_CERT_DIR": "/nonexistent",
    }
    try:
        done = subprocess.run(
            ["openssl", *arguments],
            input=given,
            capture_output=True,
            env=environment,
            timeout=_TIMEOUT,
            pass_fds=descriptors,
            check=False,
        )
    except FileNotFoundError:
        raise OpensslMissingError("there is no openssl on this host: install the package openssl") from None
    except subprocess.TimeoutExpired:
        raise OpensslError("openssl couldn't %s in %d seconds" % (purpose, _TIMEOUT)) from None
    if done.returncode:
        lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        raise OpensslError(
            "openssl couldn't {}: {}".format(purpose, "; ".join(lines[:4])[:500] or "exit %d" % done.returncode)
        )
    return done.stdout


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("fedlearn", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as handle:
            handle.write(content)
        yield descriptor
    finally:
        os.close(descriptor)


def _path(descriptor: int) -> str:
    return "/proc/self/fd/%d" % descriptor
