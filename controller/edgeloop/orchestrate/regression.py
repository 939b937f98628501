"""Whether a model became slower: held against a model that is measured again, or against recorded figures.

The better way first: a baseline whose model or artifact is at hand is measured again, interleaved with the new one, so
that nothing but the models differs. Else the recorded distribution counts, with the wider interval that two separate
measurements have. The answer says which way it was.
"""

from __future__ import annotations

import asyncio
import datetime
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_protocol.summary import ratio_of
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Run, Verdict

import edgeloop
from edgeloop.domain.baseline import Baseline, fingerprint, refusal

if TYPE_CHECKING:
    from edgeloop.domain.experiment import Listener
    from edgeloop.orchestrate.gate import Gated, GateDevice, GateRequest
    from edgeloop.select.gate import GateCheck

__all__ = ["PERCENTILES", "RegressionRequest", "hold_regression", "inverse", "keep_as_baseline"]

PERCENTILES = ("p50", "p90", "p95", "p99")
"""Percentiles of latency that a regression can be judged by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionRequest:
    """What is asserted."""

    #: Name of the model in baselines.
    model: str
    #: Share of slowdown that is allowed.
    allowed: float
    #: One of ``PERCENTILES``.
    of: str = "p50"
    #: Model file or digest to measure against; empty takes the file of baselines.
    baseline: str = ""
    #: File of baselines.
    file: Path

    def __post_init__(self) -> None:
        if self.of not in PERCENTILES:
            raise InvalidInputError(
                f"a regression is judged by {', '.join(PERCENTILES)}, not by {self.of!r}."
            )

    @property
    def check(self) -> str:
        """The assertion, for people."""
        return f"latency_{self.of} slowdown <= {100 * self.allowed:g}%"


async def hold_regression(
    device: GateDevice, gated: Gated, measured: GateRequest, asked: RegressionRequest, listener: Listener
) -> tuple[GateCheck, Run]:
    """Return the answer and the run it rests on.

    Raises:
        EdgeloopError: the baseline cannot be read or measured.
    """
    from edgeloop.select.gate import hold_slowdown, objection

    against = objection(gated.run)
    if against:
        return _undecided(asked, against), gated.run
    if asked.baseline:
        return await _interleaved(device, measured, asked, asked.baseline, listener)
    known, missing = await asyncio.to_thread(_known, device.spec.name, gated, asked)
    if known is None:
        return _undecided(asked, missing), gated.run
    if known.artifact_digest == gated.artifact_digest:
        same = Estimate(value=1.0, low=1.0, high=1.0, confidence=1.0, sample_count=1)
        how = "the artifact is the baseline's own, bit for bit, under equal conditions"
        return hold_slowdown(asked.check, same, asked.allowed, how), gated.run
    if device.keeps(known.artifact_digest):
        return await _interleaved(device, measured, asked, known.artifact_digest, listener)
    quantity = f"latency_{asked.of}"
    then = dict(known.values).get(quantity, Estimate.absent(f"the baseline has no {quantity}"))
    how = (
        f"from the distribution recorded on {known.recorded_on}, the wider interval: the baseline's artifact "
        f"{known.artifact_digest[:12]} is not at hand to be measured again"
    )
    now = gated.evidence.value(quantity)
    ratio = ratio_of(now, then, now.confidence)
    return hold_slowdown(asked.check, ratio, asked.allowed, how), gated.run


def keep_as_baseline(device: GateDevice, gated: Gated, asked: RegressionRequest) -> GateCheck:
    """Record a measurement as the baseline of its model and device; what no gate accepts is not recorded.

    Raises:
        InvalidInputError: the file is there and is no file of baselines.
        BusyError: the disk is full.
    """
    from edgeloop.select.gate import GateCheck, objection
    from edgeloop.store.baselines import record_baseline

    run, facts = gated.run, gated.facts
    steady = run.timing.steady if run.timing else None
    against = objection(run)
    if against or steady is None:
        return _undecided(asked, f"nothing is recorded: {against or 'no steady latency was measured'}")
    new = Baseline(
        model=asked.model,
        device=device.spec.name,
        board=facts.hardware.model or facts.hardware.cpu_model or facts.hardware.architecture,
        fingerprint=fingerprint(facts),
        source=run.source,
        profile_digest=run.simulation.profile_digest if run.simulation else "",
        series=run.benchmark.series,
        runtime_version=run.runtime_version,
        settings=run.trial.settings,
        batch_size=run.benchmark.batch_size,
        artifact_digest=gated.artifact_digest,
        recorded_on=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        edgeloop_version=edgeloop.__version__,
        latency=steady,
        values=tuple((f"latency_{name}", gated.evidence.value(f"latency_{name}")) for name in PERCENTILES),
    )
    record_baseline(asked.file, new)
    reason = f"recorded in {asked.file.name}; have it reviewed"
    return GateCheck(check=asked.check, verdict=Verdict.PASSED, reason=reason, estimate=steady.p50, unit="s")


def _known(device: str, gated: Gated, asked: RegressionRequest) -> tuple[Baseline | None, str]:
    """Return the baseline, or why there is none to be held against."""
    from edgeloop.store.baselines import read_baselines

    try:
        known = read_baselines(asked.file).find(asked.model, device)
    except NotFoundError as error:
        return None, str(error).rstrip(".")
    if known is None:
        how = "record one with --edgeloop-update-baseline"
        return None, f"{asked.file.name} has no baseline of {asked.model} on {device}; {how}"
    refused = refusal(known, gated.run, gated.facts)
    return (None, refused) if refused else (known, "")


async def _interleaved(
    device: GateDevice, measured: GateRequest, asked: RegressionRequest, baseline: str, listener: Listener
) -> tuple[GateCheck, Run]:
    from edgeloop.select.gate import hold_slowdown, objection

    old, new = await device.compare(baseline, measured, listener)
    for gated, which in ((old, "the baseline"), (new, "this model")):
        against = objection(gated.run)
        if against:
            return _undecided(asked, f"interleaved with its baseline, {which}: {against}"), new.run
    slowdown = inverse(new.evidence.gain(f"latency_{asked.of}"))
    how = f"both measured again, interleaved, on {device.spec.name}"
    return hold_slowdown(asked.check, slowdown, asked.allowed, how), new.run


def _undecided(asked: RegressionRequest, reason: str) -> GateCheck:
    from edgeloop.select.gate import GateCheck

    absent = Estimate.absent(reason)
    return GateCheck(
        check=asked.check, verdict=Verdict.UNDECIDED, reason=reason, estimate=absent, unit="ratio"
    )


def inverse(gain: Estimate) -> Estimate:
    """Return "how many times slower" of "how many times better"."""
    if gain.value is None:
        return gain
    return replace(
        gain,
        value=1 / gain.value,
        low=1 / gain.high if gain.high else None,
        high=1 / gain.low if gain.low else None,
    )
