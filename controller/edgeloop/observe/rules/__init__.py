"""The rules of the alerts, one file each: what is known of a device to what is found; pure.

Law: a rule says that its condition holds, that it does not, or that there is too little to tell, in one sentence with
what was found and what is allowed. It keeps nothing: when an alert begins and ends is the table in ``domain.alert``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgeloop.domain.alert import Finding, Rule, RuleSettings
from edgeloop.observe.rules import certificate, disk, drift, latency, offline, throttling
from edgeloop.observe.rules.base import Seen

__all__ = ["RULES", "Seen", "findings"]

RULES: Mapping[Rule, Callable[[Seen, RuleSettings], tuple[Finding, ...]]] = {
    Rule.OFFLINE: offline.find,
    Rule.THROTTLING: throttling.find,
    Rule.DISK: disk.find,
    Rule.CERTIFICATE: certificate.find,
    Rule.LATENCY: latency.find,
    Rule.DRIFT: drift.find,
}
"""Every rule; the file of each has its name."""


def findings(seen: Seen, settings: RuleSettings) -> tuple[Finding, ...]:
    """Return what all rules say of one device."""
    return tuple(finding for find in RULES.values() for finding in find(seen, settings))
