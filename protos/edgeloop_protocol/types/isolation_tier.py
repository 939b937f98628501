"""The tiers of isolation of a runner, and which one is enough for which."""

from __future__ import annotations

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["STRONGEST", "TIERS", "check_tier", "reaches", "stronger"]

TIERS = ("process", "seccomp", "unprivileged")
"""Weakest first: resource limits; with a filter of system calls; with Landlock's rules for files and own namespaces."""

STRONGEST = TIERS[-1]


def check_tier(tier: str) -> str:
    """Return the name of a tier.

    Raises:
        InvalidInputError: there is no such tier.
    """
    if tier not in TIERS:
        raise InvalidInputError(f"{tier!r} is no tier of isolation: {', '.join(TIERS)}, weakest first.")
    return tier


def stronger(first: str, second: str) -> str:
    """Return the stronger of two tiers; an empty name stands for none."""
    return max(first, second, key=lambda tier: TIERS.index(check_tier(tier)) if tier else -1)


def reaches(tier: str, minimum: str) -> bool:
    """Return whether ``tier`` isolates at least as well as ``minimum``; an unknown one never does."""
    return tier in TIERS and TIERS.index(tier) >= TIERS.index(check_tier(minimum))
