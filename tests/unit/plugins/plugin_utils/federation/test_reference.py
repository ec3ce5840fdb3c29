# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The generated reference is as the types are, and what is right for the library is right for the JSON schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading, reference
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.first_files import first_files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.formats import FORMATS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds import kinds

CHECKOUT = Path(__file__).resolve().parents[5]
EXAMPLE = Path(__file__).with_name("example") / "federation.yml"
INVENTORIES = sorted((CHECKOUT / "inventories").rglob("federation.yml"))
SHA256 = "0123456789abcdef" * 4
AGAIN = f".venv/bin/python -m {reference.__name__} docs writes it again"


NOT_WHOLE: dict[str, tuple[str, ...]] = {}
"""Stacks of the design's example whose kind lacks something yet, and the keys that it doesn't take."""


def documents() -> dict[str, dict[str, Any]]:
    """Every document of the repository, of the unit example the stacks whose kind exists."""
    found = {str(path.relative_to(CHECKOUT)): yaml.safe_load(path.read_text()) for path in INVENTORIES}
    found = {name: values for name, values in found.items() if "document" not in values}
    found |= {f"first {kind}": yaml.safe_load(first_files(kind)["federation.yml"]) for kind in kinds()}
    example = yaml.safe_load(EXAMPLE.read_text())
    there = {name: stack for name, stack in example["stacks"].items() if stack["kind"] in kinds()}
    example["stacks"] = {name: stack for name, stack in there.items() if name not in NOT_WHOLE}
    return found | {"the design's example": example}


DOCUMENTS = documents()


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((CHECKOUT / "docs/federation.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", ["federation.md", "federation.schema.json"])
def test_the_reference_is_as_generated(tmp_path: Path, name: str) -> None:
    reference.write(tmp_path)
    assert (CHECKOUT / "docs" / name).read_text() == (tmp_path / name).read_text(), AGAIN


@pytest.mark.parametrize("kind", kinds())
def test_every_key_of_a_kind_is_in_the_reference(kind: str) -> None:
    text = reference.markdown()
    for key in (*kinds()[kind].PLACEMENTS, *(path for path, _key in reference.flat(kinds()[kind].SETTINGS))):
        assert f"| `{key}` |" in text


@pytest.mark.parametrize("name", DOCUMENTS)
def test_an_example_is_right_for_the_schema_and_for_the_library(
    tmp_path: Path, validator: jsonschema.Draft202012Validator, name: str
) -> None:
    assert [error.message for error in validator.iter_errors(DOCUMENTS[name])] == []
    (tmp_path / "federation.yml").write_text(yaml.safe_dump(DOCUMENTS[name], sort_keys=False))
    federation = loading.load(str(tmp_path / "federation.yml"))
    assert list(federation.expansions) == list(DOCUMENTS[name]["stacks"])


def test_of_the_design_s_example_nothing_is_missing_but_kinds() -> None:
    """Whole, it loads as soon as its last kind exists."""
    example = yaml.safe_load(EXAMPLE.read_text())
    missing = [name for name, stack in example["stacks"].items() if stack["kind"] not in kinds()]
    mistakes = []
    try:
        assert list(loading.load(str(EXAMPLE)).expansions) == list(example["stacks"])
    except loading.WrongDocumentError as error:
        mistakes = error.mistakes
    lacking = {f"stacks.{name}.{key}" for name, keys in NOT_WHOLE.items() for key in keys}
    assert {mistake.path for mistake in mistakes} == lacking | {f"stacks.{name}.kind" for name in missing}
    assert all(one.message.startswith("unknown kind ") for one in mistakes if one.path not in lacking)


def test_every_inventory_has_its_document() -> None:
    assert {path.relative_to(CHECKOUT / "inventories").parts[0] for path in INVENTORIES} == {
        path.name for path in (CHECKOUT / "inventories").iterdir() if path.is_dir()
    }


@pytest.mark.parametrize("path", [path for path in INVENTORIES if str(path.relative_to(CHECKOUT)) not in DOCUMENTS])
def test_a_viewpoint_among_the_examples_is_right(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    values = yaml.safe_load(path.read_text())
    assert list(validator.iter_errors(values)) == []
    assert loading.load(str(path)).viewpoint == values["party"]


def test_a_viewpoint_is_right_for_the_schema(validator: jsonschema.Draft202012Validator) -> None:
    viewpoint = yaml.safe_load(first_files("mindspore")["parties/lab/federation.yml"])
    assert list(validator.iter_errors(viewpoint)) == []
    assert list(validator.iter_errors({**viewpoint, "partyy": "lab"})) != []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("federation",), "Demo"),
        (("parties", "lab", "hosts", "ms1"), {"adress": "10.20.0.11"}),
        (("stacks", "lenet", "kind"), "mindspor"),
        (("stacks", "lenet", "servers", "per_host"), "1"),
        (("stacks", "lenet", "proxy", "port"), 70000),
        (("stacks", "lenet", "redis"), {"port": 6379}),
        (("stacks", "lenet", "redis"), {"host": "ms1", "external": {"address": "10.20.0.9", "ca": "ca.pem"}}),
        (("stacks", "lenet", "redis"), {"external": {"address": "10.20.0.9", "ca": "/etc/ssl/ca.pem"}}),
        (("stacks", "lenet", "redis", "bind"), "ms1"),
        (("stacks", "lenet", "scheduler"), {"host": "ms1:22"}),
        (("stacks", "lenet", "scheduler"), {"host": "ms1", "allow": "lab"}),
        (("stacks", "lenet", "proxy", "public_url"), "https://ms1.example/x"),
        (("stacks", "lenet", "servers", "initial_model"), {"source": "lenet.onnx", "sha256": SHA256}),
        (("stacks", "lenet", "servers", "initial_model"), {"source": "/srv/lenet.ckpt", "sha256": SHA256}),
        (("stacks", "lenet", "servers", "initial_model"), {"source": "../lenet.ckpt", "sha256": SHA256}),
        (("stacks", "lenet", "servers", "initial_model"), {"source": ".ca/lenet.ckpt", "sha256": SHA256}),
        (("stacks", "lenet", "servers", "initial_model"), {"source": "lenet.ckpt", "sha256": SHA256.upper()}),
        (("stacks", "lenet", "workers", "application"), {"callable": "mine.train"}),
        (("parties", "lab", "pki"), {"mode": "provided", "certificate_file": "/etc/../x", "key_file": "/etc/x"}),
        (("stacks", "lenet", "settings", "fl_iteration_num"), 0),
        (("stacks", "lenet", "settings", "round"), {"start_fl_job_thresholdd": 2}),
    ],
)
def test_the_schema_sees_what_the_loader_does_where_an_editor_can_show_it(
    tmp_path: Path, validator: jsonschema.Draft202012Validator, path: tuple[str, ...], value: Any
) -> None:
    changed = json.loads(json.dumps(DOCUMENTS["inventories/demo/federation.yml"]))
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert list(validator.iter_errors(changed)) != []
    (tmp_path / "federation.yml").write_text(yaml.safe_dump(changed, sort_keys=False))
    with pytest.raises(loading.WrongDocumentError):
        loading.load(str(tmp_path / "federation.yml"))


def test_what_is_beside_the_wrong_ones_is_right(validator: jsonschema.Draft202012Validator) -> None:
    changed = json.loads(json.dumps(DOCUMENTS["inventories/demo/federation.yml"]))
    stack = changed["stacks"]["lenet"]
    stack["servers"]["initial_model"] = {"source": "./files/lenet.ckpt", "sha256": SHA256}
    stack["redis"] = {"external": {"address": "fd00::9", "ca": "files/ca.pem"}}
    stack["workers"] = {"absent": ["ms2"]}
    assert [error.message for error in validator.iter_errors(changed)] == []


def patterns(schema: Any) -> list[str]:
    """Every pattern in a schema."""
    inside = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    own = [schema["pattern"]] if isinstance(schema, dict) and isinstance(schema.get("pattern"), str) else []
    return own + [pattern for child in inside for pattern in patterns(child)]


def test_patterns_mean_the_same_to_python_and_to_javascript() -> None:
    found = patterns(reference.json_schema())
    assert len(found) > len(FORMATS)
    assert [pattern for pattern in found if re.search(r"\\[AZbBdDsSwW]|\(\?[^:=!]|[*+?}]\+", pattern)] == []
