"""A model on ONNX Runtime whose 8-bit products are summed as on another instruction set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.outcome import FailureKind, Outcome, Placement
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.numerics.operators import OPERATORS, weight_matrices
from edgeloop_agent.runner.numerics.products import can_saturate
from edgeloop_agent.runner.numerics.split import Stage, names_read, spell_out_dynamic_products, split
from edgeloop_agent.runner.numerics.tiers import computes_fp16, host_saturates, saturates
from edgeloop_agent.runner.runtimes.base import Arrays, Execute, LoadedModel, Runtime
from edgeloop_agent.runner.runtimes.onnxruntime import OnnxRuntime, engine, session_options

__all__ = ["Choice", "SplitModel", "load_with_numerics", "optimize"]

_NOT_EMULATED = frozenset({"QAttention", "DynamicQuantizeLSTM"})
"""They multiply unsigned by signed bytes too, inside one operator."""

_FILE_LIMIT_BYTES = 64 << 20
"""Most that a runner may write to one file, see ``runner.limits``."""


def load_with_numerics(
    runtime: Runtime, directory: Path, artifact: Artifact, settings: RuntimeSettings, tier: str
) -> tuple[LoadedModel, str]:
    """Open a model with the 8-bit arithmetic of ``tier`` and say in words whose arithmetic that is.

    Raises:
        RunnerFailure: it cannot be opened.
    """
    if not isinstance(runtime, OnnxRuntime):
        model = runtime.load(directory, artifact, settings)
        return model, f"int8 arithmetic of {tier} not emulated on {runtime.name}"
    types = _weight_types(directory / artifact.model_file)
    half = f"fp16 arithmetic of {tier} not emulated" if computes_fp16(tier) and "FLOAT16" in types else ""
    if saturates(tier) == host_saturates() or "INT8" not in types:
        return runtime.load(directory, artifact, settings), half
    # Whatever is wrong with the settings is told by the plain runtime, in its words.
    plain = runtime.load(directory, artifact, settings)
    model = optimize(directory / artifact.model_file, settings)
    chosen = Choice.of(model.graph)
    words = _in_words(tier, chosen)
    if not chosen.nodes:
        return plain, words
    return SplitModel(model, chosen.nodes, plain, saturating=saturates(tier)), words


def _weight_types(path: Path) -> set[str]:
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in graph.initializer}


def optimize(path: Path, settings: RuntimeSettings) -> Any:
    """Return the model (``onnx.ModelProto``) as ONNX Runtime would run it under these settings, operators fused.

    Raises:
        RunnerFailure: it takes more space than a runner may write.
    """
    import onnx

    if (size := path.stat().st_size) > _FILE_LIMIT_BYTES:
        raise RunnerFailure(
            Outcome.UNSUPPORTED,
            FailureKind.UNSUPPORTED_MODEL,
            f"the model takes {size >> 20} MiB; the arithmetic of another processor is worked out up to "
            f"{_FILE_LIMIT_BYTES >> 20} MiB. Give the board numerics=host to check with this machine's.",
        )
    module = engine()
    written = Path.cwd() / "optimized.onnx"
    options = session_options(module, settings, None)
    options.optimized_model_filepath = str(written)
    module.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(written))
    written.unlink()
    return model


@dataclass(frozen=True, slots=True)
class Choice:
    """Which nodes are computed here."""

    #: Outputs of the nodes whose sums can differ.
    nodes: frozenset[str]
    #: How many nodes multiply unsigned by signed bytes.
    candidate_count: int
    #: Operators that would differ and are left to the host, in order, each once.
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, graph: Any) -> Choice:
        """Look through an optimised graph (``onnx.GraphProto``); weights decide whether a sum can leave 16 bits."""
        from onnx import numpy_helper

        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        mixed = [node for node in graph.node if _multiplies_mixed(node, arrays)]
        return cls(
            frozenset(node.output[0] for node in mixed if _can_differ(node, arrays)),
            len(mixed),
            tuple(sorted(_operators(graph) & _NOT_EMULATED | _hidden(graph))),
        )


def _operators(graph: Any) -> set[str]:
    return {node.op_type for node in graph.node}


def _hidden(graph: Any) -> set[str]:
    """Return operators on 8-bit products inside the bodies of others, where nothing is replaced."""
    inner = [body for node in graph.node for a in node.attribute for body in (a.g, *a.graphs)]
    return set().union(*((_operators(body) & {*OPERATORS, *_NOT_EMULATED}) | _hidden(body) for body in inner))


def _multiplies_mixed(node: Any, arrays: Mapping[str, Any]) -> bool:
    if node.op_type == "DynamicQuantizeMatMul":
        weights = arrays.get(node.input[1])
        return weights is not None and weights.dtype.name == "int8"
    operator = OPERATORS.get(node.op_type)
    if operator is None:
        return False
    names = [*node.input, *[""] * 9]
    left, right = arrays.get(names[operator.left_zero_point]), arrays.get(names[operator.weights_zero_point])
    weights = arrays.get(names[operator.weights], right)
    signed = weights is not None and weights.dtype.name == "int8"
    # Activations without a constant zero point are told by their type when they come.
    return signed and (left is None or left.dtype.name == "uint8")


def _can_differ(node: Any, arrays: Mapping[str, Any]) -> bool:
    operator = OPERATORS.get(node.op_type)
    weights = arrays.get(node.input[operator.weights if operator else 1])
    if weights is None:
        return True
    return any(can_saturate(matrix) for matrix in weight_matrices(node.op_type, weights, _attributes(node)))


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _in_words(tier: str, choice: Choice) -> str:
    kind = "int8 saturation" if saturates(tier) else "int8 sums without saturation"
    if choice.nodes:
        words = f"{kind} of {tier} emulated in {len(choice.nodes)} of {choice.candidate_count} products"
    else:
        words = f"int8 of {tier}: no sum of the {choice.candidate_count} products can leave 16 bits"
    return words + (f", not emulated in {', '.join(choice.left_out)}" if choice.left_out else "")


class SplitModel(LoadedModel):
    """The optimised graph: the engine runs what is between the products that are summed here.

    Args:
        model: ``onnx.ModelProto``, optimised.
        replaced: first outputs of the nodes that are computed here.
        plain: the whole model on the engine: its outputs, its words for errors.
        saturating: whether sums of two products saturate to 16 bits.
    """

    def __init__(self, model: Any, replaced: frozenset[str], plain: LoadedModel, *, saturating: bool) -> None:
        from onnx import numpy_helper

        self.output_names, self.providers = plain.output_names, plain.providers
        self._plain, self._saturating = plain, saturating
        self._model = model
        spell_out_dynamic_products(model.graph, lambda node: node.output[0] in replaced)
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._parts = [
            _Part(stage, model, self._tensors)
            for stage in split(model.graph, lambda node: node.output[0] in replaced)
        ]
        own = {name for part in self._parts for node in part.stage.replaced for name in node.input if name}
        outputs = set(self.output_names)
        self._constants = {
            name: numpy_helper.to_array(tensor)
            for name, tensor in self._tensors.items()
            if name in own | outputs
        }

    def executor(self) -> Execute:
        """Return what runs part after part."""
        return self._execute

    def _execute(self, feeds: Arrays) -> list[Any]:
        values: dict[str, Any] = {**self._constants, **feeds}
        for part in self._parts:
            values.update(part.run(values))
            for node in part.stage.replaced:
                inputs = [values[name] if name else None for name in node.input]
                operator = OPERATORS[node.op_type]
                values[node.output[0]] = operator.compute(inputs, _attributes(node), self._saturating)
        return [values[name] for name in self.output_names]

    def explain(self, error: Exception) -> RunnerFailure:
        """Read the engine's message."""
        return self._plain.explain(error)

    def placement(self, first_run: int) -> Placement:
        """Refuse: times of an emulation are nobody's times."""
        raise RunnerFailure(
            Outcome.HARNESS_ERROR, FailureKind.INFERENCE_FAILED, "an emulated arithmetic is never timed."
        )


class _Part:
    """One stage; its session is made with the first values, whose types the graph does not always tell."""

    def __init__(self, stage: Stage, model: Any, tensors: Mapping[str, Any]) -> None:
        self.stage = stage
        self._model, self._tensors = model, tensors
        self._session: Any = None

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs of the engine's part by name."""
        if not self.stage.outputs:
            return {}
        feeds = {name: values[name] for name in self.stage.inputs}
        if self._session is None:
            self._session = self._open(feeds)
        found = self._session.run(list(self.stage.outputs), feeds)
        return dict(zip(self.stage.outputs, found, strict=True))

    def _open(self, feeds: Mapping[str, Any]) -> Any:
        from onnx import ValueInfoProto, helper

        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
            for name, array in feeds.items()
        ]
        outputs = [ValueInfoProto(name=name) for name in self.stage.outputs]
        read = {name for node in self.stage.engine for name in _constants_of(node, self._tensors)}
        graph = helper.make_graph(
            self.stage.engine, "part", inputs, outputs, [self._tensors[name] for name in sorted(read)]
        )
        model = helper.make_model(
            graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version
        )
        module = engine()
        options = module.SessionOptions()
        # The graph is optimised already; another round could fuse differently.
        options.graph_optimization_level = module.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return module.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _constants_of(node: Any, tensors: Mapping[str, Any]) -> list[str]:
    return [name for name in names_read(node) if name in tensors]
