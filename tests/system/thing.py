# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program the tests deploy: answers HTTP on loopback, refuses a configuration called bad, prints its secret.

It imports little, so that it is up at once.

As a job (port 0) it writes its result and ends. With `crash` it ends by a failure so many seconds after its start, with
`silent` it runs and answers nothing, with `holds_mb` it has so much memory in use.
"""

import json
import os
import pathlib
import signal
import socket
import sys
import time

folder = pathlib.Path(sys.argv[1])
config = json.loads((folder / "thing.conf").read_text())
secret = (pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"]) / "password").read_text()
state = pathlib.Path(os.environ["STATE_DIRECTORY"])
signal.signal(signal.SIGHUP, lambda *_: (state / "reloads").open("a").write("x"))
with (state / "starts").open("a") as stream:
    stream.write(config["text"] + "\n")
if config["bad"]:
    print("refused, my secret is", secret)
    import base64
    import urllib.parse

    print("in a URL", urllib.parse.quote(secret, safe=""), "in JSON", json.dumps({"secret": secret}))
    print("Authorization: Basic", base64.b64encode(f"user:{secret}".encode()).decode(), "in hex", secret.encode().hex())
    sys.exit(3)
if config.get("crash") or config.get("silent"):
    began = int(pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    time.sleep(max(0, began + config.get("crash", 3600) - time.clock_gettime(time.CLOCK_BOOTTIME)))
    sys.exit("I crashed")
if config["port"] == 0:
    (state / "result").write_text("done")
    sys.exit(0)

held = b"x" * (config.get("holds_mb", 0) << 20)
print("up")
server = socket.create_server(("127.0.0.1", config["port"]), backlog=50)
while True:
    connection, _address = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + config["text"].encode())
