"""Artifacts that a device no longer opens because they took its runner down again and again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STRIKES_MAX", "QuarantinedArtifact"]

STRIKES_MAX = 2
"""So many jobs or probes in a row whose runner died put an artifact into quarantine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedArtifact:
    """An artifact that cost this device a runner, once or more in a row."""

    #: Digest of the artifact.
    digest: str
    #: How often in a row.
    strike_count: int
    #: How the runner ended, the latest time.
    reason: str
    #: When that was, seconds since 1970 by the device's clock.
    wall_s: float

    @property
    def quarantined(self) -> bool:
        """Whether it is no longer opened."""
        return self.strike_count >= STRIKES_MAX
