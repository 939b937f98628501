"""The pages that are made from the sources at each build, and never committed."""

from __future__ import annotations

from scripts.docs_site.command_pages import agent_page, edgeloop_page
from scripts.docs_site.error_pages import error_page
from scripts.docs_site.wire_pages import wire_page

__all__ = ["generated_pages"]


def generated_pages() -> dict[str, str]:
    """Return them by their path below ``docs/``."""
    return {
        "reference/edgeloop.md": edgeloop_page(),
        "reference/edgeloop-agent.md": agent_page(),
        "reference/wire.md": wire_page(),
        "reference/errors.md": error_page(),
    }
