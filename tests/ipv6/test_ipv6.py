# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts that have IPv6 alone: reached by ssh, deployed, proven by a round, guarded, and left alone by a second run."""

from __future__ import annotations

import json

from six_hosts import ALONE, HOSTS, UPSTREAM, Six
from standing_demo import CHECKOUT, last_line, recap


def test_a_round_ends_with_the_known_numbers_where_there_is_no_ipv4(six: Six) -> None:
    """A double's round never counts as passed, however right its numbers are."""
    for host in ALONE:
        assert six.run(host, "ip -4 -o address show scope global") == ""
    done = six.playbook("fedlearn.infra.verify", "-e", "verify=round")
    assert done.returncode == 0, done.output[-6000:]
    [stack] = json.loads((CHECKOUT / "build" / "six" / "verify.json").read_text())["stacks"].values()
    assert stack["max_error"] <= 1e-9
    assert stack["passed"] is (True if UPSTREAM else None)
    assert [row for row in stack["checks"] if not row["passed"]] == []


def test_a_second_run_changes_nothing_and_everything_is_well(six: Six) -> None:
    before = six.files(), six.processes()
    found = recap(six.site().output)
    assert {host: found[host]["changed"] for host in HOSTS} == dict.fromkeys(HOSTS, 0)
    assert (six.files(), six.processes()) == before
    status = six.playbook("fedlearn.infra.status")
    assert (status.returncode, last_line(status)["verdict"]) == (0, "ok")


def test_it_listens_on_its_addresses_only_and_is_certified_for_them(six: Six) -> None:
    listening = six.run("v2", "ss -Hltn 'sport = :443'").split()
    assert [word for word in listening if word.endswith(":443")] == ["[fd98:81::12]:443"]
    said = six.run("v2", "openssl x509 -noout -ext subjectAltName -in /etc/fedlearn/six/pki/six-polls-proxy/cert.pem")
    assert "IP Address:FD98:81:0:0:0:0:0:12" in said
    asked = "openssl s_client -connect '[fd98:81::12]:443' -verify_ip fd98:81::12 -verify_return_error"
    trusted = "/etc/fedlearn/six/pki/six-polls-worker/ca.pem"
    assert "Verify return code: 0" in six.run("v3", f"{asked} -CAfile {trusted} </dev/null 2>&1")


def test_who_is_named_by_no_flow_is_kept_out_by_ipv6_too(six: Six) -> None:
    """The server's port is nginx' host's alone."""
    reach = "python3 -c \"import socket; socket.create_connection(('fd98:81::11', 5000), 3)\" 2>&1; echo $?"
    assert six.run("v2", reach).strip() == "0"
    assert six.run("v3", reach).strip().splitlines()[-1] == "1"
