"""What happened on the host: candidates, what was not tried, and where everything comes from."""

from __future__ import annotations

from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.experiment import ExperimentResult
from edgeloop.report.cells import Cell, Table
from edgeloop.report.units import MISSING, amount, duration, interval, moment, quantity_unit

__all__ = ["host_tables", "provenance"]

_STATE_TONE = {
    CandidateState.BUILT: "good",
    CandidateState.SKIPPED: "quiet",
    CandidateState.FAILED: "bad",
    CandidateState.HOPELESS: "bad",
}


def host_tables(result: ExperimentResult) -> tuple[Table, ...]:
    """Return the tables that concern no single device; empty ones are left out."""
    tables = (_built(result), _not_tried(result))
    return tuple(table for table in tables if table.rows)


def _built(result: ExperimentResult) -> Table:
    rows = tuple(
        (
            Cell(text=candidate.label, detail="; ".join(candidate.notes)),
            Cell(text=_passes(candidate)),
            Cell(text=candidate.state.value, detail=candidate.reason, tone=_STATE_TONE[candidate.state]),
            Cell(text=candidate.precision or MISSING),
            Cell(text=amount(candidate.size_bytes or None, "B")),
            *_quality(candidate),
            Cell(text=_build_time(candidate)),
            Cell(text=candidate.artifact_digest[:12] or MISSING, tone="code"),
        )
        for candidate in result.candidates
    )
    metric = result.data.metric.replace("_", " ") or "quality"
    columns = (
        "candidate",
        "passes",
        "state",
        "precision",
        "size",
        metric,
        "drop",
        "McNemar p",
        "agreement",
        "build",
        "artifact",
    )
    return Table(title="Candidates on the host", columns=columns, rows=rows)


def _passes(candidate: Candidate) -> str:
    steps = []
    for step in candidate.recipe.passes:
        settings = ", ".join(f"{name} {value}" for name, value in step.settings)
        steps.append(f"{step.name} ({settings})" if settings else step.name)
    return "; ".join(steps) or "none: the unmodified model"


def _build_time(candidate: Candidate) -> str:
    if candidate.state is not CandidateState.BUILT or candidate.original:
        return MISSING
    return "from the cache" if candidate.build_s is None else duration(candidate.build_s)


def _quality(candidate: Candidate) -> tuple[Cell, ...]:
    quality = candidate.quality
    if quality is None:
        return (Cell(text=MISSING, detail="not evaluated", tone="quiet"), *(Cell(text=MISSING),) * 3)
    unit = quantity_unit("quality", quality.metric)
    return (
        Cell(text=amount(quality.value.value, unit, 4), detail=interval(quality.value, unit)),
        Cell(text=amount(quality.drop.value, unit), detail=interval(quality.drop, unit)),
        Cell(text=MISSING if quality.mcnemar_p is None else f"{quality.mcnemar_p:.2g}"),
        Cell(text=MISSING if quality.agreement is None else amount(quality.agreement, "ratio")),
    )


def _not_tried(result: ExperimentResult) -> Table:
    rows = [
        *(
            (Cell(text=s.label), Cell(text="skipped", tone="quiet"), Cell(text=s.reason))
            for s in result.skipped
        ),
        *(
            (Cell(text=c.label), Cell(text=c.state.value, tone=_STATE_TONE[c.state]), Cell(text=c.reason))
            for c in result.candidates
            if c.state is not CandidateState.BUILT
        ),
        *(
            (Cell(text=d.device.name), Cell(text="device failed", tone="bad"), Cell(text=d.error))
            for d in result.devices
            if d.error
        ),
    ]
    return Table(title="Skipped and failed", columns=("what", "how", "why"), rows=tuple(rows))


def provenance(result: ExperimentResult) -> tuple[tuple[str, str], ...]:
    """Return name and value of everything that the figures rest on."""
    request, model, data = result.request, result.model, result.data
    runs = [run for device in result.devices for run in device.runs]
    runtimes = {f"{r.trial.settings.runtime} {r.runtime_version}" for r in runs if r.runtime_version}
    agents = {d.facts.agent_version for d in result.devices if d.facts and d.facts.agent_version}
    simulations = [run.simulation for run in runs if run.simulation]
    profiles = {f"{s.profile} {s.profile_digest[:12]}" for s in simulations}
    operators = ", ".join(f"{count} {name}" for name, count in model.operator_counts[:8])
    rows = (
        ("experiment", result.experiment_id),
        ("begun", moment(result.created_wall_s)),
        ("took", duration(result.duration_s)),
        ("edgeloop", result.edgeloop_version),
        ("agents", ", ".join(sorted(agents))),
        ("runtimes", ", ".join(sorted(runtimes))),
        ("profiles of simulated boards", ", ".join(sorted(profiles))),
        ("seed", str(request.seed)),
        ("required", "; ".join(request.require) or "nothing"),
        ("preferred", request.prefer),
        ("model", f"{model.name}, {model.format}, {model.precision}, {amount(model.size_bytes, 'B')}"),
        ("model digest", model.digest),
        ("operators", operators),
        ("operator sets", ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in model.opsets)),
        ("data", f"{data.name or 'none'}, {_data(result)}"),
        ("data digest", data.digest),
        ("benchmark", _benchmark(result)),
        ("context", ", ".join(f"{name} {value}" for name, value in request.context)),
    )
    return tuple((name, value) for name, value in rows if value)


def _data(result: ExperimentResult) -> str:
    data = result.data
    judged = f"{data.evaluation_count} items judged" if data.labelled else "without labels: parity only"
    return f"{judged}, {data.calibration_count} for calibration, {data.golden_count} golden"


def _benchmark(result: ExperimentResult) -> str:
    run = next((r for d in result.devices for r in d.runs), None)
    benchmark = run.benchmark if run else result.request.benchmark
    settings = run.trial.settings if run else result.request.settings
    return (
        f"{benchmark.rounds} rounds in fresh processes, batch {benchmark.batch_size}, "
        f"{settings.intra_op_threads} threads, spinning {'on' if settings.allow_spinning else 'off'}, "
        f"until the median is known to ±{benchmark.median_half_width * 100:g} % or "
        f"{amount(benchmark.steady_s_max, 's')} are spent"
    )
