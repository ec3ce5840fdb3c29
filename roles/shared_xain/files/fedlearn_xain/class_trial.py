# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes and tries a class that aggregates, in the Python that the aggregator embeds (3.9): ``MODULE:CLASS MEGABYTES``.

It ends with the reason where the class can't be made, lacks a method, or takes longer on weights than the program waits
for it. Weights of another kind than the collection's it may refuse: nothing is said of its time then.
"""

from __future__ import annotations

import importlib
import io
import signal
import sys
from typing import Any, NoReturn

from .kept import WAITED_SECONDS

METHODS = ("add_weights", "aggregate")
MOST_MEGABYTES = 10
"""Of larger models no more is tried: the trial is on a host that may run others' services."""

SAMPLES = b"\0\0\0\1"


class TooSlowError(BaseException):
    """The deadline has come; no class of anybody's catches it by chance."""


def too_late(_number: int, _frame: Any) -> NoReturn:
    """What the alarm does."""
    raise TooSlowError


def made(named: str) -> Any:
    """The class, made as the program makes it."""
    module, _colon, name = named.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)()
    except Exception as error:  # whatever somebody else's module raises
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    missing = [method for method in METHODS if not callable(getattr(found, method, None))]
    if missing:
        raise SystemExit(f"it has no method {' and no method '.join(missing)}")
    return found


def weights(megabytes: int) -> bytes:
    """What a participant sends whose model is so large."""
    import numpy

    file = io.BytesIO()
    numpy.save(file, numpy.zeros(megabytes * 125_000))
    return SAMPLES + file.getvalue()


def tried(aggregator: Any, megabytes: int) -> None:
    """One participant's weights, and the end of the round."""
    sent = weights(megabytes)
    signal.signal(signal.SIGALRM, too_late)
    for method, given in zip(METHODS, ((sent,), ())):
        signal.alarm(WAITED_SECONDS)
        try:
            taken = getattr(aggregator, method)(*given)
        except TooSlowError:
            raise SystemExit(
                f"{method}() takes longer than the {WAITED_SECONDS} s that the coordinator waits for it, on "
                f"weights of {megabytes} MB: each round would be run again; smaller models are said by max_model_size"
            ) from None
        except Exception:  # what it takes is known to those who wrote it
            return
        finally:
            signal.alarm(0)
        if method == "add_weights" and not taken:
            return


if __name__ == "__main__":
    tried(made(sys.argv[1]), min(MOST_MEGABYTES, int(sys.argv[2])))
