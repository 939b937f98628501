"""Every sentence that edgeloop fails with, and its next step, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scripts.docs_site.blocks import ROOT
from scripts.docs_site.command_pages import cell

__all__ = ["Said", "error_page", "sentences"]

_SOURCES = (
    "controller/edgeloop", "device_agent/edgeloop_agent", "device_profiles/edgeloop_profiles",
    "protos/edgeloop_foundation", "protos/edgeloop_protocol",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Said:
    """One place where an error is made."""

    error: str
    room: str
    sentence: str
    next_step: str


@cache
def sentences() -> list[Said]:
    """Return every error that is made with a sentence that stands in the source, in order and each once."""
    found = {
        said
        for source in _SOURCES
        for path in sorted((ROOT / source).rglob("*.py"))
        if "_pb2" not in path.name
        for said in _file(path, ROOT / source)
    }
    return sorted(found)


def _file(path: Path, source: Path) -> Iterator[Said]:
    from edgeloop_foundation import errors

    room = "/".join((source.name, *path.relative_to(source).parts[:1])).removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        sentence = _text(node.args[0]) if node.args else ""
        if name not in errors.__all__ or not sentence:
            continue
        step = next((_text(keyword.value) for keyword in node.keywords if keyword.arg == "next_step"), "")
        yield Said(error=name, room=room, sentence=sentence, next_step=step)


def _text(node: ast.expr) -> str:
    """Return a text as it stands in the source, with "…" for what is known only when it happens; "" when none does."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return ""


def error_page() -> str:
    """Return the page of all errors, by their kind."""
    from edgeloop.interfaces.cli.main import exit_code_of
    from edgeloop_foundation import errors

    found = sentences()
    lines = [
        "# Every error and its next step",
        "",
        f"{len(found)} sentences, read from the sources when this site was built; … stands for a name, a figure or "
        "a path. Where the next step is empty the sentence itself says what is allowed. "
        "[Troubleshooting](../troubleshooting.md) has more on those that are met most.",
        "",
    ]
    for name in errors.__all__:
        kind = getattr(errors, name)
        rows = [said for said in found if said.error == name]
        if not rows:
            continue
        lines += [f"## {name}", "", f"{kind.__doc__} Exit status {exit_code_of(kind(''))}.", ""]
        lines += ["| sentence | next step | said by |", "|---|---|---|"]
        lines += [f"| {cell(one.sentence)} | {cell(one.next_step)} | `{one.room}` |" for one in rows]
        lines.append("")
    return "\n".join(lines)
