"""Reads constraints such as ``latency_p95 < 30ms`` and preferences such as ``latency_p50:2,size:1``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from edgeloop_foundation.errors import InvalidInputError

from edgeloop.domain.constraint import QUANTITIES, SHARE_METRICS, Constraint, Objective

__all__ = ["parse_constraint", "parse_constraints", "parse_preference", "require_metric"]

_METRICS = (*SHARE_METRICS, "mean_absolute_error", "mae", "rmse", "cosine")
_FULL_NAMES = {"auc": "roc_auc", "f1": "f1_macro", "mae": "mean_absolute_error"}
_ALIASES = {
    "latency": "latency_p50",
    **dict.fromkeys(_METRICS, "quality"),
    **{f"{metric}_drop": "quality_drop" for metric in _METRICS},
}

_UNITS: dict[str, dict[str, float]] = {
    "s": {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0},
    "B": {
        "B": 1.0,
        "kB": 1e3,
        "KB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "KiB": 2.0**10,
        "MiB": 2.0**20,
        "GiB": 2.0**30,
    },
    "J": {"uJ": 1e-6, "µJ": 1e-6, "μJ": 1e-6, "mJ": 1e-3, "J": 1.0},
    "ratio": {"%": 1e-2, "": 1.0},
    "times": {"": 1.0, "x": 1.0},
    "Hz": {"/s": 1.0, "Hz": 1.0, "kHz": 1e3},
}

_FORM = re.compile(
    r"\s*(?P<name>[A-Za-z_]\w*)\s*(?P<operator><=|>=|<|>)\s*"
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<unit>/s|[%A-Za-zµμ]*)\s*"
)


def parse_constraint(text: str) -> Constraint:
    """Return ``NAME < NUMBER UNIT`` as a constraint in SI units.

    Names are those of ``QUANTITIES``, ``latency`` for the median, and a metric's name (``accuracy``,
    ``roc_auc_drop``) for ``quality`` and ``quality_drop``; whether it is the data's metric is for
    ``require_metric`` to say. Units are ns, us, ms, s; B, kB, MB, GB, KiB,
    MiB, GiB; uJ, mJ, J; /s; and %. ``sustained_ratio`` is a factor without unit.

    Raises:
        InvalidInputError: it has not that form, or nothing can ever satisfy it.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise InvalidInputError(
            f"cannot read the constraint {text!r}.",
            next_step="Write NAME, one of < <= > >=, a number and its unit, for example 'latency_p95 "
            "< 30ms'.",
        )
    name = match["name"]
    quantity = _quantity(name, text)
    bound = float(match["number"]) * _factor(quantity, match["unit"], text)
    if not math.isfinite(bound):
        raise InvalidInputError(f"the bound in {text!r} is not a finite number.")
    constraint = Constraint(quantity=quantity, operator=match["operator"], bound=bound, text=text.strip())
    _refuse_impossible(constraint, share=name.removesuffix("_drop") in SHARE_METRICS)
    return constraint


def _quantity(name: str, text: str) -> str:
    quantity = _ALIASES.get(name, name)
    if quantity not in QUANTITIES:
        raise InvalidInputError(
            f"unknown quantity {name!r} in {text!r}; known are "
            f"{', '.join([*QUANTITIES, 'accuracy', 'accuracy_drop'])}."
        )
    return quantity


def _factor(quantity: str, unit: str, text: str) -> float:
    units = _UNITS[QUANTITIES[quantity].unit]
    if unit not in units:
        found = f"{unit!r} is no unit of it" if unit else "the unit is missing"
        allowed = ", ".join(u for u in units if u.isascii() and u) or "%"
        raise InvalidInputError(f"{text!r}: {found}; {quantity} is given in {allowed}.")
    return units[unit]


def _refuse_impossible(constraint: Constraint, *, share: bool) -> None:
    lowest, highest = _range(constraint.quantity, share=share)
    bound = constraint.bound
    nothing_below = constraint.operator[0] == "<" and (
        bound < lowest or (bound == lowest and (constraint.operator == "<" or lowest == 0.0))
    )
    nothing_above = constraint.operator[0] == ">" and (
        bound > highest or (bound == highest and constraint.operator == ">")
    )
    if nothing_below or nothing_above:
        limit = lowest if nothing_below else highest
        where = "above" if nothing_below and lowest == 0.0 else ("at least" if nothing_below else "at most")
        raise InvalidInputError(
            f"nothing can satisfy {constraint.text!r}: {constraint.quantity} is always {where} {limit:g}."
        )


def _range(quantity: str, *, share: bool) -> tuple[float, float]:
    if quantity == "quality":
        return (-math.inf, 1.0) if share else (-math.inf, math.inf)
    if quantity == "quality_drop":
        return (-1.0, 1.0) if share else (-math.inf, math.inf)
    return (0.0, math.inf)


def parse_constraints(texts: Sequence[str]) -> tuple[Constraint, ...]:
    """Return every constraint once, in order.

    Raises:
        InvalidInputError: one cannot be read, or two of them contradict each other.
    """
    constraints = tuple({c.text: c for c in map(parse_constraint, texts)}.values())
    for upper in (c for c in constraints if c.operator[0] == "<"):
        for lower in (c for c in constraints if c.operator[0] == ">" and c.quantity == upper.quantity):
            touching = lower.bound == upper.bound and "=" in upper.operator and "=" in lower.operator
            if lower.bound >= upper.bound and not touching:
                raise InvalidInputError(
                    f"{upper.text!r} and {lower.text!r} contradict each other: nothing satisfies both."
                )
    return constraints


def require_metric(constraints: Sequence[Constraint], metric: str) -> None:
    """Refuse constraints that name another metric than the one the data is judged by.

    ``quality`` and ``quality_drop`` fit every metric. An empty ``metric``, nothing was judged, fits all.

    Raises:
        InvalidInputError: see above.
    """
    for constraint in constraints:
        match = _FORM.fullmatch(constraint.text)
        name = match["name"].removesuffix("_drop") if match else ""
        if metric and name in _METRICS and _FULL_NAMES.get(name, name) != metric:
            raise InvalidInputError(
                f"{constraint.text!r} is about {name}, but the data is judged by {metric}.",
                next_step=f"Write {metric} or quality instead of {name}, with a bound that fits it.",
            )


def parse_preference(text: str) -> tuple[Objective, ...]:
    """Return ``QUANTITY`` or ``QUANTITY:WEIGHT,...`` as objectives; a weight is 1 unless stated.

    Quality is not among them: no compressed model is recommended for being no worse, so it is kept by
    constraints.

    Raises:
        InvalidInputError: nothing, an unknown or repeated quantity, or a weight that is not a positive
        number.
    """
    objectives = tuple(_objective(part, text) for part in text.split(","))
    if len({o.quantity for o in objectives}) != len(objectives):
        raise InvalidInputError(f"the preference {text!r} names a quantity twice.")
    return objectives


def _objective(part: str, text: str) -> Objective:
    name, colon, weight = (piece.strip() for piece in part.partition(":"))
    quantity = _ALIASES.get(name, name)
    preferable = [q for q in QUANTITIES if q not in ("quality", "quality_drop")]
    if quantity not in preferable:
        hint = "Quality is kept by a constraint, for example --require 'accuracy_drop < 1%'."
        raise InvalidInputError(
            f"{name!r} cannot be preferred; choose from {', '.join(preferable)}.",
            next_step=hint if quantity in QUANTITIES else "",
        )
    try:
        value = float(weight) if colon else 1.0
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InvalidInputError(f"the weight of {name} in {text!r} is a positive number, not {weight!r}.")
    return Objective(quantity=quantity, weight=value)
