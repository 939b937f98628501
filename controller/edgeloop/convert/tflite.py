"""ONNX to TFLite in float32 with onnx2tf's direct writer, which needs no TensorFlow; checked with LiteRT.

onnx2tf runs in a process of its own: in this Python where it is installed, or in the one that ``EDGELOOP_ONNX2TF``
names, because its declared requirements do not go together with others.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError
from edgeloop_protocol.types.artifact import TensorSpec

from edgeloop.convert.base import Converter
from edgeloop.convert.simplify import simplify
from edgeloop.domain.dataset import Dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ONNX2TF_VARIABLE", "TfLite"]

ONNX2TF_VARIABLE = "EDGELOOP_ONNX2TF"
"""Environment variable with the path of a Python that has onnx2tf."""

_TIMEOUT_S = 600.0
_LINES = 3
_VERSION = "import importlib.metadata as m; print(m.version('onnx2tf'))"


class TfLite(Converter):
    """``onnx2tf`` 2.6 or newer, layout of the inputs kept as it is."""

    name: ClassVar[str] = "tflite"
    suffix: ClassVar[str] = ".tflite"

    def _python(self) -> str:
        return os.environ.get(ONNX2TF_VARIABLE) or sys.executable

    def version(self) -> str:
        """Ask the Python that converts."""
        if self._python() == sys.executable:
            try:
                return f"onnx2tf {importlib.metadata.version('onnx2tf')}"
            except importlib.metadata.PackageNotFoundError:
                return ""
        try:
            asked = subprocess.run(
                [self._python(), "-c", _VERSION], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return f"onnx2tf {asked.stdout.strip()}" if asked.returncode == 0 else ""

    def missing(self) -> str:
        """Look for onnx2tf there and for LiteRT here."""
        if not self.version():
            return f"converting to TFLite needs onnx2tf, which {self._python()} does not have."
        if importlib.util.find_spec("ai_edge_litert") is None:
            return "checking a TFLite file needs ai-edge-litert, which is not installed here."
        return ""

    def advice(self) -> str:
        """Return the commands."""
        return (
            "pip install 'edgeloop[litert]' psutil sng4onnx; pip install --no-deps --ignore-requires-python "
            f"onnx2tf==2.6.9 (or set {ONNX2TF_VARIABLE} to a Python that has it)."
        )

    def _convert(self, model: Path, inputs: Sequence[TensorSpec], directory: Path) -> Path:
        names = [spec.name for spec in inputs]
        # onnx2tf writes into the file it is given, and a kept artifact never changes: this is a file of its own.
        own = directory / "source.onnx"
        simplify(model, own)
        command = [self._python(), "-m", "onnx2tf", "-i", str(own), "-o", str(directory), "-n"]
        command += ["-k", *names, "-kat", *names]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise InvalidInputError(
                f"onnx2tf did not convert {model.name} within {_TIMEOUT_S:.0f} s."
            ) from error
        except OSError as error:
            raise MissingDependencyError(
                f"{self._python()} cannot be started: {error}.", next_step=self.advice()
            ) from error
        path = directory / f"{own.stem}_float32.tflite"
        if done.returncode != 0 or not path.is_file():
            raise InvalidInputError(
                f"onnx2tf cannot convert {model.name}: {_last_words(done.stdout + done.stderr)}",
                next_step="Measure it on onnxruntime or openvino, which read ONNX.",
            )
        return path

    def run(self, path: Path, data: Dataset) -> Mapping[str, NDArray[np.generic]]:
        """Run LiteRT with one thread."""
        import numpy as np

        interpreter = _interpreter(path)
        details = interpreter.get_input_details()
        if missing := [d["name"] for d in details if d["name"] not in data.inputs]:
            raise InvalidInputError(f"{path.name} has the inputs {', '.join(missing)}, which the data lacks.")
        found: dict[str, list[Any]] = {d["name"]: [] for d in interpreter.get_output_details()}
        for item in range(len(data)):
            for entry in details:
                _set(interpreter, entry, data.inputs[entry["name"]], item)
            _invoke(interpreter, path)
            for entry in interpreter.get_output_details():
                found[entry["name"]].append(interpreter.get_tensor(entry["index"]))
        return {name: np.stack([_one(value) for value in values]) for name, values in found.items()}


def _invoke(interpreter: Any, path: Path) -> None:
    try:
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        detail = " ".join(str(error).split())[:300].rstrip(".")
        raise InvalidInputError(f"{path.name} fails in LiteRT: {detail}.") from error


def _interpreter(path: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingDependencyError(
            f"running {path.name} needs ai-edge-litert: {error}.", next_step="pip install 'edgeloop[litert]'"
        ) from error
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        detail = " ".join(str(error).split())[:300]
        raise InvalidInputError(f"LiteRT cannot open {path.name}: {detail}.") from error
    return interpreter


def _set(interpreter: Any, entry: Mapping[str, Any], array: Any, item: int) -> None:
    value = array[item : item + 1] if array.ndim == len(entry["shape"]) else array[item]
    try:
        interpreter.set_tensor(entry["index"], value)
    except ValueError as error:
        raise InvalidInputError(
            f"the input {entry['name']!r} has the shape {tuple(entry['shape'])} in the converted file, "
            f"the data {value.shape}: {error}."
        ) from error


def _one(value: Any) -> Any:
    """Drop a leading batch axis of one item, as the host's own evaluation does."""
    return value[0] if value.ndim and value.shape[0] == 1 else value


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "it/s" not in line]
    return " ".join(lines[-_LINES:])[-300:] or "it says nothing"
