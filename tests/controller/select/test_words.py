from __future__ import annotations

import pytest
from edgeloop.select.words import say_estimate, say_gain, say_value
from edgeloop_protocol.types.measurement import Estimate


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        ("latency_p50", 0.0123456, "12.3 ms"),
        ("latency_p50", 7.5e-5, "75.0 µs"),
        ("latency_p50", 2.5, "2.50 s"),
        ("latency_p50", 3e-10, "0.30 ns"),
        ("size", 3163737, "3.16 MB"),
        ("size", 512, "512 B"),
        ("energy", 0.0042, "4.20 mJ"),
        ("quality", 0.97531, "0.9753"),
        ("quality_drop", 0.00512, "0.51 %"),
    ],
)
def test_values_are_said_in_units_for_people(quantity: str, value: float, text: str) -> None:
    assert say_value(quantity, value) == text


def test_intervals_share_the_unit_of_their_value() -> None:
    estimate = Estimate(value=1.01e-3, low=0.99e-3, high=1.02e-3, confidence=0.95, sample_count=9)
    assert say_estimate("latency_p50", estimate) == "1.01 ms (95 % interval 0.99 ms to 1.02 ms)"
    assert say_estimate("latency_p50", Estimate.absent("not measured")) == "not measured"
    reading = Estimate(value=1e8, low=0.9e8, high=1.1e8, sample_count=1)
    assert say_estimate("memory", reading) == "100 MB (one reading, taken as 90 MB to 110 MB)"


def test_gains() -> None:
    assert say_gain(Estimate(value=2.0, low=2.0, high=2.0)) == "2.000 times as good as the original"
    assert say_gain(Estimate(value=2.0, low=1.9, high=2.1)).endswith("(1.900 to 2.100)")
    assert say_gain(Estimate.absent("no sensor")) == "no sensor"
