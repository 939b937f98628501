"""Settings of a pass from plain names and values."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["one_of", "parse_settings"]

S = TypeVar("S")


def parse_settings(cls: type[S], pass_name: str, values: Mapping[str, Any]) -> S:
    """Build a settings dataclass.

    Raises:
        InvalidInputError: a name is unknown, required and missing, or a value has the wrong type or range.
    """
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidInputError(
            f"pass {pass_name!r} has no setting {unknown[0]!r}; it has {', '.join(known) or 'none'}."
        )
    hints = typing.get_type_hints(cls)
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise InvalidInputError(f"pass {pass_name!r} needs the setting {name!r}.")
    return cls(**{name: _value(pass_name, name, hints[name], value) for name, value in values.items()})


def _value(pass_name: str, name: str, kind: Any, value: Any) -> Any:
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        if not isinstance(value, list | tuple):
            raise InvalidInputError(f"pass {pass_name!r}: {name} is a list, not {value!r}.")
        return tuple(_value(pass_name, name, element, item) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise InvalidInputError(f"pass {pass_name!r}: {name} is {kind.__name__}, not {value!r}.")
    return value


def one_of(pass_name: str, name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Check a setting that is one of a few words.

    Raises:
        InvalidInputError: it is another one.
    """
    if value not in allowed:
        raise InvalidInputError(f"pass {pass_name!r}: {name} is {', '.join(allowed)}, not {value!r}.")
