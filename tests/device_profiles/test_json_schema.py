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
from edgeloop_profiles.reading import problems_of
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


def test_every_field_is_refused_when_it_is_missing_of_another_type_or_out_of_bounds() -> None:
    """All fields of the schema, wherever they stand, each with its place, what was found and what is allowed."""
    schema = profile_json_schema()
    known = {("", name) for name in schema["properties"]}
    known |= {(table, name) for table, found in schema["$defs"].items() for name in found["properties"]}
    seen: set[tuple[str, str]] = set()
    for tree in (WHOLE, SHORT):
        for path, table, name, rules in _fields_of(tree, schema):
            if (table, name) in seen:
                continue
            seen.add((table, name))
            place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in (*path, name))
            # Without "like" it is a runtime that is written out, and refused as one.
            required = name in _definition(schema, table)["required"] and name != "like"
            for value, found in _wrong_values(rules, required=required):
                messages = _problems_with(tree, (*path, name), value)
                start = f"board.toml: {place[1:]}: found "
                said = [message for message in messages if message.startswith(start)]
                assert said, (place, value, messages)
                assert found in said[0]
                assert ", allowed is " in said[0]
    assert seen == known


MISSING: Any = object()
"""Stands for a field that is taken away."""


def _whole_tree() -> Tree:
    """Return a tree with every kind of table in it, written out."""
    board = load_profile("jetson_orin_nano")
    written = tomllib.loads(to_toml(board))
    own = tomllib.loads((BOARDS / "jetson_orin_nano.toml").read_text())
    provenance = {"kind": "fitted", "source": "a tree for a test"}
    written |= {name: own[name] for name in ("power_modes", "default_power_mode")}
    written["thermal"]["fan"] = tomllib.loads((BOARDS / "raspberry_pi_5.toml").read_text())["thermal"]["fan"]
    written["runtimes"][0]["published"] = [{**provenance, "precision": "fp32", "row_count": 3}]
    written["calibration"] = {
        **provenance, "runtime": "onnxruntime", "runtime_version": "1.23.2", "device_id": "d", "date": "2026-11-26",
        "method": "shrinkage", "model_count": 3, "held_out_mape": 0.1, "in_family_factor": 1.2,
        "out_of_family_factor": 1.5, "fastest_s": 0.001, "slowest_s": 0.1, "precisions": ["fp32"], "threads": [1],
        "families": [{"name": "mobile", "shares": [0.2, 0.2, 0.2, 0.2, 0.2]}],
    }  # fmt: skip
    return written


def _short_tree() -> Tree:
    """Return a tree whose runtime is taken over from a shared file, scaled and with tables of its own."""
    tree = tomllib.loads((BOARDS / "raspberry_pi_zero_2w.toml").read_text())
    whole = _whole_tree()["runtimes"][0]
    for name in ("overheads", "loading", "memory", "intervals", "rates", "published"):
        tree["runtimes"][0][name] = whole[name]
    tree["runtimes"][0]["scaled"] = {"kind": "assumed", "source": "a tree for a test", "fp32_factor": 0.9}
    return tree


WHOLE, SHORT = _whole_tree(), _short_tree()


def _definition(schema: Tree, table: str) -> Tree:
    found: Tree = schema["$defs"][table] if table else schema
    return found


def _fields_of(tree: Tree, schema: Tree) -> list[tuple[tuple[str | int, ...], str, str, Tree]]:
    """Return path, table, field and rules of every field that a table of the tree may have, each table once."""
    found: list[tuple[tuple[str | int, ...], str, str, Tree]] = []
    done: set[str] = set()

    def visit(value: Tree, table: str, path: tuple[str | int, ...]) -> None:
        if table in done:
            return
        done.add(table)
        for name, rules in _definition(schema, table)["properties"].items():
            found.append((path, table, name, rules))
            inner = value.get(name)
            if isinstance(inner, list) and inner and isinstance(inner[0], dict):
                visit(inner[0], _table_of(rules["items"], inner[0]), (*path, name, 0))
            elif isinstance(inner, dict):
                visit(inner, _table_of(rules, inner), (*path, name))

    visit(tree, "", ())
    return found


def _table_of(rules: Tree, value: Tree) -> str:
    chosen = rules if "$ref" in rules else rules["then" if "like" in value else "else"]
    return str(chosen["$ref"]).rpartition("/")[2]


def _wrong_values(rules: Tree, *, required: bool) -> list[tuple[Any, str]]:
    """Return values that a field must refuse, each with what the sentence says was found."""
    wrong: list[tuple[Any, str]] = [(MISSING, "found nothing")] if required else []
    kind = rules.get("type", "object")
    other: Any = {
        "string": 7,
        "integer": "seven",
        "number": "seven",
        "boolean": 1,
        "array": "seven",
        "object": 7,
    }
    wrong.append((other[kind], repr(other[kind])))
    if kind in ("integer", "number"):
        wrong += [(True, "True")] + ([(0.5, "0.5")] if kind == "integer" else [(float("nan"), "nan")])
    limits = {"minimum": -1, "exclusiveMinimum": 0, "maximum": 1}
    wrong += [(rules[n] + by, repr(rules[n] + by)) for n, by in limits.items() if n in rules]
    wrong += [("hearsay", "'hearsay'")] if "enum" in rules else []
    wrong += [("  ", "'  '")] if "pattern" in rules else []
    return wrong


def _problems_with(tree: Tree, path: tuple[str | int, ...], value: Any) -> list[str]:
    """Return what the loader says when one field holds something else."""
    changed = copy.copy(tree)
    table: Any = changed
    for part in path[:-1]:
        table[part] = copy.copy(table[part])
        table = table[part]
    if value is MISSING:
        table.pop(path[-1])
    else:
        table[path[-1]] = value
    return [problem.message for problem in problems_of(changed, "board.toml")]
