"""A device that heat, power or a limit slows."""

from __future__ import annotations

from itertools import pairwise

from edgeloop_protocol.types.telemetry import TelemetrySample

from edgeloop.domain.alert import Finding, Rule, RuleSettings
from edgeloop.observe.rules.base import Seen

__all__ = ["find"]

_SAMPLES_MIN = 6


def find(seen: Seen, settings: RuleSettings) -> tuple[Finding, ...]:
    """Fire when the device was slowed in more than ``throttled_share_max`` of the samples of the window."""
    device = seen.device.device
    steps = [(before, now) for before, now in pairwise(seen.recent) if _tells(now)]
    if len(steps) < _SAMPLES_MIN:
        return (
            Finding(
                rule=Rule.THROTTLING,
                device=device,
                fires=None,
                message=f"{len(steps)} samples tell of throttling in the window, {_SAMPLES_MIN} are needed.",
            ),
        )
    slowed = [now for before, now in steps if _slowed(before, now)]
    share = len(slowed) / len(steps)
    states = sorted({state for sample in slowed for state in sample.throttled}) or ["by its counter"]
    message = (
        f"It was slowed ({', '.join(states)}) in {share:.0%} of {len(steps)} samples, "
        f"{settings.throttled_share_max:.0%} are allowed."
        if slowed
        else f"It was not slowed in {len(steps)} samples."
    )
    return (
        Finding(
            rule=Rule.THROTTLING, device=device, fires=share > settings.throttled_share_max, message=message
        ),
    )


def _tells(sample: TelemetrySample) -> bool:
    absent = dict(sample.absent)
    return "throttled" not in absent or "throttle_event_count" not in absent


def _slowed(before: TelemetrySample, now: TelemetrySample) -> bool:
    first, last = before.throttle_event_count, now.throttle_event_count
    return bool(now.throttled) or (first is not None and last is not None and last > first)
