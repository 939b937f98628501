"""The trainable form of a model: the user's function that builds it, and the weights as they are now.

A pruned network has other shapes than the function builds. Its layers are given those of the kept weights, so that no
file holds code: what is read is tensors and names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, UnsupportedError

from edgeloop.compress.functions import called, install_advice

__all__ = [
    "MODULE_FILE",
    "Trainable",
    "as_trainable",
    "build_trainable",
    "load_trainable",
    "module_beside",
    "save_trainable",
    "torch_of",
]

MODULE_FILE = "module.pt"
"""Name of the trainable form beside a stage's ONNX file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainable:
    """A torch module with what is needed to train it further and to export it."""

    #: Import path of the function that builds it.
    spec: str
    #: The ``torch.nn.Module``.
    net: Any
    #: Arguments that it takes; tensors.
    example: tuple[Any, ...]
    #: Parameters whose zeros are to stay zero.
    sparse: tuple[str, ...] = ()


def module_beside(path: Path) -> Path:
    """Return where the trainable form of an ONNX file lies, if there is one."""
    return path.with_name(MODULE_FILE) if path.stem == "model" else path.with_suffix(".module.pt")


def torch_of(what: str) -> Any:
    """Return the module ``torch``.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{what}, and torch is not installed.", next_step=install_advice("torch")
        ) from error
    return torch


def as_trainable(value: Any, spec: str) -> Trainable:
    """Return the trainable form of a pair (torch module, example inputs).

    Raises:
        InvalidInputError: it is something else.
        MissingDependencyError: torch is not installed.
    """
    torch = torch_of(f"{spec} returns a torch module")
    if not isinstance(value, tuple) or len(value) != 2 or not isinstance(value[0], torch.nn.Module):
        first = value[0] if isinstance(value, tuple) and value else value
        raise InvalidInputError(
            f"{spec} returned a pair whose first part is {type(first).__name__}, not a torch module."
        )
    example = value[1] if isinstance(value[1], tuple) else (value[1],)
    # A tensor that is given twice would be one input for the exporter, and the other input would be read by nobody.
    own = tuple(one.clone() if isinstance(one, torch.Tensor) else one for one in example)
    return Trainable(spec=spec, net=value[0].eval(), example=own)


def build_trainable(spec: str) -> Trainable:
    """Call the user's function.

    Raises:
        EdgeloopError: there is none, it fails, or it returns something else than (module, example inputs).
    """
    return as_trainable(called(spec), spec)


def save_trainable(trainable: Trainable, path: Path) -> None:
    """Write weights, names and the import path; no code."""
    import torch

    kept = {"spec": trainable.spec, "sparse": list(trainable.sparse), "state": trainable.net.state_dict()}
    torch.save(kept, path)


def load_trainable(path: Path) -> Trainable:
    """Return what was written, built by the user's function and given the kept weights.

    Raises:
        EdgeloopError: the function is gone or builds something that the weights do not fit.
    """
    torch = torch_of("the model came as a torch module")
    kept = torch.load(path, weights_only=True)
    built = build_trainable(kept["spec"])
    _adopt(built.net, kept["state"], kept["spec"])
    return Trainable(spec=built.spec, net=built.net, example=built.example, sparse=tuple(kept["sparse"]))


def _adopt(net: Any, state: dict[str, Any], spec: str) -> None:
    """Give a module the kept weights, its layers their shapes."""
    own = net.state_dict()
    strange = sorted(set(own) ^ set(state))
    if strange:
        raise InvalidInputError(
            f"{spec} no longer builds the network whose weights were kept: {strange[0]!r} is in one only.",
            next_step="Start again from the function as it is now.",
        )
    import torch

    for name, layer in net.named_modules():
        changed = False
        for kind in (layer._parameters, layer._buffers):
            for key, value in kind.items():
                kept = state.get(f"{name}.{key}" if name else key)
                if value is not None and kept is not None and value.shape != kept.shape:
                    fresh = kept.clone(memory_format=_layout(value, torch))
                    kind[key] = torch.nn.Parameter(fresh) if kind is layer._parameters else fresh
                    changed = True
        if changed:
            _resize(layer, name, torch)
    net.load_state_dict(state)


def _layout(value: Any, torch: Any) -> Any:
    """Return the memory format in which the user's function laid a tensor out: training in another is slower."""
    last = value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not value.is_contiguous() else torch.preserve_format


def _resize(layer: Any, name: str, torch: Any) -> None:
    """Bring a layer's own counts in line with the shapes of its weights."""
    nn = torch.nn
    if isinstance(layer, nn.modules.conv._ConvNd):
        first, second = layer.weight.shape[:2]
        if layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels:
            layer.groups = first  # one filter a channel
        around = (first, second * layer.groups)
        layer.in_channels, layer.out_channels = around if layer.transposed else around[::-1]
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        layer.num_features = len(layer.running_mean if layer.running_mean is not None else layer.weight)
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = tuple(layer.weight.shape)
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels = len(layer.weight)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)
    else:
        raise UnsupportedError(
            f"layer {name!r} ({type(layer).__name__}) was given another size, which only convolutions, "
            "linear layers and norms can take."
        )
