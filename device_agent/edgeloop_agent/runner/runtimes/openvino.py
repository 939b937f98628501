"""OpenVINO on the processor (and whatever other devices its build finds).

By itself it computes in bfloat16 where the processor has it; the precision is pinned to what the trial says. Asked for
a precision that the processor lacks it takes another one, and asked for more threads than processors it takes fewer,
both without a word: what is in force is read back.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.facts import RuntimeFacts
from edgeloop_protocol.types.outcome import FailureKind, NodeTime, Outcome, Placement
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.runtime_settings import (
    out_of_memory,
    pin,
    refuse,
    require_plain,
    unsupported,
)
from edgeloop_agent.runner.runtimes.base import Arrays, Execute, LoadedModel, Runtime

__all__ = ["OpenVino", "placement_of"]

_DEVICE = "CPU"
_PRECISION, _THREADS, _PROFILE = "INFERENCE_PRECISION_HINT", "INFERENCE_NUM_THREADS", "PERF_COUNT"
_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}
_NO_WORK = frozenset({"Parameter", "Result", "Constant"})
_SNAPSHOTS = 8
"""Early runs after which the profile is kept, so that warm-up can be taken off the averages."""

_SOURCE_LINE = re.compile(r"Exception from \S+:\d+:|Check '.*?' failed at \S+:\d+:?")
_MISSING = re.compile(
    r"(?:OpConversionFailure|not supported|No conversion|Unsupported op|unsupported op)", re.I
)
_PROPERTY = re.compile(r"Unsupported property|from str:|for property key")
_MEMORY = re.compile(r"bad_alloc|out of memory|Cannot allocate|CL_OUT_OF", re.I)


class OpenVino(Runtime):
    """The ``openvino`` package."""

    name: ClassVar[str] = "openvino"
    formats: ClassVar[tuple[str, ...]] = ("onnx", "openvino")
    distributions: ClassVar[tuple[str, ...]] = ("openvino",)

    def prepare(self) -> str:
        """Import the package."""
        return f"{self.name} {_version(_module())}"

    def _facts(self) -> RuntimeFacts:
        if not self.installed():
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
        config = _config(settings, device, profiled=profile is not None)
        try:
            model = core.read_model(str(directory / artifact.model_file))
            compiled = core.compile_model(model, device, config)
        except Exception as error:  # one RuntimeError for everything
            raise _explain(error, version, loading=True) from error
        _check_effect(compiled, config, version, device)
        return OpenVinoModel(compiled, device, version, profiled=profile is not None)


class OpenVinoModel(LoadedModel):
    """A compiled model with one request, used again and again."""

    def __init__(self, compiled: Any, device: str, version: str, *, profiled: bool) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = tuple(_name(entry) for entry in compiled.inputs)
        self.output_names = tuple(_name(output) for output in compiled.outputs)
        self.providers = (device,)
        self._version = version
        self._profiled = profiled
        self._runs = 0
        self._snapshots: dict[int, dict[tuple[str, str], float]] = {}

    def executor(self) -> Execute:
        """Return one request's ``infer``: inputs are not copied, outputs are."""
        infer, count = self._request.infer, len(self._inputs)
        if self._profiled:
            return self._counted

        def execute(feed: Arrays) -> Sequence[Any]:
            if len(feed) < count:
                raise self._lacking(feed)
            outputs: Sequence[Any] = infer(feed, share_inputs=True).to_tuple()
            return outputs

        return execute

    def _lacking(self, feed: Arrays) -> RunnerFailure:
        """Return the failure of a feed that leaves inputs out: OpenVINO would compute with what lies in memory."""
        missing = ", ".join(name for name in self._inputs if name not in feed)
        reason = f"the model has the inputs {', '.join(self._inputs)}; nothing is given for {missing}."
        return RunnerFailure(Outcome.USER_ERROR, FailureKind.INFERENCE_FAILED, reason)

    def _counted(self, feed: Arrays) -> Sequence[Any]:
        if len(feed) < len(self._inputs):
            raise self._lacking(feed)
        outputs: Sequence[Any] = self._request.infer(feed, share_inputs=True).to_tuple()
        self._runs += 1
        if self._runs <= _SNAPSHOTS:
            self._snapshots[self._runs] = self._totals()
        return outputs

    def _totals(self) -> dict[tuple[str, str], float]:
        """Return node and type with its seconds over all runs; the plug-in keeps averages since the beginning.

        The averages are whole microseconds, and a node below one is said not to have run; only one without a kernel
        was really taken out of the graph.
        """
        totals: dict[tuple[str, str], float] = {}
        for entry in self._request.profiling_info:
            if entry.node_type not in _NO_WORK and entry.exec_type != "undef":
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
    """Return the mean seconds of each node over the runs after ``first_run``; those below the clock are only counted.

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
    means = {node: max(0.0, seconds - before.get(node, 0.0)) / counted for node, seconds in totals.items()}
    nodes = tuple(
        NodeTime(name=name, op_type=op_type, provider=device, mean_s=mean_s)
        for (name, op_type), mean_s in means.items()
        if mean_s > 0.0
    )
    untimed = len(totals) - len(nodes)
    return Placement(
        nodes=nodes,
        nodes_per_provider=((device, len(totals)),),
        reason=f"{untimed} of {len(totals)} nodes take less than the profile's microsecond"
        if untimed
        else "",
    )


def _module() -> Any:
    # Without this package openvino does the same and tells its makers nothing; with it, importing alone writes to the
    # user's home and reports.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
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
        raise refuse(f"{version} runs on one device, not on {', '.join(settings.providers)}.")
    require_plain(settings, version, precision=True, options=True)


def _config(settings: RuntimeSettings, device: str, *, profiled: bool) -> dict[str, Any]:
    for name, _ in settings.options:
        if name in (_PRECISION, _THREADS, _PROFILE):
            raise refuse(
                f"the option {name!r} is set by the trial's other settings; leave it out of the options."
            )
    config: dict[str, Any] = {
        _PRECISION: _HINTS[settings.inference_precision],
        "PERFORMANCE_HINT": "LATENCY",
        _PROFILE: profiled,
    }
    if device == _DEVICE:
        config |= {
            _THREADS: settings.intra_op_threads,
            "NUM_STREAMS": "1",
            # Pinning by the plug-in would undo the affinity of the trial.
            "ENABLE_CPU_PINNING": False,
        }
    return config | dict(settings.options)


def _check_effect(compiled: Any, config: Mapping[str, Any], version: str, device: str) -> None:
    """Refuse a model that was compiled with another precision or number of threads than asked for."""
    readable = set(compiled.get_property("SUPPORTED_PROPERTIES"))
    if _PRECISION in readable:
        found = compiled.get_property(_PRECISION).get_type_name()
        if found != config[_PRECISION]:
            raise refuse(
                f"{version} on {device} computes in {found} here when asked for {config[_PRECISION]}."
            )
    if _THREADS in readable and _THREADS in config:
        count = int(compiled.get_property(_THREADS))
        if count != config[_THREADS]:
            raise refuse(
                f"{version} takes {count} threads here, not {config[_THREADS]}: so many processors there are."
            )


def _explain(error: Exception, version: str, *, loading: bool) -> RunnerFailure:
    if isinstance(error, RunnerFailure):
        return error
    text = str(error)
    doing = "loading the model" if loading else "running the model"
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return out_of_memory(doing, error)
    tidy = " ".join(_SOURCE_LINE.sub("", text).split())[:300]
    if loading and _PROPERTY.search(text):
        return refuse(f"{version} cannot apply an option: {tidy}")
    if loading and _MISSING.search(text):
        return unsupported(f"{version} does not run this model: {tidy}")
    kind = FailureKind.LOAD_FAILED if loading else FailureKind.INFERENCE_FAILED
    verb = "load" if loading else "run"
    return RunnerFailure(Outcome.USER_ERROR, kind, f"{version} cannot {verb} the model: {tidy}")
