"""Inference requests and answers of the Open Inference Protocol over HTTP: JSON, with or without the binary extension.

With the extension a body is JSON of the length that a header tells, and after it the raw elements of the tensors that
say ``binary_data_size``, in their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import TensorSpec

from edgeloop_agent.serving.engine import Answer
from edgeloop_agent.serving.model import ServedModel
from edgeloop_agent.serving.tensors import (
    Array,
    array_of_list,
    array_of_raw,
    check_claim,
    datatype_of,
    datatype_of_array,
    raw_of,
)

__all__ = ["InferRequest", "decode", "encode", "metadata_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """A request that was read."""

    #: Name of the request; empty when it has none.
    id: str
    #: Arrays by input.
    feeds: Mapping[str, Array]
    #: Outputs that are wanted; none stands for all.
    wanted: tuple[str, ...]
    #: Outputs that come back as raw elements; None where the request's own word counts for all.
    binary: Mapping[str, bool]
    #: Whether outputs come back raw that say nothing themselves.
    binary_by_default: bool


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError(f"{what} is a JSON object.")
    return value


def _list(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise InvalidInputError(f"{what} is a JSON list.")
    return value


def decode(model: ServedModel, body: bytes, json_bytes: int | None) -> InferRequest:
    """Read a body.

    Args:
        model: the version that its inputs are held against.
        body: JSON, then raw elements if any.
        json_bytes: length of the JSON part; None when there is nothing else.

    Raises:
        InvalidInputError: it is not what the protocol or the model takes.
    """
    if json_bytes is not None and not 0 <= json_bytes <= len(body):
        raise InvalidInputError(f"the JSON part has {json_bytes} bytes, the body {len(body)}.")
    view = memoryview(body)
    try:
        head = json.loads(bytes(view[:json_bytes]))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"the request is no JSON: {str(error)[:200]}.") from error
    request = _object(head, "a request")
    feeds: dict[str, Array] = {}
    at = len(body) if json_bytes is None else json_bytes
    for item in _list(request.get("inputs"), "inputs"):
        tensor = _object(item, "an input")
        spec = model.inputs.get(str(tensor.get("name")))
        if spec is None or spec.name in feeds:
            raise InvalidInputError(
                f"{str(tensor.get('name'))[:80]!r} is no input, or came twice; {', '.join(model.inputs)} are inputs."
            )
        feeds[spec.name], at = _input(spec, tensor, view, at)
    if at != len(body):
        raise InvalidInputError(f"{len(body) - at} bytes are left over after the last input.")
    outputs = [_object(one, "an output") for one in _list(request.get("outputs", []), "outputs")]
    binary = {str(one.get("name")): _parameters(one).get("binary_data") for one in outputs}
    return InferRequest(
        id=str(request.get("id", "")),
        feeds=feeds,
        wanted=tuple(binary),
        binary={name: bool(said) for name, said in binary.items() if said is not None},
        binary_by_default=bool(_parameters(request).get("binary_data_output", False)),
    )


def _parameters(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return _object(item.get("parameters", {}), "parameters")


def _input(spec: TensorSpec, tensor: Mapping[str, Any], body: memoryview, at: int) -> tuple[Array, int]:
    """Return an input's array, and where the raw elements of the next one begin."""
    claimed = _list(tensor.get("shape"), f"the shape of {spec.name!r}")
    if any(type(size) is not int for size in claimed):
        raise InvalidInputError(f"the shape of {spec.name!r} holds whole numbers.")
    shape = check_claim(spec, str(tensor.get("datatype")), claimed)
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        return array_of_list(spec, shape, _list(tensor.get("data"), f"the data of {spec.name!r}")), at
    if type(size) is not int or not 0 <= size <= len(body) - at:
        raise InvalidInputError(
            f"input {spec.name!r} names {str(size)[:40]} raw bytes, {len(body) - at} are there."
        )
    return array_of_raw(spec, shape, body[at : at + size]), at + size


def encode(name: str, request: InferRequest, answer: Answer) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the length of its JSON part when raw elements follow.

    Raises:
        InvalidInputError: an output holds what JSON cannot carry, and was not asked for raw.
    """
    head: dict[str, Any] = {"model_name": name, "model_version": answer.version, "outputs": []}
    if request.id:
        head["id"] = request.id
    raw: list[bytes] = []
    for output, array in answer.outputs:
        told: dict[str, Any] = {
            "name": output,
            "datatype": datatype_of_array(array),
            "shape": list(array.shape),
        }
        if request.binary.get(output, request.binary_by_default):
            raw.append(raw_of(array))
            told["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            told["data"] = array.ravel().tolist()
        head["outputs"].append(told)
    try:
        text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        raise InvalidInputError(
            "an output holds infinities or no numbers, which JSON cannot carry.",
            next_step="Ask for binary_data.",
        ) from error
    return (text + b"".join(raw), len(text)) if raw else (text, None)


def metadata_of(name: str, model: ServedModel) -> dict[str, Any]:
    """Return what is told of a model."""

    def told(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
        return [
            {"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": list(spec.shape)}
            for spec in specs
        ]

    return {
        "name": name,
        "versions": [model.version],
        "platform": model.platform,
        "inputs": told(list(model.inputs.values())),
        "outputs": told(model.outputs),
    }
