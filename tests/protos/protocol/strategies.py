"""Hypothesis strategies for every value, built from the fields themselves."""

from __future__ import annotations

from typing import Any

from edgeloop_protocol.convert.shape import FieldShape, fields_of
from edgeloop_protocol.types import artifact, conditions, job, lease, load, measurement, run, telemetry, trial
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_SCALARS: dict[type, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
}


def element(field: FieldShape) -> st.SearchStrategy[Any]:
    if field.is_value:
        return values(field.kind)
    return st.sampled_from(field.kind) if field.is_enum else _SCALARS[field.kind]


def of_field(field: FieldShape) -> st.SearchStrategy[Any]:
    if field.mapping:
        return st.dictionaries(TEXT, element(field), max_size=3).map(lambda d: tuple(sorted(d.items())))
    if field.repeated:
        return st.lists(element(field), max_size=2).map(tuple)
    return st.none() | element(field) if field.optional else element(field)


def _estimates() -> st.SearchStrategy[Any]:
    present = st.lists(st.floats(allow_nan=False), min_size=3, max_size=3).map(sorted)
    return st.one_of(
        st.builds(measurement.Estimate.absent, TEXT.filter(bool), _SCALARS[int]),
        present.map(lambda v: measurement.Estimate(value=v[1], low=v[0], high=v[2], confidence=0.95)),
        st.builds(lambda v: measurement.Estimate(value=v, sample_count=3), st.floats(allow_nan=False)),
    )


def _runs() -> st.SearchStrategy[Any]:
    success = {"outcome": st.just(run.Outcome.SUCCESS), "failure_kind": st.just(run.FailureKind.NONE)}
    failure = {
        "outcome": st.sampled_from([o for o in run.Outcome if o is not run.Outcome.SUCCESS]),
        "failure_kind": st.sampled_from([k for k in run.FailureKind if k is not run.FailureKind.NONE]),
    }
    none = {"simulation": st.none(), "emulation": st.none()}
    measured = {**none, "source": st.just(run.Source.MEASURED)}
    simulated = {**none, "source": st.just(run.Source.SIMULATED), "simulation": values(run.Simulation)}
    emulated = {**none, "source": st.just(run.Source.EMULATED), "emulation": values(run.Emulation)}
    return st.one_of(
        _built(run.Run, **success, **measured),
        _built(run.Run, **failure, **simulated),
        _built(run.Run, **success, **emulated),
    )


_POSITIVE = st.integers(1, 1 << 40)
_DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64)
_FILE_NAME = st.from_regex(artifact.FILE_NAME, fullmatch=True)


def _built(cls: type, **special: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(cls, **{f.name: special.get(f.name, of_field(f)) for f in fields_of(cls)})


def _artifacts() -> st.SearchStrategy[Any]:
    file = _built(
        artifact.FileEntry, name=st.just("model.onnx"), digest=_DIGEST, size_bytes=st.integers(0, 9)
    )
    made = _built(artifact.FileEntry, name=st.just("made.onnx"), digest=_DIGEST, size_bytes=st.integers(0, 9))
    expansion = _built(artifact.Expansion, made=made, source=st.just("model.onnx"))
    return _built(
        artifact.Artifact,
        files=st.tuples(file),
        expansions=st.just(()) | st.tuples(expansion),
        model_file=st.just("model.onnx"),
        golden_file=st.just(""),
    )


def values(cls: type) -> st.SearchStrategy[Any]:
    """Return a strategy for any value of ``cls``."""
    if cls is measurement.Estimate:
        return _estimates()
    if cls is run.Run:
        return st.deferred(_runs)
    if cls is artifact.FileEntry:
        return _built(cls, name=_FILE_NAME, digest=_DIGEST, size_bytes=st.integers(0, 1 << 40))
    if cls is artifact.Artifact:
        return _artifacts()
    if cls is trial.RuntimeSettings:
        levels = st.sampled_from(["none", "basic", "extended", "all"])
        return _built(
            cls,
            intra_op_threads=_POSITIVE,
            inter_op_threads=_POSITIVE,
            graph_optimization=levels,
            inference_precision=st.sampled_from(["fp32", "fp16", "bf16"]),
            warmup_count_min=st.integers(0, 9),
        )
    if cls is trial.Benchmark:
        share = st.floats(0.001, 0.999)
        counts = dict.fromkeys(("rounds", "batch_size", "sample_count_min"), _POSITIVE)
        choices = {
            "series": trial.SERIES,
            "interleave": trial.INTERLEAVES,
            "arrival": trial.ARRIVALS,
            "scenario": ("", *trial.SCENARIOS),
        }
        seconds = st.floats(0.001, 1e6)
        positive = dict.fromkeys(("rate_hz", "latency_bound_s", "window_s"), seconds)
        lengths = dict.fromkeys(("settle_s_max", "idle_s", "sustained_s", "scenario_s_min"), seconds)
        chosen = {name: st.sampled_from(allowed) for name, allowed in choices.items()}
        return _built(
            cls,
            median_half_width=share,
            queue_count_max=_POSITIVE,
            **counts,
            **chosen,
            **positive,
            **lengths,
        )
    if cls is lease.Availability:
        drained = [state for state in lease.AvailabilityState if state is not lease.AvailabilityState.OPEN]
        rests = st.none() | values(lease.CoolDown)
        open_ones = rests.map(lambda rest: lease.Availability(cool_down=rest))
        shut = _built(cls, state=st.sampled_from(drained), drained_by=TEXT.filter(bool), cool_down=rests)
        return open_ones | shut
    if cls is telemetry.TimeHistogram:
        pairs = st.dictionaries(st.integers(0, 89), st.integers(0, 1 << 40), max_size=3).map(sorted)
        return st.builds(
            lambda found, sum_s: telemetry.TimeHistogram(
                buckets=tuple(found), counts=tuple(range(len(found))), sum_s=sum_s
            ),
            pairs,
            st.floats(allow_nan=False),
        )
    if cls is telemetry.DriftSketch:
        bins = st.lists(st.integers(0, 1 << 40), min_size=2, max_size=2).map(tuple)
        return _built(cls, expected=bins, counts=bins)
    if cls is lease.CoolDown:
        return _built(
            cls,
            idle_s=st.floats(1, 60),
            below_celsius=st.none() | st.floats(1, 149),
            limit_s=st.floats(60, 3600),
        )
    if cls is trial.JobSpec:
        trials = st.lists(values(trial.Trial), min_size=1, max_size=2, unique_by=lambda t: t.trial_id)
        seconds = st.floats(0.1, 1e6)
        return _built(cls, trials=trials.map(tuple), deadline_s=seconds, runner_deadline_s=seconds)
    return _built(cls)


def all_classes() -> list[type]:
    """Return every value class of the protocol."""
    from edgeloop_protocol.types import facts, vitals

    modules = (artifact, conditions, facts, job, lease, load, measurement, run, telemetry, trial, vitals)
    return [
        cls
        for module in modules
        for cls in (getattr(module, name) for name in module.__all__)
        if isinstance(cls, type) and hasattr(cls, "__dataclass_fields__")
    ]
