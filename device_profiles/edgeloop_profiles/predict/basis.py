"""What a prediction rests on, in a closed list of words from the best to the least.

The words are those of records, reports and tables, so that one figure is called the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from edgeloop_profiles.profile import Calibration, Profile, RuntimeModel

__all__ = ["PUBLISHED_ROWS_MIN", "Tier", "basis_of", "calibration_of", "memory_tier", "tier_of"]

PUBLISHED_ROWS_MIN = 3
"""Fewer rows cannot tell arithmetic, transfer and overhead apart: figures "fitted" to them are transferred ones."""


class Tier(Enum):
    """What a prediction rests on, the best first."""

    #: No prediction at all: records of this very model on the device that the profile was fitted to.
    MEASURED = "measured on this device"
    #: The profile was fitted to the whole suite, measured on one device.
    CALIBRATED = "calibrated here"
    #: The profile of another device of the same instruction sets, corrected by few measurements of this one.
    TRANSFERRED = "transferred from the same tier"
    #: A shipped profile whose rates were fitted to figures that others published for this runtime on this board.
    PUBLISHED = "fitted to published rows of this runtime"
    #: A shipped profile whose rates come from other runtimes or boards; nothing checks them for this runtime.
    UNVALIDATED = "transferred, unvalidated"

    @property
    def fitted(self) -> bool:
        """Return whether measurements of ours stand behind it."""
        return self in (Tier.MEASURED, Tier.CALIBRATED, Tier.TRANSFERRED)


def calibration_of(profile: Profile, runtime: str) -> Calibration | None:
    """Return the calibration of a runtime's figures; None where they were not fitted."""
    found = profile.calibration
    return found if found is not None and found.runtime == runtime else None


def tier_of(profile: Profile, runtime: str, precisions: Iterable[str]) -> Tier:
    """Return what the latency of a model of these precisions rests on.

    Raises:
        UnsupportedError: the profile has no figures for the runtime.
    """
    found = calibration_of(profile, runtime)
    if found is not None:
        return Tier.TRANSFERRED if found.transferred_from else Tier.CALIBRATED
    model = profile.runtime(runtime)
    wanted = set(precisions)
    return Tier.PUBLISHED if wanted and wanted <= _published(model) else Tier.UNVALIDATED


def _published(model: RuntimeModel) -> set[str]:
    return {rows.precision for rows in model.published if rows.row_count >= PUBLISHED_ROWS_MIN}


def basis_of(profile: Profile, runtime: str) -> str:
    """Return what the figures of a runtime rest on as a whole, without any model in view.

    Raises:
        UnsupportedError: the profile has no figures for the runtime.
    """
    rates = profile.runtime(runtime).rates
    return tier_of(profile, runtime, {rate.precision for rate in rates}).value


def memory_tier(model: RuntimeModel) -> Tier:
    """Return what the memory of a runtime rests on; calibration measures latencies alone."""
    return Tier.CALIBRATED if model.memory.kind == "fitted" else Tier.UNVALIDATED
