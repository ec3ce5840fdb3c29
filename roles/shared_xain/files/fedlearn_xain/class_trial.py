# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes and tries a class that aggregates, in the Python that the aggregator embeds (3.9):
``MODULE:CLASS MEGABYTES SECONDS``, of the weights and of its making.

It ends with the reason where the class can't be made, lacks a method, takes longer than it is waited for, ends its
process, or returns no bytes. Weights of another kind than the collection's it may refuse: no more is said of it then.
"""

from __future__ import annotations

import importlib
import inspect
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from .kept import BYTES, WAITED, WAITED_SECONDS

METHODS = {"add_weights": ("the weights",), "aggregate": ()}
"""And what each is called with."""

MOST_MEGABYTES = 10
"""Of larger models no more is tried: the trial is on a host that may run others' services."""

TRIED = "tried"
"""Said at the end: whoever ends the process before has it end as well as if all were right."""

SAMPLES = b"\0\0\0\1"


class TooSlowError(BaseException):
    """The deadline has come; no class of anybody's catches it by chance."""


class EndedError(Exception):
    """Somebody else's code has ended the program that it is in."""


def too_late(_number: int, _frame: Any) -> NoReturn:
    """What the alarm does."""
    raise TooSlowError


def within(seconds: int, call: Callable[..., Any], *given: Any) -> Any:
    """What a call of somebody else's code returns. Raises what it raises, but nothing that ends this process."""
    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(seconds)
    try:
        return call(*given)
    except SystemExit as error:
        raise EndedError(f"it ends the program, by SystemExit({error.code!r})") from error
    finally:
        signal.alarm(0)


def made(named: str, seconds: int) -> Any:
    """The class, made as the program makes it."""
    module, _colon, name = named.partition(":")

    def make() -> Any:
        return getattr(importlib.import_module(module), name)()

    try:
        found = within(seconds, make)
    except TooSlowError:
        raise SystemExit(f"it isn't made within {seconds} s") from None
    except EndedError as error:
        raise SystemExit(str(error)) from error
    except Exception as error:  # whatever somebody else's module raises
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    missing = [method for method in METHODS if not callable(getattr(found, method, None))]
    if missing:
        raise SystemExit(f"it has no method {' and no method '.join(missing)}")
    for method, given in METHODS.items():
        check_called(getattr(found, method), f"{method}({', '.join(given)})", given)
    return found


def check_called(method: Any, call: str, given: tuple[str, ...]) -> None:
    """Whether it can be called as the program calls it; of what isn't written in Python nothing may be known."""
    try:
        signature = inspect.signature(method)
    except ValueError:
        return
    try:
        signature.bind(*given)
    except TypeError as error:
        raise SystemExit(f"it can't be called as {call}: {error}") from error


def weights(megabytes: int) -> bytes:
    """What a participant sends whose model is so large."""
    import numpy

    file = io.BytesIO()
    numpy.save(file, numpy.zeros(megabytes * 125_000))
    return SAMPLES + file.getvalue()


def tried(aggregator: Any, megabytes: int) -> None:
    """One participant's weights, and the end of the round."""
    sent = weights(megabytes)
    for method, given in zip(METHODS, ((sent,), ())):
        try:
            returned = within(WAITED_SECONDS, getattr(aggregator, method), *given)
        except TooSlowError:
            raise SystemExit(
                f"{method}() takes longer than {WAITED_SECONDS} s on weights of {megabytes} MB: {WAITED[method]}; "
                "smaller models are said by max_model_size"
            ) from None
        except EndedError as error:
            raise SystemExit(f"{method}(): {error}") from error
        except Exception:  # what it takes is known to those who wrote it
            return
        if method == "add_weights" and returned is None:
            raise SystemExit("add_weights() returns None, by which all weights are refused: True takes them")
        if method == "add_weights" and not returned:
            return
    if not isinstance(returned, BYTES):
        raise SystemExit(f"aggregate() returns {type(returned).__name__}, and a model is bytes")


def main() -> int:
    """The exit status, once what is to be said is."""
    try:
        tried(made(sys.argv[1], int(sys.argv[3])), min(MOST_MEGABYTES, int(sys.argv[2])))
    except SystemExit as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    print(f"\n{TRIED}", flush=True)
    return 0


if __name__ == "__main__":
    # a thread of the class's would keep the process from its end
    os._exit(main())
