"""How the marks of a page's blocks are shown to a reader."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.docs_site.blocks import blocks

__all__ = ["shown", "title_of"]


def shown(markdown: str) -> str:
    """Return a page in which each block has its language alone, with a title where it was not run as it stands."""
    lines = markdown.split("\n")
    for block in blocks("", markdown):
        fence = lines[block.line - 1]
        title = title_of(block.marks)
        bare = fence[: len(fence) - len(fence.lstrip("` "))] + block.language
        lines[block.line - 1] = f'{bare} title="{title}"' if title else bare
    return "\n".join(lines)


def title_of(marks: Mapping[str, str]) -> str:
    """Return what is said above a block."""
    if "not-run" in marks:
        return f"not run here: {marks['not-run']}"
    if "on" in marks:
        return "run by the tests on a simulated board of this name"
    return str(marks.get("file", ""))
