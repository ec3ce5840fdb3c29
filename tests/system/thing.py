"""The program the tests deploy: answers HTTP on loopback, refuses a configuration that is called bad, prints its
secret.

As a job (port 0) it writes its result and ends.
"""

import http.server
import json
import os
import pathlib
import signal
import sys

folder = pathlib.Path(sys.argv[1])
config = json.loads((folder / "thing.conf").read_text())
secret = (pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"]) / "password").read_text()
state = pathlib.Path(os.environ["STATE_DIRECTORY"])
signal.signal(signal.SIGHUP, lambda *_: (state / "reloads").open("a").write("x"))
with (state / "starts").open("a") as stream:
    stream.write(config["text"] + "\n")
if config["bad"]:
    print("refused, my secret is", secret)
    sys.exit(3)
if config["port"] == 0:
    (state / "result").write_text("done")
    sys.exit(0)


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(config["text"].encode())

    def log_message(self, *_):
        pass


print("up")
http.server.ThreadingHTTPServer(("127.0.0.1", config["port"]), Answer).serve_forever()
