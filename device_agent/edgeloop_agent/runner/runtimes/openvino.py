"""OpenVINO on the processor (and whatever other devices its build finds).

By itself it computes in bfloat16 where the processor has it; the precision is pinned to what the trial says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.facts import RuntimeFacts
from edgeloop_protocol.types.run import FailureKind, NodeTime, Outcome, Placement
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.runtime_settings import installed_version, out_of_memory, pin, refuse, unsupported
from edgeloop_agent.runner.runtimes.base import Arrays, Execute, LoadedModel, Runtime

__all__ = ["OpenVino"]

_DEVICE = "CPU"
_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}
_SNAPSHOTS = 8
"""Early runs after which the profile is kept, so that warm-up can be taken off the averages."""

_SOURCE_LINE = re.compile(r"Exception from \S+:\d+:|Check '.*?' failed at \S+:\d+:?")
_MISSING = re.compile(
    r"(?:OpConversionFailure|not supported|No conversion|Unsupported op|unsupported op)", re.I
)
_MEMORY = re.compile(r"bad_alloc|out of memory|Cannot allocate|CL_OUT_OF", re.I)


class OpenVino(Runtime):
    """The ``openvino`` package."""

    name: ClassVar[str] = "openvino"
    formats: ClassVar[tuple[str, ...]] = ("onnx", "openvino")

    def prepare(self) -> str:
        """Import the package."""
        return f"{self.name} {_version(_module())}"

    def _facts(self) -> RuntimeFacts:
        if not installed_version("openvino"):
            return RuntimeFacts(name=self.name, reason="the package openvino is not installed")
        module = _module()
        devices = tuple(module.Core().available_devices)
        return RuntimeFacts(name=self.name, version=_version(module), providers=devices)

    def _load(
        self, directory: Path, artifact: Artifact, settings: RuntimeSettings, profile: Path | None
    ) -> LoadedModel:
        module = _module()
        version = self.prepare()
        _check(settings, version)
        pin(settings.affinity)
        core = module.Core()
        device = settings.providers[0] if settings.providers else _DEVICE
        if device.split(".")[0] not in {name.split(".")[0] for name in core.available_devices}:
            listed = ", ".join(core.available_devices)
            raise refuse(f"{version} on this device lacks {device}; it has {listed}.")
        try:
            model = core.read_model(str(directory / artifact.model_file))
            compiled = core.compile_model(model, device, _config(settings, device, profile is not None))
        except Exception as error:  # one RuntimeError for everything
            raise _explain(error, version, loading=True) from error
        return OpenVinoModel(compiled, device, version, profiled=profile is not None)


class OpenVinoModel(LoadedModel):
    """A compiled model with one request, used again and again."""

    def __init__(self, compiled: Any, device: str, version: str, *, profiled: bool) -> None:
        self._request = compiled.create_infer_request()
        self.output_names = tuple(_name(output) for output in compiled.outputs)
        self.providers = (device,)
        self._version = version
        self._profiled = profiled
        self._runs = 0
        self._snapshots: dict[int, dict[tuple[str, str], float]] = {}

    def executor(self) -> Execute:
        """Return one request's ``infer``: inputs are not copied, outputs are."""
        infer = self._request.infer
        if self._profiled:
            return self._counted

        def execute(feed: Arrays) -> Sequence[Any]:
            outputs: Sequence[Any] = infer(feed, share_inputs=True).to_tuple()
            return outputs

        return execute

    def _counted(self, feed: Arrays) -> Sequence[Any]:
        outputs: Sequence[Any] = self._request.infer(feed, share_inputs=True).to_tuple()
        self._runs += 1
        if self._runs <= _SNAPSHOTS:
            self._snapshots[self._runs] = self._totals()
        return outputs

    def _totals(self) -> dict[tuple[str, str], float]:
        """Return node and type with its seconds over all runs; the plug-in keeps averages since the beginning."""
        totals: dict[tuple[str, str], float] = {}
        for entry in self._request.profiling_info:
            if "EXECUTED" in str(entry.status):
                key = (entry.node_name, entry.node_type)
                totals[key] = totals.get(key, 0.0) + entry.real_time.total_seconds() * self._runs
        return totals

    def explain(self, error: Exception) -> RunnerFailure:
        """Read OpenVINO's message."""
        return _explain(error, self._version, loading=False)

    def placement(self, first_run: int) -> Placement:
        """Return the mean of each executed node without the first runs."""
        if not self._profiled:
            raise RunnerFailure(
                Outcome.HARNESS_ERROR, FailureKind.INFERENCE_FAILED, "the model was loaded without profiling."
            )
        return placement_of(
            self._totals(), self._runs, self._snapshots.get(first_run, {}), first_run, self.providers[0]
        )


def placement_of(
    totals: Mapping[tuple[str, str], float],
    runs: int,
    before: Mapping[tuple[str, str], float],
    first_run: int,
    device: str,
) -> Placement:
    """Return the mean seconds of each node over the runs after ``first_run``.

    Args:
        totals: node and type with its seconds over all runs.
        runs: how many those were.
        before: the same over the first runs.
        first_run: how many those were; they do not count.
        device: where OpenVINO ran.
    """
    counted = runs - (first_run if before else 0)
    if counted < 1 or not totals:
        return Placement(reason="the runtime's profile holds no node of a measured run")
    nodes = tuple(
        NodeTime(
            name=name,
            op_type=op_type,
            provider=device,
            mean_s=max(0.0, seconds - before.get((name, op_type), 0.0)) / counted,
        )
        for (name, op_type), seconds in totals.items()
    )
    counts = Counter(node.provider for node in nodes)
    return Placement(nodes=nodes, nodes_per_provider=tuple(sorted(counts.items())))


def _module() -> Any:
    try:
        import openvino
    except MemoryError:
        raise
    except ImportError as error:
        if _MEMORY.search(str(error)) or "failed to map segment" in str(error):
            raise out_of_memory("importing openvino", error) from error
        raise refuse(f"openvino cannot be imported: {error}") from error
    return openvino


def _version(module: Any) -> str:
    return str(module.__version__).split("-", 1)[0]


def _name(output: Any) -> str:
    names = sorted(output.get_names())
    return str(names[0] if names else output.get_node().get_friendly_name())


def _check(settings: RuntimeSettings, version: str) -> None:
    if len(settings.providers) > 1:
        raise refuse(
            f"{version} runs on one device, not on {', '.join(settings.providers)}; use AUTO or HETERO."
        )
    for wrong, what in (
        (settings.inter_op_threads > 1, "threads across operators"),
        (settings.allow_spinning, "spinning worker threads"),
        (settings.graph_optimization != "all", f"graph optimisation {settings.graph_optimization!r}"),
        (not settings.memory_arena, "memory without an arena"),
    ):
        if wrong:
            raise refuse(f"{version} has no setting for {what}.")


def _config(settings: RuntimeSettings, device: str, profiled: bool) -> dict[str, Any]:
    config: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS[settings.inference_precision],
        "PERFORMANCE_HINT": "LATENCY",
        "PERF_COUNT": profiled,
    }
    if device == _DEVICE:
        config |= {
            "INFERENCE_NUM_THREADS": settings.intra_op_threads,
            "NUM_STREAMS": "1",
            # Pinning by the plug-in would undo the affinity of the trial.
            "ENABLE_CPU_PINNING": False,
        }
    return config | dict(settings.options)


def _explain(error: Exception, version: str, *, loading: bool) -> RunnerFailure:
    text = str(error)
    doing = "loading the model" if loading else "running the model"
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return out_of_memory(doing, error)
    tidy = " ".join(_SOURCE_LINE.sub("", text).split())[:300]
    if loading and _MISSING.search(text):
        return unsupported(f"{version} does not run this model: {tidy}")
    kind = FailureKind.LOAD_FAILED if loading else FailureKind.INFERENCE_FAILED
    verb = "load" if loading else "run"
    return RunnerFailure(Outcome.USER_ERROR, kind, f"{version} cannot {verb} the model: {tidy}")
