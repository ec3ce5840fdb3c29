# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Arrays out of pickles, and nothing else: weights come from whoever may write into the bucket."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy

_RECONSTRUCT = ("numpy.core.multiarray", "numpy._core.multiarray")
_FROM_BUFFER = ("numpy.core.numeric", "numpy._core.numeric")
ALLOWED = frozenset(
    [
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        *((module, "_reconstruct") for module in _RECONSTRUCT),
        *((module, "_frombuffer") for module in _FROM_BUFFER),
    ]
)
"""All that numpy's own pickles of an array name, those of numpy 1 and 2."""

MEGABYTE = 1_000_000
NUMBERS = "fiub"
"""Kinds of numbers; an array of objects is none."""


class NoArrayError(ValueError):
    """Why something is no array of numbers."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise NoArrayError(f"it names {module}.{name}, which no array needs")
        # ours knows them where numpy 2 has them
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def loads(content: bytes) -> numpy.ndarray:
    """The array of a pickle. Raises NoArrayError; nothing that the pickle names is called but numpy's own."""
    try:
        found = _Unpickler(io.BytesIO(content)).load()
    except NoArrayError:
        raise
    except Exception as error:  # whatever bytes of somebody else's make of it
        raise NoArrayError(f"it is no pickle of an array: {type(error).__name__}") from error
    if not isinstance(found, numpy.ndarray) or found.dtype.kind not in NUMBERS:
        raise NoArrayError("it is no array of numbers")
    if found.nbytes > len(content):
        raise NoArrayError(f"it says that it has {found.nbytes} bytes, and brings {len(content)}")
    return found


def fetched(store: Any, key: str, most: int) -> Any:
    """An object's array; ``store`` is one of the program's classes for S3, ``most`` how many bytes it may have."""
    found = store.s3.Object(store.config.bucket, key).get()
    if found["ContentLength"] > most:
        raise NoArrayError(f"{key} has {found['ContentLength']} bytes, and {most} are the most")
    return loads(found["Body"].read())
