"""From a trainable form to ONNX: written by torch, held to what the module answers, with the names that are wanted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError

from edgeloop.compress.compare import inequivalence, unrelated
from edgeloop.compress.quiet import quiet
from edgeloop.compress.runtime import first_line, open_session
from edgeloop.compress.training.module import Trainable

__all__ = ["OPSET", "export_failure", "export_onnx", "name_outputs"]

_USER_CODE = re.compile(r'File "([^"]+)", line (\d+), in (\w+)\n\s+(.+)')
"""How torch names the line of the user's that it could not follow."""

OPSET = 20
"""Operator set of an export unless another is asked for."""

_SINGLE_BYTES = 4


def export_onnx(
    trainable: Trainable, target: Path, opset: int = OPSET, *, is_quantized: bool = False
) -> None:
    """Write the module as ONNX; the first axis is free where all tensor inputs agree on it.

    Args:
        trainable: the module, in the mode in which it answers.
        target: the file to write.
        opset: its operator set.
        is_quantized: whether it rounds to few steps: a value between two may fall to either side.

    Raises:
        InvalidInputError: torch cannot export it, or what it wrote answers otherwise than the module.
    """
    import torch

    arguments = trainable.example
    axes = tuple({0: "batch"} if isinstance(a, torch.Tensor) and a.dim() else None for a in arguments)
    lengths = {a.shape[0] for a in arguments if isinstance(a, torch.Tensor) and a.dim()}
    with quiet():
        try:
            _export(trainable.net, arguments, target, axes if len(lengths) == 1 else None, opset)
        except Exception as first:  # torch raises a family of its own; a fixed batch is the one retry
            try:
                _export(trainable.net, arguments, target, None, opset)
            except Exception as error:
                raise InvalidInputError(
                    f"torch cannot export what {trainable.spec} returned: {export_failure(error)}.",
                    next_step="Write that place of forward without branches on data and with operators of ONNX.",
                ) from first
    _strip(target)
    if difference := _difference(trainable, target, is_quantized=is_quantized):
        raise InvalidInputError(
            f"what torch exported of {trainable.spec} answers otherwise than the module: {difference}.",
            next_step="Look for what forward reads beside its arguments, and for branches on how it is run.",
        )


def export_failure(error: BaseException) -> str:
    """Return in one line what torch's exporter stumbled over: its first reason, and the place in the user's code."""
    reasons = [error]
    while reasons[-1].__cause__ is not None:
        reasons.append(reasons[-1].__cause__)
    said = str(reasons[-1]).strip().splitlines() or [type(reasons[-1]).__name__]
    places = [found for one in reversed(reasons) for found in _USER_CODE.findall(str(one))]
    where = ""
    if places:
        name, line, function, code = places[-1]
        where = f" ({Path(name).name}, line {line}, in {function}: {code.strip()[:80]})"
    return said[0].strip().rstrip(".")[:200] + where


def name_outputs(path: Path, names: Sequence[str]) -> None:
    """Give the outputs of an ONNX file these names, in order; left as it is where there are more or fewer."""
    from edgeloop.compress.graph import graphs_in, load_model, save_model

    model = load_model(path)
    now = [output.name for output in model.graph.output]
    if now == list(names) or len(now) != len(names):
        return
    given = dict(zip(now, names, strict=True))
    # What has such a name within the network makes room for it.
    given |= {name: f"{name}_within" for name in names if name not in given}
    for graph in graphs_in(model):
        for node in graph.node:
            node.input[:] = [given.get(name, name) for name in node.input]
            node.output[:] = [given.get(name, name) for name in node.output]
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            value.name = given.get(value.name, value.name)
    save_model(model, path)


def _strip(path: Path) -> None:
    """Take off what torch writes beside the graph: stack traces with the paths of this machine, some kB a file."""
    from edgeloop.compress.graph import graphs_in, load_model, save_model

    model = load_model(path)
    del model.metadata_props[:]
    for graph in graphs_in(model):
        del graph.metadata_props[:]
        for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
            del part.metadata_props[:]
            part.doc_string = ""
    save_model(model, path)


def _export(net: Any, arguments: tuple[Any, ...], target: Path, axes: Any, opset: int) -> None:
    import torch

    torch.onnx.export(
        net,
        arguments,
        str(target),
        dynamo=True,
        dynamic_shapes=axes,
        opset_version=opset,
        external_data=False,
        verbose=False,
    )


def _difference(trainable: Trainable, path: Path, *, is_quantized: bool) -> str:
    """Return how the answers of the file differ from the module's, or an empty string; reals are compared.

    Asked are the example and one like it, for a result that was written down as a constant, or an input that is read
    in place of another, need not show on the example alone.
    """
    example = _tensors(trainable.example)
    alike = _alike(example)
    session = open_session(path)
    names = [one.name for one in session.get_inputs()]
    outputs = [one.name for one in session.get_outputs()]
    for tensors in (example, alike):
        expected, again = (_real_answers(trainable, tensors, outputs) for _ in range(2))
        # What does not answer alike twice, or not at all, says nothing of the file.
        if len(names) != len(tensors) or not expected or inequivalence(again, expected):
            continue
        feed = dict(zip(names, (one.numpy() for one in tensors), strict=True))
        try:
            values = dict(zip(outputs, session.run(None, feed), strict=True))
        except Exception as error:  # every failure of the runtime is a class of its own C++ binding
            return f"the runtime fails on its example, or one like it: {first_line(error)}"
        actual = {name: values[name] for name in expected}
        is_coarse = is_quantized or min(one.dtype.itemsize for one in expected.values()) < _SINGLE_BYTES
        if found := (unrelated if is_coarse else inequivalence)(actual, expected):
            return found
    return ""


def _alike(tensors: Sequence[Any]) -> list[Any]:
    """Return the same numbers in another order, for each tensor in one of its own; noise on reals that are all one."""
    import torch

    random = torch.Generator().manual_seed(0)
    found = []
    for one in tensors:
        mixed = one.flatten()[torch.randperm(one.numel(), generator=random)].reshape(one.shape)
        if one.is_floating_point() and (one == mixed).all():
            mixed = one + torch.rand(one.shape, generator=random, dtype=one.dtype)
        found.append(mixed)
    return found


def _tensors(value: Any) -> list[Any]:
    import torch
    from torch.utils._pytree import tree_leaves

    return [one.detach() for one in tree_leaves(value) if torch.is_tensor(one)]


def _real_answers(trainable: Trainable, tensors: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the module's outputs of floating point by these names; none where it fails or has others."""
    import torch
    from torch.utils._pytree import tree_map

    # Copies: a module may write into what it is given.
    left = iter([one.clone() for one in tensors])
    arguments = tree_map(lambda one: next(left) if torch.is_tensor(one) else one, trainable.example)
    try:
        with torch.no_grad():
            found = _tensors(trainable.net(*arguments))
    except Exception:  # the user's own code, on numbers that it may not expect
        return {}
    if len(found) != len(names) or any(one.dtype is torch.bfloat16 for one in found):
        return {}
    return {name: one.numpy() for name, one in zip(names, found, strict=True) if one.is_floating_point()}
