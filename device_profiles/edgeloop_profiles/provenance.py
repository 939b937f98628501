"""Where a figure of a profile comes from."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_profiles.bounds import Kind, Text

__all__ = ["Figures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A group of figures of one provenance."""

    #: "datasheet", "literature" (measured by somebody and published), "assumed", or "fitted" to measurements of ours.
    kind: Kind
    #: Where the figures were read, or what the assumption rests on.
    source: Text
