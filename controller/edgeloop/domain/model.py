"""The user's model as it was found."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_protocol.types.artifact import StateBinding, TensorSpec

__all__ = ["ModelDescription"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """What is known of a model before anything is done to it."""

    #: File name or import path, for people.
    name: str
    #: "onnx" or "tflite".
    format: str
    #: SHA-256 over the model's bytes, external data included.
    digest: str
    #: Bytes of the model, external data included.
    size_bytes: int
    #: Inputs; -1 for a free axis.
    inputs: tuple[TensorSpec, ...]
    #: Outputs; -1 for a free axis.
    outputs: tuple[TensorSpec, ...]
    #: Operator sets by domain, "" is the standard one.
    opsets: tuple[tuple[str, int], ...]
    #: Format version of an ONNX file; 0 for others.
    ir_version: int
    #: Number of parameters.
    parameter_count: int
    #: Nodes by operator type, subgraphs included, most frequent first.
    operator_counts: tuple[tuple[str, int], ...]
    #: "fp32", "fp16", "int8" or "mixed", by where the parameters' bytes are.
    precision: str
    #: True when it holds quantised operators already.
    quantized: bool
    #: State carried from step to step, declared by the user or by the data.
    state: tuple[StateBinding, ...] = ()
    #: Whether NaN in its inputs means a missing value.
    takes_missing_values: bool = False

    def operator_count(self, *op_types: str) -> int:
        """Return how many nodes are of one of these operator types."""
        return sum(count for op_type, count in self.operator_counts if op_type in op_types)
