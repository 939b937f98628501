"""Rows that others published: kept word for word, marked for ever, never mistaken for a measurement.

A third-party run has no ``timing``, ``memory`` or ``energy``: nothing of that was measured by us. What was stated
stands in its context, under ``third_party.QUANTITY`` in SI units, beside where it comes from. A stated figure has no
interval here, so that no bound can be decided by it.
"""

from __future__ import annotations

import math

from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Run, Source

__all__ = ["PREFIX", "STATED", "published"]

PREFIX = "third_party."
"""Begin of every context name that an import writes."""

STATED = ("latency_p50", "latency_p90", "latency_p95", "latency_p99", "energy")
"""Quantities that a published row may state."""


def published(run: Run) -> tuple[tuple[str, Estimate], ...]:
    """Return quantity and stated value of a third-party run; nothing for any other run."""
    if run.source is not Source.THIRD_PARTY:
        return ()
    context = dict(run.context)
    return tuple((quantity, _stated(context.get(PREFIX + quantity, ""), quantity)) for quantity in STATED)


def _stated(text: str, quantity: str) -> Estimate:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        return Estimate.absent(f"the source states no {quantity}")
    return Estimate(value=value)
