"""Comparisons as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeloop_protocol.types.run import Source

from edgeloop.interfaces.present import print_table, print_text

if TYPE_CHECKING:
    from edgeloop_protocol.types.measurement import Estimate

    from edgeloop.domain.comparison import Comparison, NoiseFloor

__all__ = ["print_comparisons"]


def print_comparisons(found: Sequence[Comparison]) -> None:
    """Print every comparison with its verdict, the noise it was held against and what has to be known besides."""
    for one in found:
        if one.error:
            print_text(f"{one.device.name}: {one.error}")
            continue
        figures = f"simulated (basis: {one.basis}), predicted" if one.predicted else "measured"
        if one.source is Source.EMULATED:
            figures = f"measured under emulated resources: {one.basis}"
        rows = [
            (r.quantity, _times(r.ratio), _times(r.gain), r.verdict.value.replace("_", " "), figures)
            for r in one.ratios
        ]
        title = f"{one.device.name}: B = {one.b} against A = {one.a}, {one.round_count} rounds, {one.duration_s:.1f} s"
        print_table(("latency", "B/A", "gain A/B", "verdict", "figures"), rows, title)
        for ratio in one.ratios:
            print_text(f"  {ratio.quantity}: {ratio.reason}.")
        print_text(f"  {_noise(one.floor)}")
        for note in one.notes:
            print_text(f"  {note}")
        if one.predicted:
            print_text("  Predicted figures prove nothing before they are measured.")


def _times(estimate: Estimate) -> str:
    if estimate.value is None:
        return "n/a"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4f}"
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


def _noise(floor: NoiseFloor | None) -> str:
    if floor is None:
        return "The noise of this device is not known."
    what = f"{floor.count} comparisons of an artifact with itself"
    if floor.count == 1:
        what = "one comparison of an artifact with itself"
    when = "measured just now" if floor.measured_now else f"the newest {_age(floor.newest_age_s)} old"
    if floor.count > 1:
        when += f", the oldest {_age(floor.oldest_age_s)}"
    return f"Noise of this device beyond the intervals: {100 * floor.fraction:.2f} % ({what}, {when})."


def _age(seconds: float) -> str:
    for unit, name in ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} seconds"
