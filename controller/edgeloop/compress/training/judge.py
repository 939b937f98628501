"""How good a network or a stage's file is on items that nothing was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError

from edgeloop.compress.functions import load_function
from edgeloop.compress.runtime import first_line, open_session
from edgeloop.compress.training.data import Held

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Judge", "Loss", "load_loss"]

Loss = Callable[[Any, Any], Any]
"""``loss(outputs, labels)`` of tensors; a tensor with one value."""

_BATCH = 256


def load_loss(spec: str) -> Loss:
    """Return the user's loss; without one, cross entropy for whole labels and squared error for others.

    Raises:
        EdgeloopError: there is no such function.
    """
    return load_function(spec) if spec else _usual_loss


def _usual_loss(outputs: Any, labels: Any) -> Any:
    import torch
    from torch.nn import functional

    if labels.dtype.is_floating_point:
        return functional.mse_loss(outputs.reshape(labels.shape), labels)
    if outputs.dim() != 2 or (len(labels) and int(labels.max()) >= outputs.shape[1]) or int(labels.min()) < 0:
        worst = int(labels.max()) if int(labels.min()) >= 0 else int(labels.min())
        raise InvalidInputError(
            f"label {worst} does not fit outputs of shape {list(outputs.shape)}: whole labels count from 0 "
            "to one less than the number of outputs.",
            next_step="Number the classes from 0, or name a loss of your own with --loss.",
        )
    return functional.cross_entropy(outputs, labels.to(torch.int64))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judge:
    """Scores by the share of right decisions, or by the loss with its sign turned; more is better."""

    held: Held
    loss: Loss
    #: Whether the user named the loss; the score is then it, whatever the labels are.
    own_loss: bool = False

    def of_net(self, net: Callable[..., Any]) -> float:
        """Return the score of a torch module, which is in evaluation mode already.

        Raises:
            InvalidInputError: the items do not go through it.
        """
        import torch

        parts = []
        try:
            with torch.no_grad():
                for place in range(0, len(self.held.labels), _BATCH):
                    chosen = (torch.from_numpy(a[place : place + _BATCH]) for a in self.held.inputs)
                    parts.append(first_output(net(*chosen)).numpy())
        except Exception as error:  # whatever the user's forward raises
            shapes = ", ".join(str(list(a.shape)) for a in self.held.inputs)
            raise InvalidInputError(
                f"the items that judge, with inputs of shape {shapes}, do not go through the network: "
                f"{' '.join(str(error).split())[:160]}.",
                next_step="Let the data function return inputs in the shape of the example inputs.",
            ) from error
        return self.of_outputs(parts)

    def of_file(self, path: Path) -> float:
        """Return the score of an ONNX file's first output.

        Raises:
            InvalidInputError: the items do not go through it.
        """
        session = open_session(path)
        inputs = session.get_inputs()
        names = [one.name for one in inputs]
        if len(names) != len(self.held.inputs):
            raise InvalidInputError(
                f"the model has {len(names)} inputs, the data that judge it {len(self.held.inputs)}."
            )
        first = inputs[0].shape[0] if inputs[0].shape else _BATCH
        batch = first if isinstance(first, int) else _BATCH
        count = len(self.held.labels) // batch * batch if isinstance(first, int) else len(self.held.labels)
        parts = []
        try:
            for place in range(0, count, batch):
                feed = {n: a[place : place + batch] for n, a in zip(names, self.held.inputs, strict=True)}
                parts.append(session.run(None, feed)[0])
        except Exception as error:  # every failure of the runtime is a class of its own C++ binding
            raise InvalidInputError(
                f"the data that judge the stages do not go through the model: {first_line(error)}"
            ) from error
        return self.of_outputs(parts)

    def of_outputs(self, parts: list[NDArray[np.generic]]) -> float:
        """Return the score of outputs in the order of the items."""
        import numpy as np
        import torch

        outputs = np.concatenate(parts)
        labels = self.held.labels[: len(outputs)]
        if not self.own_loss and labels.dtype.kind in "iu" and outputs.ndim == 2 and outputs.shape[1] > 1:
            return float((outputs.argmax(axis=1) == labels).mean())
        loss = self.loss(torch.from_numpy(outputs), torch.from_numpy(np.ascontiguousarray(labels)))
        return -float(loss)


def first_output(value: Any) -> Any:
    """Return the first tensor of what a module returns: a tensor, a sequence or a mapping."""
    if isinstance(value, dict):
        value = next(iter(value.values()))
    return value[0] if isinstance(value, tuple | list) else value
