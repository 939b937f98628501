"""What a dataclass field holds, read once from its annotation."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from dataclasses import dataclass
from typing import Any

__all__ = ["FieldShape", "fields_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldShape:
    """One field of a value."""

    name: str
    #: Element type: a scalar, an enum, another value, or Any.
    kind: Any
    #: Whether the field may be absent.
    optional: bool = False
    #: Whether it holds a tuple of elements.
    repeated: bool = False
    #: Whether it holds pairs of a name and an element, a map on the wire and in JSON.
    mapping: bool = False
    #: Whether it must be given.
    required: bool = False

    @property
    def is_value(self) -> bool:
        """Whether the element is another value."""
        return dataclasses.is_dataclass(self.kind)

    @property
    def is_enum(self) -> bool:
        """Whether the element is an enumeration."""
        return isinstance(self.kind, type) and issubclass(self.kind, enum.Enum)

    @property
    def is_anything(self) -> bool:
        """Whether the element is any JSON value, taken as it is."""
        return self.kind is Any


def _shape(field: dataclasses.Field[Any], annotation: Any) -> FieldShape:
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        (inner,) = (a for a in typing.get_args(annotation) if a is not type(None))
        return FieldShape(name=field.name, kind=inner, optional=True, required=required)
    if typing.get_origin(annotation) is tuple:
        element = typing.get_args(annotation)[0]
        if typing.get_origin(element) is tuple:
            return FieldShape(
                name=field.name, kind=typing.get_args(element)[1], mapping=True, required=required
            )
        return FieldShape(name=field.name, kind=element, repeated=True, required=required)
    return FieldShape(name=field.name, kind=annotation, required=required)


def fields_of(cls: type) -> tuple[FieldShape, ...]:
    """Return the fields of a value's class in order."""
    return _fields_of(cls)


@functools.cache
def _fields_of(cls: Any) -> tuple[FieldShape, ...]:
    hints = typing.get_type_hints(cls)
    return tuple(_shape(field, hints[field.name]) for field in dataclasses.fields(cls))
