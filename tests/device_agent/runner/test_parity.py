"""Parity against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from edgeloop_agent.runner.parity import compare, compare_output
from edgeloop_protocol.types.artifact import Artifact, FileEntry, StateBinding, Tolerance
from edgeloop_protocol.types.run import Verdict

LOOSE = Tolerance(name="int8", absolute=0.1, relative=0.0, flip_rate_max=0.05)


def artifact(**changes: Any) -> Artifact:
    file = FileEntry(name="m", digest="0" * 64, size_bytes=1)
    plain = Artifact(format="onnx", label="l", files=(file,), model_file="m", source_digest="")
    return replace(plain, **{"decision_output": "y", "decision_rule": "argmax", **changes})


def test_errors_of_one_output() -> None:
    expected = np.array([[3.0, 4.0], [0.0, -8.0]])
    actual = np.array([[3.0, 4.5], [0.25, -8.0]])
    found = compare_output(
        "y", actual, expected, Tolerance(name="t", absolute=0.1, relative=0.05, flip_rate_max=0)
    )
    assert found.max_absolute_error == 0.5
    assert found.max_relative_error == 0.5 / 8
    # The product is 9 + 18 + 64 = 91, the squares add up to 89 and 93.3125.
    assert found.cosine_similarity == pytest.approx(91 / np.sqrt(89) / np.sqrt(93.3125))
    # 0.1 + 0.05 * 8 = 0.5 is just enough.
    assert found.within_tolerance
    assert not compare_output("y", actual, expected, LOOSE).within_tolerance


def test_values_that_are_not_finite_fail_unless_they_are_expected() -> None:
    expected = np.array([[1.0, np.inf], [np.nan, 2.0]])
    same = compare_output("y", expected.copy(), expected, LOOSE)
    assert (same.within_tolerance, same.nonfinite_count) == (True, 0)
    broken = compare_output("y", np.array([[np.nan, np.inf], [np.nan, 2.0]]), expected, LOOSE)
    assert (broken.within_tolerance, broken.nonfinite_count) == (False, 1)
    other = compare_output("y", np.array([[1.0, -np.inf], [np.nan, 2.0]]), expected, LOOSE)
    assert (other.within_tolerance, other.nonfinite_count) == (False, 0)
    silent = replace(LOOSE, values_gate=False)
    judged = compare(artifact(), "host", {"y": np.full((2, 2), np.nan)}, {"y": np.ones((2, 2))}, silent)
    assert judged.verdict is Verdict.FAILED


def classes(flips: int, items: int = 100, nudge: float = 0.0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Expected margins rise from 0.01 to 1.00; the first ``flips`` items decide otherwise on the device."""
    margins = np.arange(1, items + 1) / items
    expected = np.stack([margins, np.zeros(items)], axis=1)
    actual = expected + nudge
    actual[:flips] = actual[:flips, ::-1]
    return {"y": actual}, {"y": expected}


def test_decisions_and_their_margins() -> None:
    actual, expected = classes(flips=3)
    decision = compare(artifact(), "original", actual, expected, LOOSE).decision
    assert decision is not None
    assert (decision.item_count, decision.flip_count) == (100, 3)
    assert decision.flip_rate.value == 0.03
    # Clopper-Pearson of 3 in 100, as R's binom.test(3, 100) prints it.
    assert decision.flip_rate.low == pytest.approx(0.006229972, abs=1e-8)
    assert decision.flip_rate.high == pytest.approx(0.08517605, abs=1e-8)
    assert decision.largest_flipped_margin == 0.03
    assert sum(decision.margin_counts) == 100
    assert (decision.margin_edges[0], decision.margin_edges[-1], len(decision.margin_edges)) == (0.0, 1.0, 11)


@pytest.mark.parametrize(
    ("flips", "items", "nudge", "gate", "verdict"),
    [
        (0, 100, 0.0, True, Verdict.PASSED),
        (0, 100, 0.2, True, Verdict.FAILED),
        (0, 100, 0.2, False, Verdict.PASSED),
        (0, 10, 0.2, False, Verdict.UNDECIDED),
        (0, 10, 0.0, True, Verdict.PASSED),
        (3, 100, 0.0, False, Verdict.UNDECIDED),
        (12, 100, 0.0, False, Verdict.FAILED),
        (30, 1000, 0.0, False, Verdict.PASSED),
    ],
)
def test_verdicts(flips: int, items: int, nudge: float, gate: bool, verdict: Verdict) -> None:
    actual, expected = classes(flips, items, nudge)
    found = compare(artifact(), "original", actual, expected, replace(LOOSE, values_gate=gate))
    assert found.verdict is verdict, found.reason
    assert found.reason


def test_nothing_that_counts_is_no_pass() -> None:
    plain = artifact(decision_output="", decision_rule="")
    values = {"y": np.ones((4, 2))}
    decided = compare(plain, "host", values, values, replace(LOOSE, values_gate=False))
    assert decided.verdict is Verdict.UNDECIDED
    assert compare(plain, "host", values, values, LOOSE).verdict is Verdict.PASSED
    unstated = compare(plain, "host", values, values, None)
    assert (unstated.verdict, "no tolerance" in unstated.reason) == (Verdict.UNDECIDED, True)


def test_thresholds_count_every_value_and_steps_are_decisions() -> None:
    by_threshold = artifact(decision_rule="threshold", decision_threshold=0.5)
    expected = np.array([[0.9, 0.1], [0.6, 0.2]])
    actual = np.array([[0.9, 0.1], [0.4, 0.2]])
    decision = compare(by_threshold, "host", {"y": actual}, {"y": expected}, LOOSE).decision
    assert decision is not None
    assert decision.flip_count == 1
    assert decision.largest_flipped_margin == pytest.approx(0.1)
    stepped = replace(by_threshold, state=(StateBinding(input="s", output="t"),))
    decision = compare(stepped, "host", {"y": actual[..., None]}, {"y": expected[..., None]}, LOOSE).decision
    assert decision is not None
    assert (decision.item_count, decision.flip_count) == (4, 1)
