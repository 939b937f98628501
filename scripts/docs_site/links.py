"""The links of the pages and where they lead."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from scripts.docs_site.blocks import DOCS, tokens

__all__ = ["anchors", "broken", "links"]


def slug(text: str) -> str:
    """Return the anchor of a heading, as Python-Markdown makes it."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def anchors(text: str) -> set[str]:
    """Return the anchors of a page."""
    found: set[str] = set(re.findall(r'<a id="([^"]+)">', text))
    listed = tokens(text)
    for index, token in enumerate(listed):
        if token.type == "heading_open":
            words = "".join(
                c.content for c in listed[index + 1].children or [] if c.type in ("text", "code_inline")
            )
            found.add(slug(words))
    return found


def links(text: str) -> Iterator[str]:
    """Yield where the links and pictures of a page lead."""
    for token in tokens(text):
        for child in token.children or []:
            if child.type in ("link_open", "image"):
                yield str(child.attrGet("href") or child.attrGet("src"))


def broken(pages: Mapping[str, str]) -> list[str]:
    """Return the links of pages, by their path below ``docs/``, that lead nowhere; others left out."""
    known = {page: anchors(text) for page, text in pages.items()}
    wrong = []
    for page, text in pages.items():
        for link in links(text):
            if "://" in link or link.startswith("mailto:"):
                continue
            target, _, anchor = link.partition("#")
            where = _resolve(PurePosixPath(page), target)
            if where not in known:
                if not (DOCS / where).is_file():
                    wrong.append(f"{page}: {link} leads to no page")
            elif anchor and anchor not in known[where]:
                wrong.append(f"{page}: {link} leads to no heading")
    return wrong


def _resolve(page: PurePosixPath, target: str) -> str:
    parts: list[str] = list(page.parent.parts) if target else list(page.parts)
    for part in PurePosixPath(target).parts:
        if part == "..":
            parts = parts[:-1] if parts else ["(outside)"]
        else:
            parts.append(part)
    return "/".join(parts)
