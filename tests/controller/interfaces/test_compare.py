"""The verb ``compare``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from edgeloop.interfaces.api import Comparison

from .conftest import Call
from .recorder import Recorder, comparison


def test_both_models_and_the_protocol_are_handed_on(call: Call) -> None:
    api = Recorder()
    words = ("--rounds", "9", "--round-s", "0.5", "--threads", "2", "--seed", "4", "--nominal")
    result = call("compare", "a.onnx", "b.onnx", "--on", "local", "--data", "d", *words, api=api)
    assert result.exit_code == 0, result.output
    a, b, _, data, benchmark, settings = api.heard
    assert (a, b, data) == ("a.onnx", "b.onnx", "d")
    assert (benchmark.rounds, benchmark.steady_s_max, benchmark.seed) == (9, 4.5, 4)
    assert (benchmark.interleave, benchmark.series) == ("batch", "nominal")
    assert not any((benchmark.measure_memory, benchmark.measure_nodes, benchmark.check_parity))
    assert settings.intra_op_threads == 2


def test_the_table_has_ratio_gain_verdict_noise_with_its_age_and_says_predicted(call: Call) -> None:
    result = call("compare", "a", "b", "--on", "sim:nuc11", api=Recorder())
    for said in (
        "1.0000 (0.9900 to 1.0100)",
        "no change shown",
        "Noise of this device beyond the intervals: 0.80 % (3 comparisons of an artifact with itself, "
        "the newest 10 minutes old, the oldest 3 days).",
        "n/a",
        "predicted",
        "two modes",
    ):
        assert said in result.stdout


def test_json_has_all_of_it(call: Call) -> None:
    (one,) = json.loads(call("compare", "a", "b", "--on", "local", "--json", api=Recorder()).stdout)[
        "comparisons"
    ]
    assert (one["verdict"], one["predicted"], one["same"]) == ("no_change_shown", True, False)
    assert one["ratios"][0]["ratio"]["low"] == pytest.approx(0.99)
    assert (one["floor"]["count"], one["floor"]["fraction"]) == (3, 0.008)


@pytest.mark.parametrize(
    ("words", "ratio", "code"),
    [
        ((), 1.1, 0),
        (("--fail-if-slower",), 1.0, 0),
        (("--fail-if-slower",), 1.1, 1),
        (("--fail-if-slower", "5"), 1.1, 1),
        # The whole interval has to lie beyond: 1.09 to 1.11.
        (("--fail-if-slower", "10%"), 1.1, 0),
        (("--fail-if-slower", "-3"), 1.1, 2),
        (("--rounds", "2"), 1.1, 2),
    ],
)
def test_slower_fails_only_when_asked_to(call: Call, words: tuple[str, ...], ratio: float, code: int) -> None:
    api = Recorder()
    api.compared = ratio
    assert call("compare", "a", "b", "--on", "local", *words, api=api).exit_code == code


class Unreachable(Recorder):
    """Reaches no device."""

    def compare(self, a: str, b: str, devices: Any, *rest: Any, **more: Any) -> tuple[Comparison, ...]:
        return tuple(comparison(device, 1.0, error="the agent does not answer.") for device in devices)


def test_a_device_that_fails_is_exit_3(call: Call) -> None:
    result = call("compare", "a", "b", "--on", "local", "--fail-if-slower", api=Unreachable())
    assert result.exit_code == 3
    assert "the agent does not answer." in result.stdout
