"""A profile as TOML, so that a fitted one is a file like those that are shipped."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from edgeloop_profiles.profile import Profile
from edgeloop_profiles.schema import stated_fields

__all__ = ["to_toml"]

_OF_THE_BOARD = ("power_modes", "default_power_mode")
"""Left out: a written profile holds the figures of one mode, from which the others cannot be told."""


def to_toml(profile: Profile, comment: str = "") -> str:
    """Return the profile as TOML that ``load_profile`` reads back equal, but for its digest and power modes."""
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += _table(profile, "")
    return "\n".join(lines) + "\n"


def _table(value: Any, path: str) -> list[str]:
    """Return a table's plain values first and its sub-tables after them, as TOML wants it."""
    plain, nested = [], []
    for name in stated_fields(type(value)):
        item = getattr(value, name)
        if name in _OF_THE_BOARD or item is None:
            continue
        where = f"{path}.{name}" if path else name
        if dataclasses.is_dataclass(item):
            nested += ["", f"[{where}]", *_table(item, where)]
        elif _is_list_of_tables(item):
            for entry in item:
                nested += ["", f"[[{where}]]", *_table(entry, where)]
        else:
            plain.append(f"{name} = {_scalar(item)}")
    return plain + nested


def _is_list_of_tables(item: Any) -> bool:
    return isinstance(item, tuple) and bool(item) and all(dataclasses.is_dataclass(e) for e in item)


def _scalar(item: Any) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, tuple):
        return f"[{', '.join(map(_scalar, item))}]"
    if isinstance(item, str):
        # JSON's string escapes are a subset of TOML's basic strings, but for the delete character.
        return json.dumps(item, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(item)
