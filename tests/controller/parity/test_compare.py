from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from edgeloop.parity.compare import check, overall_verdict
from edgeloop_protocol.types.run import Comparison, Parity, Verdict

Y = np.random.default_rng(0).standard_normal((64, 10)).astype(np.float32)


def noisy(share: float) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(1).standard_normal(Y.shape)
    return {"y": Y + share * noise * np.linalg.norm(Y) / np.linalg.norm(noise)}


@pytest.mark.parametrize(
    ("precision", "share", "agrees"),
    [
        ("fp32", 0.0, True),
        ("fp32", 1e-4, True),
        ("fp32", 1e-2, False),
        ("fp16", 5e-3, True),
        ("fp16", 1e-1, False),
        ("int8", 0.3, True),
        ("mixed", 0.3, True),
        ("int8", 1.0, False),
    ],
)
def test_noise_is_judged_by_precision(precision: str, share: float, agrees: bool) -> None:
    assert (check({"y": Y}, noisy(share), precision) == "") is agrees


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "mixed"])
@pytest.mark.parametrize(
    ("actual", "says"),
    [
        ({"z": Y}, "outputs differ in name: expected y, found z"),
        ({"y": Y[:3]}, r"has shape \(3, 10\), expected \(64, 10\)"),
        ({"y": np.where(Y > 1, np.nan, Y)}, "values that are not finite"),
        ({"y": Y[:, ::-1]}, "off by|destroyed"),
        ({"y": np.zeros_like(Y)}, "off by|destroyed"),
    ],
)
def test_faults_are_caught_at_every_precision(precision: str, actual: dict, says: str) -> None:
    assert re.search(says, check({"y": Y}, actual, precision))


def test_infinities_that_were_expected_are_no_fault() -> None:
    masked = np.where(Y > 1, -np.inf, Y)
    assert check({"y": masked}, {"y": masked.copy()}, "fp32") == ""
    assert "lacks" in check({"y": masked}, {"y": Y}, "fp32")


def test_integers_in_text_or_truth_values_must_be_equal() -> None:
    truth = Y > 0
    assert check({"y": truth}, {"y": truth.copy()}, "int8") == ""
    assert "differs in 640 values" in check({"y": truth}, {"y": ~truth}, "int8")


@pytest.mark.parametrize(("host", "original"), list(product(Verdict, Verdict)))
def test_the_overall_verdict_is_the_stated_table(host: Verdict, original: Verdict) -> None:
    parity = Parity(
        golden_digest="0" * 64,
        item_count=64,
        comparisons=(
            Comparison(against="host", tolerance_class="int8", verdict=host, reason="h"),
            Comparison(against="original", tolerance_class="int8", verdict=original, reason="o"),
        ),
    )
    expected = Verdict.UNDECIDED
    if Verdict.FAILED in (host, original):
        expected = Verdict.FAILED
    elif host is Verdict.PASSED:
        expected = Verdict.PASSED
    verdict, reason = overall_verdict(parity)
    assert verdict is expected
    assert reason


def test_no_parity_is_no_verdict() -> None:
    assert overall_verdict(None) == (None, "parity was not checked")
    bare = Parity(golden_digest="0" * 64, item_count=1)
    assert overall_verdict(bare)[0] is Verdict.UNDECIDED
