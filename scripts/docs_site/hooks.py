"""What is done to the pages while mkdocs builds: generated pages are added, the marks of blocks are shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mkdocs.structure.files import File, Files

from scripts.docs_site.blocks import DOCS
from scripts.docs_site.generated import generated_pages
from scripts.docs_site.hooks_text import shown

__all__ = ["on_files", "on_page_markdown"]


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that are made from the sources."""
    for uri, text in generated_pages().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Turn the marks of a page's blocks into what a reader sees above them."""
    path = DOCS / page.file.src_uri
    return shown(markdown) if path.exists() else markdown
