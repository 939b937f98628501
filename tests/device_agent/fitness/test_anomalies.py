"""Each kind of finding: planted in one round, found there and told; nothing found where nothing is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.fitness.anomalies import SeenTrial, fallback_reason, find_anomalies
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.conditions import AnomalyKind
from edgeloop_protocol.types.run import NodeTime, Placement
from edgeloop_protocol.types.trial import RuntimeSettings

TrialOf = Callable[..., SeenTrial]

PLANTED: dict[AnomalyKind, dict[str, Any]] = {
    AnomalyKind.FOREIGN_LOAD: {"foreign_cpu_share": 0.25},
    AnomalyKind.GOVERNOR_CHANGED: {"governors": ("performance", "powersave")},
    AnomalyKind.THROTTLED: {"throttle_event_count": 2},
    AnomalyKind.CLOCK_LOWERED: {"frequency_after_hz": 7.5e8},
    AnomalyKind.FIRST_RUN_COMPILE: {"first_inference_s": 2.975},
    AnomalyKind.MEMORY_PRESSURE: {"major_fault_count": 300},
}


def test_an_undisturbed_trial_raises_nothing(trial: TrialOf) -> None:
    assert find_anomalies(trial()) == ()


@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_planted_in_a_round_is_found_there(trial: TrialOf, kind: AnomalyKind) -> None:
    changes = dict(PLANTED[kind])
    if kind is AnomalyKind.GOVERNOR_CHANGED:
        (anomaly,) = find_anomalies(trial(governors=("performance", "powersave")))
        assert (anomaly.round, "after the last round" in anomaly.reason) == (-1, True)
    else:
        (anomaly,) = find_anomalies(trial(1, **changes))
        assert anomaly.round == 1
    assert anomaly.kind is kind
    assert "expected" in anomaly.reason
    assert anomaly.disqualifying == (kind is not AnomalyKind.FIRST_RUN_COMPILE)


def test_as_deployed_the_same_is_recorded_and_disqualifies_nothing(trial: TrialOf) -> None:
    (anomaly,) = find_anomalies(trial(2, series="as_deployed", foreign_cpu_share=0.6))
    assert (anomaly.kind, anomaly.round, anomaly.disqualifying) == (AnomalyKind.FOREIGN_LOAD, 2, False)


def test_a_hog_is_a_hog_on_a_board_of_many_processors(trial: TrialOf) -> None:
    (anomaly,) = find_anomalies(trial(0, foreign_cpu_share=1 / 16, processor_count=16))
    assert "expected were at most 3%" in anomaly.reason
    assert find_anomalies(trial(0, foreign_cpu_share=1 / 16, processor_count=2)) == ()


def test_short_blocks_say_something_together_only(trial: TrialOf) -> None:
    assert find_anomalies(trial(0, foreign_cpu_share=0.5, duration_s=0.05)) == ()
    seen = trial(0, foreign_cpu_share=0.5, duration_s=0.05)
    (block, *_), many = seen.blocks, 5
    from dataclasses import replace

    (anomaly,) = find_anomalies(replace(seen, blocks=[block] * many))
    assert (anomaly.kind, anomaly.round) == (AnomalyKind.FOREIGN_LOAD, -1)


def test_a_throttle_state_seen_between_batches_is_named(trial: TrialOf) -> None:
    (anomaly,) = find_anomalies(trial(1, throttled=("under_voltage",)))
    assert "under voltage in round 1" in anomaly.reason


class TestClock:
    """Reported clocks are no evidence: what the busy loop says goes before."""

    def test_the_loop_falls_while_the_reported_clock_stays(self, trial: TrialOf) -> None:
        (anomaly,) = find_anomalies(trial(1, loops_per_s=(5e7, 2.5e7)))
        assert anomaly.kind is AnomalyKind.CLOCK_LOWERED
        assert "ran at 50% of its speed while the reported clock stayed at 100%" in anomaly.reason

    def test_a_clock_halved_between_two_blocks_is_found(self, trial: TrialOf) -> None:
        (anomaly,) = find_anomalies(trial(2, loops_per_s=(2.5e7, 2.5e7)))
        assert (anomaly.kind, anomaly.round) == (AnomalyKind.CLOCK_LOWERED, 2)

    def test_a_loop_that_shares_its_core_proves_nothing(self, trial: TrialOf) -> None:
        assert find_anomalies(trial(1, loops_per_s=(5e7, 2.5e7), foreign_cpu_share=0.1)) == ()

    def test_a_governor_that_follows_the_load_lowers_the_clock_in_a_pause(self, trial: TrialOf) -> None:
        paused = {"frequency_after_hz": 6e8, "fixed_clock": False}
        assert find_anomalies(trial(1, **paused)) == ()
        (anomaly,) = find_anomalies(trial(1, loops_per_s=None, **paused))
        assert "1500 to 600 MHz" in anomaly.reason

    def test_boost_comes_and_goes(self, trial: TrialOf) -> None:
        assert find_anomalies(trial(1, frequency_after_hz=1.3e9, loops_per_s=(5e7, 4.4e7))) == ()


def test_a_slow_first_inference_of_a_tiny_model_is_no_compilation(trial: TrialOf) -> None:
    assert find_anomalies(trial(0, first_inference_s=0.4)) == ()
    (anomaly,) = find_anomalies(trial(0, warmup_slowest_s=1.5))
    assert "slowest inference of the warm-up" in anomaly.reason


HALF = Placement(
    nodes=tuple(
        NodeTime(
            name=f"n{i}", op_type="Conv", provider="Fast" if i % 2 else "CPUExecutionProvider", mean_s=0.001
        )
        for i in range(4)
    ),
    nodes_per_provider=(("CPUExecutionProvider", 2), ("Fast", 2)),
)


@pytest.mark.parametrize("required", [True, False])
def test_nodes_elsewhere_are_counted_and_named(trial: TrialOf, required: bool) -> None:
    settings = RuntimeSettings(providers=("Fast", "CPUExecutionProvider"), require_provider=required)
    (anomaly,) = find_anomalies(trial(settings=settings, placement=HALF))
    assert anomaly.kind is AnomalyKind.PROVIDER_FALLBACK
    assert anomaly.disqualifying is required
    said = "2 of 4 nodes ran elsewhere than on Fast (2 on CPUExecutionProvider, 50% of the time), expected were none"
    assert anomaly.reason == f"{said}: n0 (Conv), n2 (Conv)."


def test_without_a_provider_asked_for_nothing_falls_back() -> None:
    assert fallback_reason(RuntimeSettings(), HALF) == ""
    assert fallback_reason(RuntimeSettings(providers=("CPUExecutionProvider",)), None) == ""


FALLBACK = Path(__file__).parents[2] / "fixtures" / "placement" / "openvino_half.json"


def test_a_recorded_run_of_which_half_fell_back() -> None:
    recorded = json.loads(FALLBACK.read_text())
    settings = RuntimeSettings(providers=("OpenVINOExecutionProvider", "CPUExecutionProvider"))
    placement = from_json(recorded["placement"], Placement)
    counts = dict(placement.nodes_per_provider)
    assert counts["CPUExecutionProvider"] == counts["OpenVINOExecutionProvider"]
    reason = fallback_reason(settings, placement)
    assert f"{counts['CPUExecutionProvider']} of {sum(counts.values())} nodes ran elsewhere" in reason
    assert recorded["op_type"] in reason
