"""The tiers of isolation of a runner, and which one is enough for which."""

from __future__ import annotations

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["DEFAULT", "STRONGEST", "TIERS", "check_tier", "reaches", "stronger"]

TIERS = ("process", "seccomp", "unprivileged", "bubblewrap", "systemd")
"""Weakest first: resource limits; with a filter of system calls; with Landlock's rules for files and own namespaces;
where other files and processes are not even there; in a hardened unit of the system, under an account of its own."""

STRONGEST = TIERS[-1]

DEFAULT = "unprivileged"
"""The strongest one that needs no helper, and what an agent takes unless it is told otherwise."""


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
