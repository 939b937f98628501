from __future__ import annotations

import pytest
from edgeloop.report.units import amount, duration, interval, number, quantity_name, quantity_unit, times
from edgeloop_protocol.types.measurement import Estimate


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0049, "s", "4.90 ms"),
        (0.9999, "s", "1.00 s"),
        (8.1e-5, "s", "81.0 µs"),
        (2.5e-8, "s", "25.0 ns"),
        (12.0, "s", "12.0 s"),
        (3_190_412, "B", "3.19 MB"),
        (884_730, "B", "885 kB"),
        (0.0, "B", "0 B"),
        (12, "B", "12 B"),
        (0.0866, "J", "86.6 mJ"),
        (0.98741, "ratio", "98.74 %"),
        (-0.0002, "ratio", "-0.02 %"),
        (46.02, "celsius", "46.0 °C"),
        (None, "s", "–"),
    ],
)
def test_amounts_read_well(value: float | None, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_interval_is_in_the_unit_of_its_value() -> None:
    estimate = Estimate(value=0.00101, low=0.00099, high=0.00103)
    assert amount(estimate.value, "s") == "1.01 ms"
    assert interval(estimate, "s") == "0.990 to 1.03"
    assert interval(Estimate(value=1.0), "s") == ""
    assert interval(Estimate.absent("why"), "s") == ""
    assert interval(Estimate(value=2.0, low=2.0, high=2.0), "s") == ""


def test_gains() -> None:
    assert times(Estimate(value=1.712, low=1.694, high=1.73)) == "1.71× (1.69 to 1.73)"
    assert times(Estimate(value=3.6)) == "3.60×"


def test_numbers_keep_three_digits() -> None:
    assert [number(v) for v in (1234567.0, 99.96, 0.000123)] == ["1\u202f230\u202f000", "100", "0.000123"]
    assert number(1.5e-12) == "1.50e-12"
    assert number(float("nan")) == "nan"


def test_durations() -> None:
    assert [duration(v) for v in (3.44, 243.8, 7300)] == ["3.4 s", "4 min 4 s", "2 h 1 min"]


def test_quality_is_named_by_its_metric() -> None:
    assert quantity_name("quality_drop", "roc_auc") == "roc auc drop"
    assert quantity_unit("quality", "accuracy") == "ratio"
    assert quantity_unit("quality", "mean_absolute_error") == ""
