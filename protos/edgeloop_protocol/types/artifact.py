"""An artifact: immutable files and the manifest that names them. Travels as JSON, named by its SHA-256."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Artifact", "Expansion", "FileEntry", "Kernel", "StateBinding", "TensorSpec", "Tolerance"]

FILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
"""File names inside an artifact: flat, lower case, no path separators, no leading dot."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of an artifact."""

    #: Name inside the artifact.
    name: str
    #: SHA-256 of its content, 64 hexadecimal digits.
    digest: str
    #: Size of its content.
    size_bytes: int

    def __post_init__(self) -> None:
        if not FILE_NAME.fullmatch(self.name):
            raise ValueError(f"file name {self.name!r} is not a flat lower-case name")
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError(f"digest of {self.name} is not 64 hexadecimal digits")
        if self.size_bytes < 0:
            raise ValueError(f"size of {self.name} is negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """A file that does not travel: the device makes it from another one of the artifact, and checks its digest.

    How is told in :mod:`edgeloop_foundation.packed`; the packed file's own digest is in its :class:`FileEntry`.
    """

    #: The file once it is made.
    made: FileEntry
    #: Name of the file of the artifact that it is made from.
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Name, element type and shape of an input or output."""

    #: Name in the graph.
    name: str
    #: NumPy name of the element type, for example "float32".
    dtype: str
    #: Shape; -1 for an axis that is free.
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateBinding:
    """An output that is fed back as an input at the next step; starts at zero."""

    #: Input that receives the state.
    input: str
    #: Output that yields the next state.
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Parity policy against one reference."""

    #: Class by precision, for example "fp32" or "int8".
    name: str
    #: Absolute tolerance.
    absolute: float
    #: Relative tolerance, of the largest magnitude of the expected output.
    relative: float
    #: Allowed rate of changed decisions.
    flip_rate_max: float
    #: Whether values outside the tolerance fail the check, or only the decisions count.
    values_gate: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One executed kernel of the lowered graph; what every predictor works on."""

    #: Name of the node it came from.
    name: str
    #: "conv", "conv1x1", "depthwise", "gemm", "matmul", "recurrent", "elementwise", "pool", "reduce",
    #: "resize", "layout", "quantize" or "other".
    kernel_class: str
    #: Operator type as the runtime named it.
    op_type: str
    #: "fp32", "fp16" or "int8": the precision of its arithmetic.
    precision: str
    #: Multiply-accumulates per inference at batch 1.
    macs: int
    #: Bytes read from activations.
    input_bytes: int
    #: Bytes of parameters.
    weight_bytes: int
    #: Bytes written.
    output_bytes: int
    #: Input channels, 0 where it has no meaning.
    input_channels: int = 0
    #: Output channels, 0 where it has no meaning.
    output_channels: int = 0
    #: Spatial positions of the output, 0 where it has no meaning.
    output_positions: int = 0
    #: Activation and weight type of an int8 kernel: "U8S8", "S8S8", "U8U8"; empty otherwise.
    encoding: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """The manifest of one compressed (or unmodified) model; its SHA-256 is the artifact's name.

    Raises:
        ValueError: no files, names that repeat, or a model or golden file that is not among them.
    """

    #: Version of this layout.
    schema_version: int = 1
    #: "onnx" and later others.
    format: str
    #: Name for people.
    label: str
    #: Every file that travels, sorted by name.
    files: tuple[FileEntry, ...]
    #: Files that the device makes from those; empty for nearly every artifact.
    expansions: tuple[Expansion, ...] = ()
    #: File that the runtime opens; may be an expansion.
    model_file: str
    #: File with the golden pack (npz, see runner); empty when there is none.
    golden_file: str = ""
    #: SHA-256 of the model this came from, as the user gave it.
    source_digest: str
    #: Canonical JSON of the recipe that made it.
    recipe: str = "[]"
    #: "fp32", "fp16", "int8" or "mixed": what most of its arithmetic is in.
    precision: str = "fp32"
    #: Operator sets, "" is the standard domain.
    opsets: tuple[tuple[str, int], ...] = ()
    #: Inputs.
    inputs: tuple[TensorSpec, ...] = ()
    #: Outputs.
    outputs: tuple[TensorSpec, ...] = ()
    #: State carried from step to step; empty for a model without.
    state: tuple[StateBinding, ...] = ()
    #: Output that decisions are read from; empty when there is none.
    decision_output: str = ""
    #: "argmax" or "threshold"; empty when there is none.
    decision_rule: str = ""
    #: Threshold of the "threshold" rule.
    decision_threshold: float = 0.5
    #: Parity policy: "host" and "original", in this order.
    tolerances: tuple[tuple[str, Tolerance], ...] = ()
    #: Lowered graph at batch 1.
    kernels: tuple[Kernel, ...] = ()
    #: Peak of live activations at batch 1.
    activation_peak_bytes: int = 0
    #: Bytes of parameters as stored.
    weight_bytes: int = 0
    #: Name and version of each library that took part, sorted.
    libraries: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        given = [entry.name for entry in self.files]
        names = given + [expansion.made.name for expansion in self.expansions]
        if not given or len(set(names)) != len(names):
            raise ValueError("an artifact has files, each under a name of its own")
        if not {expansion.source for expansion in self.expansions} <= set(given):
            raise ValueError("an expansion is made from a file of the artifact")
        if self.model_file not in names or (self.golden_file and self.golden_file not in names):
            raise ValueError("model_file and golden_file are files of the artifact")

    @property
    def model_size_bytes(self) -> int:
        """Bytes that the runtime opens: every file but the golden pack, packed ones as they are once expanded."""
        packed = {expansion.source for expansion in self.expansions}
        opened = [entry for entry in self.files if entry.name not in {self.golden_file, *packed}]
        opened += [expansion.made for expansion in self.expansions]
        return sum(entry.size_bytes for entry in opened)

    @property
    def model_travel_bytes(self) -> int:
        """Bytes of the model that are sent and kept: every file but the golden pack, packed ones as they are."""
        return sum(entry.size_bytes for entry in self.files if entry.name != self.golden_file)

    @property
    def expanded_bytes(self) -> int:
        """Bytes that all expansions take on a disk."""
        return sum(expansion.made.size_bytes for expansion in self.expansions)
