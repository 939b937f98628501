"""One command from model to strategy, over the real wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Cli, Tiny

VARYING = {
    # Identifiers drawn anew and readings of real clocks; everything else of a simulated experiment is repeatable.
    "experiment_id", "run_id", "job_id", "request_id", "lease_id", "boot_id", "created_wall_s", "started_wall_s",
    "wall_time_s", "duration_s", "build_s", "disk_free_bytes", "free_disk_bytes", "available_memory_bytes",
    "load_average_1min", "monotonic_ns", "sent_bytes", "present_bytes",
}  # fmt: skip


def without_varying(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: without_varying(v) for k, v in tree.items() if k not in VARYING}
    if isinstance(tree, list):
        return [without_varying(item) for item in tree]
    return tree


def run(cli: Cli, tiny: Tiny, *more: object) -> Any:
    outcome = cli(
        "run", tiny.model, "--data", tiny.data, "--on", "pi=sim:raspberry_pi_4,five=sim:raspberry_pi_5",
        "--require", "accuracy_drop < 20%", "--prefer", "size", "--seed", 7, "--json", *more,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return outcome.json()


@pytest.mark.timeout(300)
def test_every_device_gets_a_strategy(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    check_strategies(run(cli, tiny, "--report", tmp_path / "report"), tmp_path / "report")


@pytest.mark.timeout(300)
def test_the_seed_alone_decides_the_samples(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    """Two candidates are enough for this: every experiment that is compared costs seconds."""
    recipes = tmp_path / "recipes.yaml"
    recipes.write_text("recipes: {int8: [{pass: quantize_dynamic}]}\n")
    first, again, other = (run(cli, tiny, "--recipes", recipes, "--seed", seed) for seed in (7, 7, 8))
    assert without_varying(again) == without_varying(first)
    assert {len(device["runs"]) for device in first["devices"]} == {2}
    digests = [d["runs"][0]["timing"]["samples_digest"] for r in (first, other) for d in r["devices"]]
    assert len(set(digests)) == len(digests)


def check_strategies(result: Any, report: Path) -> None:
    assert [device["device"]["name"] for device in result["devices"]] == ["pi", "five"]
    for device in result["devices"]:
        assert not device["error"]
        assert device["strategy"]["source"] == "simulated"
        assert device["strategy"]["basis"] == "transferred, unvalidated"
        assert {r["source"] for r in device["runs"]} == {"simulated"}
        assert device["runs"][0]["trial"]["label"] == "original"
        assert all(r["parity"] is not None for r in device["runs"] if r["outcome"] == "success")
    built = [c for c in result["candidates"] if c["state"] == "built"]
    assert len(built) >= 4
    assert all(c["quality"]["item_count"] > 300 for c in built)
    html = (report / "index.html").read_text()
    assert "simulated" in html
    assert "http://" not in html.replace("http://www.w3.org", "").split("plotly")[0]


@pytest.mark.timeout(180)
def test_this_machine_is_a_real_device_and_decisions_can_be_taken_again(cli: Cli, tiny: Tiny) -> None:
    outcome = cli(
        "run",
        tiny.model,
        "--data",
        tiny.data,
        "--on",
        "local",
        "--as-deployed",
        "--prefer",
        "size",
        "--budget",
        "24s",
        "--json",
    )
    assert outcome.code == 0, outcome.err
    (device,) = outcome.json()["devices"]
    assert {r["source"] for r in device["runs"]} == {"measured"}
    for measured in device["runs"]:
        timing = measured["timing"]
        assert timing["steady"]["p50"]["value"] > 0
        assert len(timing["blocks"]) >= 3
    again = cli("select", "latest", "--require", "size < 1B", "--json")
    assert again.code == 0, again.err
    assert again.json()["devices"][0]["strategy"]["decision"] == "none_feasible"
    gate = cli(
        "validate", "latest", "--thresholds", _thresholds(tiny.directory, 'require = ["latency_p95 < 1ns"]')
    )
    assert gate.code == 1, gate.out
    thresholds = _thresholds(tiny.directory, 'require = ["size < 1MB"]')
    gate = cli("validate", "latest", "--thresholds", thresholds)
    # What else runs on this machine may disqualify a run, and then no gate accepts it and says so.
    if any(evidence["disqualification"] for evidence in device["evidence"]):
        assert gate.code == 0 or "no gate accepts this run" in gate.out
    else:
        assert gate.code == 0, gate.out


def _thresholds(directory: Path, text: str) -> Path:
    path = directory / "thresholds.toml"
    path.write_text(text)
    return path
