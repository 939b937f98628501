from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from edgeloop.domain.constraint import QUANTITIES
from edgeloop.select.expressions import parse_constraint, parse_constraints, parse_preference, require_metric
from edgeloop_foundation.errors import InvalidInputError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "quantity", "operator", "bound"),
    [
        ("latency_p95 < 30ms", "latency_p95", "<", 0.03),
        ("latency<=1.5 s", "latency_p50", "<=", 1.5),
        ("first_inference < 250us", "first_inference", "<", 250e-6),
        ("latency_p50 < 800µs", "latency_p50", "<", 800e-6),
        ("latency_p50 < 5e3 ns", "latency_p50", "<", 5e-6),
        ("accuracy_drop < 1%", "quality_drop", "<", 0.01),
        ("roc_auc_drop <= 0.02", "quality_drop", "<=", 0.02),
        ("quality_drop < 0", "quality_drop", "<", 0.0),
        ("accuracy >= 97.5 %", "quality", ">=", 0.975),
        ("mae < 3.5", "quality", "<", 3.5),
        ("size < 2MB", "size", "<", 2e6),
        ("size < 2MiB", "size", "<", 2 * 2**20),
        ("memory < 64 kB", "memory", "<", 64e3),
        ("energy < 5mJ", "energy", "<", 5e-3),
    ],
)
def test_what_people_write(text: str, quantity: str, operator: str, bound: float) -> None:
    constraint = parse_constraint(text)
    assert (constraint.quantity, constraint.operator) == (quantity, operator)
    assert constraint.bound == pytest.approx(bound)
    assert constraint.text == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot read"),
        ("latency", "cannot read"),
        ("latency == 3ms", "cannot read"),
        ("latency < ms", "cannot read"),
        ("latency < 3ms please", "cannot read"),
        ("speed < 3ms", "unknown quantity 'speed' in 'speed < 3ms'; known are latency_p50"),
        ("latency < 30", "the unit is missing; latency_p50 is given in ns, us, ms, s"),
        ("latency < 30MB", "'MB' is no unit of it"),
        ("size < 3ms", "size is given in B, kB"),
        ("accuracy_drop < 1ms", "quality_drop is given in %"),
        ("latency < 1e999s", "not a finite number"),
        ("latency < 0ms", "nothing can satisfy 'latency < 0ms': latency_p50 is always above 0"),
        ("latency <= 0ms", "nothing can satisfy"),
        ("size < -1MB", "nothing can satisfy"),
        ("accuracy > 100%", "nothing can satisfy 'accuracy > 100%': quality is always at most 1"),
        ("accuracy_drop < -100%", "nothing can satisfy"),
    ],
)
def test_what_cannot_be_read_or_satisfied_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        parse_constraint(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pair", "contradicts"),
    [
        (("latency < 1ms", "latency > 2ms"), True),
        (("latency < 1ms", "latency >= 1ms"), True),
        (("latency <= 1ms", "latency >= 1ms"), False),
        (("latency_p50 < 1ms", "latency_p95 > 2ms"), False),
        (("latency > 1ms", "latency < 2ms"), False),
    ],
)
def test_pairs(pair: tuple[str, str], contradicts: bool) -> None:
    if contradicts:
        with pytest.raises(InvalidInputError, match="contradict each other"):
            parse_constraints(pair)
    else:
        assert len(parse_constraints(pair)) == 2


@pytest.mark.parametrize(
    ("text", "metric", "fits"),
    [
        ("accuracy_drop < 1%", "accuracy", True),
        ("accuracy > 90%", "roc_auc", False),
        ("accuracy_drop < 1%", "rmse", False),
        ("mae < 3", "mean_absolute_error", True),
        ("f1_drop < 1%", "f1_macro", True),
        ("quality_drop < 1%", "rmse", True),
        ("latency < 3ms", "rmse", True),
        ("accuracy_drop < 1%", "", True),
    ],
)
def test_a_bound_on_one_metric_is_never_held_against_another(text: str, metric: str, fits: bool) -> None:
    constraints = parse_constraints([text])
    with contextlib.nullcontext() if fits else pytest.raises(InvalidInputError, match=f"judged by {metric}"):
        require_metric(constraints, metric)


def test_a_repeated_constraint_counts_once() -> None:
    assert len(parse_constraints(["size < 1MB", "size < 1MB"])) == 1


@given(
    st.sampled_from([q for q in QUANTITIES if QUANTITIES[q].unit == "s"]),
    st.sampled_from(["<", "<="]),
    st.floats(1e-3, 1e6, allow_nan=False),
    st.sampled_from([("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0)]),
    st.text(" \t", max_size=2),
)
def test_every_time_is_read_back_in_seconds(
    name: str, operator: str, number: float, unit: tuple[str, float], space: str
) -> None:
    constraint = parse_constraint(f"{space}{name}{space}{operator}{space}{number!r}{space}{unit[0]}{space}")
    assert constraint.bound == pytest.approx(number * unit[1], rel=1e-12)
    assert not constraint.holds(constraint.bound * 1.01)
    assert constraint.holds(constraint.bound * 0.99)


@given(st.sampled_from([parse_constraint, parse_preference]), st.text(max_size=40))
def test_any_text_is_read_or_refused(parse: Callable[[str], object], text: str) -> None:
    with contextlib.suppress(InvalidInputError):
        assert parse(text)


def test_preferences() -> None:
    (only,) = parse_preference("size")
    assert (only.quantity, only.weight) == ("size", 1.0)
    both = parse_preference("latency:2, size:0.5")
    assert [(o.quantity, o.weight) for o in both] == [("latency_p50", 2.0), ("size", 0.5)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' cannot be preferred; choose from latency_p50"),
        ("speed", "'speed' cannot be preferred"),
        ("accuracy", "Quality is kept by a constraint"),
        ("size,size:2", "names a quantity twice"),
        ("latency,latency_p50", "names a quantity twice"),
        ("size:0", "positive number, not '0'"),
        ("size:-1", "positive number"),
        ("size:much", "positive number, not 'much'"),
        ("size:nan", "positive number"),
        ("size:", "positive number"),
        ("size,", "'' cannot be preferred"),
    ],
)
def test_preferences_that_cannot_be_read(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        parse_preference(text)
