"""Values to and from JSON: names in full, enums by value, maps as objects, absent as null."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, TypeVar

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_protocol.convert.shape import FieldShape, fields_of

__all__ = ["digest_of", "from_json", "to_canonical_json", "to_json"]

V = TypeVar("V")

_NOT_FINITE = ("nan", "inf", "-inf")
"""JSON has no such numbers; they travel as these words."""


def to_json(value: Any) -> dict[str, Any]:
    """Return ``value`` as a tree that ``json.dumps`` takes."""
    return {field.name: _dump(field, getattr(value, field.name)) for field in fields_of(type(value))}


def _dump(field: FieldShape, item: Any) -> Any:
    if item is None:
        return None
    if field.mapping:
        return {name: _dump_element(field, element) for name, element in item}
    if field.repeated:
        return [_dump_element(field, element) for element in item]
    return _dump_element(field, item)


def _dump_element(field: FieldShape, item: Any) -> Any:
    if field.is_value:
        return to_json(item)
    if field.is_enum:
        return item.value
    if isinstance(item, float) and not math.isfinite(item):
        return str(item)
    return item


def to_canonical_json(value: Any) -> bytes:
    """Return the one byte string that stands for ``value``: sorted keys, no spaces, UTF-8."""
    tree = value if isinstance(value, dict | list) else to_json(value)
    return json.dumps(
        tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_of(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(to_canonical_json(value)).hexdigest()


def from_json(tree: Any, cls: type[V]) -> V:
    """Build a ``cls`` from a JSON tree or from its text; fields unknown to this version are passed over.

    Raises:
        InvalidInputError: not JSON, not an object, a field is missing or holds what the value refuses.
    """
    if isinstance(tree, str | bytes):
        try:
            tree = json.loads(tree)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"not a JSON {cls.__name__}: {error}.") from error
    if not isinstance(tree, dict):
        raise InvalidInputError(f"a {cls.__name__} is a JSON object, not {type(tree).__name__}.")
    try:
        return cls(**{f.name: _load(f, tree[f.name]) for f in fields_of(cls) if f.required or f.name in tree})
    except KeyError as error:
        raise InvalidInputError(f"{cls.__name__} lacks {error.args[0]!r}.") from error
    except (ValueError, TypeError, OverflowError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"{cls.__name__} does not hold: {error}.") from error


def _load(field: FieldShape, item: Any) -> Any:
    if item is None and field.optional:
        return None
    if field.mapping:
        if not isinstance(item, dict):
            raise InvalidInputError(f"{field.name} is an object, not {type(item).__name__}.")
        return tuple((name, _load_element(field, element)) for name, element in item.items())
    if field.repeated:
        if not isinstance(item, list):
            raise InvalidInputError(f"{field.name} is a list, not {type(item).__name__}.")
        return tuple(_load_element(field, element) for element in item)
    return _load_element(field, item)


def _load_element(field: FieldShape, item: Any) -> Any:
    if field.is_value:
        return from_json(item, field.kind)
    if field.is_enum:
        return field.kind(item)
    if field.is_anything:
        return item
    if field.kind is float and (type(item) is int or item in _NOT_FINITE):
        return float(item)
    if not isinstance(item, field.kind) or (isinstance(item, bool) and field.kind is not bool):
        raise InvalidInputError(f"{field.name} is {field.kind.__name__}, not {type(item).__name__}.")
    return item
