"""A device whose disk fills up."""

from __future__ import annotations

from edgeloop.domain.alert import Finding, Rule, RuleSettings
from edgeloop.observe.rules.base import Seen

__all__ = ["find"]


def find(seen: Seen, settings: RuleSettings) -> tuple[Finding, ...]:
    """Fire when less than ``disk_free_share_min`` of the disk is free in the newest sample."""
    device, sample = seen.device.device, seen.device.sample
    if sample is None or sample.disk_free_bytes is None or not sample.disk_total_bytes:
        return (
            Finding(
                rule=Rule.DISK, device=device, fires=None, message="It does not tell how full its disk is."
            ),
        )
    share = sample.disk_free_bytes / sample.disk_total_bytes
    message = (
        f"{share:.1%} of its disk is free ({sample.disk_free_bytes / 1e6:.0f} MB), "
        f"{settings.disk_free_share_min:.1%} is to stay free."
    )
    return (
        Finding(rule=Rule.DISK, device=device, fires=share < settings.disk_free_share_min, message=message),
    )
