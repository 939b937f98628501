"""Holds an experiment's results against the thresholds that a CI job is to fail on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.run import Source, Verdict

from edgeloop.domain.constraint import QUANTITIES, Constraint
from edgeloop.domain.experiment import DeviceResult, ExperimentResult
from edgeloop.domain.strategy import CheckResult, Evidence

__all__ = ["GateResult", "validate"]

_WANTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "require": (
        lambda value: isinstance(value, list | tuple) and all(isinstance(text, str) for text in value),
        "a list of constraints",
    ),
    "candidate": (lambda value: isinstance(value, str), "the label of a candidate"),
    "allow_predicted": (lambda value: isinstance(value, bool), "true or false"),
    "devices": (lambda value: isinstance(value, Mapping), "a table of tables by device name"),
}
"""Key -> whether a value is of its kind, and what that kind is called."""

_OWN = tuple(key for key in _WANTED if key != "devices")
"""Keys of one device's table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate on one device."""

    #: Device and gate, for example "pi: latency_p95 < 30ms".
    name: str
    passed: bool
    #: One sentence with the figures.
    reason: str


_UNPROVEN: dict[Source | None, str] = {
    Source.SIMULATED: "predicted",
    Source.EMULATED: "measured under emulated resources",
}


def validate(result: ExperimentResult, thresholds: Mapping[str, Any]) -> tuple[GateResult, ...]:
    """Check every device against ``thresholds``.

    Keys: ``require`` (list of constraints), ``candidate`` (label; default: the chosen one, else the original),
    ``allow_predicted`` (whether simulated or emulated figures may satisfy an absolute bound; default no),
    ``devices`` (table of the same keys per device name, which add to the general ones).
    Parity on the device is always a gate.

    A run with a disqualifying anomaly, on a device that was refused as unfit, or of disputed timing satisfies none.

    Raises:
        InvalidInputError: an unknown key, a value of another kind, a malformed constraint, one on another metric than
            the data's, a device that is not in the experiment, or runs of two series.
    """
    from edgeloop.select.quantities import require_one_series

    _refuse_unknown(thresholds, result)
    require_one_series(run for device in result.devices for run in device.runs)
    metric = next((c.quality.metric for c in result.candidates if c.quality), "")
    gates: list[GateResult] = []
    for device in result.devices:
        own = dict(thresholds.get("devices", {}).get(device.device.name, {}))
        merged = {**{k: v for k, v in thresholds.items() if k != "devices"}, **own}
        merged["require"] = [*thresholds.get("require", ()), *own.get("require", ())]
        gates += _device_gates(device, merged, metric)
    return tuple(gates)


def _refuse_unknown(thresholds: Mapping[str, Any], result: ExperimentResult) -> None:
    _refuse_table("thresholds", thresholds, tuple(_WANTED))
    own: Mapping[str, Any] = thresholds.get("devices", {})
    for name, table in own.items():
        if not isinstance(table, Mapping):
            raise InvalidInputError(f"thresholds: devices.{name} is {table!r}, it should be a table.")
        _refuse_table(f"devices.{name}", table, _OWN)
    known = [device.device.name for device in result.devices]
    for name in own:
        if name not in known:
            raise InvalidInputError(
                f"thresholds name the device {name!r}; the experiment has {', '.join(known)}."
            )


def _refuse_table(where: str, table: Mapping[str, Any], keys: Sequence[str]) -> None:
    unknown = sorted({str(key) for key in table} - set(keys))
    if unknown:
        raise InvalidInputError(f"{where}: unknown key {unknown[0]!r}; allowed are {', '.join(keys)}.")
    for key, value in table.items():
        fits, wanted = _WANTED[key]
        if not fits(value):
            raise InvalidInputError(f"{where}: {key} is {value!r}, it should be {wanted}.")


def _device_gates(device: DeviceResult, merged: Mapping[str, Any], metric: str) -> list[GateResult]:
    from edgeloop.select.expressions import parse_constraints, require_metric

    constraints = parse_constraints(merged["require"])
    require_metric(constraints, metric)
    name = device.device.name
    if device.error:
        return [GateResult(name=f"{name}: reachable", passed=False, reason=device.error)]
    label = merged.get("candidate") or (device.strategy.candidate if device.strategy else "") or "original"
    evidence = next((e for e in device.evidence if e.candidate == label), None)
    if evidence is None:
        return [
            GateResult(name=f"{name}: {label}", passed=False, reason=f"no figures of {label!r} on {name}.")
        ]
    if evidence.exclusion:
        return [GateResult(name=f"{name}: {label}", passed=False, reason=evidence.exclusion)]
    if evidence.source is Source.THIRD_PARTY:
        reason = "its figures are third-party; they never satisfy a gate."
        return [GateResult(name=f"{name}: {label}", passed=False, reason=reason)]
    unproven = "" if merged.get("allow_predicted", False) else _UNPROVEN.get(evidence.source, "")
    return [_parity_gate(name, evidence), *_constraint_gates(name, evidence, constraints, unproven)]


def _parity_gate(name: str, evidence: Evidence) -> GateResult:
    if evidence.disqualification:
        reason = f"no gate accepts this run, {evidence.disqualification}"
        return GateResult(name=f"{name}: parity of {evidence.candidate}", passed=False, reason=reason)
    passed = evidence.parity is Verdict.PASSED
    reason = evidence.parity_reason or ("outputs agree on the device" if passed else "parity was not checked")
    return GateResult(name=f"{name}: parity of {evidence.candidate}", passed=passed, reason=reason)


def _constraint_gates(
    name: str, evidence: Evidence, constraints: Sequence[Constraint], unproven: str
) -> list[GateResult]:
    from edgeloop.select.decide import check_constraint

    gates = []
    for constraint in constraints:
        check = check_constraint(constraint, evidence)
        of_device = QUANTITIES[constraint.quantity].of_device
        gates.append(_gate(name, constraint, check, unproven if of_device else ""))
    return gates


def _gate(name: str, constraint: Constraint, check: CheckResult, unproven: str) -> GateResult:
    title = f"{name}: {constraint.text}"
    if unproven and check.verdict is Verdict.PASSED:
        reason = f"{check.reason}; {unproven}, so undecided (allow_predicted accepts it)."
        return GateResult(name=title, passed=False, reason=reason)
    return GateResult(name=title, passed=check.verdict is Verdict.PASSED, reason=check.reason)
