"""Alerts: what the rules find, and the table of when one begins and ends.

::

    (no alert)  --fires-->  OPEN  --clear for long enough-->  RESOLVED
                             ^ |
                             +-+  fires again, or is clear for a while only

A rule that cannot tell, for want of samples, changes nothing. One alert is open per rule, device and subject.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["RUNBOOK", "Alert", "AlertState", "Finding", "Rule", "RuleSettings", "next_alert"]

RUNBOOK = "docs/troubleshooting.md"
"""Where what to do is written; each rule has an anchor of its name."""


class Rule(enum.Enum):
    """What is watched for."""

    OFFLINE = "offline"
    THROTTLING = "throttling"
    DISK = "disk"
    CERTIFICATE = "certificate"
    LATENCY = "latency"
    DRIFT = "drift"

    @property
    def runbook(self) -> str:
        """Where it is written what to do."""
        return f"{RUNBOOK}#alert-{self.value}"


class AlertState(enum.Enum):
    """How an alert stands."""

    OPEN = "open"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    """When the rules fire; windows end at the moment of the check."""

    #: A device that has not answered for so long is offline.
    offline_after_s: float = 300.0
    #: Window of throttling.
    throttling_window_s: float = 600.0
    #: Share of its samples in which the device was slowed.
    throttled_share_max: float = 0.2
    #: Share of the disk that is to stay free.
    disk_free_share_min: float = 0.05
    #: Time before the end of a certificate.
    certificate_left_s_min: float = 14 * 86_400.0
    #: Window of latency.
    latency_window_s: float = 600.0
    #: Requests, or runs on a single row, that a verdict on latency needs.
    latency_count_min: int = 100
    #: Median latency, as a multiple of the baseline's.
    latency_ratio_max: float = 1.5
    #: Window of drift.
    drift_window_s: float = 1800.0
    #: Rows that a verdict on drift needs.
    drift_row_count_min: int = 200
    #: Population stability index; never below what halves of the golden pack differ by.
    drift_index_max: float = 0.25
    #: Kolmogorov-Smirnov distance that is needed beside it.
    drift_distance_min: float = 0.1
    #: A condition that was clear for so long is over.
    resolved_after_s: float = 120.0

    def __post_init__(self) -> None:
        times = (self.offline_after_s, self.throttling_window_s, self.latency_window_s, self.drift_window_s)
        if min(times) <= 0 or min(self.certificate_left_s_min, self.resolved_after_s) < 0:
            raise InvalidInputError("windows of alerts are longer than nothing.")
        shares = (self.throttled_share_max, self.disk_free_share_min, self.drift_distance_min)
        if (
            not all(0 < share < 1 for share in shares)
            or self.latency_ratio_max <= 1
            or self.drift_index_max <= 0
        ):
            raise InvalidInputError("shares of alerts lie between 0 and 1, the ratio of latencies above 1.")
        if min(self.latency_count_min, self.drift_row_count_min) < 10:
            raise InvalidInputError("a verdict on latency or drift needs 10 requests at least.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one rule says of one device now."""

    rule: Rule
    device: str
    #: What of the device: a deployment, a tensor of one; empty for the device as a whole.
    subject: str = ""
    #: Whether the condition holds; absent when there is too little to tell.
    fires: bool | None
    #: One sentence with what was found and what is allowed; why it cannot be told when it cannot.
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert, from its beginning to its end."""

    #: Unique; 0 before it is kept.
    alert_id: int = 0
    rule: Rule
    device: str
    #: See ``Finding``.
    subject: str = ""
    state: AlertState = AlertState.OPEN
    #: Sentence of the finding that opened it, or of the latest that fired.
    message: str
    #: When it began, seconds since 1970.
    opened_s: float
    #: When its condition last held.
    seen_s: float
    #: Since when its condition is clear; absent while it holds.
    clear_since_s: float | None = None
    #: When it ended; absent while it is open.
    resolved_s: float | None = None
    #: Whether its present state was told to the webhook or command.
    told: bool = False

    @property
    def runbook(self) -> str:
        """Where it is written what to do."""
        return self.rule.runbook


def next_alert(alert: Alert | None, finding: Finding, now_s: float, resolved_after_s: float) -> Alert | None:
    """Return how an alert stands after a finding; pure.

    Args:
        alert: the open one of the same rule, device and subject; None when none is open.
        finding: what the rule says now.
        now_s: the time.
        resolved_after_s: how long the condition has to be clear.
    """
    if finding.fires is None:
        return alert
    if alert is None:
        if not finding.fires:
            return None
        return Alert(
            rule=finding.rule,
            device=finding.device,
            subject=finding.subject,
            message=finding.message,
            opened_s=now_s,
            seen_s=now_s,
        )
    if finding.fires:
        return replace(alert, message=finding.message, seen_s=now_s, clear_since_s=None)
    since_s = now_s if alert.clear_since_s is None else alert.clear_since_s
    if now_s - since_s < resolved_after_s:
        return replace(alert, clear_since_s=since_s)
    return replace(alert, clear_since_s=since_s, resolved_s=now_s, state=AlertState.RESOLVED, told=False)
