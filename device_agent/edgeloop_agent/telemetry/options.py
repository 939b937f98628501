"""What telemetry may cost on a device."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["PERIOD_S", "TelemetryOptions"]

PERIOD_S = 10.0
"""Default time between two samples: 8,640 a day, 3 MB on the wire."""

_PERIOD_S_ALLOWED = (1.0, 86_400.0)
_RING_BYTES_ALLOWED = (64 << 10, 1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryOptions:
    """The budget.

    Raises:
        InvalidInputError: a figure is beyond what is possible.
    """

    #: Time between two samples.
    period_s: float = PERIOD_S
    #: Most bytes that the ring takes on the disk; 4 MiB hold a day of samples of a device that serves nothing.
    ring_bytes: int = 4 << 20
    #: Largest share of one processor that sampling may take; the period grows where it would take more.
    processor_share_max: float = 0.01

    def __post_init__(self) -> None:
        low, high = _PERIOD_S_ALLOWED
        if not low <= self.period_s <= high:
            raise InvalidInputError(
                f"the period of telemetry lies within {low:g}..{high:g} s, not {self.period_s:g}."
            )
        low, high = _RING_BYTES_ALLOWED
        if not low <= self.ring_bytes <= high:
            raise InvalidInputError(f"the ring takes {low}..{high} bytes, not {self.ring_bytes}.")
        if not 0 < self.processor_share_max <= 1:
            raise InvalidInputError(
                f"a share of a processor is above 0 and at most 1, not {self.processor_share_max:g}."
            )
