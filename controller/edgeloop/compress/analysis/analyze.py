"""The analysis of one model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError

from edgeloop.compress.analysis.sensitivity import LayerSensitivity, layer_sensitivity
from edgeloop.compress.analysis.weights import WeightStatistics, weight_statistics
from edgeloop.compress.graph import load_model, parameters_in
from edgeloop.compress.items import synthetic_feed
from edgeloop.compress.lowering import Lowering, lower, profile
from edgeloop.compress.lowering.kernels import kernel_of
from edgeloop.compress.lowering.operators import CONTAINERS
from edgeloop.compress.propose import propose, weight_forms
from edgeloop.compress.sources.base import SourceModel
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.experiment import Skipped
from edgeloop.domain.model import ModelDescription
from edgeloop.domain.recipe import PassSpec, Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Analysis", "LayerAnalysis", "Recommendation", "analyze"]

_REPEATS = 5
_PRUNED_SHARE = 0.3
"""Share of exact zeros that training alone does not leave behind."""
_HEAVY_TAIL = 6.0
"""Excess kurtosis above which a few outliers set the range; twice that of a Laplace distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerAnalysis:
    """One executed kernel."""

    #: Name of the node.
    name: str
    #: Operator type as the runtime named it.
    op_type: str
    #: Class in the kernel table.
    kernel_class: str
    #: Multiply-accumulates.
    macs: int
    #: Bytes of its parameters.
    weight_bytes: int
    #: Fastest time of several runs on this host, one thread.
    duration_s: float
    #: Share of the sum of all durations.
    time_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A recipe worth trying, with the figure that speaks for it."""

    #: The recipe.
    label: str
    #: Canonical JSON of its passes.
    recipe: str
    #: One sentence.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What is known of a model without any device."""

    #: The model as it was found; parameters, bytes and operator counts are in there.
    model: ModelDescription
    #: Bytes of all parameters as stored.
    weight_bytes: int
    #: Multiply-accumulates of one inference; absent when the model could not be run.
    macs: int | None
    #: Peak of live activations at batch 1; absent when the model could not be run.
    activation_peak_bytes: int | None
    #: Executed kernels in order; empty when the model could not be run.
    layers: tuple[LayerAnalysis, ...]
    #: Distribution of each weight, in the order of the file.
    weights: tuple[WeightStatistics, ...]
    #: What each weight alone does to the answers when it is changed; empty unless asked for.
    sensitivity: tuple[LayerSensitivity, ...]
    #: What to try, most promising first.
    recommendations: tuple[Recommendation, ...]
    #: What not to try, and why.
    skipped: tuple[Skipped, ...]
    #: Where the inputs of the run came from, or why there was none.
    notes: tuple[str, ...] = ()


def analyze(
    source: SourceModel,
    feeds: Mapping[str, NDArray[np.generic]] | None = None,
    items: Dataset | None = None,
) -> Analysis:
    """Analyse a model.

    Args:
        source: The model.
        feeds: Every input at batch 1; None for seeded random numbers.
        items: Items to measure the sensitivity of each weight on; None leaves it out.

    Raises:
        InvalidInputError: the model fails on the given feeds, or is no ONNX model.
    """
    if source.description.format != "onnx":
        raise InvalidInputError(
            f"only ONNX models are analysed, {source.description.name} is {source.description.format}.",
            next_step="Measure it with edgeloop bench, or give it as ONNX.",
        )
    notes = [] if feeds is not None else ["measured on synthetic inputs: random numbers, free axes are 1"]
    lowering: Lowering | None = None
    layers: tuple[LayerAnalysis, ...] = ()
    try:
        inputs = feeds if feeds is not None else synthetic_feed(source.description.inputs, 0)
        lowering, layers = lower(source.path, inputs), _layers(source, inputs)
    except EdgeloopError as error:
        if feeds is not None:
            raise
        notes = [f"the model was not run: {error.message}"]
    proto = load_model(source.path, external=True)
    weights = weight_statistics(proto)
    proposal = propose(source.description, (), True)
    recipes = (*proposal.recipes, *weight_forms(source.description))
    notes += _found_compressed(source.description, weights)
    return Analysis(
        model=source.description,
        weight_bytes=sum(parameter.stored_bytes for parameter in parameters_in(proto)),
        macs=lowering.macs if lowering else None,
        activation_peak_bytes=lowering.activation_peak_bytes if lowering else None,
        layers=layers,
        weights=weights,
        sensitivity=layer_sensitivity(source.path, source.description, items) if items is not None else (),
        recommendations=tuple(_recommendation(r, lowering, weights) for r in recipes if r.passes),
        skipped=proposal.skipped,
        notes=tuple(notes),
    )


def _found_compressed(model: ModelDescription, weights: tuple[WeightStatistics, ...]) -> list[str]:
    """Return what was done to the model before it came here, so that nobody does it twice."""
    found = ["it is quantised already: int8 and int4 passes refuse it"] if model.quantized else []
    elements = sum(w.element_count for w in weights)
    zeros = sum(w.zero_fraction * w.element_count for w in weights)
    if elements and zeros / elements > _PRUNED_SHARE:
        found.append(
            f"{100 * zeros / elements:.0f} % of its weights are zero: it is pruned already; a dense runtime "
            "computes with zeros as with any number"
        )
    return found


def _layers(source: SourceModel, feeds: Mapping[str, NDArray[np.generic]]) -> tuple[LayerAnalysis, ...]:
    shaped = profile(source.path, feeds)
    timed = profile(source.path, feeds, repeats=_REPEATS, prepack=True)
    constants = {p.name: p.stored_bytes for p in parameters_in(shaped.model)}
    durations: dict[str, list[float]] = defaultdict(list)
    for execution in timed.executions:
        durations[execution.key].append(execution.duration_s)
    kept = [e for e in shaped.executions if e.node.op_type not in CONTAINERS]
    taken = [durations[e.key].pop(0) if durations[e.key] else e.duration_s for e in kept]
    total = sum(taken) or 1.0
    layers = []
    for execution, duration in zip(kept, taken, strict=True):
        kernel = kernel_of(execution, constants)
        layers.append(
            LayerAnalysis(
                name=kernel.name,
                op_type=kernel.op_type,
                kernel_class=kernel.kernel_class,
                macs=kernel.macs,
                weight_bytes=kernel.weight_bytes,
                duration_s=duration,
                time_share=duration / total,
            )
        )
    return tuple(layers)


def _recommendation(
    recipe: Recipe, lowering: Lowering | None, weights: tuple[WeightStatistics, ...]
) -> Recommendation:
    return Recommendation(
        label=recipe.label, recipe=recipe.canonical(), reason=_reason(recipe.passes[0], lowering, weights)
    )


def _reason(step: PassSpec, lowering: Lowering | None, weights: tuple[WeightStatistics, ...]) -> str:
    settings = dict(step.settings)
    if step.name == "optimize_graph":
        return "Folding and fusing keep the answers; whether they gain anything is measured on the device."
    if step.name == "int4_at_rest":
        return _at_rest_reason(weights)
    if step.name == "convert_fp16":
        return "Half the bytes at nearly the same answers; faster only where the processor has float16 arithmetic."
    if step.name == "quantize_dynamic":
        share = _mac_share(lowering, ("gemm", "matmul", "recurrent"))
        return (
            f"{share} of the multiply-accumulates are in products and recurrent layers; no "
            f"calibration data needed."
        )
    share = _mac_share(lowering, ("conv", "conv1x1", "depthwise", "gemm", "matmul"))
    if settings.get("calibration") in ("percentile", "entropy"):
        heavy = [w for w in weights if w.kurtosis is not None and w.kurtosis > _HEAVY_TAIL]
        return (
            f"{len(heavy)} of {len(weights)} weights have heavy tails; cutting outliers off may "
            f"help activations too."
        )
    if settings.get("per_channel") is False:
        return f"Smallest form; {_channel_gain(weights)}."
    if settings.get("encoding") != "U8S8":
        return (
            "The same numbers in another encoding; which one is fast differs by processor and is "
            "measured there."
        )
    return f"{share} of the multiply-accumulates can be in int8; {_channel_gain(weights)}."


def _at_rest_reason(weights: tuple[WeightStatistics, ...]) -> str:
    ratios = [w.int4_block_sqnr_db for w in weights if w.int4_block_sqnr_db is not None]
    worst = f"; the weight that suffers most stands {min(ratios):.1f} dB above its rounding" if ratios else ""
    return f"Travels in about a seventh of the bytes and computes as before{worst}."


def _mac_share(lowering: Lowering | None, classes: tuple[str, ...]) -> str:
    if lowering is None or not lowering.macs:
        return "An unknown share"
    held = sum(kernel.macs for kernel in lowering.kernels if kernel.kernel_class in classes)
    return f"{100 * held / lowering.macs:.0f} %"


def _channel_gain(weights: tuple[WeightStatistics, ...]) -> str:
    gains = [
        w.int8_channel_sqnr_db - w.int8_tensor_sqnr_db
        for w in weights
        if w.int8_channel_sqnr_db is not None and w.int8_tensor_sqnr_db is not None
    ]
    if not gains:
        return "the effect of one scale a channel is unknown"
    return (
        f"one scale a channel instead of one a tensor cuts the weights' noise by {max(gains):.1f} dB at most"
    )
