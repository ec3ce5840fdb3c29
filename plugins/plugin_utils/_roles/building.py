# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of roles whose program the control node builds, of Go modules or of crates."""

from __future__ import annotations

from collections.abc import Mapping

from .._federation.schema import Key, Text
from .checking import CONTROL_FOLDER


def _kept(role: str) -> Mapping[str, Key]:
    return {
        f"{role}_build_directory": Key(
            CONTROL_FOLDER,
            "Folder on the control node in which the built program is kept.",
            default="{{ fedlearn_state | default(inventory_dir) | fedlearn.infra.state_directory }}/.builds",
        )
    }


def cargo_variables(role: str, *, rust: str, needs: str) -> Mapping[str, Key]:
    """`rust`: the Rust that it was built with; `needs`: what else the control node has to have."""
    return {
        f"{role}_cargo": Key(
            Text(), f"Cargo's program on the control node, tried with {rust}; it needs {needs}.", default="cargo"
        ),
        **_kept(role),
    }


def built_variables(role: str, *, program: str, go: str) -> Mapping[str, Key]:
    """`program`: what is built, by its name; `go`: the oldest Go that builds it."""
    return {
        f"{role}_go": Key(Text(), f"Go's program on the control node, {go} or later.", default="go"),
        f"{role}_go_toolchain": Key(
            Text(pattern=r"local|go1\.[0-9]+(?:\.[0-9]+)?", pattern_name="local, or a version such as go1.26.8"),
            f"Which Go builds it: V(local) is C({role}_go) itself, another one is fetched by it and makes another "
            "version.",
            default="local",
        ),
        **_kept(role),
        f"{role}_program": Key(
            Text(
                min_length=0, pattern=r"(?:/[^\x00-\x1f\x7f/]+)*", pattern_name="an absolute path on the host, or empty"
            ),
            f"A {program} that is on the host already; then none is built.",
            default="",
        ),
    }
