"""How far a prediction can be trusted: its basis, its distance from what was measured, what it extrapolates.

A profile without calibration rests on datasheets and literature, and its intervals are those of its runtime.
A calibrated one carries two factors from models that were left out: for models like those measured, and for models
unlike them. "Like" is the share of the predicted time by group of kernel classes: two nets that spend their
time in the same kinds of kernels are near, whatever their names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgeloop_profiles.predict.basis import Tier, calibration_of, tier_of
from edgeloop_profiles.profile import Calibration, Profile

__all__ = [
    "FAMILY_GROUPS",
    "REACH",
    "Trust",
    "family_shares",
    "group_of",
    "trust",
]

FAMILY_GROUPS: Mapping[str, tuple[str, ...]] = {
    "conv": ("conv",),
    "conv1x1": ("conv1x1",),
    "depthwise": ("depthwise",),
    "product": ("gemm", "matmul", "recurrent"),
    "bytewise": ("elementwise", "pool", "reduce", "resize", "layout", "quantize", "other"),
}
"""Kernel classes that share what makes them fast or slow."""

_FAR = 0.35
"""From this distance on a model is unlike the family. The distance is half the sum of absolute differences of the
shares: 0 is the same mix, 1 is nothing in common; a MobileNet and a ResNet are about 0.6 apart, two widths of one
MobileNet 0.1."""

REACH = 3.0
"""Latencies beyond this factor around the measured range are extrapolated."""

_STALE_FACTOR = 1.25
"""Another version of the runtime widens the interval: kernels were seen to change by up to a quarter between
releases (assumed)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a prediction rests on."""

    #: What it rests on.
    tier: Tier
    #: The tier in words; where models were measured, with "in family" or "out of family".
    basis: str
    #: 90 % interval as a factor.
    interval_factor: float
    #: Nearest measured family; empty without calibration.
    nearest_family: str = ""
    #: Distance to it, 0 to 1; absent without calibration.
    family_distance: float | None = None
    #: What lies outside of what was measured, one sentence each.
    extrapolations: tuple[str, ...] = ()
    #: True when another version of the runtime was measured.
    stale: bool = False


def group_of(kernel_class: str) -> str:
    """Return the group of a kernel class."""
    return next((name for name, classes in FAMILY_GROUPS.items() if kernel_class in classes), "bytewise")


def family_shares(times: Iterable[tuple[str, float]]) -> tuple[float, ...]:
    """Return the share of the time of each group, in the order of ``FAMILY_GROUPS``.

    Args:
        times: kernel class and time of each kernel.
    """
    totals = dict.fromkeys(FAMILY_GROUPS, 0.0)
    for kernel_class, seconds in times:
        totals[group_of(kernel_class)] += seconds
    whole = sum(totals.values())
    return tuple(value / whole if whole else 0.0 for value in totals.values())


def trust(
    profile: Profile,
    runtime: str,
    *,
    shares: Sequence[float],
    latency_s: float,
    precisions: Iterable[str],
    threads: int,
    datasheet_factor: float,
    runtime_version: str = "",
) -> Trust:
    """Return how far one prediction can be trusted.

    Args:
        profile: the board.
        runtime: name of the runtime.
        shares: of the predicted time, as ``family_shares`` gives them.
        latency_s: predicted latency.
        precisions: those that take a share worth a note.
        threads: threads within one operator.
        datasheet_factor: the interval where nothing was fitted.
        runtime_version: version that will run; empty takes the profile's.
    """
    precisions = tuple(precisions)
    found, tier = calibration_of(profile, runtime), tier_of(profile, runtime, precisions)
    known = found.runtime_version if found is not None else profile.runtime(runtime).version
    stale = bool(runtime_version) and runtime_version != known
    if found is None:
        return Trust(
            tier=tier,
            basis=tier.value,
            interval_factor=datasheet_factor * (_STALE_FACTOR if stale else 1.0),
            extrapolations=(_stale_sentence(runtime, "is declared", known, runtime_version),)
            if stale
            else (),
            stale=stale,
        )
    nearest, distance = min(
        ((family.name, _distance(family.shares, shares)) for family in found.families),
        key=lambda entry: entry[1],
    )
    nearness = max(0.0, 1.0 - distance / _FAR)
    logs = math.log(found.in_family_factor), math.log(found.out_of_family_factor)
    factor = math.exp(nearness * logs[0] + (1.0 - nearness) * logs[1])
    extrapolations = tuple(_extrapolations(found, latency_s, precisions, threads))
    if extrapolations:
        factor = max(factor, found.out_of_family_factor)
    if stale:
        factor *= _STALE_FACTOR
        extrapolations += (_stale_sentence(runtime, "was measured", known, runtime_version),)
    where = "in" if distance < _FAR and not extrapolations else "out of"
    return Trust(
        tier=tier,
        basis=f"{tier.value}, {where} family",
        interval_factor=factor,
        nearest_family=nearest,
        family_distance=distance,
        extrapolations=extrapolations,
        stale=stale,
    )


def _stale_sentence(runtime: str, how: str, known: str, running: str) -> str:
    return f"{runtime} {known} {how}, {running} will run: stale"


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2.0


def _extrapolations(
    found: Calibration, latency_s: float, precisions: Iterable[str], threads: int
) -> Iterable[str]:
    if latency_s < found.fastest_s / REACH:
        yield f"faster than anything measured ({found.fastest_s:.3g} s)"
    if latency_s > found.slowest_s * REACH:
        yield f"slower than anything measured ({found.slowest_s:.3g} s)"
    for precision in sorted(set(precisions) - set(found.precisions)):
        yield f"nothing in {precision} was measured"
    if threads not in found.threads:
        yield f"{threads} threads were not measured, {', '.join(map(str, found.threads))} were"
