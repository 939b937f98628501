"""The gate of a rollout: old and new version in turns on a canary, as ``compare`` measures them, and their parity.

The median is judged by ``compare`` itself, against the device's own noise. The 95th percentile, energy and memory are
held against their bounds with the whole 95 % interval, parity against the golden pack.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Run, Verdict
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop.domain.comparison import ChangeVerdict, Comparison
from edgeloop.domain.experiment import Listener
from edgeloop.domain.rollout_plan import RolloutGate
from edgeloop.domain.strategy import Evidence
from edgeloop.orchestrate.assess import assess_runs, samples_of
from edgeloop.orchestrate.candidates import given_candidate
from edgeloop.orchestrate.compare import COMPARISON_BENCHMARK, CompareRequest, compare_on
from edgeloop.orchestrate.measure import OpenDevice
from edgeloop.orchestrate.regression import inverse

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.select.gate import GateCheck

__all__ = ["GateAnswer", "hold_gate"]

_OLD, _NEW = "old", "new"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateAnswer:
    """What the gate says of one canary."""

    #: Failed when one answer is; undecided when one that is required is; else passed.
    verdict: Verdict
    #: One sentence for each answer.
    sentences: tuple[str, ...]

    @property
    def against(self) -> str:
        """The answers that speak against it, for people."""
        return "; ".join(s for s in self.sentences if not s.endswith("(passed)")) or "nothing"


async def hold_gate(
    app: App,
    device: OpenDevice,
    versions: tuple[str, str],
    gate: RolloutGate,
    runtime: str,
    seed: int,
    listener: Listener,
) -> GateAnswer:
    """Measure the old and the new version in turns on one device, as it is deployed.

    Args:
        app: stores.
        device: the canary.
        versions: digests of the old and the new artifact.
        gate: the bounds.
        runtime: runtime that the release is signed for.
        seed: seed of the order.
        listener: hears what happens.
    """
    if versions[0] not in app.artifacts.digests():
        reason = (
            f"the old version {versions[0][:12]} is not kept here, so that nothing can be compared with it"
        )
        return GateAnswer(verdict=Verdict.UNDECIDED, sentences=(f"{reason} (undecided)",))
    benchmark = replace(
        COMPARISON_BENCHMARK,
        rounds=gate.rounds,
        steady_s_max=gate.seconds,
        measure_memory=True,
        check_parity=gate.parity,
        series="as_deployed",
        seed=seed,
    )
    request = CompareRequest(
        a=(_OLD, versions[0]),
        b=(_NEW, versions[1]),
        benchmark=benchmark,
        settings=RuntimeSettings(runtime=runtime),
    )
    try:
        found = await compare_on(app, device, request, listener)
    except EdgeloopError as error:
        return GateAnswer(verdict=Verdict.UNDECIDED, sentences=(f"{error} (undecided)",))
    if found.error:
        # What the old one does says nothing against the new one.
        verdict = Verdict.FAILED if found.error.startswith(f"b: {_NEW}") else Verdict.UNDECIDED
        return GateAnswer(verdict=verdict, sentences=(f"{found.error} ({verdict.value})",))
    return await asyncio.to_thread(_judge, app, found, gate)


def _judge(app: App, found: Comparison, gate: RolloutGate) -> GateAnswer:
    from edgeloop.select.evidence import collect

    old, new = (app.records.run(run_id) for run_id in (found.a_run_id, found.b_run_id))
    candidates = [
        given_candidate(app, run.trial.label, digest, original=run is old)
        for run, digest in ((old, found.a_digest), (new, found.b_digest))
    ]
    runs = (old, new)
    evidence = collect(candidates, runs, assess_runs(runs, samples_of(app, runs)))[1]
    checks = _checks(found, gate, evidence, runs)
    failed = [check for check in checks if check.verdict is Verdict.FAILED]
    unknown = [c for c in checks if c.verdict is Verdict.UNDECIDED and c.check in gate.required]
    verdict = Verdict.FAILED if failed else Verdict.UNDECIDED if unknown else Verdict.PASSED
    return GateAnswer(
        verdict=verdict,
        sentences=tuple(f"{c.check}: {c.reason} ({c.verdict.value})" for c in checks),
    )


def _checks(
    found: Comparison, gate: RolloutGate, evidence: Evidence, runs: tuple[Run, Run]
) -> list[GateCheck]:
    from edgeloop.select.gate import GateCheck, hold_parity, objection

    bounds = (("latency_p95", gate.latency_p95), ("energy", gate.energy), ("memory", gate.memory))
    against = next(filter(None, map(objection, runs)), "")
    if against:
        absent = Estimate.absent(against)
        checks = [
            GateCheck(check=name, verdict=Verdict.UNDECIDED, reason=against, estimate=absent, unit="ratio")
            for name, _ in bounds
        ]
    else:
        how = "both versions in turns on this device" + (", predicted" if found.predicted else "")
        checks = [_median(found, gate.median)]
        checks += [_held(name, evidence.gain(name), allowed, how) for name, allowed in bounds]
    return [*checks, hold_parity(evidence, runs[1])] if gate.parity else checks


def _held(quantity: str, gain: Estimate, allowed: float, how: str) -> GateCheck:
    from edgeloop.select.gate import hold_slowdown

    check = hold_slowdown(quantity, inverse(gain), allowed, how)
    if quantity.startswith("latency"):
        return check
    return replace(check, reason=check.reason.replace("% slower", "% more").replace("% faster", "% less"))


def _median(found: Comparison, allowed: float) -> GateCheck:
    """Fail what ``compare`` calls slower, beyond the device's noise, and by more than is allowed."""
    from edgeloop.select.gate import GateCheck

    median = found.ratios[0]
    slower = median.verdict is ChangeVerdict.SLOWER and (median.ratio.low or 0.0) > 1.0 + allowed
    verdict = Verdict.FAILED if slower else Verdict.PASSED
    if median.ratio.value is None or median.verdict is ChangeVerdict.UNDECIDED:
        verdict = Verdict.UNDECIDED
    return GateCheck(
        check="median", verdict=verdict, reason=median.reason.rstrip("."), estimate=median.ratio, unit="ratio"
    )
