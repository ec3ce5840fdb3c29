# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The third participant that deployed trainings wait for: of `poc` with x3's certificate, of `python` with x2's."""

from __future__ import annotations

from places import X1, X2

OWN = (
    """
import os, ssl, time, urllib.error, urllib.request, uuid
from fedlearn_xain import launching
config = launching.read("/etc/fedlearn/counts/counts-first-participant/launcher.json")
pki = "/etc/fedlearn/counts/pki/counts-first-participant"
tls = {"ca": f"{pki}/ca.pem", "certificate": f"{pki}/chain.pem", "key": f"{pki}/key.pem"}
def asked(url, shown=True, data=None):
    context = ssl.create_default_context(cafile=tls["ca"])
    if shown:
        context.load_cert_chain(tls["certificate"], tls["key"])
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data), context=context, timeout=30) as answer:
            return [answer.status, answer.read().decode(errors="replace")]
    except urllib.error.HTTPError as error:
        return [error.code, ""]
    except OSError as error:
        return [0, str(error)]
"""
    f'coordinator, aggregator = "https://{X1}", "https://{X2}:8082"\n'
)

THIRD = f"""{OWN}
from fedlearn_xain import poc_participant
os.makedirs("/tmp/third", exist_ok=True)
config["application"]["settings"] = given["settings"]
config["state"], config["tls"], config["heartbeat_seconds"] = "/tmp/third", tls, 1
poc_participant.run(config)
print(open("/tmp/third/result.json").read().strip())
"""

SELECTED = f"""{OWN}
identity = json.loads(asked(coordinator + "/rendez_vous")[1])["id"]
def state():
    return json.loads(asked(f"{{coordinator}}/heartbeat/{{identity}}")[1])["state"]
end = time.monotonic() + 120
while state() != "round" and time.monotonic() < end:
    time.sleep(1)
"""
"""It is there and selected, and has sent nothing yet."""

WRONG_TOKEN = f"""{SELECTED}
started = json.loads(asked(f"{{coordinator}}/start_training/{{identity}}")[1])
weights = (10).to_bytes(4, "big")
said = asked(f"{{started['url']}}/{{identity}}/{{uuid.uuid4()}}", data=weights)[0]
time.sleep(3)
print(json.dumps({{"url": started["url"], "said": said, "state": state()}}))
"""

OTHERS_HAVE_SENT = f"""{SELECTED}
time.sleep(15)
print(json.dumps(state()))
"""

HEARTBEAT_OF_NOBODY = f"""{OWN}
print(json.dumps(asked(f"{{coordinator}}/heartbeat/{{uuid.uuid4()}}")[0]))
"""

ASK = f"""{OWN}
nobody = f"/{{uuid.uuid4()}}/{{uuid.uuid4()}}"
print(json.dumps({{
    "a path that there isn't": asked(coordinator + "/x")[0],
    "without a certificate": asked(coordinator + "/rendez_vous", shown=False)[0],
    "models without one": asked(aggregator + nobody, shown=False)[0],
    "a token of nobody's": asked(aggregator + nobody)[0],
    "an upload of nobody's": asked(aggregator + nobody, data=b"x")[0],
    "too large an upload": asked(aggregator + nobody, data=bytes(52 << 20))[0],
}}))
"""

OWN_OF_IMAGES = """
import os
from fedlearn_xain import launching
home, pki = (f"/etc/fedlearn/rounds/{place}rounds-images-participant" for place in ("", "pki/"))
os.environ["CREDENTIALS_DIRECTORY"] = home
config = launching.read(f"{home}/launcher.json")
config["ca"] = f"{pki}/ca.pem"
config["tls"] = {"ca": config["ca"], "certificate": f"{pki}/chain.pem", "key": f"{pki}/key.pem"}
"""
"""What somebody with x2's files has, where nobody gave it credentials."""

THIRD_OF_IMAGES = f"""{OWN_OF_IMAGES}
from fedlearn_xain import participant
os.makedirs("/tmp/third", exist_ok=True)
config["application"]["settings"] = given["settings"]
config["state"], config["heartbeat_seconds"] = "/tmp/third", 1
participant.run(config)
print(open("/tmp/third/result.json").read())
"""
