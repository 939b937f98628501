"""Gates hold measured figures to their word, and predicted ones only when somebody says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from edgeloop.orchestrate.validate import validate
from edgeloop_foundation.errors import InvalidInputError

from tests.controller.report import factory_load
from tests.controller.report.factory import experiment


def gates(**thresholds: Any) -> dict[str, bool]:
    return {gate.name: gate.passed for gate in validate(experiment(), thresholds)}


def test_a_device_that_never_answered_fails() -> None:
    assert gates()["attic: reachable"] is False


def test_a_bound_is_held_against_the_unfavourable_end() -> None:
    generous = gates(require=["latency_p95 < 1s"], candidate="original")
    assert generous["this-machine: latency_p95 < 1s"] is True
    tight = gates(require=["latency_p95 < 1us"], candidate="original")
    assert tight["this-machine: latency_p95 < 1us"] is False


def test_predicted_figures_satisfy_a_bound_only_when_allowed() -> None:
    rule = {"require": ["latency_p95 < 10s"], "candidate": "original"}
    assert gates(**rule)["raspberry_pi_5: latency_p95 < 10s"] is False
    assert gates(**rule, allow_predicted=True)["raspberry_pi_5: latency_p95 < 10s"] is True


def test_size_is_real_on_a_simulated_board() -> None:
    assert gates(require=["size < 1GB"], candidate="original")["raspberry_pi_5: size < 1GB"] is True


def test_rules_of_one_device_add_to_the_general_ones() -> None:
    found = gates(
        require=["size < 1GB"], candidate="original", devices={"this-machine": {"require": ["size < 1B"]}}
    )
    assert found["this-machine: size < 1GB"] is True
    assert found["this-machine: size < 1B"] is False
    assert "raspberry_pi_5: size < 1B" not in found


def test_a_candidate_that_failed_on_the_device_fails_with_its_reason() -> None:
    failed = [g for g in validate(experiment(), {"candidate": "pruned 50 %"}) if "this-machine" in g.name]
    assert [gate.passed for gate in failed] == [False]
    assert "signal 11" in failed[0].reason


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        ({"requires": []}, "requires"),
        ({"devices": {"toaster": {}}}, "toaster"),
        ({"require": ["speed < 3"]}, "speed"),
        ({"require": ["rmse_drop < 1%"]}, "judged by accuracy"),
        ({"devices": {"this-machine": {"limit": 3}}}, "limit"),
        ({"devices": {"this-machine": 3}}, "devices.this-machine is 3, it should be a table"),
        ({"devices": ["this-machine"]}, "it should be a table of tables"),
        ({"require": "size < 1MB"}, "it should be a list"),
        ({"require": [3]}, "it should be a list"),
        ({"candidate": 3}, "it should be the label"),
        ({"allow_predicted": "no"}, "it should be true or false"),
        ({"devices": {"this-machine": {"devices": {}}}}, "unknown key 'devices'"),
    ],
)
def test_what_it_does_not_understand_is_refused(thresholds: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        validate(experiment(), thresholds)


def test_a_run_with_a_disqualifying_anomaly_satisfies_no_gate_and_says_why() -> None:
    rule = {"require": ["latency_p95 < 1s", "size < 1GB"], "candidate": "dynamic int8"}
    found = {g.name: g for g in validate(factory_load.experiment(), rule) if "this-machine" in g.name}
    latency = found["this-machine: latency_p95 < 1s"]
    assert not latency.passed
    assert "foreign load in round 3" in latency.reason
    assert not found["this-machine: parity of dynamic int8"].passed
    assert found["this-machine: size < 1GB"].passed, "size is of the host"


def test_sustained_figures_can_be_gates() -> None:
    rule = {"require": ["sustained_ratio < 1.5", "sustained_ratio < 1.2"], "candidate": "original"}
    found = {g.name: g.passed for g in validate(factory_load.experiment(), rule)}
    assert found["this-machine: sustained_ratio < 1.5"]
    assert not found["this-machine: sustained_ratio < 1.2"]


def test_an_experiment_of_two_series_is_refused() -> None:
    whole = factory_load.experiment()
    other = experiment().devices[0]
    mixed = replace(whole, devices=(whole.devices[0], replace(other, runs=other.runs)))
    with pytest.raises(InvalidInputError, match="never mixed"):
        validate(mixed, {})
