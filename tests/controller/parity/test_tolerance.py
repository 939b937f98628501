from __future__ import annotations

import pytest
from edgeloop.parity.tolerance import PRECISIONS, tolerances_for
from edgeloop_foundation.errors import InvalidInputError


@pytest.mark.parametrize("precision", PRECISIONS)
def test_host_comes_first_and_is_never_looser_than_original(precision: str) -> None:
    (first, host), (second, original) = tolerances_for(precision)
    assert (first, second) == ("host", "original")
    assert host.relative <= original.relative
    assert host.absolute <= original.absolute
    assert host.values_gate
    assert host.name == original.name == precision


def test_less_exact_arithmetic_is_given_more_room() -> None:
    relative = [dict(tolerances_for(p))["host"].relative for p in ("fp32", "fp16", "int8")]
    assert relative == sorted(relative)
    assert len(set(relative)) == 3


def test_only_decisions_gate_a_quantised_model_against_the_original() -> None:
    gates = {p: dict(tolerances_for(p))["original"].values_gate for p in PRECISIONS}
    assert gates == {"fp32": True, "fp16": True, "int8": False, "mixed": False}


def test_an_unknown_precision_has_no_policy() -> None:
    with pytest.raises(InvalidInputError, match="'int2'; known are fp32, fp16, int8, mixed"):
        tolerances_for("int2")
