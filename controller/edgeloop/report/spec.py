"""A chart as it is handed to the page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Figure", "safe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One chart."""

    title: str
    #: What it shows, for those who cannot see it, and how it was drawn.
    caption: str
    #: ``{"data": [...], "layout": {...}}``.
    spec: Mapping[str, Any]
    height_px: int = 420
    #: Whether it takes the whole width of the page.
    wide: bool = False


def safe(text: str) -> str:
    """Return text as plotly's small HTML shows it unchanged: names of devices, nodes and candidates are not ours."""
    return html.escape(text)
