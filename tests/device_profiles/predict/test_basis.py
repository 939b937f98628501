"""The closed list of tiers: which profile gives which, for which precisions, and when it is stale."""

from __future__ import annotations

import dataclasses

import pytest
from edgeloop_foundation.errors import UnsupportedError
from edgeloop_profiles import Profile, list_profiles, load_profile
from edgeloop_profiles.predict import PUBLISHED_ROWS_MIN, Tier, basis_of, predict_latency, tier_of
from edgeloop_profiles.predict.trust import family_shares
from edgeloop_profiles.profile import CalibratedFamily, Calibration, PublishedRows
from edgeloop_protocol.types.artifact import Kernel

CALIBRATION = Calibration(
    kind="fitted", source="a suite in a test", runtime="onnxruntime", runtime_version="1.31.1", device_id="d",
    date="2026-11-26", method="shrinkage", model_count=10, held_out_mape=0.1, in_family_factor=1.2,
    out_of_family_factor=1.6, fastest_s=1e-4, slowest_s=1.0, precisions=("fp32",), threads=(1,),
    families=(CalibratedFamily(name="convolutions", shares=family_shares([("conv", 1.0)])),),
)  # fmt: skip


def published(profile: Profile, *counts: tuple[str, int]) -> Profile:
    rows = tuple(
        PublishedRows(kind="literature", source="rows in a test", precision=precision, row_count=count)
        for precision, count in counts
    )
    return dataclasses.replace(
        profile, runtimes=(dataclasses.replace(profile.runtimes[0], published=rows), *profile.runtimes[1:])
    )


@pytest.mark.parametrize("name", list_profiles())
def test_no_shipped_profile_claims_more_than_it_has(name: str) -> None:
    profile = load_profile(name)
    for runtime in profile.runtimes:
        rests_on = {rows.precision for rows in runtime.published if rows.row_count >= PUBLISHED_ROWS_MIN}
        for precision in ("fp32", "int8"):
            tier = tier_of(profile, runtime.name, (precision,))
            assert tier is (Tier.PUBLISHED if precision in rests_on else Tier.UNVALIDATED)
        assert "unvalidated" in runtime.source
        assert basis_of(profile, runtime.name) == "transferred, unvalidated"


def test_published_rows_count_by_precision_and_from_three_on(pi4: Profile) -> None:
    enough = published(pi4, ("fp32", PUBLISHED_ROWS_MIN), ("int8", PUBLISHED_ROWS_MIN - 1))
    assert tier_of(enough, "onnxruntime", ("fp32",)) is Tier.PUBLISHED
    assert tier_of(enough, "onnxruntime", ("int8",)) is Tier.UNVALIDATED
    # A model of both rests on the worse of them.
    assert tier_of(enough, "onnxruntime", ("fp32", "int8")) is Tier.UNVALIDATED
    with pytest.raises(UnsupportedError, match="litert"):
        tier_of(enough, "litert", ("fp32",))


def test_a_prediction_says_its_tier_and_the_family_only_where_models_were_measured(
    pi4: Profile, conv: Kernel
) -> None:
    def basis(profile: Profile, threads: int = 1) -> str:
        found = predict_latency(profile, (conv,), threads=threads)
        assert found.basis.startswith(found.trust.tier.value)
        return found.basis

    here = dataclasses.replace(pi4, calibration=CALIBRATION)
    moved = dataclasses.replace(CALIBRATION, transferred_from="the_first_board")
    assert basis(pi4) == "transferred, unvalidated"
    assert basis(published(pi4, ("fp32", 5))) == "fitted to published rows of this runtime"
    assert basis(here) == "calibrated here, in family"
    assert basis(here, threads=4) == "calibrated here, out of family"
    assert basis(dataclasses.replace(pi4, calibration=moved)) == "transferred from the same tier, in family"
    other = dataclasses.replace(CALIBRATION, runtime="litert")
    assert basis(dataclasses.replace(pi4, calibration=other)) == "transferred, unvalidated"


@pytest.mark.parametrize("calibrated", [False, True])
def test_another_version_of_the_runtime_is_stale_and_widens_the_interval(
    calibrated: bool, pi4: Profile, conv: Kernel
) -> None:
    profile = dataclasses.replace(pi4, calibration=CALIBRATION) if calibrated else pi4
    fresh, unsaid, stale = (
        predict_latency(profile, (conv,), threads=1, runtime_version=version)
        for version in ("1.31.1", "", "1.20.0")
    )
    assert (fresh.trust.stale, unsaid.trust.stale, stale.trust.stale) == (False, False, True)
    assert stale.point_s == fresh.point_s
    assert stale.interval_factor > fresh.interval_factor == unsaid.interval_factor
    (sentence,) = [note for note in stale.notes if note.endswith("1.20.0 will run: stale")]
    assert "onnxruntime 1.31.1" in sentence
    assert sentence in stale.trust.extrapolations


def test_tiers_are_the_words_of_the_records() -> None:
    assert [tier.value for tier in Tier] == [
        "measured on this device",
        "calibrated here",
        "transferred from the same tier",
        "fitted to published rows of this runtime",
        "transferred, unvalidated",
    ]
    assert [tier.fitted for tier in Tier] == [True, True, True, False, False]
