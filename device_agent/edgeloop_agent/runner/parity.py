"""Parity on this device: its outputs held against golden ones, value by value and decision by decision.

Rules of a verdict:

- FAILED: a value is not finite, or values count and one is outside the tolerance, or even the lower bound of
the
  rate of changed decisions is above what is allowed.
- PASSED: values are within the tolerance where they count, and the upper bound of that rate is not above what
is
  allowed (or nothing changed and the values count, or there are no decisions and the values count).
- UNDECIDED otherwise: too few items, or nothing that counts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from edgeloop_foundation.statistics import binomial_interval
from edgeloop_protocol.types.artifact import Artifact, Tolerance
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import (
    Comparison,
    DecisionParity,
    FailureKind,
    Outcome,
    OutputParity,
    Parity,
    Verdict,
)
from numpy.typing import NDArray

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.golden import GoldenPack, zero_states
from edgeloop_agent.runner.runtimes.base import LoadedModel

__all__ = ["check_parity", "compare", "compare_decisions", "compare_output"]

Array = NDArray[Any]

_REFERENCES = ("host", "original")
_MARGIN_BINS = 10
_CONFIDENCE = 0.95


def check_parity(artifact: Artifact, pack: GoldenPack, model: LoadedModel) -> Parity:
    """Run every golden item at batch 1 and compare the outputs with each reference.

    Raises:
        RunnerFailure: an inference fails, or an output has another shape than the golden one.
    """
    expected = {against: pack.references(against) for against in _REFERENCES}
    shapes = {
        name: array.shape[2 if artifact.state else 1 :]
        for arrays in expected.values()
        for name, array in arrays.items()
    }
    actual = _run_items(artifact, pack, model, shapes)
    tolerances = dict(artifact.tolerances)
    return Parity(
        golden_digest=pack.digest,
        item_count=pack.item_count,
        comparisons=tuple(
            compare(artifact, against, actual, arrays, tolerances.get(against))
            for against, arrays in expected.items()
            if arrays
        ),
    )


def _run_items(
    artifact: Artifact, pack: GoldenPack, model: LoadedModel, shapes: dict[str, tuple[int, ...]]
) -> dict[str, Array]:
    """Return the named outputs stacked over items (and steps)."""
    if missing := sorted(set(shapes) - set(model.output_names)):
        raise RunnerFailure(
            Outcome.USER_ERROR,
            FailureKind.CORRUPT_ARTIFACT,
            f"the golden pack expects the outputs {', '.join(missing)}; "
            f"the model has {', '.join(model.output_names)}.",
        )
    found: dict[str, list[Array]] = {name: [] for name in shapes}
    for item in range(pack.item_count):
        for outputs in _run_item(artifact, pack, model, item):
            for name, shape in shapes.items():
                found[name].append(_fit(name, np.asarray(outputs[name]), shape))
    steps = (pack.step_count,) if artifact.state else ()
    return {
        name: np.stack(values).reshape(pack.item_count, *steps, *shapes[name])
        for name, values in found.items()
    }


def _run_item(artifact: Artifact, pack: GoldenPack, model: LoadedModel, item: int) -> list[dict[str, Any]]:
    execute = model.executor()
    states = zero_states(artifact, 1)
    steps = []
    for step in range(pack.step_count):
        try:
            outputs = dict(zip(model.output_names, execute({**pack.feed(item, step), **states}), strict=True))
        except Exception as error:
            raise model.explain(error) from error
        states = {binding.input: outputs[binding.output] for binding in artifact.state}
        steps.append(outputs)
    return steps


def _fit(name: str, output: Array, shape: tuple[int, ...]) -> Array:
    if output.shape in (shape, (1, *shape)):
        return output.reshape(shape)
    raise RunnerFailure(
        Outcome.USER_ERROR,
        FailureKind.INFERENCE_FAILED,
        f"the output {name!r} has the shape {output.shape} on this device, the golden one {shape}.",
    )


def compare(
    artifact: Artifact,
    against: str,
    actual: dict[str, Array],
    expected: dict[str, Array],
    tolerance: Tolerance | None,
) -> Comparison:
    """Hold the device's outputs against one reference.

    Args:
        artifact: says where decisions are read.
        against: "host" or "original".
        actual: outputs by name, items first (then steps).
        expected: the same of the reference.
        tolerance: policy; without one the numbers are given and nothing is decided.
    """
    policy = tolerance or Tolerance(name="", absolute=0.0, relative=0.0, flip_rate_max=0.0)
    outputs = tuple(
        compare_output(name, actual[name], array, policy) for name, array in sorted(expected.items())
    )
    decision = None
    if artifact.decision_rule and artifact.decision_output in expected:
        name = artifact.decision_output
        axes = 2 if artifact.state else 1
        rule = _Rule(artifact.decision_rule, artifact.decision_threshold)
        decision = compare_decisions(name, rule, actual[name], expected[name], axes, policy.flip_rate_max)
    verdict, reason = (
        (Verdict.UNDECIDED, f"no tolerance is stated against {against!r}")
        if tolerance is None
        else _judge(outputs, decision, tolerance)
    )
    return Comparison(
        against=against,
        tolerance_class=policy.name,
        outputs=outputs,
        decision=decision,
        verdict=verdict,
        reason=reason,
    )


def compare_output(name: str, actual: Array, expected: Array, tolerance: Tolerance) -> OutputParity:
    """Return the closeness of one output over all items; errors are taken where both values are finite."""
    digest = hashlib.sha256(np.ascontiguousarray(actual).tobytes()).hexdigest()
    wanted, got = expected.astype(np.float64).ravel(), actual.astype(np.float64).ravel()
    finite = np.isfinite(wanted)
    both = finite & np.isfinite(got)
    errors = np.abs(got[both] - wanted[both])
    largest = float(np.max(np.abs(wanted[finite]), initial=0.0))
    error = float(np.max(errors, initial=0.0))
    same_elsewhere = bool(np.array_equal(got[~finite], wanted[~finite], equal_nan=True))
    nonfinite = int(np.count_nonzero(finite & ~both))
    within = error <= tolerance.absolute + tolerance.relative * largest
    return OutputParity(
        name=name,
        max_absolute_error=error,
        # Without any magnitude to relate to, equal is 0 and anything else has no end.
        max_relative_error=error / largest if largest else (float("inf") if error else 0.0),
        cosine_similarity=_cosine(got[both], wanted[both]),
        nonfinite_count=nonfinite,
        within_tolerance=within and same_elsewhere and not nonfinite,
        absolute_tolerance=tolerance.absolute,
        relative_tolerance=tolerance.relative,
        digest=digest,
    )


def _cosine(got: Array, wanted: Array) -> float | None:
    norms = float(np.linalg.norm(got)) * float(np.linalg.norm(wanted))
    if not norms or not np.isfinite(norms):
        return None
    return min(1.0, max(-1.0, float(np.dot(got, wanted)) / norms))


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a decision is read."""

    name: str
    threshold: float

    def decide(self, values: Array) -> Array:
        """Return the decision of each row: a class, or which values reach the threshold."""
        if self.name == "argmax":
            return np.asarray(np.argmax(values, axis=1)[:, None])
        return np.asarray(values >= self.threshold)

    def margins(self, values: Array) -> Array:
        """Return how far each row is from deciding otherwise."""
        if self.name == "argmax":
            if values.shape[1] < 2:
                return np.zeros(len(values))
            top = np.partition(values, -2, axis=1)[:, -2:]
            return np.asarray(top[:, 1] - top[:, 0])
        return np.asarray(np.min(np.abs(values - self.threshold), axis=1))


def compare_decisions(
    output: str, rule: _Rule, actual: Array, expected: Array, axes: int, flip_rate_max: float
) -> DecisionParity:
    """Return how many decisions changed, with the exact interval of their rate and where the margins lie.

    Args:
        output: name, for the record.
        rule: how a decision is read.
        actual: ``[items, ...]`` or ``[items, steps, ...]`` of the device.
        expected: the same of the reference.
        axes: leading axes that count decisions, 1 or 2.
        flip_rate_max: allowed rate.
    """
    count = int(np.prod(expected.shape[:axes]))
    wanted = expected.astype(np.float64).reshape(count, -1)
    got = actual.astype(np.float64).reshape(count, -1)
    changed = np.any(rule.decide(got) != rule.decide(wanted), axis=1) | ~np.all(np.isfinite(got), axis=1)
    margins = rule.margins(wanted)
    top = float(np.max(margins[np.isfinite(margins)], initial=0.0)) or 1.0
    counts, edges = np.histogram(margins, bins=_MARGIN_BINS, range=(0.0, top))
    flips = int(np.count_nonzero(changed))
    low, high = binomial_interval(flips, count, _CONFIDENCE)
    rate = Estimate(value=flips / count, low=low, high=high, confidence=_CONFIDENCE, sample_count=count)
    return DecisionParity(
        output=output,
        rule=rule.name,
        item_count=count,
        flip_count=flips,
        flip_rate=rate,
        flip_rate_max=flip_rate_max,
        margin_edges=tuple(float(edge) for edge in edges),
        margin_counts=tuple(int(number) for number in counts),
        largest_flipped_margin=float(np.max(margins[changed])) if flips else None,
    )


def _judge(
    outputs: tuple[OutputParity, ...], decision: DecisionParity | None, tolerance: Tolerance
) -> tuple[Verdict, str]:
    for output in outputs:
        if output.nonfinite_count:
            return Verdict.FAILED, f"{output.name} has {output.nonfinite_count} values that are not finite"
    outside = [output for output in outputs if not output.within_tolerance]
    if tolerance.values_gate and outside:
        worst = max(outside, key=lambda output: output.max_absolute_error)
        return Verdict.FAILED, (
            f"{worst.name} is off by {worst.max_absolute_error:.3g} "
            f"(relative {worst.max_relative_error:.3g}); "
            f"allowed are {tolerance.absolute:.3g} + {tolerance.relative:.3g} of the largest value"
        )
    if decision is None:
        if tolerance.values_gate:
            return Verdict.PASSED, "every value is within the tolerance"
        return Verdict.UNDECIDED, "the values do not count under this policy and the model takes no decisions"
    return _judge_decisions(decision, tolerance)


def _judge_decisions(decision: DecisionParity, tolerance: Tolerance) -> tuple[Verdict, str]:
    low, high = decision.flip_rate.low or 0.0, decision.flip_rate.high or 0.0
    seen = (
        f"{decision.flip_count} of {decision.item_count} decisions changed "
        f"(95 % interval {low:.2%} to {high:.2%}, allowed {tolerance.flip_rate_max:.2%})"
    )
    if low > tolerance.flip_rate_max:
        return Verdict.FAILED, seen
    if high <= tolerance.flip_rate_max:
        return Verdict.PASSED, seen
    if decision.flip_count == 0 and tolerance.values_gate:
        return Verdict.PASSED, f"every value is within the tolerance and {seen}"
    return Verdict.UNDECIDED, f"n too small: {seen}"
