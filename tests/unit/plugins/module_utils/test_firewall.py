# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What claims become as rules; what they do, molecule/firewall proves on a host."""

from __future__ import annotations

from typing import Any

from ansible_collections.fedlearn.infra.plugins.module_utils._firewall import leaving, rules

AROUND = rules.Surroundings(ephemeral=(32768, 60999))


def service(name: str = "web", port: int | None = 80, *sources: str, **more: Any) -> dict[str, Any]:
    given = {"name": name, "addresses": ["10.0.0.1"], "protocol": "tcp", "sources": list(sources), **more}
    return given | ({"port": port} if port else {"ephemeral": True})


def claim(federation: str, *services: dict[str, Any], **more: Any) -> rules.Claim:
    content: dict[str, Any] = {"mode": "enforce", "services": services, "others": [], "ssh_ports": [22]}
    content |= {"ssh_sources": list(rules.EVERYBODY), "default_drop": False, **more}
    return rules.claim_of(federation, content, AROUND)


def lines(name: str, *claims: rules.Claim, around: rules.Surroundings = AROUND) -> list[str]:
    """The rules of a table, without its hook."""
    text = rules.tables(claims, around)[name].text
    body = text.partition("chain input {")[2].partition("\t}\n")[0]
    return [line.strip() for line in body.strip().splitlines()[1:]]


def judging(name: str, *claims: rules.Claim, around: rules.Surroundings = AROUND) -> list[str]:
    """The rules that count or drop."""
    return [line for line in lines(name, *claims, around=around) if " counter " in line]


def test_a_table_accepts_by_policy_and_replaces_the_former_one_at_once() -> None:
    table = rules.tables([claim("one", service())], AROUND)["fedlearn-one"]
    assert "policy accept" in table.text
    assert table.text.startswith(rules.HEAD + "table inet fedlearn-one\ndelete table inet fedlearn-one\ntable inet")
    assert table.drops


def test_who_is_not_named_is_dropped_by_family() -> None:
    found = judging("fedlearn-one", claim("one", service("web", 80, "10.0.0.2", "fd00::/64", addresses=["::"])))
    assert found == [
        'meta nfproto ipv4 tcp dport 80 ip saddr != 10.0.0.2 counter drop comment "web"',
        'meta nfproto ipv6 tcp dport 80 ip6 saddr != fd00::/64 counter drop comment "web"',
    ]


def test_a_family_that_nobody_comes_by_is_closed() -> None:
    found = judging("fedlearn-one", claim("one", service("web", 80, "0.0.0.0/0", addresses=["::"])))
    assert found == ['meta nfproto ipv6 tcp dport 80 counter drop comment "web"']


def test_report_counts_what_enforce_drops() -> None:
    enforced = lines("fedlearn-one", claim("one", service()))
    reported = lines("fedlearn-one", claim("one", service(), mode="report"))
    assert reported == [line.replace("counter drop", "counter") for line in enforced] != enforced


def test_networks_within_others_are_told_once() -> None:
    found = judging("fedlearn-one", claim("one", service("web", 80, "10.0.0.2", "10.0.0.3", "10.0.0.0/24")))
    assert "ip saddr != 10.0.0.0/24 " in found[0]


def test_off_and_nothing_to_guard_have_no_table() -> None:
    assert rules.tables([claim("one", service(), mode="off"), claim("two")], AROUND) == {}


def test_federations_that_share_a_port_let_in_whom_the_other_names() -> None:
    claims = [claim("one", service("web", 443, "10.0.0.2")), claim("two", service("web", 443, "10.0.0.9"))]
    for name in ("fedlearn-one", "fedlearn-two"):
        assert "ip saddr != { 10.0.0.2, 10.0.0.9 }" in judging(name, *claims)[0]


def test_other_addresses_of_the_host_are_another_matter() -> None:
    there = service("web", 443, "10.0.0.9", addresses=["10.0.0.7"])
    claims = [claim("one", service("web", 443, "10.0.0.2")), claim("two", there)]
    assert "ip saddr != 10.0.0.2 " in judging("fedlearn-one", *claims)[0]


def test_an_ephemeral_range_leaves_out_what_has_an_owner() -> None:
    own = [service("peers", None, "10.0.0.2"), service("high", 50000, "10.0.0.3")]
    theirs = service("theirs", 40000, "10.0.0.9")
    named = [service("nfs", 40001, addresses=["0.0.0.0"], last_port=40009)]
    found = judging("fedlearn-one", claim("one", *own, others=named), claim("two", theirs))
    assert found[0] == (
        "ip daddr 10.0.0.1 tcp dport 32768-60999 tcp dport != { 40000-40009, 50000 } "
        'tcp flags & (fin | syn | rst | ack) == syn ip saddr != 10.0.0.2 counter drop comment "peers"'
    )


def test_federations_share_the_ephemeral_range() -> None:
    claims = [claim("one", service("p", None, "10.0.0.2")), claim("two", service("q", None, "10.0.0.4"))]
    for name in ("fedlearn-one", "fedlearn-two"):
        assert "ip saddr != { 10.0.0.2, 10.0.0.4 }" in judging(name, *claims)[0]


def test_a_range_of_others_opens_no_port_of_ours() -> None:
    others = [service("theirs", 40000, "0.0.0.0/0", last_port=50000)]
    found = judging("fedlearn-one", claim("one", service("high", 45000, "10.0.0.2"), others=others))
    assert "ip saddr != 10.0.0.2 " in found[0]


def test_replies_to_a_port_that_the_host_itself_may_use_are_let_in() -> None:
    assert "ct direction original" in judging("fedlearn-one", claim("one", service("high", 45000)))[0]
    assert "ct direction original" in judging("fedlearn-one", claim("one", service("dns", 53, protocol="udp")))[0]
    assert "ct " not in judging("fedlearn-one", claim("one", service("low", 8000)))[0]


def test_ssh_is_never_judged_by_whichever_port_it_came() -> None:
    around = rules.Surroundings(ssh_port=2222, controller="10.9.9.9")
    assert lines("fedlearn-one", claim("one", service()), around=around)[2] == "tcp dport { 22, 2222 } accept"


def test_fragments_are_put_together_before_they_are_judged() -> None:
    assert lines("fedlearn-one", claim("one", service("low", 8000)))[1].startswith("ct state invalid continue")


def test_the_default_drop_is_one_table_whoever_asks() -> None:
    first = claim("one", service("web", 80), default_drop=True, others=[service("mail", 25, "10.0.0.0/8")])
    second = claim("two", service("peers", None, "10.0.0.2"), default_drop=True, mode="report")
    found = lines("fedlearn", first, second)
    assert 'ip daddr 10.0.0.1 tcp dport 80 accept comment "web"' in found
    assert 'ip daddr 10.0.0.1 tcp dport 25 ip saddr 10.0.0.0/8 accept comment "mail"' in found
    assert 'ip daddr 10.0.0.1 tcp dport 32768-60999 accept comment "peers"' in found
    assert found[-1] == 'counter drop comment "default"'
    assert lines("fedlearn", second)[-1] == 'counter comment "default"'


def test_the_default_drop_lets_ssh_in_from_where_the_controller_is() -> None:
    around = rules.Surroundings(ssh_port=22, controller="192.168.7.7")
    asked = claim("one", default_drop=True, ssh_sources=["10.0.0.0/8"])
    ssh = [line for line in lines("fedlearn", asked, around=around) if "ssh" in line]
    assert ssh == ['meta nfproto ipv4 tcp dport 22 ip saddr { 10.0.0.0/8, 192.168.7.7 } accept comment "ssh"']


# --- what services leave


def test_what_nobody_guards_any_more_is_left() -> None:
    former = [service("web", 80), service("cache", 6379, "10.0.0.2"), service("peers", None)]
    assert leaving.left(former, [service("web", 81), service("cache", 6379)], AROUND) == [former[0], former[2]]
    assert leaving.left(former, former, AROUND) == []
    assert leaving.left(former, [], AROUND) == former


def test_only_addresses_that_nobody_guards_are_left() -> None:
    both = service("web", 80, addresses=["10.0.0.1", "10.0.0.2"])
    assert leaving.left([both], [service("web", 80)], AROUND) == [{**both, "addresses": ["10.0.0.2"]}]
    assert leaving.left([both], [service("web", 80, addresses=["0.0.0.0"])], AROUND) == []
    everywhere = service("web", 80, addresses=["::"])  # IPv4, too
    assert leaving.left([everywhere], [service("web", 80, addresses=["0.0.0.0"])], AROUND) == [everywhere]


def test_a_row_of_ports_is_left_where_only_some_are_guarded() -> None:
    row = service("peers", 80, last_port=89)
    assert leaving.left([row], [service("peers", 80, last_port=85)], AROUND) == [row]
    assert leaving.left([row], [service("peers", 70, last_port=99)], AROUND) == []
    assert leaving.left([row], [service("peers", 80, last_port=89, protocol="udp")], AROUND) == [row]


def test_what_is_known_to_be_there_is_told_by_address_port_and_protocol() -> None:
    web, cache = service("web", 80), service("cache", 6379, addresses=["::"])
    owned = [{"address": "10.0.0.1", "port": 6379, "protocol": "tcp"}]
    assert leaving.listened_on([web, cache], owned, AROUND) == [cache]
    assert leaving.listened_on([web, cache], [{**owned[0], "port": 80, "protocol": "udp"}], AROUND) == []
    assert leaving.listened_on([web, cache], [{**owned[0], "address": "0.0.0.0", "port": 80}], AROUND) == [web]
