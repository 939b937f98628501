"""Static int8 with the products in float whose rounding costs most answer for the least time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError, UnsupportedError

from edgeloop.compress.calibration import finite_items
from edgeloop.compress.compare import answers, output_error
from edgeloop.compress.float_nodes import with_float_nodes
from edgeloop.compress.graph import load_model, save_model
from edgeloop.compress.items import first_feed
from edgeloop.compress.node_times import node_times
from edgeloop.compress.passes import quantize_static
from edgeloop.compress.passes.base import Pass, PassContext
from edgeloop.compress.passes.quantize_static import PRODUCTS, QuantizeStatic
from edgeloop.compress.prepare import prepare
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    from edgeloop.compress.compare import Answers
    from edgeloop.domain.dataset import Dataset

__all__ = ["QuantizeMixed", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a word that is not offered or a number out of range.
    """

    #: Largest error of an output, relative to its size, to stop at.
    error_budget: float = 0.05
    #: Largest share of the products' float time that may stay in float.
    time_budget: float = 0.3
    #: As in quantize_static.
    encoding: str = "U8S8"
    #: As in quantize_static.
    per_channel: bool = True
    #: As in quantize_static.
    calibration: str = "minmax"
    #: As in quantize_static.
    reduce_range: bool = False
    #: Most calibration items used.
    items: int = 128
    #: Items that errors are measured on.
    judged_items: int = 16

    def __post_init__(self) -> None:
        self.static()
        for name in ("error_budget", "time_budget"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise InvalidInputError(
                    f"pass 'quantize_mixed': {name} is above 0 and below 1, not {getattr(self, name)}."
                )
        if self.judged_items < 1:
            raise InvalidInputError(
                f"pass 'quantize_mixed': judged_items is 1 or more, not {self.judged_items}."
            )

    def static(self, exclude: Sequence[str] = ()) -> quantize_static.Settings:
        """Return the settings of the static pass that does the work."""
        return quantize_static.Settings(
            encoding=self.encoding,
            per_channel=self.per_channel,
            calibration=self.calibration,
            reduce_range=self.reduce_range,
            items=self.items,
            exclude=tuple(exclude),
        )


class _Inner(QuantizeStatic):
    """The static pass under the name of the one that asked for it, so that refusals name that."""

    title = "mixed int8"


class QuantizeMixed(Pass[Settings]):
    """Each product is taken back alone and the gain measured; then one after the other until within the budget."""

    name = "quantize_mixed"
    title = "mixed int8"
    settings_type = Settings
    requires = QuantizeStatic.requires
    ensures = QuantizeStatic.ensures

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        data = finite_items(context.calibration, source_model, self.settings.items)
        whole = context.work_directory / "whole.onnx"
        self._static((), source, whole, context, source_model)
        prepared = context.work_directory / "float.onnx"
        prepare(source, prepared, source_model, data, lambda text: None, context.seed)
        trial = _Trial(whole, prepared, source_model, data, self.settings.judged_items)
        chosen, error = self._choose(
            trial, node_times(prepared, first_feed(data, source_model.inputs)), source_model
        )
        if chosen:
            self._static(chosen, source, target, context, source_model)
        else:
            target.write_bytes(whole.read_bytes())
        note(
            f"mixed int8: {len(chosen)} of {len(trial.products)} products in float"
            f"{' (' + ', '.join(chosen[:6]) + ')' if chosen else ''}, error of the answers "
            f"{trial.error(()):.3g} to {error:.3g}"
        )

    def _static(
        self,
        exclude: Sequence[str],
        source: Path,
        target: Path,
        context: PassContext,
        model: ModelDescription,
    ) -> None:
        work = context.work_directory / f"static-{len(exclude)}"
        work.mkdir()
        step = _Inner(self.settings.static(exclude))
        step._run(source, target, replace(context, work_directory=work), model, lambda text: None)

    def _choose(
        self, trial: _Trial, times: Mapping[str, float], model: ModelDescription
    ) -> tuple[list[str], float]:
        """Return which products stay in float, and the error that is left.

        Raises:
            UnsupportedError: the error budget is not reached within the time budget.
        """
        total = sum(times.get(name, 0.0) for name in trial.products)
        error = trial.error(())
        if error <= self.settings.error_budget:
            return [], error
        gains = {name: error - trial.error((name,)) for name in trial.products}
        shortest = min((t for t in times.values() if t > 0), default=1e-9)
        order = sorted(trial.products, key=lambda n: -gains[n] / max(times.get(n, shortest), shortest))
        chosen: list[str] = []
        spent = 0.0
        for name in order:
            if spent + times.get(name, 0.0) > self.settings.time_budget * total or gains[name] <= 0:
                continue
            chosen.append(name)
            spent += times.get(name, 0.0)
            error = trial.error(chosen)
            if error <= self.settings.error_budget and len(chosen) < len(trial.products):
                return chosen, error
        raise UnsupportedError(
            f"{self.title} does not apply to {model.name}: with {len(chosen)} of {len(trial.products)} products in "
            f"float, {100 * self.settings.time_budget:.0f} % of their time, the error is still {error:.2g}; "
            f"{order[0]} costs most.",
            next_step="Raise error_budget or time_budget, or calibrate on more items.",
        )


class _Trial:
    """Runs the quantised model with some products taken back."""

    def __init__(
        self, whole: Path, prepared: Path, model: ModelDescription, data: Dataset, limit: int
    ) -> None:
        self._whole, self._prepared = load_model(whole, external=True), load_model(prepared, external=True)
        self._model, self._data, self._limit = model, data, limit
        self._path = whole.with_name("trial.onnx")
        self._expected: Answers = answers(prepared, model, data, limit=limit)
        self.products = [n.name for n in self._prepared.graph.node if n.op_type in PRODUCTS]

    def error(self, names: Sequence[str]) -> float:
        """Return the largest relative error of an output over the judged items."""
        save_model(with_float_nodes(self._whole, self._prepared, set(names)), self._path)
        return output_error(answers(self._path, self._model, self._data, limit=self._limit), self._expected)
