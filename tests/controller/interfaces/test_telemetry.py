"""The verbs of telemetry and alerts: tables, JSON, exit codes, configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.domain.alert import RuleSettings
from edgeloop.domain.telemetry import TelemetryBatch
from edgeloop.interfaces.config import AlertsConfig, load_config
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.telemetry import TelemetrySample, TelemetryStatus

from .conftest import Call


def keep(home: Path, *, disk_free_bytes: int, wall_s: float | None = None) -> None:
    import time

    now_s = time.time() if wall_s is None else wall_s
    sample = TelemetrySample(
        sequence=1,
        wall_s=now_s,
        temperature_celsius=51.5,
        disk_free_bytes=disk_free_bytes,
        disk_total_bytes=100,
        absent=(("power_w", "no sensor of power"),),
    )
    status = TelemetryStatus(epoch="e" * 32, period_s=10.0, first_sequence=1, next_sequence=2, wall_s=now_s)
    batch = TelemetryBatch(
        asked_epoch="", asked_after=0, status=status, dropped_count=7, samples=(sample,), received_bytes=321
    )
    with App.open(home) as app:
        app.telemetry().ingest("pi", batch, now_s)


def test_show_prints_what_was_collected(call: Call, tmp_path: Path) -> None:
    keep(tmp_path / "home", disk_free_bytes=50)
    shown = call("--home", "home", "telemetry", "show", "pi").output
    assert "7 samples dropped" in shown
    assert "51.5 °C" in shown
    assert "no sensor of power" in shown
    assert "321 B" in shown
    tree = json.loads(call("--home", "home", "telemetry", "show", "pi", "--json").output)
    assert tree["device"]["sample"]["temperature_celsius"] == 51.5
    assert tree["device"]["dropped_count"] == 7
    assert {series["quantity"] for series in tree["series"]} >= {"temperature_celsius", "disk_free_bytes"}
    assert tree["traffic"][0]["received_bytes"] == 321


def test_show_of_an_unknown_device_says_what_to_do(call: Call) -> None:
    result = call("--home", "home", "telemetry", "show", "pi")
    assert result.exit_code == 2
    assert "edgeloop telemetry collect --on pi" in result.output


def test_a_device_that_does_not_answer_is_exit_3(call: Call, tmp_path: Path) -> None:
    result = call("--home", "home", "telemetry", "collect", "--on", f"pi=unix:{tmp_path}/none.sock", "--json")
    assert result.exit_code == 3
    (one,) = json.loads(result.output)["collected"]
    assert (one["device"], one["sample_count"]) == ("pi", 0)
    assert "there is no socket" in one["error"]


def test_check_is_exit_1_while_an_alert_is_open(call: Call, tmp_path: Path) -> None:
    keep(tmp_path / "home", disk_free_bytes=50)
    clean = call("--home", "home", "alerts", "check")
    assert (clean.exit_code, "0 alerts are open" in clean.output) == (0, True)
    keep_full = tmp_path / "full"
    keep(keep_full, disk_free_bytes=1)
    checked = call("--home", "full", "alerts", "check", "--json")
    assert checked.exit_code == 1
    tree = json.loads(checked.output)
    assert [alert["rule"] for alert in tree["opened"]] == ["disk"]
    again = json.loads(call("--home", "full", "alerts", "check", "--json").output)
    assert (again["opened"], len(again["open"])) == ([], 1)
    listed = json.loads(call("--home", "full", "alerts", "list", "--json").output)
    assert listed["alerts"][0]["runbook"] == "docs/troubleshooting.md#alert-disk"
    assert "docs/troubleshooting.md#alert-disk" in call("--home", "full", "alerts", "list").output


def test_a_command_that_cannot_be_started_is_exit_3(call: Call, tmp_path: Path) -> None:
    keep(tmp_path / "home", disk_free_bytes=1)
    (tmp_path / "edgeloop.toml").write_text(
        'apiVersion = "edgeloop/v1"\nkind = "Config"\n[alerts]\ncommand = ["/nowhere/at/all"]\n'
    )
    result = call("--home", "home", "alerts", "check")
    assert result.exit_code == 3
    assert "the command /nowhere/at/all cannot be started" in result.output


def test_limits_come_from_the_configuration_and_have_the_defaults_of_the_rules(tmp_path: Path) -> None:
    assert AlertsConfig().settings() == RuleSettings()
    path = tmp_path / "edgeloop.toml"
    path.write_text(
        'apiVersion = "edgeloop/v1"\nkind = "Config"\n[alerts]\noffline_after_s = "2m"\n[telemetry]\nage = "48h"\n'
    )
    config = load_config(path)
    assert config.alerts.settings().offline_after_s == 120.0
    assert config.telemetry.age_s == 172_800.0
    path.write_text('apiVersion = "edgeloop/v1"\nkind = "Config"\n[alerts]\nofline_after_s = 3\n')
    with pytest.raises(
        InvalidInputError, match=r"unknown key alerts\.ofline_after_s.*Nearest is offline_after_s"
    ):
        load_config(path)
