"""``edgeloop profile``: a table, provenance, every problem of a file, the layout."""

from __future__ import annotations

import json
from pathlib import Path

import edgeloop_profiles
import pytest
from edgeloop_profiles import list_profiles, load_profile
from jsonschema import Draft202012Validator

from .conftest import Call
from .recorder import Recorder

BOARDS = Path(edgeloop_profiles.__file__).parent / "boards"


def test_list_names_every_board(call: Call) -> None:
    rows = json.loads(call("profile", "list", "--json", api=Recorder()).stdout)["profiles"]
    assert [row["name"] for row in rows] == list(list_profiles())
    orin = next(row for row in rows if row["name"] == "jetson_orin_nano")
    assert (orin["power_mode"], orin["power_modes"]) == ("15w", ["15w", "7w", "25w", "maxn_super"])
    assert (orin["logical_cores"], orin["isa_tier"]) == (6, "neon_dotprod")
    assert orin["runtimes"][0]["version"] == "1.23.2"
    assert orin["digest"] == load_profile("jetson_orin_nano").digest
    table = call("profile", "list", api=Recorder()).stdout
    assert all(name in table for name in list_profiles())


def test_show_prints_figures_with_their_provenance(call: Call) -> None:
    text = call("profile", "show", "jetson_orin_nano@7w", api=Recorder()).stdout
    assert "name = jetson_orin_nano@7w\n" in text
    assert "  logical_cores = 4\n" in text
    assert "runtimes[0].overheads   (literature: dispatch of ONNX Runtime on x86" in text
    assert "no figures exist for the Ampere GPU" in text
    shown = json.loads(call("profile", "show", "nuc11", "--json", api=Recorder()).stdout)
    assert shown["caches"]["l2_bytes"] == load_profile("nuc11").caches.l2_bytes
    assert shown["processor"]["kind"] == "datasheet"
    assert shown["caches"]["kind"] == "assumed"
    assert shown["caches"]["source"].startswith("from memory, ")


def test_show_of_an_unknown_name_lists_all(call: Call) -> None:
    result = call("profile", "show", "raspberry_pi_6", api=Recorder())
    assert result.exit_code == 2
    assert all(name in result.stderr for name in list_profiles())


def test_check_names_every_problem_of_every_file(call: Call, tmp_path: Path) -> None:
    wrong = tmp_path / "nuc11.toml"
    wrong.write_text(
        (BOARDS / wrong.name)
        .read_text()
        .replace("physical_cores = 4", "physical_cores = 0")
        .replace("[storage]", "[storage]\nspeed = 1")
    )
    good, missing = str(BOARDS / "raspberry_pi_5.toml"), str(tmp_path / "none.toml")
    result = call("profile", "check", good, str(wrong), missing, api=Recorder())
    assert result.exit_code == 2
    assert result.stdout.splitlines()[:3] == [
        f"{good}: ok",
        "nuc11.toml: processor.physical_cores: found int 0, allowed is a whole number at least 1.",
        "nuc11.toml: storage.speed: found a field that is not known, allowed is kind, read_bytes_per_s, source.",
    ]
    assert "none.toml" in result.stdout
    files = json.loads(call("profile", "check", good, str(wrong), "--json", api=Recorder()).stdout)["files"]
    assert [(file["ok"], len(file["problems"])) for file in files] == [(True, 0), (False, 2)]


def test_check_of_good_files_exits_0(call: Call) -> None:
    assert call("profile", "check", *list_profiles(), api=Recorder()).exit_code == 0


@pytest.mark.parametrize("words", [("schema",), ("schema", "--json")])
def test_schema_is_a_schema(call: Call, words: tuple[str, ...]) -> None:
    schema = json.loads(call("profile", *words, api=Recorder()).stdout)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")


def test_device_list_shows_what_can_be_simulated(call: Call) -> None:
    assert json.loads(call("device", "list", "--json", api=Recorder()).stdout)["profiles"] == list(
        list_profiles()
    )
    assert "sim:raspberry_pi_zero_2w" in call("device", "list", api=Recorder()).stdout
