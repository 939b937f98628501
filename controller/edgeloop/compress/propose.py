"""Which recipes are worth a measurement for this model on these devices, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop_protocol.types.facts import Facts

from edgeloop.compress.describe import MAX_OPSET
from edgeloop.compress.passes.conditions import has_neighbours, has_tree_operators
from edgeloop.compress.passes.quantize_dynamic import CONV_REASON, QUANTIZABLE
from edgeloop.compress.passes.quantize_static import PRODUCTS
from edgeloop.domain.experiment import Skipped
from edgeloop.domain.model import ModelDescription
from edgeloop.domain.recipe import ORIGINAL, PassSpec, Recipe

__all__ = ["Proposal", "propose", "weight_forms"]

_WIDE_SUMS = ("avx512_vnni", "avx_vnni", "avxvnni", "avx512vnni", "asimddp", "i8mm", "amx_int8", "dotprod")
"""Instruction set flags with which products of bytes are summed in 32 bits and cannot saturate."""

_STATIC: tuple[tuple[str, dict[str, str | bool | int]], ...] = (
    ("static int8 U8S8 per channel", {"encoding": "U8S8", "per_channel": True}),
    ("static int8 U8S8 per tensor", {"encoding": "U8S8", "per_channel": False}),
    ("static int8 U8S8 percentile", {"encoding": "U8S8", "calibration": "percentile", "items": 32}),
    ("static int8 S8S8 per channel", {"encoding": "S8S8", "per_channel": True}),
    ("static int8 U8U8 per channel", {"encoding": "U8U8", "per_channel": True}),
)
"""Histograms are taken over fewer items: their time and memory grow with every inner tensor."""

_FOREST: tuple[tuple[str, str, dict[str, str | bool | float]], ...] = (
    ("half of the trees", "prune_forest", {"keep": 0.5}),
    ("a quarter of the trees", "prune_forest", {"keep": 0.25}),
    ("depth 6", "limit_depth", {"depth": 6}),
    ("depth 4", "limit_depth", {"depth": 4}),
    ("half of the features", "drop_features", {"keep": 0.5}),
)
_NEIGHBOURS: tuple[tuple[str, str, dict[str, str | bool | float]], ...] = (
    ("float32 table", "narrow_table", {"table": "float32"}),
    ("float16 table", "narrow_table", {"table": "float16"}),
    ("int8 table", "narrow_table", {"table": "int8"}),
    ("a quarter as prototypes", "reduce_neighbours", {"keep": 0.25}),
    ("a tenth as prototypes", "reduce_neighbours", {"keep": 0.1}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What to try and what not."""

    #: The unmodified model first.
    recipes: tuple[Recipe, ...]
    #: Each with its reason.
    skipped: tuple[Skipped, ...]


def propose(description: ModelDescription, facts: Sequence[Facts], has_calibration: bool) -> Proposal:
    """Return the candidates for a model.

    Args:
        description: The model.
        facts: What is known of each device; may be empty.
        has_calibration: Whether there are items to calibrate on.
    """
    recipes, skipped = [ORIGINAL], []
    for recipe, reason in (
        *_graph_recipes(description, facts),
        *_dynamic_recipes(description, facts),
        *_static_recipes(description, facts, has_calibration),
        *_classic_recipes(description, has_calibration),
    ):
        if reason:
            skipped.append(Skipped(label=recipe.label, reason=reason))
        else:
            recipes.append(recipe)
    return Proposal(recipes=tuple(recipes), skipped=tuple(skipped))


_Choice = tuple[Recipe, str]


def _classic_recipes(model: ModelDescription, has_calibration: bool) -> list[_Choice]:
    """Return forms of forests and of neighbours; none, not even skipped ones, for other models."""
    if model.operator_count("TreeEnsembleRegressor") == 1:
        reason = "" if has_calibration else "there is no calibration data"
        return [(_recipe(label, name, **settings), reason) for label, name, settings in _FOREST]
    if has_neighbours(model):
        return [(_recipe(label, name, **settings), "") for label, name, settings in _NEIGHBOURS]
    return []


def _recipe(label: str, name: str, **settings: str | bool | float) -> Recipe:
    return Recipe(label=label, passes=(PassSpec.of(name, **settings),))


def _graph_recipes(model: ModelDescription, facts: Sequence[Facts]) -> list[_Choice]:
    reason = _opset_reason(model, facts)
    return [(_recipe("graph optimised", "optimize_graph", level="extended"), reason)]


def _opset_reason(model: ModelDescription, facts: Sequence[Facts]) -> str:
    if model.format != "onnx":
        return f"passes work on ONNX, the model is {model.format}"
    known = [r.max_opset for f in facts for r in f.runtimes if r.max_opset is not None and not r.reason]
    limit = max(known, default=MAX_OPSET)
    found = dict(model.opsets).get("", 0)
    return (
        f"the model has operator set {found}, the newest that a device loads is {limit}"
        if found > limit
        else ""
    )


def _common_reason(model: ModelDescription, facts: Sequence[Facts]) -> str:
    if model.format == "onnx" and model.quantized:
        return "the model is quantised already"
    if has_tree_operators(model):
        return "the model's work is in ai.onnx.ml operators, which have no int8 form"
    if model.parameter_count and model.precision not in ("fp32", "mixed"):
        return f"the model's parameters are {model.precision}; int8 starts from fp32"
    return _opset_reason(model, facts)


def _dynamic_recipes(model: ModelDescription, facts: Sequence[Facts]) -> list[_Choice]:
    reason = _common_reason(model, facts)
    products = model.operator_count(*QUANTIZABLE)
    convolutions = model.operator_count("Conv", "ConvTranspose")
    if not reason and not products:
        reason = f"the model has no {', '.join(QUANTIZABLE)}"
        reason += f"; of its Conv, {CONV_REASON}" if convolutions else ""
    elif not reason and convolutions > 2 * products:
        reason = f"{products} {', '.join(QUANTIZABLE)} beside {convolutions} Conv: little would change"
        reason += f", and {CONV_REASON}"
    choices = [(_recipe("dynamic int8", "quantize_dynamic", weight_type="int8"), reason)]
    if not convolutions or reason:
        choices.append((_recipe("dynamic uint8", "quantize_dynamic", weight_type="uint8"), reason))
    return choices


def weight_forms(model: ModelDescription) -> tuple[Recipe, ...]:
    """Return the recipes that are about bytes at rest, not speed; a run spends no measurements on them."""
    if _common_reason(model, ()):
        return ()
    return (_recipe("fp16", "convert_fp16"), _recipe("int4 at rest", "int4_at_rest"))


def _static_recipes(model: ModelDescription, facts: Sequence[Facts], has_calibration: bool) -> list[_Choice]:
    reason = _common_reason(model, facts)
    if not reason and not model.operator_count(*PRODUCTS):
        reason = f"the model has no {', '.join(PRODUCTS)}"
    if not reason and not has_calibration:
        reason = "there is no calibration data"
    choices = [(_recipe(label, "quantize_static", **settings), reason) for label, settings in _STATIC]
    entropy = _recipe("static int8 U8S8 entropy", "quantize_static", calibration="entropy", items=32)
    why = (
        reason
        or "percentile stands for clipped ranges and takes a fraction of the time; name it in --recipes"
    )
    choices.append((entropy, why))
    narrow = [f.name for f in facts if not set(f.hardware.isa_flags) & set(_WIDE_SUMS)]
    reduced = _recipe(
        "static int8 U8S8 7-bit", "quantize_static", encoding="U8S8", per_channel=True, reduce_range=True
    )
    if not reason and not narrow:
        reason = "every device sums products of bytes in 32 bits, 8-bit weights cannot saturate there"
    return [*choices, (reduced, reason)]
