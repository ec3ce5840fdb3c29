# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a component of Neursafe can do, tried inside of its pod, by its own variables and its own libraries.

It is run by the image's Python 3.7, `python3.7 -c THIS LOOKS`: a list in JSON, of each look its words, name and what
it takes. It prints a list: the words, and what is wrong, null where nothing is. What it writes it takes away.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

SECONDS = 10
ROUTES = "/api/v1/internal/routers"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SETTINGS = 4
INSUFFICIENT_PRIVILEGE = "42501"


def asked(address: str, path: str, headers: dict[str, str]) -> int:
    """The status of an answer."""
    connection = http.client.HTTPConnection(*parted(address), timeout=SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def parted(address: str) -> tuple[str, int]:
    """As the programs part it."""
    host, _colon, port = address.rpartition(":")
    return host, int(port)


def answers(address: str, path: str) -> str | None:
    """By HTTP."""
    status = asked(address, path, {})
    return None if status == 200 else f"answers {status}"


def speaks_grpc(address: str) -> str | None:
    """Whether its first words are HTTP/2's."""
    with socket.create_connection(parted(address), timeout=SECONDS) as there:
        there.sendall(PREFACE)
        said = there.recv(9)
    return None if len(said) == 9 and said[3] == SETTINGS else "doesn't speak HTTP/2"


def takes_the_token(address: str) -> str | None:
    """A route that isn't there is looked for: 404 is said only to those who have the token."""
    status = asked(address, ROUTES, {"token": os.environ["TOKEN"], "module-id": "fedlearn-probe"})
    return None if status == 404 else f"answers {status} to it"


def refuses_another_token(address: str) -> str | None:
    """Also the one that stands in the program's source."""
    for token in ("Fl-ZTE", "wrong", None):
        shown = {} if token is None else {"token": token}
        status = asked(address, ROUTES, {"module-id": "fedlearn-probe", **shown})
        if status != 401:
            return f"answers {status} to {'no token at all' if token is None else 'a wrong token'}"
    return None


def _library(name: str) -> Any:
    """One that the image has."""
    return importlib.import_module(name)


def writes_rows(owned: bool) -> str | None:
    """A row is written and taken back before anybody sees it; where tables have an ``owner`` it makes none."""
    if os.environ["DB_TYPE"] == "mongo":
        return _writes_documents()
    psycopg2, sql = _library("psycopg2"), _library("psycopg2.sql")
    host, port = parted(os.environ["DB_ADDRESS"])
    connection = psycopg2.connect(
        host=host,
        port=port,
        dbname=os.environ["DB_NAME"],
        user=os.environ["DB_USERNAME"],
        password=os.environ["DB_PASSWORD"],
        connect_timeout=SECONDS,
    )
    try:
        with connection.cursor() as cursor:
            table = sql.Identifier(os.environ["DB_COLLECTION_NAME"])
            cursor.execute(sql.SQL("INSERT INTO {} (data) VALUES ('{{}}')").format(table))
            connection.rollback()
            if not owned:
                return None
            try:
                cursor.execute("CREATE TABLE fedlearn_probe (id integer)")
            except psycopg2.ProgrammingError as error:
                return None if error.pgcode == INSUFFICIENT_PRIVILEGE else str(error)
            return "it may make tables, too"
    finally:
        connection.rollback()
        connection.close()


def _writes_documents() -> str | None:
    client = _library("pymongo").MongoClient(
        f"mongodb://{os.environ['DB_ADDRESS']}",
        username=os.environ["DB_USERNAME"],
        password=os.environ["DB_PASSWORD"],
        authSource=os.environ["DB_NAME"],
        serverSelectionTimeoutMS=SECONDS * 1000,
    )
    # a collection of its own: the programs take every document for one of theirs
    documents = client[os.environ["DB_NAME"]]["fedlearn_probe"]
    try:
        made = documents.insert_one({"data": {}}).inserted_id
        found = documents.find_one({"_id": made}) is not None
        documents.delete_one({"_id": made})
        return None if found else "what was written isn't found"
    finally:
        client.close()


def _canary(folder: str) -> Path:
    return Path(folder) / f".fedlearn-probe-{socket.gethostname()}"


def writes_files(folder: str) -> str | None:
    """In the shared directory."""
    canary, text = _canary(folder), str(time.time())
    canary.write_text(text)
    found = canary.read_text()
    canary.unlink()
    return None if found == text else "what was written isn't read"


def finds_files_in_s3(folder: str, bucket: str) -> str | None:
    """What is written where the store is mounted comes to be in its bucket, and goes there."""
    store = _library("boto3").resource(
        "s3",
        endpoint_url=os.environ["STORAGE_ENDPOINT"],
        aws_access_key_id=os.environ["ACCESS_KEY"],
        aws_secret_access_key=os.environ["SECRET_KEY"],
    )
    canary, text = _canary(folder), str(time.time())
    canary.write_text(text)
    try:
        found = store.Object(bucket, canary.name).get()["Body"].read().decode()
    finally:
        canary.unlink()
    return None if found == text else f"the bucket {bucket} has something else"


LOOKS = {
    look.__name__: look
    for look in (
        answers,
        speaks_grpc,
        takes_the_token,
        refuses_another_token,
        writes_rows,
        writes_files,
        finds_files_in_s3,
    )
}


def main(given: str) -> None:
    """Looks, one after the other; one that fails is told with all others."""
    rows = []
    for words, name, arguments in json.loads(given):
        try:
            wrong = LOOKS[name](*arguments)
        except Exception as error:  # whatever it is, it is told, and all others are looked at
            wrong = "{}: {}".format(type(error).__name__, str(error).strip() or "no more is said")
        rows.append([words, wrong])
    print(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1])
