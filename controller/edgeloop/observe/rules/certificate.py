"""A device whose certificate runs out."""

from __future__ import annotations

from edgeloop.domain.alert import Finding, Rule, RuleSettings
from edgeloop.domain.telemetry import DAY_S
from edgeloop.observe.rules.base import Seen

__all__ = ["find"]


def find(seen: Seen, settings: RuleSettings) -> tuple[Finding, ...]:
    """Fire when the certificate ends within ``certificate_left_s_min``."""
    device, expires_s = seen.device.device, seen.device.certificate_expires_s
    if expires_s is None:
        return (Finding(rule=Rule.CERTIFICATE, device=device, fires=None, message="It is not enrolled."),)
    left_s = expires_s - seen.now_s
    ends = f"ends in {left_s / DAY_S:.1f} days" if left_s > 0 else f"ended {-left_s / DAY_S:.1f} days ago"
    message = f"Its certificate {ends}, {settings.certificate_left_s_min / DAY_S:.0f} days are to be left."
    fires = left_s < settings.certificate_left_s_min
    return (Finding(rule=Rule.CERTIFICATE, device=device, fires=fires, message=message),)
