"""Policies, one file each: what "better" means when several candidates satisfy every constraint.

Law: a policy turns gains into one score with its interval, above 1 is better than the original; it never
sees constraints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeloop_foundation.registry import Registry

if TYPE_CHECKING:
    from edgeloop.select.policies.base import Policy

__all__ = ["BUILTIN", "POLICIES"]

BUILTIN = {
    "prefer": "edgeloop.select.policies.prefer:PreferPolicy",
    "weighted": "edgeloop.select.policies.weighted:WeightedPolicy",
}
POLICIES: Registry[Policy] = Registry("policies", BUILTIN)
