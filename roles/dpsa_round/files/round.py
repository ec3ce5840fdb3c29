# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One round of DPSA with known vectors: a controller and its clients, by the published client, dpsa4fl-bindings 0.1.69.

    round.py CONFIG

It opens a session of its own on both managers, starts a round, has a client for each vector submit it, and collects
the sum, which is the ``values`` of ``result.json``. Where a step fails, ``missed`` says which and why, and there is no
sum.
The client's library tells errors by exceptions and by panics, which derive from BaseException only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


class Round:
    """A round on the way, and which step it is at."""

    def __init__(self, config: dict[str, Any], library: Any, vector_of: Any) -> None:
        self.config, self.library, self.vector_of = config, library, vector_of
        self.managers = (config["managers"]["leader"], config["managers"]["helper"])
        self.step = ""

    def run(self) -> list[float]:
        """The sum that was collected."""
        length = len(self.config["vectors"][0])
        self.step = "ask both managers where the aggregators are"
        state = self.library.controller_api_new_state(
            length, self.config["epsilon"], self.config["fixed_bits"], *self.managers
        )
        self.step = "open a session"
        self.library.controller_api_create_session(state)
        try:
            return self._with_session(state)
        except BaseException:
            self._end(state)
            raise

    def _with_session(self, state: Any) -> list[float]:
        self.step = "start a round"
        task = self.library.controller_api_start_round(state)
        for number, vector in enumerate(self.config["vectors"], 1):
            self._submit(number, task, vector)
        self.step = "collect the sum"
        total = [float(value) for value in self.library.controller_api_collect(state)]
        self.step = "end the session"
        self.library.controller_api_end_session(state)
        return total

    def _submit(self, number: int, task: str, vector: list[float]) -> None:
        self.step = f"have client {number} check the epsilon"
        client = self.library.client_api_new_state(*self.managers)
        if not self.library.client_api_verify_privacy_parameter(client, task, self.config["epsilon"]):
            raise ValueError(f"the managers have another one than {self.config['epsilon']}")
        self.step = f"have client {number} submit its vector"
        self.library.client_api_submit(client, task, self.vector_of(vector))

    def _end(self, state: Any) -> None:
        """The first error is the one to tell."""
        try:
            self.library.controller_api_end_session(state)
        except BaseException as error:
            print(f"the session could not be ended: {reason(error)}", flush=True)


def result(config: dict[str, Any], library: Any, vector_of: Any) -> dict[str, Any]:
    """What the round ended with, or at which step it failed."""
    round_ = Round(config, library, vector_of)
    told = {"own": config["vectors"][0], "epsilon": config["epsilon"], "clients": len(config["vectors"])}
    try:
        return {**told, "values": round_.run()}
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return {**told, "missed": f"could not {round_.step}: {reason(error)}"}


def reason(error: BaseException) -> str:
    """What is wrong, without where in the library's code that was."""
    return str(error).partition("\n\nStack backtrace:")[0]


def write(path: Path, text: str) -> None:
    """A file, whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def main(arguments: list[str]) -> int:
    """Runs the round of CONFIG; a failed one is a result, too."""
    import dpsa4fl_bindings
    import numpy

    config = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    state = Path(config["state"])
    found = result(config, dpsa4fl_bindings, lambda vector: numpy.array(vector, dtype=numpy.float32))
    write(state / "result.json", json.dumps(found))
    write(state / f"finished-{config['digest']}", "")
    print(found.get("missed") or f"collected {found['values']}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
