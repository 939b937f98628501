"""TensorRT: an engine is built on the device from the artifact's ONNX file, and kept (see ``engine_cache``).

Written against NVIDIA's documentation of the Python API (TensorRT 8.6 to 11) and not run on hardware. By itself
TensorRT computes float32 in TF32 where the GPU has it: that is switched off. From version 11 on it knows no lower
precision than the model's own, so another one is refused there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.facts import RuntimeFacts
from edgeloop_protocol.types.outcome import FailureKind, Outcome, Placement
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.cuda import Cuda
from edgeloop_agent.runner.engine_cache import EngineIdentity, cache_directory, find, keep
from edgeloop_agent.runner.runtime_settings import out_of_memory, pin, refuse, unsupported
from edgeloop_agent.runner.runtimes.base import Arrays, Execute, LoadedModel, Runtime
from edgeloop_agent.runner.tensorrt_profile import LayerRecorder, layer_types, placement_from_layers

__all__ = ["TensorRt", "build_options", "input_ranges"]

_PREFIX = "cuda:"
_FLAGS = {"fp16": "FP16", "bf16": "BF16"}
_OPTIONS = {"batch_opt": 1, "batch_max": 1, "workspace_mib": 1024}
"""Options of a trial with what they are otherwise: usual and greatest batch, memory of the builder's tactics."""

Shapes = tuple[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...]


class TensorRt(Runtime):
    """The vendor's ``tensorrt`` package with ``cuda-python``."""

    name: ClassVar[str] = "tensorrt"
    formats: ClassVar[tuple[str, ...]] = ("onnx",)
    distributions: ClassVar[tuple[str, ...]] = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13")

    def prepare(self) -> str:
        """Import the package."""
        return f"{self.name} {_module().__version__}"

    def _facts(self) -> RuntimeFacts:
        if not self.installed():
            reason = (
                "the package tensorrt is not installed; this driver was written against its documentation and not "
                "run on hardware"
            )
            return RuntimeFacts(name=self.name, reason=reason)
        devices = tuple(f"{_PREFIX}{index}" for index in range(Cuda().device_count()))
        if not devices:
            return RuntimeFacts(name=self.name, reason="TensorRT is installed, but CUDA finds no device")
        return RuntimeFacts(name=self.name, version=_module().__version__, providers=devices)

    def _load(
        self, directory: Path, artifact: Artifact, settings: RuntimeSettings, profile: Path | None
    ) -> LoadedModel:
        trt = _module()
        version = self.prepare()
        _check(settings, version)
        options = build_options(settings.options, version)
        pin(settings.affinity)
        provider = settings.providers[0] if settings.providers else f"{_PREFIX}0"
        logger = _logger(trt)
        try:
            cuda = Cuda(int(provider.removeprefix(_PREFIX)))
            cuda.start(spin=settings.allow_spinning)
            plan = _Plan(trt, logger, cuda, version, settings.inference_precision, options)
            content = plan.content(directory, artifact)
            runtime = trt.Runtime(logger)
            engine = runtime.deserialize_cuda_engine(content)
            if engine is None:
                raise RuntimeError(logger.last())
            return TensorRtModel(trt, runtime, engine, cuda, provider, version, profiled=profile is not None)
        except RunnerFailure:
            raise
        except Exception as error:
            raise _explain(error, version, loading=True) from error


class _Plan:
    """Finds or builds the serialized engine."""

    def __init__(
        self, trt: Any, logger: Any, cuda: Cuda, version: str, precision: str, options: Mapping[str, int]
    ) -> None:
        self._trt, self._logger, self._cuda = trt, logger, cuda
        self._version, self._precision, self._options = version, precision, options

    def content(self, directory: Path, artifact: Artifact) -> bytes:
        """Return the engine's bytes; what happened goes to the runner's log."""
        builder = self._trt.Builder(self._logger)
        network = self._network(builder)
        parser = self._trt.OnnxParser(network, self._logger)
        if not parser.parse_from_file(str(directory / artifact.model_file)):
            errors = [str(parser.get_error(index)) for index in range(parser.num_errors)]
            raise unsupported(f"{self._version} does not take this model: {_tidy('; '.join(errors))}")
        ranges = input_ranges(
            [(entry.name, tuple(entry.shape)) for entry in map(network.get_input, range(network.num_inputs))],
            self._options["batch_opt"],
            self._options["batch_max"],
        )
        identity = self._identity(artifact, ranges)
        where, note = cache_directory(os.environ, Path.cwd())
        found = find(where, identity)
        if found.content is not None:
            _log(f"the kept engine is used; building it took {found.build_s:.1f} s")
            return found.content
        before = time.perf_counter()
        built = builder.build_serialized_network(network, self._config(builder, ranges))
        if built is None:
            raise RuntimeError(self._logger.last())
        content, build_s = bytes(built), time.perf_counter() - before
        kept = keep(where, identity, content, build_s)
        _log("; ".join(filter(None, (f"the engine was built in {build_s:.1f} s", found.reason, note, kept))))
        return content

    def _network(self, builder: Any) -> Any:
        # Version 10 made explicit batches the only ones and deprecated the flag, 11 took it away.
        flag = getattr(self._trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        older = int(str(self._trt.__version__).split(".", 1)[0]) < 10
        return builder.create_network(1 << int(flag) if older and flag is not None else 0)

    def _identity(self, artifact: Artifact, ranges: Shapes) -> EngineIdentity:
        name, capability, driver = self._cuda.describe()
        return EngineIdentity(
            file_digests=tuple(
                (entry.name, entry.digest) for entry in artifact.files if entry.name != artifact.golden_file
            ),
            model_file=artifact.model_file,
            runtime_version=str(self._trt.__version__),
            gpu_name=name,
            compute_capability=capability,
            driver_version=driver,
            precision=self._precision,
            shapes=ranges,
            options=(("workspace_mib", str(self._options["workspace_mib"])),),
        )

    def _config(self, builder: Any, ranges: Shapes) -> Any:
        trt, config = self._trt, builder.create_builder_config()
        pool = trt.MemoryPoolType.WORKSPACE
        config.set_memory_pool_limit(pool, self._options["workspace_mib"] << 20)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if hasattr(trt.BuilderFlag, "TF32"):
            config.clear_flag(trt.BuilderFlag.TF32)
        if self._precision != "fp32":
            flag = getattr(trt.BuilderFlag, _FLAGS[self._precision], None)
            if flag is None:
                raise refuse(
                    f"{self._version} takes precisions from the model alone; convert it to {self._precision} instead."
                )
            config.set_flag(flag)
        profile = builder.create_optimization_profile()
        for name, least, usual, greatest in ranges:
            profile.set_shape(name, least, usual, greatest)
        config.add_optimization_profile(profile)
        return config


class TensorRtModel(LoadedModel):
    """An execution context with memory on the device for the shapes of the last feed."""

    def __init__(
        self, trt: Any, runtime: Any, engine: Any, cuda: Cuda, provider: str, version: str, *, profiled: bool
    ) -> None:
        # An engine lives no longer than the runtime that opened it.
        self._runtime, self._engine = runtime, engine
        self._cuda, self._version = cuda, version
        self._context = engine.create_execution_context()
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = trt.TensorIOMode.INPUT
        self._inputs = tuple(name for name in names if engine.get_tensor_mode(name) == inputs)
        self.output_names = tuple(name for name in names if name not in self._inputs)
        self.providers = (provider,)
        self._types = {name: trt.nptype(engine.get_tensor_dtype(name)) for name in names}
        self._memory: dict[str, tuple[int, int]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._recorder = LayerRecorder() if profiled else None
        if self._recorder is not None:
            self._context.profiler = _profiler(trt, self._recorder)
        self._layers = _layer_information(trt, engine) if profiled else {}

    def executor(self) -> Execute:
        """Return one inference from host memory to host memory, waiting for its end."""
        context, cuda, recorder = self._context, self._cuda, self._recorder

        def execute(feed: Arrays) -> Sequence[Any]:
            import numpy as np

            for name in self._inputs:
                array = np.ascontiguousarray(feed[name])
                if array.shape != self._shapes.get(name):
                    self._shape(name, array)
                cuda.upload(self._memory[name][0], array)
            outputs = [self._output(name) for name in self.output_names]
            if not context.execute_async_v3(cuda.stream):
                raise RuntimeError("the execution could not be queued")
            for name, array in zip(self.output_names, outputs, strict=True):
                cuda.download(array, self._memory[name][0])
            cuda.wait()
            if recorder is not None:
                recorder.end_run()
            return outputs

        return execute

    def _shape(self, name: str, array: Any) -> None:
        if array.dtype != self._types[name]:
            raise ValueError(f"the input {name} takes {self._types[name].__name__}, not {array.dtype}")
        if not self._context.set_input_shape(name, array.shape):
            raise ValueError(
                f"the engine was not built for {name} of shape {list(array.shape)}; see batch_max"
            )
        self._shapes[name] = array.shape
        self._reserve(name, array.nbytes)

    def _output(self, name: str) -> Any:
        import numpy as np

        array = np.empty(tuple(self._context.get_tensor_shape(name)), self._types[name])
        self._reserve(name, array.nbytes)
        return array

    def _reserve(self, name: str, size_bytes: int) -> None:
        """Give a tensor memory on the device; it only grows."""
        address, size = self._memory.get(name, (0, -1))
        if size_bytes > size:
            if address:
                self._cuda.free(address)
            address = self._cuda.allocate(size_bytes)
            self._memory[name] = (address, size_bytes)
            self._context.set_tensor_address(name, address)

    def explain(self, error: Exception) -> RunnerFailure:
        """Read the message of TensorRT or CUDA."""
        if isinstance(error, KeyError):
            error = ValueError(
                f"the model has the inputs {', '.join(self._inputs)}; nothing is given for {error}."
            )
        return _explain(error, self._version, loading=False)

    def placement(self, first_run: int) -> Placement:
        """Return the layers that TensorRT made of the model with their mean times."""
        if self._recorder is None:
            raise RunnerFailure(
                Outcome.HARNESS_ERROR, FailureKind.INFERENCE_FAILED, "the model was loaded without profiling."
            )
        return placement_from_layers(self._recorder.means(first_run), self._layers, self.providers[0])


def build_options(options: Sequence[tuple[str, str]], version: str) -> dict[str, int]:
    """Return the builder's options, each a whole number from 1 on.

    Raises:
        RunnerFailure: a name that there is not, or a value that does not fit.
    """
    found = dict(_OPTIONS)
    for name, value in options:
        if name not in _OPTIONS:
            raise refuse(f"{version} has no option {name!r}; it has {', '.join(sorted(_OPTIONS))}.")
        if not value.isdecimal() or int(value) < 1:
            raise refuse(f"the option {name!r} is a whole number from 1 on, not {value!r}.")
        found[name] = int(value)
    if "batch_opt" not in dict(options):
        found["batch_opt"] = found["batch_max"]
    if found["batch_opt"] > found["batch_max"]:
        raise refuse(f"batch_opt {found['batch_opt']} is greater than batch_max {found['batch_max']}.")
    return found


def input_ranges(inputs: Sequence[tuple[str, tuple[int, ...]]], batch_opt: int, batch_max: int) -> Shapes:
    """Return least, usual and greatest shape of every input, sorted by name; only a first axis may be free.

    Args:
        inputs: names and shapes, free axes are -1.
        batch_opt: size of a free first axis that kernels are chosen for.
        batch_max: its greatest size.

    Raises:
        RunnerFailure: another axis is free, or a fixed batch is to become a greater one.
    """
    ranges = []
    for name, shape in sorted(inputs):
        if any(size < 0 for size in shape[1:]):
            raise refuse(
                f"the input {name!r} has the shape {list(shape)}; TensorRT needs every axis but the first."
            )
        free = bool(shape) and shape[0] < 0
        sizes = (1, batch_opt, batch_max) if free else (shape[0] if shape else 0,) * 3
        least, usual, greatest = ((size, *shape[1:]) if shape else () for size in sizes)
        ranges.append((name, least, usual, greatest))
    return tuple(ranges)


def _module() -> Any:
    try:
        import tensorrt
    except ImportError as error:
        if "failed to map segment" in str(error):
            raise out_of_memory("importing tensorrt", error) from error
        raise refuse(f"tensorrt cannot be imported: {error}") from error
    return tensorrt


def _check(settings: RuntimeSettings, version: str) -> None:
    if len(settings.providers) > 1 or any(
        not p.removeprefix(_PREFIX).isdecimal() or not p.startswith(_PREFIX) for p in settings.providers
    ):
        raise refuse(
            f"{version} runs on one device such as {_PREFIX}0, not on {', '.join(settings.providers)}."
        )
    for wrong, what in (
        (settings.intra_op_threads > 1, "threads within an operator"),
        (settings.inter_op_threads > 1, "threads across operators"),
        (settings.graph_optimization != "all", f"graph optimisation {settings.graph_optimization!r}"),
        (not settings.memory_arena, "memory without an arena"),
    ):
        if wrong:
            raise refuse(f"{version} has no setting for {what}.")


def _logger(trt: Any) -> Any:
    """Return a logger that keeps errors for the sentence of a failure; TensorRT answers with None alone."""

    class Logger(trt.ILogger):  # type: ignore[misc] # the class comes with the package
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self._errors.append(msg)
                _log(msg)

        def last(self) -> str:
            return self._errors[-1] if self._errors else "TensorRT gave no reason"

    return Logger()


def _profiler(trt: Any, recorder: LayerRecorder) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc] # the class comes with the package
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            recorder.report(layer_name, ms)

    return Profiler()


def _layer_information(trt: Any, engine: Any) -> dict[str, str]:
    inspector = engine.create_engine_inspector()
    return layer_types(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _explain(error: Exception, version: str, *, loading: bool) -> RunnerFailure:
    text = _tidy(str(error))
    doing = "loading the model" if loading else "running the model"
    if isinstance(error, MemoryError) or "OutOfMemory" in text or "MemoryAllocation" in text:
        return out_of_memory(doing, error)
    kind = FailureKind.LOAD_FAILED if loading else FailureKind.INFERENCE_FAILED
    verb = "load" if loading else "run"
    return RunnerFailure(Outcome.USER_ERROR, kind, f"{version} cannot {verb} the model: {text}")


def _tidy(text: str) -> str:
    return " ".join(text.split())[:300]


def _log(line: str) -> None:
    sys.stderr.write(f"tensorrt: {_tidy(line)}\n")
