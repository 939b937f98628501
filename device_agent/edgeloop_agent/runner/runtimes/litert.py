"""LiteRT (formerly TensorFlow Lite): ``ai-edge-litert``, or ``tflite-runtime`` where that is all a board has.

``tflite-runtime`` 2.14 gives silently wrong answers on weights that are int8 beside float activations (dynamic-range
quantisation), and does not run beside NumPy 2: both are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.facts import RuntimeFacts
from edgeloop_protocol.types.outcome import FailureKind, Outcome, Placement
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.runtime_settings import (
    installed_version,
    out_of_memory,
    pin,
    refuse,
    require_plain,
)
from edgeloop_agent.runner.runtimes.base import Arrays, Execute, LoadedModel, Runtime

__all__ = ["LiteRt", "delegated_operators"]

_XNNPACK, _BUILTIN = "XNNPACK", "builtin"
_HYBRID = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"})
_DELEGATE = "DELEGATE"


class LiteRt(Runtime):
    """The interpreter of ``ai-edge-litert``; XNNPACK by default, "builtin" without it."""

    name: ClassVar[str] = "litert"
    formats: ClassVar[tuple[str, ...]] = ("tflite",)
    distributions: ClassVar[tuple[str, ...]] = ("ai-edge-litert", "tflite-runtime")

    def prepare(self) -> str:
        """Import the package."""
        _, distribution = _module()
        return f"{distribution} {installed_version(distribution)}"

    def _facts(self) -> RuntimeFacts:
        if not self.installed():
            return RuntimeFacts(name=self.name, reason="the package ai-edge-litert is not installed")
        _, distribution = _module()
        return RuntimeFacts(
            name=self.name, version=installed_version(distribution), providers=(_XNNPACK, _BUILTIN)
        )

    def _load(
        self, directory: Path, artifact: Artifact, settings: RuntimeSettings, profile: Path | None
    ) -> LoadedModel:
        module, distribution = _module()
        version = self.prepare()
        _check(settings, version)
        pin(settings.affinity)
        provider = settings.providers[0] if settings.providers else _XNNPACK
        resolver = module.OpResolverType
        kind = resolver.AUTO if provider == _XNNPACK else resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            interpreter = module.Interpreter(
                model_path=str(directory / artifact.model_file),
                num_threads=settings.intra_op_threads,
                experimental_op_resolver_type=kind,
            )
            interpreter.allocate_tensors()
        except Exception as error:
            raise _explain(error, version, loading=True) from error
        model = LiteRtModel(interpreter, provider, version)
        if distribution == "tflite-runtime" and (hybrid := model.hybrid_operator()):
            raise refuse(
                f"{version} computes {hybrid} with int8 weights beside float activations wrongly, without a sign "
                "of it; install ai-edge-litert, or quantise the activations too."
            )
        return model


class LiteRtModel(LoadedModel):
    """An interpreter with its tensors allocated for the shapes of the last feed."""

    def __init__(self, interpreter: Any, provider: str, version: str) -> None:
        self._interpreter = interpreter
        self._inputs = {entry["name"]: entry["index"] for entry in interpreter.get_input_details()}
        outputs = interpreter.get_output_details()
        self._outputs = [entry["index"] for entry in outputs]
        self.output_names = tuple(entry["name"] for entry in outputs)
        self.providers = (provider,)
        self._version = version
        self._shapes = {
            entry["name"]: tuple(int(size) for size in entry["shape"])
            for entry in interpreter.get_input_details()
        }

    def executor(self) -> Execute:
        """Return the loop of set, invoke and get that LiteRT's own examples use."""
        interpreter, inputs, outputs = self._interpreter, self._inputs, self._outputs
        shapes = self._shapes

        def execute(feed: Arrays) -> Sequence[Any]:
            for name, index in inputs.items():
                value = feed[name]
                if value.shape != shapes[name]:
                    self._resize(feed)
                interpreter.set_tensor(index, value)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in outputs]

        return execute

    def _resize(self, feed: Arrays) -> None:
        for name, index in self._inputs.items():
            self._interpreter.resize_tensor_input(index, feed[name].shape, strict=False)
            self._shapes[name] = feed[name].shape
        self._interpreter.allocate_tensors()

    def explain(self, error: Exception) -> RunnerFailure:
        """Read LiteRT's message."""
        if isinstance(error, KeyError):
            names = ", ".join(self._inputs)
            return RunnerFailure(
                Outcome.USER_ERROR,
                FailureKind.INFERENCE_FAILED,
                f"the model has the inputs {names}; nothing is given for {error}.",
            )
        return _explain(error, self._version, loading=False)

    def operators(self) -> list[dict[str, Any]]:
        """Return every operator of the plan, delegates among them; empty when this version does not tell."""
        # Private, but the only place where a plan can be read; absent in some versions.
        read = getattr(self._interpreter, "_get_ops_details", None)
        return list(read()) if read else []

    def hybrid_operator(self) -> str:
        """Return the name of an operator with float activations and int8 weights; empty without any."""
        import numpy as np

        kinds = {t["index"]: t["dtype"] for t in self._interpreter.get_tensor_details()}
        for operator in self.operators():
            inputs = [int(i) for i in operator["inputs"] if int(i) >= 0]
            if operator["op_name"] in _HYBRID and len(inputs) > 1:
                types = [kinds.get(i) for i in inputs[:2]]
                if types == [np.float32, np.int8]:
                    return str(operator["op_name"])
        return ""

    def placement(self, first_run: int) -> Placement:
        """Return how many operators the delegate took; their times are not told in Python."""
        operators = self.operators()
        if not operators:
            return Placement(reason=f"{self._version} does not tell which operators it runs")
        delegated = delegated_operators(operators)
        plain = sum(1 for o in operators if o["op_name"] != _DELEGATE) - len(delegated)
        counts = {_XNNPACK: len(delegated), _BUILTIN: plain}
        return Placement(
            nodes_per_provider=tuple(sorted((name, count) for name, count in counts.items() if count)),
            reason=f"{self._version} gives no time of single operators to Python",
        )


def delegated_operators(operators: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the places of the operators that a delegate took.

    The plan lists the original operators and the delegates beside them. What a delegate computes is
    everything between its outputs and its inputs.

    Args:
        operators: entries with ``op_name``, ``inputs`` and ``outputs`` (tensor numbers, negative for none).
    """
    maker = {
        int(tensor): place
        for place, operator in enumerate(operators)
        if operator["op_name"] != _DELEGATE
        for tensor in operator["outputs"]
    }
    taken: set[int] = set()
    for delegate in (o for o in operators if o["op_name"] == _DELEGATE):
        given = {int(tensor) for tensor in delegate["inputs"]}
        open_tensors = [int(tensor) for tensor in delegate["outputs"]]
        while open_tensors:
            place = maker.get(open_tensors.pop())
            if place is None or place in taken:
                continue
            taken.add(place)
            open_tensors += [int(t) for t in operators[place]["inputs"] if int(t) not in given]
    return taken


def _module() -> tuple[Any, str]:
    """Return the interpreter's module and the distribution it came from."""
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        if "failed to map segment" in str(error):
            raise out_of_memory("importing ai-edge-litert", error) from error
        return _tflite_runtime(error)
    return interpreter, "ai-edge-litert"


def _tflite_runtime(missing: ImportError) -> tuple[Any, str]:
    try:
        import numpy as np
        from tflite_runtime import interpreter
    except ImportError as error:
        raise refuse(
            f"neither ai-edge-litert nor tflite-runtime can be imported: {missing}; {error}"
        ) from error
    if int(np.__version__.split(".", 1)[0]) >= 2:
        raise refuse(
            f"tflite-runtime does not run beside NumPy {np.__version__}; install ai-edge-litert or numpy<2."
        )
    return interpreter, "tflite-runtime"


def _check(settings: RuntimeSettings, version: str) -> None:
    if len(settings.providers) > 1 or (
        settings.providers and settings.providers[0] not in (_XNNPACK, _BUILTIN)
    ):
        raise refuse(
            f"{version} has the providers {_XNNPACK} and {_BUILTIN}, not {', '.join(settings.providers)}."
        )
    require_plain(settings, version)


def _explain(error: Exception, version: str, *, loading: bool) -> RunnerFailure:
    text = " ".join(str(error).split())
    doing = "loading the model" if loading else "running the model"
    if isinstance(error, MemoryError) or "bad_alloc" in text or "Failed to allocate" in text:
        return out_of_memory(doing, error)
    if "Flex" in text or "custom op" in text or "Didn't find op" in text or "unresolved" in text.lower():
        return RunnerFailure(
            Outcome.UNSUPPORTED,
            FailureKind.UNSUPPORTED_MODEL,
            f"the model needs an operator that {version} does not have: {text[:250]}",
        )
    kind = FailureKind.LOAD_FAILED if loading else FailureKind.INFERENCE_FAILED
    verb = "load" if loading else "run"
    return RunnerFailure(Outcome.USER_ERROR, kind, f"{version} cannot {verb} the model: {text[:300]}")
