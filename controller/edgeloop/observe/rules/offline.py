"""A device that does not answer."""

from __future__ import annotations

from edgeloop.domain.alert import Finding, Rule, RuleSettings
from edgeloop.observe.rules.base import Seen

__all__ = ["find"]


def find(seen: Seen, settings: RuleSettings) -> tuple[Finding, ...]:
    """Fire for a device that has not answered for longer than ``offline_after_s``."""
    device, since_s = seen.device, seen.device.silent_since_s
    if since_s is None:
        return (Finding(rule=Rule.OFFLINE, device=device.device, fires=False, message="It answers."),)
    # The first question that it left open counts, not its last answer: nobody may have asked for a while.
    away_s = seen.now_s - since_s
    message = f"It has not answered for {away_s:.0f} s, {settings.offline_after_s:.0f} s are allowed: {device.reason}"
    return (
        Finding(
            rule=Rule.OFFLINE, device=device.device, fires=away_s >= settings.offline_after_s, message=message
        ),
    )
