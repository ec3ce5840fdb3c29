# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints every connection a federation needs; runs once, on the control node, and touches no host."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import flows, loading, network
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation, Flow

HEADINGS = (
    "stack",
    "direction",
    "source",
    "source_address",
    "destination",
    "destination_address",
    "protocol",
    "port",
    "purpose",
    "authentication",
)
EPHEMERAL = "ephemeral"


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.flows)."""

    BYPASS_HOST_LOOP = True
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Print the table, write the CSV, return the rows."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "document": {"type": "path", "required": True},
                "stack": {"type": "str", "default": ""},
                "path": {"type": "path", "required": True},
            }
        )
        try:
            federation = loading.load(arguments["document"])
        except loading.WrongDocumentError as error:
            raise AnsibleActionFail(str(error)) from error
        rows = table_rows(federation, arguments["stack"])
        Display().display(table(rows))
        write_csv(arguments["path"], rows)
        result.update(
            changed=False, flows=[dict(zip(HEADINGS, each, strict=True)) for each in rows], path=arguments["path"]
        )
        return result


def table_rows(federation: Federation, stack: str = "") -> list[tuple[str, ...]]:
    """Each flow as the words of a row."""
    own = flows.own_names(federation)
    return [_row(flow, federation, flows.direction(flow, own)) for flow in flows.flows(federation, stack)]


def _row(flow: Flow, federation: Federation, direction: str) -> tuple[str, ...]:
    return (
        flow.stack,
        direction,
        flow.source,
        address(flow.source, federation),
        flow.destination,
        flow.address or address(flow.destination, federation),
        flow.protocol,
        EPHEMERAL if flow.port is None else str(flow.port),
        flow.purpose,
        flow.authentication,
    )


def address(name: str, federation: Federation) -> str:
    """The addresses behind a host's name; an address is its own; empty for who is no host of the document (clients)."""
    try:
        host = federation.host(name)
    except KeyError:
        return name if network.is_numeric(name) else ""
    return " ".join(host.internal) or host.ssh


def table(rows: Sequence[Sequence[str]]) -> str:
    """The rows under their headings, in columns."""
    lines = [HEADINGS, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def write_csv(path: str, rows: Sequence[Sequence[str]]) -> None:
    """Write the rows as RFC 4180 asks; a cell that a spreadsheet would take for a formula is quoted by an
    apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADINGS)
    writer.writerows([f"'{cell}" if cell[:1] in "=+-@" and cell else cell for cell in each] for each in rows)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("w", encoding="utf-8", newline="") as stream:
        stream.write(text.getvalue())
