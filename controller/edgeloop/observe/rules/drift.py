"""A served model whose inputs or outputs no longer look like its golden pack."""

from __future__ import annotations

from edgeloop.domain.alert import Finding, Rule, RuleSettings
from edgeloop.domain.telemetry import DriftFound, ServedWindow
from edgeloop.observe.rules.base import Seen

__all__ = ["find"]


def find(seen: Seen, settings: RuleSettings) -> tuple[Finding, ...]:
    """Fire when a tensor's stability index and its Kolmogorov-Smirnov distance are both beyond what is allowed.

    The index has to be beyond what halves of the golden pack differ by as well: a small pack says little.
    """
    return tuple(
        _judged(seen.device.device, window, tensor, settings)
        for window in seen.drift
        for tensor in window.drift
    )


def _judged(device: str, window: ServedWindow, found: DriftFound, settings: RuleSettings) -> Finding:
    side = "output" if found.is_output else "input"
    subject = f"{window.name} {side} {found.tensor}"
    index, distance = found.stability_index, found.kolmogorov_smirnov
    if index is None or distance is None or found.row_count < settings.drift_row_count_min:
        return Finding(
            rule=Rule.DRIFT,
            device=device,
            subject=subject,
            fires=None,
            message=f"{subject}: {found.row_count} rows in the window, {settings.drift_row_count_min} are needed.",
        )
    allowed = max(settings.drift_index_max, found.reference_index)
    fires = index > allowed and distance > settings.drift_distance_min
    message = (
        f"{subject}: stability index {index:.2f} over {found.row_count} rows, "
        f"{allowed:.2f} is allowed; Kolmogorov-Smirnov distance {distance:.2f}."
    )
    return Finding(rule=Rule.DRIFT, device=device, subject=subject, fires=fires, message=message)
