"""Weights on grids of sixteen values: the arithmetic stays as it is, the file travels in about four bits a weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError, UnsupportedError

from edgeloop.compress.fourbit import channel_grid, on_grid
from edgeloop.compress.graph import load_model, parameters_in, save_model
from edgeloop.compress.packed import BLOCK, is_on_grid
from edgeloop.compress.passes.base import Ensures, Pass, PassContext
from edgeloop.compress.passes.conditions import FULL_PRECISION, NOT_A_TREE, NOT_QUANTIZED
from edgeloop.compress.passes.settings import one_of
from edgeloop.compress.products import channel_axes
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Int4AtRest", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a word that is not offered or a number out of range.
    """

    #: What shares a scale: "block" is 32 neighbours in memory; "channel" is an output channel, which costs more
    #: quality, but a static int8 pass after it travels in four bits as well.
    scales: str = "block"
    #: Smaller weights stay as they are.
    elements_min: int = 1024
    #: Share of the elements of all large weights to round, the largest weights first: fewest layers for most bytes.
    #: The last one goes beyond the share rather than not being rounded.
    share: float = 1.0
    #: Names of weights to leave alone.
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of("int4_at_rest", "scales", self.scales, ("block", "channel"))
        if self.elements_min < BLOCK:
            raise InvalidInputError(
                f"pass 'int4_at_rest': elements_min is {BLOCK} or more, not {self.elements_min}."
            )
        if not 0.0 < self.share <= 1.0:
            raise InvalidInputError(f"pass 'int4_at_rest': share is above 0 and at most 1, not {self.share}.")


class Int4AtRest(Pass[Settings]):
    """Rounds every large float32 weight; packing and expanding are the artifact's affair."""

    name = "int4_at_rest"
    title = "int4 at rest"
    settings_type = Settings
    requires = (NOT_QUANTIZED, NOT_A_TREE, FULL_PRECISION)
    ensures = Ensures()

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        import numpy as np
        import onnx

        proto = load_model(source, external=True)
        axes = channel_axes(proto)
        weights = self._chosen([p for p in parameters_in(proto) if self._is_meant(p)])
        if not weights:
            raise UnsupportedError(
                f"{self.title} does not apply to {source_model.name}: no float32 weight has "
                f"{self.settings.elements_min} elements.",
                next_step="Lower elements_min, or leave the pass out.",
            )
        signal, noise = 0.0, 0.0
        for parameter in weights:
            values = np.asarray(onnx.numpy_helper.to_array(parameter.tensor), np.float32)
            made = self._rounded(values, axes.get(parameter.name, 0), parameter.name, source_model.name)
            noise += float(((made.astype(np.float64) - values) ** 2).sum())
            signal += float((values.astype(np.float64) ** 2).sum())
            parameter.tensor.CopyFrom(onnx.numpy_helper.from_array(made, parameter.tensor.name))
        if noise == 0.0:
            raise UnsupportedError(
                f"{self.title} does not apply to {source_model.name}: its weights are on such grids already."
            )
        save_model(proto, target)
        ratio = 10.0 * np.log10(signal / noise)
        note(
            f"int4 at rest: {len(weights)} weights on grids of 16 values a {self.settings.scales}, "
            f"{ratio:.1f} dB above the rounding"
        )

    def _chosen(self, weights: list[Any]) -> list[Any]:
        """Return the largest weights that together have the share of elements asked for."""
        left = self.settings.share * sum(p.element_count for p in weights)
        chosen = []
        for parameter in sorted(weights, key=lambda p: -p.element_count):
            if left <= 0:
                break
            chosen.append(parameter)
            left -= parameter.element_count
        return chosen

    def _is_meant(self, parameter: Any) -> bool:
        matrix = sum(size > 1 for size in parameter.shape) > 1
        large = parameter.element_count >= self.settings.elements_min
        dense = list(parameter.tensor.dims) == list(parameter.shape)
        return bool(
            parameter.dtype == "float32"
            and matrix
            and large
            and dense
            and parameter.name not in self.settings.exclude
        )

    def _rounded(
        self, values: NDArray[np.float32], axis: int, name: str, model_name: str
    ) -> NDArray[np.float32]:
        import numpy as np

        if not np.isfinite(values).all():
            raise InvalidInputError(
                f"weight {name!r} of {model_name} holds NaN or infinity, which has no place on a grid.",
                next_step=f"Repair the model, or put {name!r} into exclude.",
            )
        if self.settings.scales == "channel":
            return channel_grid(values, axis)
        return values if is_on_grid(values) else on_grid(values, BLOCK)
