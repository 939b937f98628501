"""The profile's layout as JSON Schema, so that editors complete a profile and check it while it is written.

It is derived from the dataclasses: types, bounds, choices, and the comments beside the fields. What only the
dataclasses can tell, such as a list that must rise, stays with ``check_profile``.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from edgeloop_profiles.bounds import Bounds, Choice
from edgeloop_profiles.inherit import LikeRuntime
from edgeloop_profiles.profile import Profile, RuntimeModel
from edgeloop_profiles.schema import element_of, hints_of, split, stated_fields

__all__ = ["profile_json_schema"]

_SHORTER: dict[type, type] = {RuntimeModel: LikeRuntime}
"""Tables that may be written in a shorter form."""

_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}
_FIELD = re.compile(r"    (\w+): ")


def profile_json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a profile."""
    definitions: dict[str, Any] = {}
    root = _table(Profile, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgeloop board profile",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _table(cls: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    hints, fields, comments = hints_of(cls), stated_fields(cls), _comments(cls)
    properties = {}
    for name in fields:
        properties[name] = _schema(hints[name], definitions)
        if name in comments:
            properties[name]["description"] = comments[name]
    required = [name for name, field in fields.items() if field.default is dataclasses.MISSING]
    return {
        "type": "object",
        "description": inspect.cleandoc(cls.__doc__ or "").splitlines()[0],
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    base, limits = split(hint)
    element = element_of(base)
    if element is not None:
        return {"type": "array", "items": _schema(element, definitions)}
    if dataclasses.is_dataclass(base):
        return _reference(base, definitions)  # type: ignore[arg-type]
    return {"type": _TYPES[base], **_limits(limits)}


def _reference(cls: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}
        definitions[cls.__name__] = _table(cls, definitions)
    own = {"$ref": f"#/$defs/{cls.__name__}"}
    shorter = _SHORTER.get(cls)
    if shorter is None:
        return own
    # Told apart by "like", so that an error is about one form and not about both.
    return {"if": {"required": ["like"]}, "then": _reference(shorter, definitions), "else": own}


def _limits(limits: Bounds | Choice | None) -> dict[str, Any]:
    if limits is None:
        return {}
    if isinstance(limits, Choice):
        return {"enum": list(limits.values)}
    stated = {
        "minimum": limits.minimum,
        "exclusiveMinimum": limits.above,
        "maximum": limits.maximum,
        "pattern": None if limits.empty else r"\S",
    }
    return {name: value for name, value in stated.items() if value is not None}


def _comments(cls: type[Any]) -> dict[str, str]:
    """Return what the ``#:`` comments say of the fields, those of the base classes included."""
    found: dict[str, str] = {}
    for part in reversed(cls.__mro__[:-1]):
        pending: list[str] = []
        for line in inspect.getsource(part).splitlines():
            if line.startswith("    #: "):
                pending.append(line[7:].strip())
            elif match := _FIELD.match(line):
                if pending:
                    found[match[1]] = " ".join(pending)
                pending = []
    return found
