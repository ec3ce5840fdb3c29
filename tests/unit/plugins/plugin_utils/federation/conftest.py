# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small kind that has everything a kind can have, and documents loaded from a directory of their own."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import grammar, kinds, loading
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import (
    Component,
    Endpoint,
    Expansion,
    Federation,
    Stack,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.nodes import Report
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.schema import (
    Anything,
    Integer,
    Items,
    Key,
    Number,
    Place,
    Section,
    Table,
    Text,
)

SETTINGS = Section(
    {
        "rounds": Key(Integer(1, 100), "Rounds.", default=1),
        "rate": Key(Number(above=0, maximum=1), "Rate."),
        "deep": Key(Section({"word": Key(Text(), "A word.")}), "Deep."),
    }
)

PLACEMENTS = {
    "server": Key(
        Place(
            port=7000,
            party=True,
            cluster=True,
            settings=SETTINGS,
            options={"secret": Key(Text(format="secret"), "Name of a secret.")},
        ),
        "The server.",
        required=True,
    ),
    "store": Key(
        Place(port=7001, external=Section({"url": Key(Text(format="origin"), "Where.", required=True)})), "Store."
    ),
    "workers": Key(Place(many=True, options={"each": Key(Integer(1, 9), "How many.", default=1)}), "Workers."),
    "clients": Key(Table(Text(format="name"), Place(listens=False)), "Clients by name."),
    "model": Key(Text(format="path"), "A file."),
    "networks": Key(Items(Text(format="network"), single=True), "Networks."),
    "custom": Key(Anything(), "Whatever."),
}


def expand(stack: Stack, federation: Federation, report: Report) -> Expansion:
    """One component for each placement and host."""
    components = []
    for word, placement in stack.placements.items():
        if placement.external is not None and "forbidden" in placement.external["url"]:
            report.mistake((*placement.path, "external", "url"), "is forbidden here")
        path = (*placement.path, "port")
        for host in placement.hosts:
            address = federation.host(host).internal[0] if federation.host(host).internal else "0.0.0.0"
            endpoints = (Endpoint("http", address, placement.port, path=path),) if placement.port else ()
            name = f"{federation.name}-{stack.name}-{word}"
            components.append(Component(name, stack.name, word, f"toy_{word}", host, endpoints=endpoints))
    return Expansion(components=tuple(components))


@pytest.fixture
def toy_becomes(toy: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[Expansion], None]:
    """Have the kind ``toy`` expand every stack to this."""
    module = kinds.kinds()["toy"]
    return lambda expansion: monkeypatch.setattr(module, "expand", lambda *_arguments: expansion)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The only kinds are ``toy`` and ``plain``, which can't do TLS."""
    module = types.SimpleNamespace(
        NAME="toy",
        TLS=True,
        ROLES={},
        PLACEMENTS=PLACEMENTS,
        SETTINGS=SETTINGS,
        OWN_KEYS=("model",),
        UPPER_BOUNDS=(),
        EXAMPLE="",
        expand=expand,
    )
    plain = types.SimpleNamespace(**{**vars(module), "NAME": "plain", "TLS": False})
    known = {"plain": plain, "toy": module}
    for user in (grammar, loading, kinds):
        monkeypatch.setattr(user, "kinds", lambda: known)
    grammar.document_section.cache_clear()
    yield
    grammar.document_section.cache_clear()


Load = Callable[..., Federation]
Mistakes = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a text as federation.yml, other files beside it by their name (``__`` for ``/``)."""
    monkeypatch.chdir(tmp_path)

    def loaded(text: str, source: str = "federation.yml", **others: str) -> Federation:
        for name, content in {"federation": text, **others}.items():
            path = tmp_path / f"{name.replace('__', '/')}.yml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return loading.load(source)

    return loaded


@pytest.fixture
def mistakes(load: Load) -> Mistakes:
    """The lines that a text's mistakes make."""

    def lines(text: str, **more: str) -> list[str]:
        with pytest.raises(loading.WrongDocumentError) as caught:
            load(text, **more)
        return [str(mistake) for mistake in caught.value.mistakes]

    return lines
