"""Values to and from protobuf messages of the same field names."""

from __future__ import annotations

import enum
import re
from typing import Any, TypeVar, cast

from edgeloop_foundation.errors import InvalidInputError
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from edgeloop_protocol.convert.shape import FieldShape, fields_of
from edgeloop_protocol.types.run import Run
from edgeloop_protocol.v1 import run_pb2

__all__ = ["from_wire", "run_wire_bytes", "to_wire"]

V = TypeVar("V")
M = TypeVar("M", bound=Message)


def _enum_prefix(kind: type) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).upper() + "_"


def _enum_type(message: Message, field: str) -> EnumDescriptor:
    return cast("EnumDescriptor", message.DESCRIPTOR.fields_by_name[field].enum_type)


def _enum_number(message: Message, field: str, member: enum.Enum) -> int:
    descriptor = _enum_type(message, field)
    return int(descriptor.values_by_name[_enum_prefix(type(member)) + member.name].number)


def _enum_member(message: Message, field: str, kind: type, number: int) -> enum.Enum:
    value = _enum_type(message, field).values_by_number.get(number)
    if value is None or number == 0:
        raise InvalidInputError(f"{message.DESCRIPTOR.name}.{field} has the unknown value {number}.")
    member: enum.Enum = getattr(kind, value.name[len(_enum_prefix(kind)) :])
    return member


def to_wire(value: Any, message: M) -> M:
    """Fill ``message`` from ``value`` and return it.

    Raises:
        InvalidInputError: a field holds what the wire cannot carry, for example an integer beyond 64 bits.
    """
    for field in fields_of(type(value)):
        _put(message, field, getattr(value, field.name))
    return message


def _put(message: Message, field: FieldShape, item: Any) -> None:
    try:
        _put_unchecked(message, field, item)
    except (ValueError, TypeError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"{message.DESCRIPTOR.name}.{field.name} cannot travel: {error}.") from error


def _put_unchecked(message: Message, field: FieldShape, item: Any) -> None:
    if item is None:
        return
    if field.mapping:
        getattr(message, field.name).update(dict(item))
    elif field.repeated and field.is_value:
        container = getattr(message, field.name)
        for element in item:
            to_wire(element, container.add())
    elif field.repeated:
        getattr(message, field.name).extend(item)
    elif field.is_value:
        child = getattr(message, field.name)
        child.SetInParent()
        to_wire(item, child)
    elif field.is_enum:
        setattr(message, field.name, _enum_number(message, field.name, item))
    else:
        setattr(message, field.name, item)


def from_wire(message: Message, cls: type[V]) -> V:
    """Build a ``cls`` from ``message``.

    Raises:
        InvalidInputError: a field is missing or holds what the value refuses.
    """
    try:
        return cls(**{field.name: _get(message, field) for field in fields_of(cls)})
    except (ValueError, TypeError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"{message.DESCRIPTOR.name} does not hold: {error}.") from error


def _get(message: Message, field: FieldShape) -> Any:
    if field.optional and not message.HasField(field.name):
        return None
    item = getattr(message, field.name)
    if field.mapping:
        return tuple(sorted(item.items()))
    if field.repeated:
        return tuple(from_wire(element, field.kind) if field.is_value else element for element in item)
    if field.is_value:
        if not message.HasField(field.name):
            raise InvalidInputError(f"{message.DESCRIPTOR.name}.{field.name} is missing.")
        return from_wire(item, field.kind)
    if field.is_enum:
        return _enum_member(message, field.name, field.kind, item)
    return item


def run_wire_bytes(run: Run) -> int:
    """Return how many bytes a run takes on the wire.

    Raises:
        InvalidInputError: it holds what no message can: text that is no Unicode, integers beyond 64 bits.
    """
    return to_wire(run, run_pb2.Run()).ByteSize()
