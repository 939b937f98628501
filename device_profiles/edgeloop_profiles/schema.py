"""Trees of plain values to frozen dataclasses, with errors that name field, found and allowed."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_profiles.bounds import Bounds, Choice

__all__ = ["build"]

V = TypeVar("V")

_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def build(cls: type[V], tree: object, where: str) -> V:
    """Return a ``cls`` built from ``tree``; ``where`` names its place, for example ``pi.toml: processor``.

    Raises:
        InvalidInputError: a field is missing, unknown, of a wrong type or out of its bounds.
    """
    if not isinstance(tree, Mapping):
        raise _error(where, _found(tree), "a table")
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in tree:
        if name not in fields:
            raise _error(_join(where, str(name)), "a field that is not known", ", ".join(sorted(fields)))
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in tree:
            values[name] = _value(hints[name], tree[name], _join(where, name))
        elif field.default is dataclasses.MISSING:
            raise _error(_join(where, name), "nothing", _describe(hints[name]))
    try:
        return cls(**values)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error.message}", next_step=error.next_step) from error


def _value(hint: Any, item: object, where: str) -> Any:
    base, limits = _split(hint)
    if typing.get_origin(base) in (types.UnionType, typing.Union):
        (base, limits) = _split(next(a for a in typing.get_args(base) if a is not type(None)))
    if typing.get_origin(base) is tuple:
        if not isinstance(item, list):
            raise _error(where, _found(item), _describe(hint))
        element = typing.get_args(base)[0]
        return tuple(_value(element, entry, f"{where}[{index}]") for index, entry in enumerate(item))
    if dataclasses.is_dataclass(base):
        return build(typing.cast("type[Any]", base), item, where)
    return _scalar(base, limits, item, where)


def _scalar(base: type, limits: Bounds | Choice | None, item: object, where: str) -> Any:
    if base is float and isinstance(item, int) and not isinstance(item, bool):
        item = float(item)
    # bool is an int in Python but not in a file.
    fits = isinstance(item, base) and (base is bool or not isinstance(item, bool))
    finite = not isinstance(item, float) or abs(item) < float("inf")
    if not fits or not finite or (limits is not None and not limits.allows(item)):
        raise _error(where, _found(item), _words(base, limits))
    return item


def _split(hint: Any) -> tuple[Any, Bounds | Choice | None]:
    if typing.get_origin(hint) is not typing.Annotated:
        return hint, None
    base, *extras = typing.get_args(hint)
    return base, next((extra for extra in extras if isinstance(extra, Bounds | Choice)), None)


def _describe(hint: Any) -> str:
    base, limits = _split(hint)
    if typing.get_origin(base) in (types.UnionType, typing.Union):
        return _describe(next(a for a in typing.get_args(base) if a is not type(None)))
    if typing.get_origin(base) is tuple:
        return f"a list, each {_describe(typing.get_args(base)[0])}"
    return "a table" if dataclasses.is_dataclass(base) else _words(base, limits)


def _words(base: type, limits: Bounds | Choice | None) -> str:
    if isinstance(limits, Choice):
        return str(limits)
    return f"{_WORDS[base]} {limits or ''}".strip()


def _found(item: object) -> str:
    return "a table" if isinstance(item, Mapping) else f"{type(item).__name__} {item!r}"


def _join(where: str, name: str) -> str:
    return f"{where}{name}" if where.endswith(" ") else f"{where}.{name}"


def _error(where: str, found: str, allowed: str) -> InvalidInputError:
    return InvalidInputError(
        f"{where}: found {found}, allowed is {allowed}.", next_step="Correct this field of the file."
    )
