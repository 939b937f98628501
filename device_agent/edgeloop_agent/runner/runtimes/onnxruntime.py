"""ONNX Runtime. Every option of a session is set here; a model cannot bring options or libraries."""

from __future__ import annotations

import functools
import mmap
import os
from pathlib import Path
from typing import Any, ClassVar

from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.facts import RuntimeFacts
from edgeloop_protocol.types.outcome import FailureKind, Outcome, Placement
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.nodes import placement_from_profile
from edgeloop_agent.runner.onnxruntime_errors import explain
from edgeloop_agent.runner.runtime_settings import pin, refuse
from edgeloop_agent.runner.runtimes.base import Execute, LoadedModel, Runtime

__all__ = ["OnnxRuntime", "engine", "session_options"]

_CPU = "CPUExecutionProvider"
_LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_ERROR_SEVERITY = 3
_PROVIDER_PREFIX = "provider."
_ENTRIES = ("session.", "optimization.", "memory.", "mlas.", "ep.")
"""Beginnings of every session entry (onnxruntime_session_options_config_keys.h)."""

_SPINNING = ("session.intra_op.allow_spinning", "session.inter_op.allow_spinning")

_PRECISION_OPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "TensorrtExecutionProvider": ("trt_fp16_enable", {"fp32": "False", "fp16": "True"}),
    "OpenVINOExecutionProvider": ("precision", {"fp32": "FP32", "fp16": "FP16"}),
    # By itself it computes float32 products in TF32, with ten bits of mantissa, where the GPU has it.
    "CUDAExecutionProvider": ("use_tf32", {"fp32": "0"}),
}
"""Providers that take a precision, with their option and its values (ONNX Runtime's execution provider pages). Not run
on hardware: none of them."""

_THREAD_OPTIONS = {
    "XnnpackExecutionProvider": "intra_op_num_threads",
    "OpenVINOExecutionProvider": "num_of_threads",
}
"""Providers with a pool of threads of their own, with the option that sizes it (the same pages). Not run here."""

_PROBE_OPSETS = range(7, 64)


class OnnxRuntime(Runtime):
    """The ``onnxruntime`` package."""

    name: ClassVar[str] = "onnxruntime"
    formats: ClassVar[tuple[str, ...]] = ("onnx",)
    distributions: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")

    def prepare(self) -> str:
        """Import the package with its telemetry off."""
        return f"{self.name} {engine().__version__}"

    def _facts(self) -> RuntimeFacts:
        if not self.installed():
            return RuntimeFacts(name=self.name, reason="the package onnxruntime is not installed")
        module = engine()
        return RuntimeFacts(
            name=self.name,
            version=module.__version__,
            providers=tuple(module.get_available_providers()),
            max_opset=newest_opset(module),
        )

    def _load(
        self, directory: Path, artifact: Artifact, settings: RuntimeSettings, profile: Path | None
    ) -> LoadedModel:
        version = self.prepare()
        module = engine()
        pin(settings.affinity)
        providers = _providers(module, settings, version)
        options = session_options(module, settings, profile)
        provider_options = _provider_options(providers, settings)
        path = str(directory / artifact.model_file)
        try:
            session = module.InferenceSession(
                path, options, providers=list(providers), provider_options=provider_options
            )
        except Exception as error:
            raise explain(error, version, loading=True) from error
        return OnnxModel(session, providers, version)


class OnnxModel(LoadedModel):
    """An open session."""

    def __init__(self, session: Any, providers: tuple[str, ...], version: str) -> None:
        self.session = session
        self.output_names = tuple(output.name for output in session.get_outputs())
        self.providers = tuple(session.get_providers())
        self._version = version
        if self.providers[: len(providers)] != providers:
            raise RunnerFailure(
                Outcome.UNSUPPORTED,
                FailureKind.LOAD_FAILED,
                f"{version} took the providers {', '.join(self.providers)}, not {', '.join(providers)}.",
            )

    def executor(self) -> Execute:
        """Return the session's bound ``run``: the same call that a plain script makes."""
        return functools.partial(self.session.run, None)

    def explain(self, error: Exception) -> RunnerFailure:
        """Read ONNX Runtime's message."""
        return explain(error, self._version, loading=False)

    def placement(self, first_run: int) -> Placement:
        """Read the profile that the session wrote."""
        path = self.session.end_profiling()
        if not path:
            raise RunnerFailure(
                Outcome.HARNESS_ERROR, FailureKind.INFERENCE_FAILED, "the model was loaded without profiling."
            )
        return placement_from_profile(Path(path), first_run)


def engine() -> Any:
    """Return the package, imported with its telemetry off.

    Raises:
        RunnerFailure: it is not installed or cannot be loaded.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"
    try:
        import onnxruntime
    except MemoryError:
        raise
    except ImportError as error:
        failure = explain(error, "onnxruntime", loading=True)
        if failure.failure_kind is FailureKind.OUT_OF_MEMORY:
            raise failure from error
        raise RunnerFailure(
            Outcome.UNSUPPORTED, FailureKind.LOAD_FAILED, f"onnxruntime cannot be imported: {error}"
        ) from error
    onnxruntime.set_default_logger_severity(_ERROR_SEVERITY)
    return onnxruntime


def _providers(module: Any, settings: RuntimeSettings, version: str) -> tuple[str, ...]:
    wanted = settings.providers or (_CPU,)
    available = module.get_available_providers()
    if missing := [name for name in wanted if name not in available]:
        raise RunnerFailure(
            Outcome.UNSUPPORTED,
            FailureKind.LOAD_FAILED,
            f"{version} on this device lacks {', '.join(missing)}; it has {', '.join(available)}.",
        )
    return wanted


def session_options(module: Any, settings: RuntimeSettings, profile: Path | None) -> Any:
    """Return the options of a session that applies every setting."""
    options = module.SessionOptions()
    options.log_severity_level = _ERROR_SEVERITY
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = settings.inter_op_threads
    # Threads across operators exist in the parallel executor only.
    mode = "ORT_PARALLEL" if settings.inter_op_threads > 1 else "ORT_SEQUENTIAL"
    options.execution_mode = getattr(module.ExecutionMode, mode)
    options.graph_optimization_level = getattr(
        module.GraphOptimizationLevel, _LEVELS[settings.graph_optimization]
    )
    options.enable_cpu_mem_arena = settings.memory_arena
    options.enable_mem_pattern = settings.memory_arena
    for name in _SPINNING:
        options.add_session_config_entry(name, "1" if settings.allow_spinning else "0")
    for name, value in settings.options:
        if not name.startswith(_PROVIDER_PREFIX):
            _check_entry(module, name)
            options.add_session_config_entry(name, value)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return options


def _check_entry(module: Any, name: str) -> None:
    """Refuse a session entry that would be ignored: ONNX Runtime takes any name and says nothing of unknown ones."""
    if not name.startswith(_ENTRIES):
        raise refuse(
            f"onnxruntime has no option {name!r}; its session entries begin with {', '.join(_ENTRIES)}, "
            "options of a provider are written provider.NAME.option."
        )
    if name in _SPINNING:
        raise refuse(f"the option {name!r} is set by allow_spinning; leave it out of the options.")
    if not knows_entry(Path(module.__file__).parent / "capi", name):
        raise refuse(f"this build of onnxruntime {module.__version__} does not know the option {name!r}.")


def knows_entry(directory: Path, name: str) -> bool:
    """Return whether a library in ``directory`` holds this name of a session entry.

    A name that the library does not contain cannot be looked up by it: a misspelt one, or one of another
    architecture. True when the libraries lie elsewhere, so that nothing can be said.
    """
    told = False
    for path in sorted(directory.glob("*.so*")):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
            if content.find(name.encode() + b"\0") >= 0:
                return True
            told = told or content.find(_SPINNING[0].encode()) >= 0
    return not told


def _provider_options(providers: tuple[str, ...], settings: RuntimeSettings) -> list[dict[str, str]]:
    """Return the options of each provider: those named ``provider.NAME.option``, and the precision where it has one.

    Raises:
        RunnerFailure: an option for a provider that was not asked for, or a precision that no provider can be told.
    """
    found: dict[str, dict[str, str]] = {name: {} for name in providers}
    for name, value in settings.options:
        if name.startswith(_PROVIDER_PREFIX):
            provider, _, option = name.removeprefix(_PROVIDER_PREFIX).partition(".")
            if provider not in found or not option:
                raise refuse(
                    f"the option {name!r} belongs to none of {', '.join(providers)}; write provider.NAME.option."
                )
            if provider == _CPU:
                raise refuse(f"{_CPU} takes no options and would ignore {name!r}.")
            found[provider][option] = value
    precision = settings.inference_precision
    for provider, option in _THREAD_OPTIONS.items():
        if provider in found:
            found[provider].setdefault(option, str(settings.intra_op_threads))
    for provider, (option, values) in _PRECISION_OPTIONS.items():
        if provider in found and precision in values:
            found[provider].setdefault(option, values[precision])
    able = any(precision in _PRECISION_OPTIONS.get(provider, ("", {}))[1] for provider in providers)
    if precision != "fp32" and not able:
        raise refuse(
            f"{', '.join(providers)} cannot be told to compute in {precision}; convert the model instead."
        )
    return [found[provider] for provider in providers]


def newest_opset(module: Any) -> int | None:
    """Return the newest operator set of the standard domain that loads, found by loading; None if none."""
    newest = None
    for opset in _PROBE_OPSETS:
        try:
            module.InferenceSession(identity_model(opset), providers=[_CPU])
        except Exception:
            break
        newest = opset
    return newest


def identity_model(opset: int) -> bytes:
    """Return an ONNX model of one Identity on float32 [1]; hand-encoded, so that no onnx is needed."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def number(field_number: int, value: int) -> bytes:
        return bytes([field_number << 3, value])

    tensor = number(1, 1) + field(2, field(1, number(1, 1)))
    value = field(2, field(1, tensor))
    node = field(1, b"x") + field(2, b"y") + field(4, b"Identity")
    graph = field(1, node) + field(2, b"g") + field(11, field(1, b"x") + value)
    graph += field(12, field(1, b"y") + value)
    return number(1, 8) + field(7, graph) + field(8, number(2, opset))
