"""A signed release on its way to real agents and back: everything that a user types, over the real wire."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from edgeloop.interfaces.cli.main import cli
from edgeloop.store.audit import AuditLog

from .conftest import Tiny

LOCAL, PI = "this-machine", "pi"
ON = "local,pi=sim:raspberry_pi_4"


@dataclass(frozen=True)
class Fleet:
    """A home with keys and two artifacts of one model."""

    home: Path
    first: str
    second: str

    def call(self, *words: object, code: int = 0) -> Result:
        result = call(self.home, *words)
        assert result.exit_code == code, result.output
        return result

    def devices(self, *words: object, on: str = ON, code: int = 0) -> dict[str, Any]:
        """Return, by device, its only deployment, or the error where there is none."""
        result = self.call(*words, "--on", on, "--json", code=code)
        found = json.loads(result.stdout)["devices"]
        return {one["device"]: one["deployments"][0] if one["deployments"] else one for one in found}


def call(home: Path, *words: object) -> Result:
    runner = CliRunner(env={"EDGELOOP_HOME": str(home), "EDGELOOP_RELEASE_PASSPHRASE": "", "COLUMNS": "200"})
    return runner.invoke(cli, [str(word) for word in words])


@pytest.fixture(scope="module")
def fleet(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("deploy")
    built = call(
        home, "compress", tiny.model, "--data", tiny.data, "--recipes", "post_training", "--recipe", "optimised graph",
    )  # fmt: skip
    assert built.exit_code == 0, built.output
    assert call(home, "release", "init").exit_code == 0
    listed = json.loads(call(home, "artifact", "list", "--json").stdout)["artifacts"]
    digests = {one["manifest"]["label"]: one["digest"] for one in listed}
    yield Fleet(home, digests["original"], digests["optimised graph"])
    shutil.rmtree(home)


@pytest.mark.timeout(120)
def test_releases_come_go_and_are_refused(fleet: Fleet) -> None:
    """One walk on both devices, because each step builds on what the one before left there."""
    fleet.call("release", "sign", fleet.first, "--name", "demo")
    first = fleet.devices("deploy", "demo", "--trial", 0)
    assert {name: one["state"] for name, one in first.items()} == {LOCAL: "committed", PI: "committed"}
    assert all("parity of" in one["measured"] for one in first.values())
    assert {name: "simulated" in one["measured"] for name, one in first.items()} == {LOCAL: False, PI: True}

    fleet.call("release", "rotate", "targets")
    fleet.call("release", "sign", fleet.second, "--name", "demo")
    second = fleet.devices("deploy", "demo", "--trial", 0)
    assert {one["current_digest"] for one in second.values()} == {fleet.second}
    assert {one["previous_digest"] for one in second.values()} == {fleet.first}

    fleet.call("release", "sign", fleet.first, "--name", "demo", "--device", PI, "--arch", "riscv64")
    refused = fleet.devices("deploy", "demo", "--trial", 0, code=3)
    assert refused[LOCAL]["error"].startswith(f"{LOCAL}: the release is for the devices {PI}; this one is ")
    assert refused[PI]["error"] == f"{PI}: the release is for the architectures riscv64; this one is aarch64."
    kept = fleet.devices("deployment", "status")
    assert {(one["current_digest"], one["current_counter"]) for one in kept.values()} == {(fleet.second, 2)}
    assert {one["state"] for one in kept.values()} == {"failed"}

    back = fleet.devices("deployment", "rollback", "demo")
    assert {one["state"] for one in back.values()} == {"rolled_back"}
    assert {(one["current_digest"], one["current_counter"]) for one in back.values()} == {(fleet.first, 1)}
    # An agent of its own for the verb, started again after the one that rolled back.
    served = fleet.call("deployment", "serve", "demo", "--on", ON, "--json", code=1)
    answers, simulated = json.loads(served.stdout)["devices"]
    (status,) = answers["serving"]
    assert (answers["error"], status["state"], status["digest"]) == ("", "ready", fleet.first)
    assert (status["counter"], status["spec"]["grpc_address"].startswith("127.0.0.1:")) == (1, True)
    assert "a simulated board serves no model" in simulated["error"]
    # What was asked for outlives that agent, ports included.
    stopped = fleet.call("deployment", "stop", "demo", "--on", "local", "--json")
    assert json.loads(stopped.stdout)["devices"] == [{"device": LOCAL, "serving": [], "error": ""}]


def test_the_audit_log_holds_until_a_line_is_altered(fleet: Fleet, tmp_path: Path) -> None:
    for artifact in (fleet.first, fleet.second):
        fleet.call("release", "sign", artifact, "--name", "logged")
    log = fleet.home / "audit.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    verified = json.loads(fleet.call("audit", "verify", "--json").stdout)
    assert verified["entries"] == len(lines) >= 3
    for number in (0, len(lines) - 1):
        altered = [*lines]
        altered[number] = altered[number].replace('"who":"', '"who":"not-')
        (tmp_path / "audit.jsonl").write_text("".join(altered))
        result = call(tmp_path, "audit", "verify")
        assert result.exit_code == 3, result.output
        assert f"line {number + 1}: it is not what was written" in result.stderr
        assert "Traceback" not in result.output


def test_what_a_crash_left_of_a_line_is_told_from_a_line_that_was_cut_off(tmp_path: Path) -> None:
    log, path = AuditLog(tmp_path / "audit.jsonl", time.time), tmp_path / "audit.jsonl"
    head = log.append("deploy demo", "board", "committed")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    result = call(tmp_path, "audit", "verify", "--known", head)
    assert result.exit_code == 0, result.output
    assert "40 bytes" in result.stdout
    assert json.loads(call(tmp_path, "audit", "verify", "--json").stdout)["torn_bytes"] == 40
    assert call(tmp_path, "audit", "verify", "--known", "0" * 63).exit_code == 3
    path.write_bytes(whole[:40])
    result = call(tmp_path, "audit", "verify")
    assert result.exit_code == 3
    assert "line 1 was acknowledged and it ends with line 0" in result.stderr


def test_nothing_is_done_that_the_log_cannot_hold(fleet: Fleet, tmp_path: Path) -> None:
    fleet.call("release", "sign", fleet.first, "--name", "unwritten")
    home = shutil.copytree(fleet.home, tmp_path / "home")
    log = home / "audit.jsonl"
    log.write_text(log.read_text().replace('"created"', '"changed"'))
    plan = tmp_path / "plan.toml"
    plan.write_text('release = "unwritten"\non = ["local"]\nwaves = [{ rest = true }]\n')
    before, roots = call(home, "release", "list", "--json").stdout, sorted(home.glob("release/*.root.json"))
    for words in (
        ("release", "sign", fleet.second, "--name", "unwritten"),
        ("release", "rotate", "root"),
        ("deploy", "unwritten", "--on", "local"),
        ("rollout", "start", plan),
    ):
        result = call(home, *words)
        assert result.exit_code == 3, result.output
        assert "line 1: it is not what was written" in result.stderr
    assert call(home, "release", "list", "--json").stdout == before
    assert sorted(home.glob("release/*.root.json")) == roots


def test_a_broken_log_does_not_stop_a_rollback(fleet: Fleet, tmp_path: Path) -> None:
    home = shutil.copytree(fleet.home, tmp_path / "home")
    log = home / "audit.jsonl"
    broken = log.read_text().replace('"created"', '"changed"')
    log.write_text(broken)
    result = call(home, "deployment", "rollback", "nothing", "--on", "local", "--json")
    assert "there is no deployment 'nothing'" in json.loads(result.stdout)["devices"][0]["error"]
    assert "the audit log cannot be written to" in result.stderr
    beside = json.loads((home / "audit-beside.jsonl").read_text())
    assert (beside["action"], beside["subject"]) == ("rollback nothing", LOCAL)
    assert "line 1: it is not what was written" in beside["details"]["why_beside"]
    assert log.read_text() == broken


def test_a_plan_is_laid_out_and_refused_by_its_place(fleet: Fleet, tmp_path: Path) -> None:
    fleet.call("release", "sign", fleet.first, "--name", "planned")
    plan = tmp_path / "plan.toml"
    plan.write_text('release = "planned"\non = ["local,pi=sim:raspberry_pi_4,far=sim:nuc11"]\n')
    laid_out = json.loads(fleet.call("rollout", "start", plan, "--dry-run", "--json").stdout)
    assert [(one["spec"]["name"], one["wave"]) for one in laid_out["devices"]] == [
        (LOCAL, 0),
        (PI, 1),
        ("far", 2),
    ]
    assert json.loads(fleet.call("rollout", "status", "--json").stdout) == {"rollouts": []}
    for text, sentence in (
        ('release = "planned"\nspeed = 3\n', "the plan has no 'speed'"),
        ('release = "planned"\n[gate]\np95 = 3\n', "gate has no 'p95'"),
        ('release = "planned"\n[[waves]]\ncount = "one"\n', "count is int, not str"),
        ("release = ", "is no TOML"),
    ):
        plan.write_text(text)
        result = fleet.call("rollout", "start", plan, "--dry-run", code=2)
        assert sentence in result.stderr
    assert "there is no rollout 'planned'" in fleet.call("rollout", "pause", "planned", code=2).stderr


@pytest.mark.timeout(120)
def test_a_device_signs_its_parity_and_anybody_verifies_it_offline(fleet: Fleet, tmp_path: Path) -> None:
    fleet.call("release", "sign", fleet.first, "--name", "proven")
    fleet.call("deploy", "proven", "--trial", 0, "--on", "pi=sim:raspberry_pi_4")
    issue = ("certificate", "issue", "proven", "--on", "pi=sim:raspberry_pi_4", "--json")
    assert "not enrolled" in fleet.call(*issue, code=3).stderr
    fleet.call("ca", "init", "--fleet", "lab")
    (state,) = (path for path in fleet.home.glob("agents/pi*/state"))
    fleet.call("device", "enrol", "pi", "--state", state)
    (issued,) = json.loads(fleet.call(*issue).stdout)["certificates"]
    file, stated = Path(issued["file"]), issued["statement"]
    assert (stated["artifact_digest"], stated["identity"]) == (fleet.first, "spiffe://lab/device/pi")
    assert stated["simulated"] is True
    assert stated["parity"]["comparisons"][0]["outputs"][0]["within_tolerance"] is True
    assert stated["isolation"]["tier"]

    reader, root = tmp_path / "reader", tmp_path / "root.pem"
    root.write_text(fleet.call("certificate", "root").stdout)
    verify = ("certificate", "verify", file, "--root", root, "--json")
    held = call(reader, *verify, "--device", "pi", "--artifact", fleet.first)
    assert held.exit_code == 0, held.output
    assert json.loads(held.stdout)["statement"] == stated
    for words, sentence in (
        ((*verify, "--device", "other"), "it is of spiffe://lab/device/pi, not of other"),
        ((*verify, "--artifact", fleet.second), "it is about artifact"),
    ):
        refused = call(reader, *words)
        assert (refused.exit_code, json.loads(refused.stdout)["holds"]) == (1, False)
        assert sentence in refused.stderr
    tampered = tmp_path / "tampered.json"
    tree = json.loads(file.read_text())
    tree["payload"] = tree["payload"][:-8] + tree["payload"][-4:] + tree["payload"][-8:-4]
    tampered.write_text(json.dumps(tree))
    refused = call(reader, "certificate", "verify", tampered, "--root", root)
    assert refused.exit_code in (1, 2)
    assert "Traceback" not in refused.output


def test_what_was_never_signed_is_not_deployed(fleet: Fleet) -> None:
    result = fleet.call("deploy", "nothing", "--on", ON, code=2)
    assert "no release is named 'nothing'" in result.stderr
