"""Runs as flat rows: one per run or one per sample, units in the columns' names, reasons beside absent figures."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgeloop_foundation.errors import NotFoundError
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Memory, Outcome, Run, Source, Verdict

from edgeloop.domain.parity import overall_verdict
from edgeloop.domain.third_party import published

__all__ = ["RUN_COLUMNS", "SAMPLE_COLUMNS", "Column", "Samples", "Value", "run_rows", "sample_rows"]

Value = str | float | int | bool | None
Samples = Callable[[str], bytes | None]
"""Gives a blob of raw samples by its digest; None when it is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column."""

    name: str
    #: "text", "real", "integer" or "flag".
    kind: str


_TEXTS = (
    "run_id", "experiment_id", "device", "device_id", "board", "profile", "source", "basis", "profile_digest", "series",
    "preflight", "candidate", "artifact_digest", "runtime_version", "runtime", "providers", "graph_optimization",
    "inference_precision", "outcome", "failure_kind", "failure_reason", "parity", "parity_reason", "steady_state",
    "anomalies", "energy_sensor", "energy_scope", "agent_version", "context",
)  # fmt: skip
_INTEGERS = (
    "intra_op_threads", "inter_op_threads", "batch_size", "round_count", "sample_count", "seed",
    "memory_baseline_rss_bytes", "memory_loaded_rss_bytes", "memory_load_peak_rss_bytes",
    "memory_inference_peak_rss_bytes", "memory_pss_bytes", "memory_cgroup_peak_bytes", "memory_system_drop_bytes",
)  # fmt: skip
_OURS = ("intra_op_threads", "inter_op_threads", "batch_size", "round_count", "seed", "sample_count")
_OUR_WORDS = ("series", "graph_optimization", "inference_precision")
_FLAGS = ("timing_disputed", "disqualified")
_REALS = ("started_wall_s", "duration_s", "latency_mean_s", "latency_minimum_s", "latency_maximum_s")
_ESTIMATES = (
    "latency_p50_s", "latency_p90_s", "latency_p95_s", "latency_p99_s", "first_inference_s", "warm_load_s",
    "cold_load_s", "energy_gross_j", "energy_above_idle_j", "mean_power_w", "idle_power_w",
)  # fmt: skip
_REASONS = ("latency_reason", "memory_reason")

RUN_COLUMNS = (
    *(Column(name=name, kind="text") for name in _TEXTS),
    *(Column(name=name, kind="integer") for name in _INTEGERS),
    *(Column(name=name, kind="flag") for name in _FLAGS),
    *(Column(name=name, kind="real") for name in _REALS),
    *(
        Column(name=f"{name}{end}", kind="text" if end == "_reason" else "real")
        for name in _ESTIMATES
        for end in ("", "_low", "_high", "_reason")
    ),
    *(Column(name=name, kind="text") for name in _REASONS),
)
"""Columns of one row per run. An estimate has its value, both ends of its interval and the reason for its absence."""

SAMPLE_COLUMNS = (
    *(
        Column(name=name, kind="text")
        for name in ("run_id", "device", "candidate", "source", "basis", "series", "reason")
    ),
    *(Column(name=name, kind="integer") for name in ("round", "position", "index")),
    Column(name="latency_s", kind="real"),
)
"""Columns of one row per sample; a run without samples has one row with the reason."""


def run_rows(runs: Sequence[Run]) -> tuple[tuple[Value, ...], ...]:
    """Return one row per run, failed ones included, in the order given."""
    return tuple(tuple(_run_values(run)[column.name] for column in RUN_COLUMNS) for run in runs)


def _run_values(run: Run) -> dict[str, Value]:
    values = _identity(run) | _conditions(run)
    steady = run.timing.steady if run.timing else None
    values |= {
        "sample_count": steady.sample_count if steady else 0,
        "latency_mean_s": steady.mean if steady else None,
        "latency_minimum_s": steady.minimum if steady else None,
        "latency_maximum_s": steady.maximum if steady else None,
        "latency_reason": "" if steady else _no_latency(run),
    }
    values |= _memory(run.memory)
    for name, estimate in _estimates(run).items():
        values |= {
            name: estimate.value,
            f"{name}_low": estimate.low,
            f"{name}_high": estimate.high,
            f"{name}_reason": estimate.reason,
        }
    if run.source is Source.THIRD_PARTY:
        # How others measured is told by the context, where it is known; a default of ours is not theirs.
        values |= dict.fromkeys(_OURS) | dict.fromkeys(_OUR_WORDS, "")
        values["latency_reason"] = "published, not measured by edgeloop"
    return values


def _identity(run: Run) -> dict[str, Value]:
    settings = run.trial.settings
    return {
        "run_id": run.run_id,
        "experiment_id": run.experiment_id,
        "device": run.device_name,
        "device_id": run.device_id,
        "board": run.facts.hardware.model if run.facts else "",
        "profile": run.simulation.profile if run.simulation else "",
        "source": run.source.value,
        "basis": run.basis,
        "profile_digest": run.simulation.profile_digest if run.simulation else "",
        "series": run.benchmark.series,
        "candidate": run.trial.label,
        "artifact_digest": run.trial.artifact_digest,
        "runtime_version": run.runtime_version,
        "runtime": settings.runtime,
        "providers": " ".join(settings.providers),
        "graph_optimization": settings.graph_optimization,
        "inference_precision": settings.inference_precision,
        "agent_version": run.agent_version,
        "context": "; ".join(f"{name}={value}" for name, value in run.context),
        "intra_op_threads": settings.intra_op_threads,
        "inter_op_threads": settings.inter_op_threads,
        "batch_size": run.benchmark.batch_size,
        "seed": run.benchmark.seed,
        "started_wall_s": run.started_wall_s,
        "duration_s": run.duration_s,
    }


def _conditions(run: Run) -> dict[str, Value]:
    verdict, reason = overall_verdict(run.parity)
    looked = run.preflight
    return {
        "outcome": run.outcome.value,
        "failure_kind": run.failure_kind.value,
        "failure_reason": run.failure_reason,
        "parity": verdict.value if isinstance(verdict, Verdict) else "",
        "parity_reason": reason,
        "steady_state": run.timing.steady_state.value if run.timing else "",
        "preflight": "" if looked is None else ("fit" if looked.fit else "unfit"),
        "anomalies": "; ".join(f"{a.kind.value}: {a.reason}" for a in run.anomalies),
        "energy_sensor": run.energy.sensor if run.energy else "",
        "energy_scope": run.energy.scope if run.energy else "",
        "round_count": run.benchmark.rounds,
        "timing_disputed": run.timing.timing_disputed if run.timing else False,
        "disqualified": any(a.disqualifying for a in run.anomalies),
    }


def _no_latency(run: Run) -> str:
    if run.outcome is not Outcome.SUCCESS:
        return run.failure_reason or run.failure_kind.value
    if run.timing is None:
        return "latency was not measured"
    return run.timing.reason or "no steady latency was measured"


def _memory(memory: Memory | None) -> dict[str, Value]:
    fields = (
        "baseline_rss_bytes", "loaded_rss_bytes", "load_peak_rss_bytes", "inference_peak_rss_bytes", "pss_bytes",
        "cgroup_peak_bytes", "system_drop_bytes",
    )  # fmt: skip
    values: dict[str, Value] = {
        f"memory_{field}": getattr(memory, field) if memory else None for field in fields
    }
    return values | {"memory_reason": memory.reason if memory else "memory was not measured"}


def _estimates(run: Run) -> dict[str, Estimate]:
    timing, energy = run.timing, run.energy
    missing = Estimate.absent(_no_latency(run))
    steady = timing.steady if timing else None
    found = {
        f"latency_{name}_s": getattr(steady, name) if steady else missing
        for name in ("p50", "p90", "p95", "p99")
    }
    for name in ("first_inference_s", "warm_load_s", "cold_load_s"):
        found[name] = getattr(timing, name) if timing else missing
    no_energy = Estimate.absent("energy was not measured")
    for name, field in (
        ("energy_gross_j", "gross_j"), ("energy_above_idle_j", "above_idle_j"), ("mean_power_w", "mean_power_w"),
        ("idle_power_w", "idle_power_w"),
    ):  # fmt: skip
        found[name] = getattr(energy, field) if energy else no_energy
    # Published figures are no measurement of ours; they have a place of their own in the record.
    stated = {
        f"{name}_s" if name.startswith("latency") else f"{name}_gross_j": e for name, e in published(run)
    }
    return found | {name: estimate for name, estimate in stated.items() if name in found}


def sample_rows(runs: Iterable[Run], samples: Samples) -> tuple[tuple[Value, ...], ...]:
    """Return one row per raw sample; a run whose samples are not kept has one row that says why."""
    rows: list[tuple[Value, ...]] = []
    for run in runs:
        head: tuple[Value, ...] = (
            run.run_id, run.device_name, run.trial.label, run.source.value,
            run.basis, run.benchmark.series,
        )  # fmt: skip
        digest = run.timing.samples_digest if run.timing else ""
        blob = samples(digest) if digest else None
        if blob is None or run.timing is None:
            reason = "the raw samples are not kept here" if digest else _no_latency(run)
            rows.append((*head, reason, None, None, None, None))
            continue
        values = struct.unpack(f"<{len(blob) // 8}q", blob)
        for block in run.timing.blocks:
            rows += [
                (*head, "", block.round, block.position, index, values[index] / 1e9)
                for index in range(block.sample_offset, block.sample_offset + block.sample_count)
            ]
    if not rows:
        raise NotFoundError("the experiment has no runs, so there are no samples.")
    return tuple(rows)
