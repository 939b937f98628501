"""The JSON Schema takes what the loader takes, and refuses what it refuses for types, bounds and provenance."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgeloop_profiles
import pytest
from edgeloop_profiles import check_profile, list_profiles, load_profile
from edgeloop_profiles.json_schema import profile_json_schema
from edgeloop_profiles.writing import to_toml
from jsonschema import Draft202012Validator

tomllib = pytest.importorskip("tomllib")
BOARDS = Path(edgeloop_profiles.__file__).parent / "boards"
Tree = dict[str, Any]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = profile_json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(json.loads(json.dumps(schema)))


@pytest.mark.parametrize("name", list_profiles())
def test_every_shipped_board_is_valid(name: str, validator: Draft202012Validator) -> None:
    short = tomllib.loads((BOARDS / f"{name}.toml").read_text())
    whole = tomllib.loads(to_toml(load_profile(name)))
    for tree in (short, whole):
        assert [error.message for error in validator.iter_errors(tree)] == []


def wrong(*path: str | int, value: Any = None, remove: bool = False) -> Callable[[Tree], None]:
    def edit(tree: Tree) -> None:
        *before, last = path
        table: Any = tree
        for step in before:
            table = table[step]
        if remove:
            del table[last]
        else:
            table[last] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (wrong("colour", value="red"), "colour"),
        (wrong("processor", "sockets", value=1), "processor.sockets"),
        (wrong("runtimes", 0, "speed", value=1), "runtimes[0].speed"),
        (wrong("caches", remove=True), "caches"),
        (wrong("runtimes", 0, "threads", remove=True), "runtimes[0].threads"),
        (wrong("memory", value=[]), "memory"),
        (wrong("processor", "physical_cores", value="four"), "processor.physical_cores"),
        (wrong("processor", "physical_cores", value=True), "processor.physical_cores"),
        (wrong("processor", "isa_flags", value="asimd"), "processor.isa_flags"),
        (wrong("processor", "isa_tier", value="altivec"), "processor.isa_tier"),
        (wrong("processor", "logical_cores", value=0), "processor.logical_cores"),
        (wrong("power", "die_fraction", value=1.5), "power.die_fraction"),
        (wrong("bandwidth", "one_core_bytes_per_s", value=0.0), "bandwidth.one_core_bytes_per_s"),
        (wrong("tails", 0, "spike_rate", value=-0.1), "tails[0].spike_rate"),
        (wrong("runtimes", 0, "threads", "speedup", value=[0.5, 1, 1, 1]), "runtimes[0].threads.speedup[0]"),
        (wrong("storage", "source", remove=True), "storage.source"),
        (wrong("storage", "kind", remove=True), "storage.kind"),
        (wrong("storage", "source", value="  "), "storage.source"),
        (wrong("sensors", 0, "kind", value="hearsay"), "sensors[0].kind"),
        (wrong("digest", value="0" * 64), "digest"),
        (wrong("power_mode", value="15w"), "power_mode"),
    ],
)
def test_what_the_loader_refuses_the_schema_refuses_too(
    edit: Callable[[Tree], None], place: str, validator: Draft202012Validator, tmp_path: Path
) -> None:
    tree = copy.deepcopy(tomllib.loads((BOARDS / "raspberry_pi_4.toml").read_text()))
    edit(tree)
    assert list(validator.iter_errors(tree))
    tomli_w = pytest.importorskip("tomli_w")
    path = tmp_path / "raspberry_pi_4.toml"
    path.write_text(tomli_w.dumps(tree))
    (problem,) = check_profile(path)
    assert problem.message.startswith(f"raspberry_pi_4.toml: {place}: found ")


def test_fields_are_described_and_bounded() -> None:
    schema = profile_json_schema()
    caches = schema["$defs"]["Caches"]
    assert caches["description"] == "The cache hierarchy."
    assert caches["properties"]["l2_bytes"] == {"type": "integer", "minimum": 1}
    assert caches["properties"]["bytes_per_cycle"] == {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "Bytes one core moves per cycle while they stay in cache.",
    }
    assert schema["$defs"]["Rate"]["properties"]["precision"]["enum"] == ["fp32", "fp16", "int8"]
    assert "fitted" in schema["$defs"]["Rate"]["properties"]["kind"]["description"]
    assert "kind" in caches["required"]
    assert {"digest", "power_mode"}.isdisjoint(schema["properties"])
