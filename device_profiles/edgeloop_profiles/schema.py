"""Trees of plain values to frozen dataclasses, with errors that name field, found and allowed."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_profiles.bounds import Bounds, Choice

__all__ = ["WRONG", "Expander", "TreeReader", "build", "element_of", "hints_of", "split", "stated_fields"]

V = TypeVar("V")

_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}

WRONG: Any = object()
"""Stands for a value that could not be read; the reader's ``problems`` say why."""

Expander: TypeAlias = "Callable[[TreeReader, object, str], object]"
"""Rewrites the tree of one class before it is read, or notes problems and returns ``WRONG``."""


def build(cls: type[V], tree: object, where: str) -> V:
    """Return a ``cls`` built from ``tree``; ``where`` names its place, for example ``pi.toml: processor``.

    Raises:
        InvalidInputError: a field is missing, unknown, of a wrong type or out of its bounds.
    """
    reader = TreeReader()
    value = reader.table(cls, tree, where)
    if reader.problems:
        raise reader.problems[0]
    return typing.cast("V", value)


class TreeReader:
    """Builds dataclasses from trees and collects every problem on the way instead of stopping at the first."""

    def __init__(self, expand: Mapping[type, Expander] | None = None) -> None:
        """Take rewrites by class: a table that is written in a shorter form is made whole before it is read."""
        self._expand = expand or {}
        #: In the order of the file.
        self.problems: list[InvalidInputError] = []

    def note(self, where: str, found: str, allowed: str) -> None:
        """Keep a problem: what stands at a place, and what may."""
        self.problems.append(
            InvalidInputError(
                f"{where}: found {found}, allowed is {allowed}.",
                next_step="Correct this field of the file.",
            )
        )

    def table(self, cls: type[Any], tree: object, where: str) -> Any:
        """Return a ``cls``, or ``WRONG`` with the reasons in ``problems``."""
        if cls in self._expand:
            tree = self._expand[cls](self, tree, where)
            if tree is WRONG:
                return WRONG
        if not isinstance(tree, Mapping):
            self.note(where, _found(tree), "a table")
            return WRONG
        before = len(self.problems)
        values = self._fields(cls, tree, where)
        if len(self.problems) > before:
            return WRONG
        try:
            return cls(**values)
        except InvalidInputError as error:
            self.problems.append(InvalidInputError(f"{where}: {error.message}", next_step=error.next_step))
            return WRONG

    def _fields(self, cls: type[Any], tree: Mapping[Any, Any], where: str) -> dict[str, Any]:
        hints, fields = hints_of(cls), stated_fields(cls)
        for name in tree:
            if name not in fields:
                self.note(_join(where, str(name)), "a field that is not known", ", ".join(sorted(fields)))
        values = {}
        for name, field in fields.items():
            if name in tree:
                values[name] = self._value(hints[name], tree[name], _join(where, name))
            elif field.default is dataclasses.MISSING:
                self.note(_join(where, name), "nothing", _describe(hints[name]))
        return values

    def _value(self, hint: Any, item: object, where: str) -> Any:
        base, limits = split(hint)
        element = element_of(base)
        if element is not None:
            if not isinstance(item, list):
                self.note(where, _found(item), _describe(hint))
                return WRONG
            return tuple(self._value(element, entry, f"{where}[{n}]") for n, entry in enumerate(item))
        if dataclasses.is_dataclass(base):
            return self.table(typing.cast("type[Any]", base), item, where)
        return self._scalar(base, limits, item, where)

    def _scalar(self, base: type, limits: Bounds | Choice | None, item: object, where: str) -> Any:
        if base is float and isinstance(item, int) and not isinstance(item, bool):
            item = float(item)
        # bool is an int in Python but not in a file.
        fits = isinstance(item, base) and (base is bool or not isinstance(item, bool))
        finite = not isinstance(item, float) or abs(item) < float("inf")
        if not fits or not finite or (limits is not None and not limits.allows(item)):
            self.note(where, _found(item), _words(base, limits))
            return WRONG
        return item


def _read_hints(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


# Resolving them takes most of the time of reading a profile.
_kept_hints = typing.cast("Callable[[type[Any]], dict[str, Any]]", functools.cache(_read_hints))


def hints_of(cls: type[Any]) -> dict[str, Any]:
    """Return the types of a dataclass's fields with the limits they carry."""
    return _kept_hints(cls)


def stated_fields(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields that a file states, by name; others are set by the loader."""
    return {field.name: field for field in dataclasses.fields(cls) if field.metadata.get("stated", True)}


def split(hint: Any) -> tuple[Any, Bounds | Choice | None]:
    """Return a type without its annotation or its ``None``, and the limit it carries."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return split(next(part for part in typing.get_args(hint) if part is not type(None)))
    if typing.get_origin(hint) is not typing.Annotated:
        return hint, None
    base, *extras = typing.get_args(hint)
    return base, next((extra for extra in extras if isinstance(extra, Bounds | Choice)), None)


def element_of(base: Any) -> Any:
    """Return the type of a list's elements; None for what is no list."""
    return typing.get_args(base)[0] if typing.get_origin(base) is tuple else None


def _describe(hint: Any) -> str:
    base, limits = split(hint)
    element = element_of(base)
    if element is not None:
        return f"a list, each {_describe(element)}"
    return "a table" if dataclasses.is_dataclass(base) else _words(base, limits)


def _words(base: type, limits: Bounds | Choice | None) -> str:
    if isinstance(limits, Choice):
        return str(limits)
    return f"{_WORDS[base]} {limits or ''}".strip()


def _found(item: object) -> str:
    return "a table" if isinstance(item, Mapping) else f"{type(item).__name__} {item!r}"


def _join(where: str, name: str) -> str:
    return f"{where}{name}" if where.endswith(" ") else f"{where}.{name}"
