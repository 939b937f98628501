"""Tensors of the Open Inference Protocol: element types, and arrays out of what a client claims."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from edgeloop_protocol.types.artifact import TensorSpec
from numpy.typing import NDArray

__all__ = [
    "Array",
    "array_of_list",
    "array_of_raw",
    "check_claim",
    "datatype_of",
    "datatype_of_array",
    "raw_of",
]

Array = NDArray[Any]

_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""NumPy name to the protocol's."""

_OF_DTYPE = {np.dtype(name): datatype for name, datatype in _DATATYPES.items()}
_LITTLE = {name: np.dtype(name).newbyteorder("<") for name in _DATATYPES}
# NumPy makes names and byte orders anew whenever they are asked for, at the cost of microseconds.


def datatype_of(dtype: str) -> str:
    """Return the protocol's name of an element type.

    Raises:
        UnsupportedError: it is none of numbers.
    """
    if dtype not in _DATATYPES:
        raise UnsupportedError(f"tensors of {dtype} are not served; numbers and truth values are.")
    return _DATATYPES[dtype]


def datatype_of_array(array: Array) -> str:
    """Return the protocol's name of an array's element type.

    Raises:
        UnsupportedError: it is none of numbers.
    """
    return _OF_DTYPE.get(array.dtype) or datatype_of(array.dtype.name)


def check_claim(spec: TensorSpec, datatype: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape that a client claims for an input, held against the model's.

    Raises:
        InvalidInputError: they do not fit together.
    """
    wanted = datatype_of(spec.dtype)
    if datatype != wanted:
        raise InvalidInputError(f"input {spec.name!r} is of {wanted}, not {datatype[:40]!r}.")
    given = tuple(shape)
    if len(given) != len(spec.shape) or any(
        size < 1 or known not in (-1, size) for size, known in zip(given, spec.shape, strict=True)
    ):
        raise InvalidInputError(
            f"input {spec.name!r} has the shape {list(spec.shape)}, not {list(given[:16])}; -1 stands for any size."
        )
    return given


def array_of_raw(spec: TensorSpec, shape: tuple[int, ...], raw: bytes | memoryview) -> Array:
    """Return the array over raw little-endian elements, without a copy where the processor can read them in place.

    Raises:
        InvalidInputError: their number is not what the shape says.
    """
    dtype = _LITTLE[spec.dtype]
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise InvalidInputError(
            f"input {spec.name!r} of shape {list(shape)} takes {math.prod(shape) * dtype.itemsize} bytes, "
            f"{len(raw)} were sent."
        )
    array = np.frombuffer(raw, dtype).reshape(shape)
    if not dtype.isnative:
        return array.astype(dtype.newbyteorder("="))
    return array if array.flags.aligned else array.copy()


def array_of_list(spec: TensorSpec, shape: tuple[int, ...], elements: Sequence[Any]) -> Array:
    """Return the array of elements that came one by one, nested or not.

    Raises:
        InvalidInputError: they are no such numbers, or not as many as the shape says.
    """
    try:
        array = np.asarray(elements, np.dtype(spec.dtype))
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInputError(f"input {spec.name!r} holds no {spec.dtype}: {error}.") from error
    if array.size != math.prod(shape):
        raise InvalidInputError(
            f"input {spec.name!r} of shape {list(shape)} has {math.prod(shape)} elements, {array.size} were sent."
        )
    return array.reshape(shape)


def raw_of(array: Array) -> bytes:
    """Return the elements row by row, little-endian."""
    if array.dtype.isnative and sys.byteorder == "little":
        return array.tobytes()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
