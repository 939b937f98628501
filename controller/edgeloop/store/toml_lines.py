"""Edits of a TOML file line by line: what is not edited keeps its bytes, comments and order included.

Only whole tables ``[devices.NAME]`` and their one-line keys are edited. The result is read back and held against what
it should say; a file written in a form that these edits do not know is refused, never damaged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgeloop_foundation.errors import UnsupportedError

__all__ = ["edited"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SKIPPED = re.compile(r"\s*(#.*)?")


def edited(text: str, name: str, table: Mapping[str, Any] | None) -> str:
    """Return the file with ``[devices.NAME]`` holding these keys, or without it.

    Args:
        text: the file.
        name: of the device.
        table: what it is to hold, in order: texts, lists of texts and tables of texts; None takes it out.

    Raises:
        UnsupportedError: the file is written in a way that cannot be edited without losing something.
    """
    import tomllib

    wanted = tomllib.loads(text)
    devices = wanted.setdefault("devices", {})
    present = name in devices
    before = devices.get(name)
    if table is None:
        devices.pop(name, None)
    else:
        devices[name] = dict(table)
    if before == devices.get(name):
        return text
    changed = _edit(text, name, table, before if present else None)
    found = _read(changed) or {}
    if found.setdefault("devices", {}) != devices:
        raise UnsupportedError(
            f"device {name} stands in the inventory in a form that is not edited here.",
            next_step=f"Edit the file by hand, or write it as a table [devices.{_key(name)}] with one line per key.",
        )
    return changed


def _edit(text: str, name: str, table: Mapping[str, Any] | None, before: Mapping[str, Any] | None) -> str:
    lines = text.splitlines(keepends=True)
    if before is None:
        body = "".join(_line(key, value) for key, value in (table or {}).items())
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        return f"{text}{gap}[devices.{_key(name)}]\n{body}"
    start, end = _span(lines, name)
    if table is None:
        while end < len(lines) and not lines[end].strip():
            end += 1
        return "".join(lines[:start] + lines[end:])
    body_lines = _rewritten(lines[start + 1 : end], table, before)
    return "".join([*lines[: start + 1], *body_lines, *lines[end:]])


def _rewritten(body: Sequence[str], table: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    kept: list[str] = []
    done: set[str] = set()
    last = 0
    for line in body:
        key = _key_of(line)
        if key is None or key not in before:
            kept.append(line)
            last = len(kept) if key else last
            continue
        done.add(key)
        if key in table:
            kept.append(line if table[key] == before[key] else _line(key, table[key], _comment(line)))
            last = len(kept)
    fresh = [_line(key, value) for key, value in table.items() if key not in done]
    if kept and fresh and last and not kept[last - 1].endswith("\n"):
        kept[last - 1] += "\n"
    return [*kept[:last], *fresh, *kept[last:]]


def _span(lines: Sequence[str], name: str) -> tuple[int, int]:
    """Return the header's line and the line after the table's last key or trailing comment of its own."""
    start = -1
    for index, line in enumerate(lines):
        if not line.lstrip().startswith("["):
            continue
        if start >= 0:
            return start, _without_lead(lines, start, index)
        if _read(line) == {"devices": {name: {}}}:
            start = index
    if start < 0:
        return len(lines), len(lines)
    return start, len(lines)


def _without_lead(lines: Sequence[str], start: int, end: int) -> int:
    # Comments right above a header belong to the table that it opens.
    while end > start + 1 and _SKIPPED.fullmatch(lines[end - 1].rstrip("\n")):
        end -= 1
    return end


def _key_of(line: str) -> str | None:
    if _SKIPPED.fullmatch(line.rstrip("\n")):
        return None
    return next(iter(_read(line) or {}), None)


def _comment(line: str) -> str:
    """Return the comment at the end of a line of one key, with the space before it."""
    for at in (match.start() for match in re.finditer("#", line)):
        if _read(line[:at]) == _read(line):
            return "  " + line[at:].rstrip("\n")
    return ""


def _read(text: str) -> dict[str, Any] | None:
    """Return what a piece of TOML says; None when it is no TOML."""
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _line(key: str, value: Any, comment: str = "") -> str:
    return f"{key} = {_value(value)}{comment}\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    # A JSON string is a TOML basic string.
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
