# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks a coordinator for a sign of life: a heartbeat of nobody is refused by name, and registers no participant."""

from __future__ import annotations

import argparse

import grpc
from xain_proto.fl.coordinator_pb2 import HeartbeatRequest
from xain_proto.fl.coordinator_pb2_grpc import CoordinatorStub

SECONDS = 5


def answered(address: str) -> str:
    """Empty when a coordinator answered; else what did."""
    with grpc.insecure_channel(address) as channel:
        try:
            CoordinatorStub(channel).Heartbeat(HeartbeatRequest(), timeout=SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.PERMISSION_DENIED and "Unknown participant" in error.details():
                return ""
            return f"{error.code().name}: {error.details()}"
    return "it took a heartbeat of nobody: it is no coordinator of xain"


def main() -> None:
    """Ends with 1 and the reason where no coordinator answers at ADDRESS:PORT."""
    parser = argparse.ArgumentParser(prog="fedlearn_xain.probe", allow_abbrev=False)
    parser.add_argument("address")
    found = answered(parser.parse_args().address)
    if found:
        raise SystemExit(found)


if __name__ == "__main__":
    main()
