"""The reference of the wire, from the comments of the proto files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from scripts.docs_site.blocks import ROOT
from scripts.docs_site.command_pages import cell

__all__ = ["Entry", "read_proto", "wire_page"]

_PROTOS = ROOT / "protos" / "proto"
_OPENS = re.compile(r"(service|message|enum|oneof) (\w+) \{(\})?")
_RPC = re.compile(r"rpc (\w+)\s*\((stream )?([\w.]+)\)\s*returns\s*\((stream )?([\w.]+)\)")
_FIELD = re.compile(r"((?:optional |repeated )?(?:map<[^>]+>|[\w.]+)) (\w+) = (\d+)")
_VALUE = re.compile(r"([A-Z][A-Z0-9_]*) = (-?\d+);")


@dataclass(slots=True)
class Entry:
    """A service, message or enumeration with what is in it."""

    kind: str
    name: str
    comment: str
    #: Name, what is declared, comment; a method, a field or a value each.
    rows: list[tuple[str, str, str]] = field(default_factory=list)


def read_proto(text: str) -> tuple[str, list[Entry]]:
    """Return the comment at the top of a proto file and its entries, nested ones behind their parent's name."""
    head, entries, stack, comment = "", [], [], []
    for line in (raw.strip() for raw in text.splitlines()):
        if line.startswith("//"):
            comment.append(line.removeprefix("//").strip())
            continue
        said = " ".join(comment)
        if line.startswith("syntax"):
            head = said
        elif opened := _OPENS.match(line):
            kind, name = opened[1], opened[2]
            if kind == "oneof":
                stack.append(None)
            else:
                outer = next((one.name for one in reversed(stack) if one), "")
                stack.append(Entry(kind, f"{outer}.{name}" if outer else name, said))
                entries.append(stack[-1])
            if opened[3]:
                stack.pop()
        elif line.startswith("}") and stack:
            stack.pop()
        elif row := _row(line, said):
            owner = next(one for one in reversed(stack) if one)
            owner.rows.append(row)
        if line:
            comment = []
    return head, entries


def _row(line: str, said: str) -> tuple[str, str, str] | None:
    if rpc := _RPC.match(line):
        return rpc[1], f"{rpc[2] or ''}{rpc[3]} → {rpc[4] or ''}{rpc[5]}", said
    if found := _FIELD.match(line):
        return found[2], f"{found[1]}, {found[3]}", said
    if found := _VALUE.match(line):
        return found[1], found[2], said
    return None


def wire_page() -> str:
    """Return the page of all services and messages."""
    lines = [
        "# The wire",
        "",
        "Made from the comments of `protos/proto` when this site was built. gRPC; fields are only added, with new "
        "numbers. Behind a field's type stands its number.",
        "",
    ]
    for path in sorted(_PROTOS.rglob("*.proto")):
        lines += _file(path)
    return "\n".join(lines)


def _file(path: Path) -> list[str]:
    head, entries = read_proto(path.read_text(encoding="utf-8"))
    name = str(path.relative_to(_PROTOS))
    lines = [f"## {name}", "", head.replace("<", "&lt;"), ""]
    for entry in entries:
        lines += [f"### {entry.name}", "", f"*{entry.kind}.* {cell(entry.comment)}", ""]
        if entry.rows:
            what = {"service": "method", "message": "field", "enum": "value"}[entry.kind]
            lines += [f"| {what} | declared | meaning |", "|---|---|---|"]
            lines += [f"| `{a}` | {cell(b)} | {cell(c)} |" for a, b, c in entry.rows]
            lines.append("")
    return lines
