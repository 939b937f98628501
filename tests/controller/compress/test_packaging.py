"""Which tolerance a candidate is held to."""

from __future__ import annotations

import pytest
from edgeloop.compress.packaging import _tolerances
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop.parity.tolerance import tolerances_for


@pytest.mark.parametrize("precision", ["fp32", "mixed", "int8"])
def test_answers_moved_on_purpose_are_held_to_mixed_against_the_original_only(precision):
    recipe = Recipe(label="half", passes=(PassSpec.of("prune_forest"),))
    exact = dict(_tolerances(precision, recipe, False, tolerances_for))
    moved = dict(_tolerances(precision, recipe, True, tolerances_for))
    assert exact == dict(tolerances_for(precision))
    assert moved["host"] == exact["host"]
    assert moved["original"] == dict(tolerances_for("mixed"))["original"]
    assert dict(tolerances_for("fp32"))["original"] != moved["original"]
