"""A climb for people: what was tried in which stage, and what was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeloop.interfaces.present import print_candidate, print_table, print_text

if TYPE_CHECKING:
    from edgeloop.domain.ladder import Climb, Step

__all__ = ["print_climb"]

_COLUMNS = ("stage", "rung", "outcome", "size", "travels as", "quality", "retention (95 % low)", "reason")


def print_climb(climb: Climb) -> None:
    """Print every rung that was tried, and the last good candidate."""
    print_table(
        _COLUMNS, [_row(step) for step in climb.steps], f"ladder {climb.ladder}, keep {climb.keep:.4g}"
    )
    if climb.stopped:
        print_text(f"Stopped: {climb.stopped}.")
    print_candidate(climb.chosen)


def _row(step: Step) -> list[str]:
    from edgeloop.report.units import amount

    candidate, quality = step.candidate, step.candidate.quality
    kept = quality.retention if quality else None
    built = candidate.size_bytes > 0
    return [
        step.stage,
        step.rung,
        "taken" if step.taken else "rolled back" if built else "not built",
        amount(candidate.size_bytes, "B") if built else "",
        amount(candidate.travel_bytes or candidate.size_bytes, "B") if built else "",
        amount(quality.value.value, "ratio") if quality else "",
        f"{kept.value:.4f} ({kept.low:.4f})"
        if kept and kept.value is not None and kept.low is not None
        else "",
        step.reason,
    ]
