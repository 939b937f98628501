"""The code blocks of a page and their marks.

A block says behind its language what is done with it; readers of the raw file see the same words::

    ```console run                            commands, each behind "$ ", run in order in the page's world; lines
                                              between are output that must appear ("..." stands for anything)
    ```console run exit=1                     the last command ends with that status
    ```console run on=simulated               run on a simulated board that has the name of the real one
    ```console run background="Serving"       started, and left running once it has said that
    ```console not-run="needs a board"        not run; the reason is shown to the reader
    ```python run                             run as a program
    ```toml file=plan.toml                    written into the page's world, for the commands after it

``text`` and ``json`` are no commands and need no mark.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = [
    "DOCS",
    "ROOT",
    "Block",
    "Command",
    "blocks",
    "commands",
    "inline_code",
    "page_meta",
    "pages",
    "problems",
    "tokens",
]

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

PLAIN = frozenset({"text", "json"})
RUNNABLE = frozenset({"console", "python"})
FILES = frozenset({"toml", "yaml", "ini", "python"})
MARKS = frozenset({"run", "exit", "on", "background", "not-run", "file"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block."""

    page: str
    #: Line of the opening fence in the file, from 1.
    line: int
    language: str
    text: str
    marks: Mapping[str, str]

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        return "run" in self.marks or "file" in self.marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a console block, and the lines of output that it shows."""

    text: str
    output: tuple[str, ...]


def pages() -> tuple[Path, ...]:
    """Return the pages that stand in the repository."""
    return tuple(sorted(DOCS.rglob("*.md")))


def page_meta(text: str) -> tuple[dict[str, object], str]:
    """Return the table between two lines of dashes at the top of a page, and the page with those lines emptied."""
    lines = text.split("\n")
    if lines[0] != "---" or "---" not in lines[1:]:
        return {}, text
    import yaml

    end = lines.index("---", 1)
    return yaml.safe_load("\n".join(lines[1:end])) or {}, "\n".join([""] * (end + 1) + lines[end + 1 :])


def tokens(text: str) -> list[Token]:
    """Return the page's tokens; line numbers are those of the file."""
    return MarkdownIt("commonmark").enable("table").parse(page_meta(text)[1])


def blocks(page: str, text: str) -> tuple[Block, ...]:
    """Return the fenced blocks of a page, in order."""
    found = []
    for token in tokens(text):
        if token.type not in ("fence", "code_block"):
            continue
        language, *words = shlex.split(token.info) or [""]
        marks = {key: value for key, _, value in (word.partition("=") for word in words)}
        line = (token.map or [0])[0] + 1
        found.append(Block(page=page, line=line, language=language, text=token.content, marks=marks))
    return tuple(found)


def inline_code(text: str) -> Iterator[str]:
    """Yield the contents of `code spans`."""
    for token in tokens(text):
        for child in token.children or []:
            if child.type == "code_inline":
                yield " ".join(child.content.split())


def problems(block: Block) -> list[str]:
    """Return what is wrong with the marks of a block, one sentence each."""
    if block.language in PLAIN and not block.marks:
        return []
    wrong = [f"unknown mark {mark!r}" for mark in block.marks if mark not in MARKS]
    if block.language not in RUNNABLE | FILES:
        wrong.append(
            f"the language {block.language!r} is none of {', '.join(sorted(RUNNABLE | FILES | PLAIN))}"
        )
    if sum(mark in block.marks for mark in ("run", "file", "not-run")) != 1:
        wrong.append("it is marked neither or doubly: run, file=NAME or not-run=REASON")
    if "run" in block.marks and block.language not in RUNNABLE:
        wrong.append(f"{block.language} cannot be run")
    if "not-run" in block.marks and not block.marks["not-run"]:
        wrong.append("it says no reason why it is not run")
    if block.marks.get("on", "simulated") != "simulated":
        wrong.append("on=simulated is the only stand-in for a board")
    if block.language == "console" and not block.text.startswith("$ "):
        wrong.append("its first line is no command")
    return [f"{block.where}: {sentence}" for sentence in wrong]


def commands(block: Block) -> tuple[Command, ...]:
    """Return the commands of a console block; one that ends in a backslash goes on in the next line."""
    found: list[tuple[str, list[str]]] = []
    continued = False
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif continued:
            found[-1] = (f"{found[-1][0]}\n{line}", [])
        elif line.strip():
            found[-1][1].append(line)
        continued = line.endswith("\\")
    return tuple(Command(text=text, output=tuple(output)) for text, output in found)
