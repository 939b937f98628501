"""The main job: model, data, facts, recipes, candidates, quality, trials, selection, record."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import sample_floor
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.trial import Benchmark

import edgeloop
from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.experiment import (
    DeviceResult,
    ExperimentRequest,
    ExperimentResult,
    Listener,
    Plan,
    PlanStep,
    Skipped,
)
from edgeloop.domain.recipe import ORIGINAL, Recipe
from edgeloop.orchestrate.assess import assess_runs, samples_of
from edgeloop.orchestrate.budget import fit_to_budget, job_expected_s, trials_that_fit
from edgeloop.orchestrate.candidates import build_candidates, build_expected_s, judge_candidates
from edgeloop.orchestrate.facts_so_far import facts_so_far, note_unreached
from edgeloop.orchestrate.fleet import Fleet, require_unique_names
from edgeloop.orchestrate.fleet import opening as opening_devices
from edgeloop.orchestrate.measure import MeasureRequest
from edgeloop.orchestrate.measure_each import measure_each
from edgeloop.orchestrate.prepare import Prepared, prepare
from edgeloop.orchestrate.runtimes import opening, sizes_of
from edgeloop.orchestrate.sweep import sweep_expected_s, sweep_fleet, with_sweeps
from edgeloop.orchestrate.variants import require_distinct_runtimes, with_variants

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.domain.constraint import Constraint, Objective
    from edgeloop.domain.latency import LatencyAssessment
    from edgeloop.domain.sweep import SweepPlan

__all__ = ["plan_experiment", "reselect", "run_experiment"]


async def run_experiment(
    app: App, request: ExperimentRequest, listener: Listener, *, experiment_id: str = ""
) -> ExperimentResult:
    """Do the whole job and record it.

    Args:
        app: stores.
        request: what to do.
        listener: hears what happens.
        experiment_id: identifier to record it under; one is made when none is given.

    Raises:
        InvalidInputError: something in the request cannot be used; nothing was measured.
        UnavailableError: no device at all could be reached.
    """
    started, created = time.monotonic(), time.time()
    constraints, objectives = _rules(request.require, request.prefer)
    require_unique_names(request.devices)
    require_distinct_runtimes(request.settings, request.variants)
    _require_labels(request.recipes)
    listener.phase("Model and data")
    prepared = await asyncio.to_thread(
        prepare, app, request.model, request.data, request.state, request.seed, listener
    )
    request = replace(request, settings=opening(request.settings, prepared.description.format, listener))
    experiment_id = experiment_id or uuid.uuid4().hex
    app.records.begin(request, experiment_id, prepared.description, prepared.summary, created)
    listener.phase("Devices")
    async with opening_devices(app, request.devices, request.seed) as devices:
        recipes, skipped = _recipes(request, prepared, await facts_so_far(app, devices, request, listener))
        listener.phase("Candidates")
        candidates = await build_candidates(app, prepared, recipes, request.seed, listener)
        listener.phase("Quality on the host")
        candidates = await judge_candidates(
            app,
            prepared,
            candidates,
            seed=request.seed,
            hopeless_drop=request.hopeless_drop,
            listener=listener,
        )
        _require_metric(constraints, candidates)
        listener.phase("Measure on the devices")
        benchmark = _enough_samples(replace(request.benchmark, seed=request.seed), constraints, objectives)
        measure = _measure_request(
            replace(request, benchmark=benchmark), experiment_id, candidates, time.monotonic() - started
        )
        alone = len(request.devices) == 1
        measured, forms = await measure_each(app, devices.each, measure, listener, alone=alone)
        measure = replace(measure, forms=forms)
        candidates = with_variants(
            candidates, request.settings, request.variants, forms, sizes_of(app, forms)
        )
        listener.phase("Select")
        runs = [run for device in measured for run in device.runs]
        samples = await asyncio.to_thread(samples_of, app, runs)
        assessed = await asyncio.to_thread(assess_runs, runs, samples)
        decided = tuple(_decide(d, candidates, constraints, objectives, assessed, samples) for d in measured)
        if request.sweep:
            listener.phase("Sweep")
            decided = await _sweep(
                app, devices.answered(), measure, request.sweep, decided, candidates, listener
            )
    result = ExperimentResult(
        experiment_id=experiment_id,
        created_wall_s=created,
        duration_s=time.monotonic() - started,
        edgeloop_version=edgeloop.__version__,
        request=request,
        model=prepared.description,
        data=prepared.summary,
        candidates=candidates,
        skipped=skipped,
        devices=decided,
    )
    app.records.finish(result)
    return result


def _rules(require: Sequence[str], prefer: str) -> tuple[tuple[Constraint, ...], tuple[Objective, ...]]:
    from edgeloop.select.expressions import parse_constraints, parse_preference

    return parse_constraints(require), parse_preference(prefer)


def _require_labels(recipes: Sequence[Recipe]) -> None:
    """Refuse recipes of one label: records and figures are kept under it."""
    labels = [ORIGINAL.label, *(recipe.label for recipe in recipes if recipe.passes)]
    for label in labels:
        if labels.count(label) > 1:
            taken = "is the unmodified model's" if label == ORIGINAL.label else "is used twice"
            raise InvalidInputError(f"the label {label!r} {taken}.", next_step="Give the recipe another one.")


def _require_metric(constraints: Sequence[Constraint], candidates: Sequence[Candidate]) -> None:
    from edgeloop.select.expressions import require_metric

    require_metric(constraints, next((c.quality.metric for c in candidates if c.quality), ""))


def _recipes(
    request: ExperimentRequest, prepared: Prepared, known: Sequence[Facts]
) -> tuple[tuple[Recipe, ...], tuple[Skipped, ...]]:
    from edgeloop.compress.propose import propose

    recipes: tuple[Recipe, ...]
    skipped: tuple[Skipped, ...]
    if request.recipes:
        recipes, skipped = (ORIGINAL, *(r for r in request.recipes if r.passes)), ()
    else:
        proposal = propose(prepared.description, known, has_calibration=prepared.calibration is not None)
        recipes, skipped = proposal.recipes, proposal.skipped
    affordable = _affordable(request, prepared, recipes)
    reason = "the budget leaves no time to build and measure it"
    return recipes[:affordable], (
        *skipped,
        *(Skipped(label=r.label, reason=reason) for r in recipes[affordable:]),
    )


def _affordable(request: ExperimentRequest, prepared: Prepared, recipes: Sequence[Recipe]) -> int:
    """Return how many recipes, from the front, the budget has time for; the original and one more at least.

    Raises:
        InvalidInputError: not even two.
    """
    if request.budget_s is None:
        return len(recipes)
    for count in range(len(recipes), 1, -1):
        building_s = sum(build_expected_s(prepared, recipe) for recipe in recipes[:count])
        available_s = (request.budget_s - building_s) / _turns(request) - _sweep_s(request)
        if trials_that_fit(request.benchmark, available_s) >= count * _settings_count(request):
            return count
    if len(recipes) < 2:
        return len(recipes)
    raise InvalidInputError(
        f"a budget of {request.budget_s:.0f} s has no time for two candidates on {len(request.devices)} devices.",
        next_step="Give a larger --budget.",
    )


def _turns(request: ExperimentRequest) -> int:
    """Return how many times in a row devices measure: this machine alone, all others at once."""
    local = sum(device.transport == "local" for device in request.devices)
    return max(1, local + (local < len(request.devices)))


def _measurable(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates to measure, the original first; equal artifacts are measured once."""
    built = sorted((c for c in candidates if c.state is CandidateState.BUILT), key=lambda c: not c.original)
    first: dict[str, Candidate] = {}
    for candidate in built:
        first.setdefault(candidate.artifact_digest, candidate)
    return tuple(first.values())


def _measure_request(
    request: ExperimentRequest, experiment_id: str, candidates: Sequence[Candidate], spent_s: float
) -> MeasureRequest:
    chosen = _measurable(candidates)
    benchmark = request.benchmark
    if request.budget_s is not None:
        benchmark = _budgeted(benchmark, len(chosen) * _settings_count(request), request, spent_s)
    return MeasureRequest(
        experiment_id=experiment_id,
        artifacts=tuple((c.label, c.artifact_digest) for c in chosen),
        anchor=next((c.label for c in chosen if c.original), ""),
        settings=request.settings,
        benchmark=benchmark,
        lease_wait_s=request.lease_wait_s,
        context=request.context,
        variants=request.variants,
    )


async def _sweep(
    app: App,
    fleet: Fleet,
    request: MeasureRequest,
    plan: SweepPlan,
    decided: tuple[DeviceResult, ...],
    candidates: Sequence[Candidate],
    listener: Listener,
) -> tuple[DeviceResult, ...]:
    """Sweep the answer of each device, or the original where there is none; devices of one answer at once."""
    settings = {s.runtime: s for s in (request.settings, *request.variants)}
    answers = {d.device.name: _answer(d, candidates) for d in decided if not d.error}
    swept: dict[str, DeviceResult] = {}
    for answer in {c.label: c for c in answers.values() if c is not None}.values():
        part = tuple(entry for entry in fleet if answers.get(entry[0].name) == answer)
        one = replace(
            request,
            artifacts=((answer.label, answer.artifact_digest),),
            settings=settings.get(answer.runtime, request.settings),
            variants=(),
        )
        swept |= await sweep_fleet(app, part, one, plan, listener)
    return tuple(with_sweeps(d, swept[d.device.name]) if d.device.name in swept else d for d in decided)


def _answer(device: DeviceResult, candidates: Sequence[Candidate]) -> Candidate | None:
    label = device.strategy.candidate if device.strategy else ""
    chosen = next((c for c in candidates if c.label == label and c.artifact_digest), None)
    return chosen or next((c for c in candidates if c.original and c.artifact_digest), None)


def _enough_samples(
    benchmark: Benchmark, constraints: Sequence[Constraint], objectives: Sequence[Objective]
) -> Benchmark:
    """Ask for as many samples as the quantiles, and rounds as the readings once per process, need that are asked about.

    Six readings are the fewest with a 95 % interval of their median; the first load is a cold one.
    """
    quantiles = {"latency_p90": 0.90, "latency_p95": 0.95, "latency_p99": 0.99}
    asked = [c.quantity for c in constraints] + [o.quantity for o in objectives]
    floors = [sample_floor(quantiles[quantity]) for quantity in asked if quantity in quantiles]
    bounded = {constraint.quantity for constraint in constraints}
    rounds = [
        needed for quantity, needed in (("first_inference", 6), ("load_time", 7)) if quantity in bounded
    ]
    return replace(
        benchmark,
        sample_count_min=max([benchmark.sample_count_min, *floors]),
        rounds=max([benchmark.rounds, *rounds]),
    )


def _budgeted(benchmark: Benchmark, count: int, request: ExperimentRequest, spent_s: float) -> Benchmark:
    assert request.budget_s is not None
    available_s = (request.budget_s - spent_s) / _turns(request) - _sweep_s(request)
    return fit_to_budget(benchmark, count, available_s)


def _settings_count(request: ExperimentRequest) -> int:
    return 1 + len(request.variants)


def _sweep_s(request: ExperimentRequest) -> float:
    return sweep_expected_s(request.benchmark, request.sweep)


def _decide(
    device: DeviceResult,
    candidates: Sequence[Candidate],
    constraints: Sequence[Constraint],
    objectives: Sequence[Objective],
    assessed: Mapping[str, LatencyAssessment],
    samples: Mapping[str, bytes],
) -> DeviceResult:
    from edgeloop.select.decide import decide
    from edgeloop.select.evidence import collect
    from edgeloop.select.quantities import with_throughput

    if not device.runs or device.facts is None:
        return device
    evidence = with_throughput(collect(candidates, device.trial_runs, assessed), device.runs, samples)
    strategy = decide(device.device.name, device.facts.device_id, evidence, constraints, objectives)
    return replace(device, evidence=evidence, strategy=strategy)


async def plan_experiment(app: App, request: ExperimentRequest, listener: Listener) -> Plan:
    """Say what ``run_experiment`` would do and how long it is expected to take; nothing is built or measured."""
    constraints, objectives = _rules(request.require, request.prefer)
    require_distinct_runtimes(request.settings, request.variants)
    _require_labels(request.recipes)
    prepared = await asyncio.to_thread(
        prepare, app, request.model, request.data, request.state, request.seed, listener
    )
    request = replace(request, settings=opening(request.settings, prepared.description.format, listener))
    async with opening_devices(app, request.devices, request.seed) as devices:
        recipes, skipped = _recipes(request, prepared, await facts_so_far(app, devices, request, listener))
        note_unreached(devices.answered(), listener)
    build_s = sum(build_expected_s(prepared, recipe) for recipe in recipes)
    benchmark = _enough_samples(replace(request.benchmark, seed=request.seed), constraints, objectives)
    trial_count = len(recipes) * _settings_count(request)
    if request.budget_s is not None:
        benchmark = _budgeted(benchmark, trial_count, request, build_s)
    steps = [PlanStep(what=f"build and judge {len(recipes)} candidates on this host", expected_s=build_s)]
    steps += _device_steps(replace(request, benchmark=benchmark), trial_count)
    return Plan(
        model=prepared.description,
        recipes=recipes,
        skipped=skipped,
        devices=tuple(device.name for device in request.devices),
        steps=tuple(steps),
        benchmark=benchmark,
    )


def _device_steps(request: ExperimentRequest, trial_count: int) -> list[PlanStep]:
    """Return what the devices do: all others at once, this machine alone."""
    benchmark = request.benchmark
    per_device, sweep_s = job_expected_s(benchmark, trial_count), _sweep_s(request)
    elsewhere = [d.name for d in request.devices if d.transport != "local"]
    here = [d.name for d in request.devices if d.transport == "local"]
    steps = []
    for names, how in ((", ".join(elsewhere), "at once"), *((name, "alone") for name in here)):
        if not names:
            continue
        if benchmark.series == "nominal" and benchmark.settle_s_max:
            what = f"wait until {names} {'are' if ',' in names else 'is'} fit to measure, at most"
            steps.append(PlanStep(what=what, expected_s=benchmark.settle_s_max))
        steps.append(PlanStep(what=f"measure on {names} {how}", expected_s=per_device))
        if sweep_s:
            steps.append(PlanStep(what=f"sweep on {names} {how}", expected_s=sweep_s))
    return steps


def reselect(app: App, experiment_id: str, require: Sequence[str], prefer: str) -> ExperimentResult:
    """Decide again from the records, without measuring; the decision is appended to the experiment's history.

    Raises:
        NotFoundError: no such experiment.
        InvalidInputError: a constraint or the preference cannot be read.
    """
    stored = app.records.result(experiment_id)
    constraints, objectives = _rules(require or stored.request.require, prefer or stored.request.prefer)
    request = replace(
        stored.request,
        require=tuple(require or stored.request.require),
        prefer=prefer or stored.request.prefer,
    )
    _require_metric(constraints, stored.candidates)
    runs = [run for device in stored.devices for run in device.runs]
    samples = samples_of(app, runs)
    assessed = assess_runs(runs, samples)
    devices = tuple(
        _decide(device, stored.candidates, constraints, objectives, assessed, samples)
        for device in stored.devices
    )
    result = replace(stored, request=request, devices=devices)
    for device in devices:
        if device.strategy is not None:
            app.records.add_decision(
                stored.experiment_id, device.strategy, request.require, request.prefer, time.time()
            )
    return result
