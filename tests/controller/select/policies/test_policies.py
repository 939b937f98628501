from __future__ import annotations

from pathlib import Path

import edgeloop.select.policies as room
import pytest
from edgeloop.domain.constraint import Objective
from edgeloop.domain.strategy import Evidence
from edgeloop.select.policies import BUILTIN, POLICIES
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.measurement import Estimate


def evidence(**gains: Estimate) -> Evidence:
    return Evidence(candidate="a", original=False, artifact_digest="", gains=tuple(gains.items()))


FASTER = Estimate(value=4.0, low=2.0, high=8.0, confidence=0.95, sample_count=5)
SMALLER = Estimate(value=2.0, low=2.0, high=2.0, confidence=1.0, sample_count=1)
BOTH = (Objective(quantity="latency_p50", weight=1.0), Objective(quantity="size", weight=3.0))


def test_room_table_and_names_agree() -> None:
    files = {p.stem for p in Path(room.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert files == set(BUILTIN)
    assert all(POLICIES.load(name).name == name for name in BUILTIN)


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_every_policy_scores_one_gain_as_it_is_and_passes_absence_on(name: str) -> None:
    policy = POLICIES.load(name)()
    one = (Objective(quantity="latency_p50"),)
    score = policy.score(evidence(latency_p50=FASTER), one)
    assert (score.low, score.value, score.high) == pytest.approx((2.0, 4.0, 8.0))
    absent = policy.score(evidence(latency_p50=Estimate.absent("no rounds")), one)
    assert (absent.value, absent.reason) == (None, "no rounds")


def test_weighted_is_the_geometric_mean_of_values_and_ends() -> None:
    score = POLICIES.load("weighted")().score(evidence(latency_p50=FASTER, size=SMALLER), BOTH)
    assert score.value == pytest.approx((4.0 * 2.0**3) ** 0.25)
    assert score.low == pytest.approx(2.0)
    assert score.high == pytest.approx((8.0 * 2.0**3) ** 0.25)
    assert (score.confidence, score.sample_count) == (0.95, 1)


def test_weighted_without_one_interval_has_none() -> None:
    score = POLICIES.load("weighted")().score(evidence(latency_p50=FASTER, size=Estimate(value=2.0)), BOTH)
    assert score.value is not None
    assert score.low is None


def test_what_a_policy_refuses() -> None:
    with pytest.raises(InvalidInputError, match="takes one quantity, not 2"):
        POLICIES.load("prefer")().score(evidence(), BOTH)
    with pytest.raises(InvalidInputError, match="at least one"):
        POLICIES.load("weighted")().score(evidence(), ())
