from __future__ import annotations

import numpy as np
import pytest
from edgeloop.domain.latency import ProcessSteadiness, Steadiness
from edgeloop.measure.steady import classify_process, classify_run

from tests.controller.measure.noise import process


def classified(level: np.ndarray, seed: int = 1, spread: float = 0.02, phi: float = 0.2) -> ProcessSteadiness:
    """Classify a process of 2 ms whose level is given relative to that."""
    rng = np.random.default_rng(seed)
    samples = process(rng, len(level), spread=spread, phi=phi) * level * 2e6
    return classify_process(samples.astype(np.int64), 0)


FLAT = np.ones(800)


def test_one_level_is_flat_and_all_of_it_is_accepted() -> None:
    found = classified(FLAT)
    assert (found.steadiness, found.tail_offset) == (Steadiness.FLAT, 0)
    assert len(found.window_medians_s) == 40
    assert found.window_medians_s[0] == pytest.approx(2e-3, rel=0.05)


def test_flat_processes_are_seldom_called_anything_else() -> None:
    kinds = [classified(FLAT, seed, phi=0.5).steadiness for seed in range(100)]
    assert kinds.count(Steadiness.FLAT) >= 92


@pytest.mark.parametrize(
    ("before", "kind"), [(1.3, Steadiness.WARM_UP), (0.8, Steadiness.SLOWDOWN)], ids=["faster", "slower"]
)
def test_what_changed_early_settled_and_only_its_tail_counts(before: float, kind: Steadiness) -> None:
    level = np.where(np.arange(800) < 200, before, 1.0)
    found = classified(level)
    assert found.steadiness is kind
    assert 160 <= found.tail_offset <= 260
    assert found.changepoints


def test_a_change_at_the_end_is_no_steady_state() -> None:
    found = classified(np.where(np.arange(800) < 680, 1.0, 1.2))
    assert found.steadiness is Steadiness.NO_STEADY_STATE
    assert "still changed" in found.reason


def test_a_slope_is_no_steady_state() -> None:
    found = classified(np.linspace(1.0, 3.0, 800), spread=0.002)
    assert found.steadiness is Steadiness.NO_STEADY_STATE


def test_to_and_fro_is_cyclic() -> None:
    level = np.where((np.arange(800) // 100) % 2 == 0, 1.0, 1.4)
    found = classified(level, spread=0.01)
    assert found.steadiness is Steadiness.CYCLIC
    assert not found.steadiness.settled


def test_few_samples_are_not_assessed() -> None:
    found = classify_process(np.full(39, 10, dtype=np.int64), 3)
    assert (found.steadiness, found.round) == (Steadiness.NOT_ASSESSED, 3)
    assert "40 samples" in found.reason


def made(*kinds: Steadiness) -> list[ProcessSteadiness]:
    return [ProcessSteadiness(round=i, steadiness=kind, reason="why") for i, kind in enumerate(kinds)]


def test_a_run_is_what_its_processes_are() -> None:
    flat, warm, none = Steadiness.FLAT, Steadiness.WARM_UP, Steadiness.NO_STEADY_STATE
    assert classify_run(made(flat, flat))[0] is flat
    assert classify_run(made(flat, warm, flat))[0] is Steadiness.INCONSISTENT
    # One process that was disturbed does not take the number away, most of them do.
    assert classify_run(made(flat, flat, none))[0] is Steadiness.INCONSISTENT
    assert classify_run(made(flat, none, none)) == (
        none,
        "of 3 processes: 2 no steady state, 1 flat; why",
    )
    assert classify_run(made(flat, Steadiness.CYCLIC, Steadiness.CYCLIC))[0] is Steadiness.CYCLIC
    assert classify_run(made(Steadiness.NOT_ASSESSED))[0] is Steadiness.NOT_ASSESSED
    assert classify_run([])[1] == "no samples are kept"


def test_a_board_that_still_warms_up_has_not_settled() -> None:
    assert classify_run(made(Steadiness.FLAT), 0.2)[0] is Steadiness.FLAT
    kind, reason = classify_run(made(Steadiness.FLAT), 1.5)
    assert kind is Steadiness.NO_STEADY_STATE
    assert "1.5 K per minute" in reason


def test_thinned_samples_stand_for_more_time() -> None:
    values = np.linspace(2e6, 2.2e6, 400).astype(np.int64)
    whole, thinned = (
        classify_process(values, 0, thinning).slope_per_min.value or 0.0 for thinning in (1.0, 8.0)
    )
    assert whole == pytest.approx(8.0 * thinned)
