"""Runs and evidence made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.quality import Quality
from edgeloop.domain.recipe import ORIGINAL, PassSpec, Recipe
from edgeloop.domain.strategy import Evidence
from edgeloop_protocol.summary import distribution
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import (
    Block,
    Comparison,
    Energy,
    FailureKind,
    Memory,
    Outcome,
    Parity,
    Run,
    Simulation,
    Source,
    SteadyState,
    Timing,
    Verdict,
)
from edgeloop_protocol.types.trial import Benchmark, Trial

PARITY = Parity(
    golden_digest="0" * 64,
    item_count=64,
    comparisons=(Comparison(against="host", tolerance_class="fp32", verdict=Verdict.PASSED),),
)


def digest_of(label: str) -> str:
    return label.encode().hex().ljust(64, "0")[:64]


def estimate(value: float, low: float, high: float, count: int = 100) -> Estimate:
    return Estimate(value=value, low=low, high=high, confidence=0.95, sample_count=count)


@pytest.fixture
def candidate() -> Callable[..., Candidate]:
    def make(
        label: str, size: int = 1000, drop: tuple[float, float, float] | None = None, **rest: object
    ) -> Candidate:
        quality = None
        if drop is not None:
            quality = Quality(
                metric="accuracy",
                higher_is_better=True,
                value=estimate(0.9, 0.88, 0.92),
                baseline=estimate(0.9, 0.88, 0.92),
                drop=estimate(*drop),
                item_count=100,
                group_count=100,
            )
        settings: dict = {
            "state": CandidateState.BUILT,
            "artifact_digest": digest_of(label),
            "quality": quality,
        } | rest
        recipe = ORIGINAL if label == "original" else Recipe(label=label, passes=(PassSpec.of("some"),))
        return Candidate(label=label, recipe=recipe, size_bytes=size, **settings)

    return make


@pytest.fixture
def run() -> Callable[..., Run]:
    def make(
        label: str, medians: Sequence[float] = (), *, job: str = "j", started: float = 1.0, **rest: object
    ) -> Run:
        simulated = rest.pop("simulated", False)
        timing = None
        if medians:
            samples = [m * (1 + 0.001 * (i % 7 - 3)) for m in medians for i in range(40)]
            timing = Timing(
                cold_load_s=Estimate.absent("not cold"),
                warm_load_s=estimate(0.02, 0.019, 0.021),
                first_inference_s=estimate(0.01, 0.009, 0.011),
                steady=distribution(samples, "s"),
                steady_state=rest.pop("steady_state", SteadyState.REACHED),  # type: ignore[arg-type]
                timing_disputed=bool(rest.pop("disputed", False)),
                blocks=tuple(
                    Block(
                        round=r,
                        position=0,
                        sample_offset=40 * r,
                        sample_count=40,
                        p50_s=m,
                        load_s=2 * m,
                        first_inference_s=3 * m,
                        cold=r == 0,
                    )
                    for r, m in enumerate(medians)
                ),
            )
        values: dict = {
            "outcome": Outcome.SUCCESS,
            "failure_kind": FailureKind.NONE,
            "parity": PARITY,
            "timing": timing,
        } | rest
        return Run(
            run_id=f"{job}/{label}/{started}",
            source=Source.SIMULATED if simulated else Source.MEASURED,
            simulation=Simulation(profile="pi", profile_digest="0" * 64, basis="datasheet", seed=0)
            if simulated
            else None,
            device_id="dev",
            device_name="pi",
            boot_id="b",
            agent_version="0",
            job_id=job,
            request_id="r",
            lease_id="l",
            trial=Trial(trial_id=label, label=label, artifact_digest=digest_of(label)),
            benchmark=Benchmark(),
            started_wall_s=started,
            duration_s=1.0,
            **values,
        )

    return make


@pytest.fixture
def energy() -> Callable[..., Energy]:
    def make(value: float, low: float, high: float) -> Energy:
        none = Estimate.absent("no")
        return Energy(
            gross_j=estimate(value, low, high), above_idle_j=none, mean_power_w=none, idle_power_w=none
        )

    return make


@pytest.fixture
def memory() -> Callable[..., Memory]:
    def make(peak: int | None, reason: str = "") -> Memory:
        return Memory(inference_peak_rss_bytes=peak, reason=reason)

    return make


@pytest.fixture
def evidence() -> Callable[..., Evidence]:
    def make(
        label: str,
        gain: tuple[float, float, float] | Estimate | None = None,
        quantity: str = "latency_p50",
        **rest: object,
    ) -> Evidence:
        original = label == "original"
        values = rest.pop("values", {})
        gains = {} if gain is None else {quantity: gain if isinstance(gain, Estimate) else estimate(*gain)}
        settings: dict = {
            "source": Source.MEASURED,
            "outcome": Outcome.SUCCESS,
            "parity": Verdict.PASSED,
            "run_id": "r",
        } | rest
        return Evidence(
            candidate=label,
            original=original,
            artifact_digest=digest_of(label),
            values=tuple((q, v if isinstance(v, Estimate) else estimate(*v)) for q, v in values.items()),  # type: ignore[attr-defined]
            gains=tuple(gains.items()),
            **settings,
        )

    return make
