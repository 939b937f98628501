"""Where models come from, one driver a kind of source.

Law: a driver turns what the user named into a model file on disk, an ONNX file unless it is in another runtime's own
format already, and changes nothing of the user's. The first driver that accepts the name is taken; plug-ins come after
the built-in ones.
"""

from __future__ import annotations

from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.registry import Registry
from edgeloop_protocol.types.artifact import StateBinding

from edgeloop.compress.sources.base import Source, SourceModel
from edgeloop.compress.training.module import module_beside

__all__ = ["BUILTIN", "REGISTRY", "Source", "SourceModel", "load_source"]

BUILTIN = {
    "python_object": "edgeloop.compress.sources.python_object:PythonObject",
    "tflite_file": "edgeloop.compress.sources.tflite_file:TfLiteFile",
    "booster_file": "edgeloop.compress.sources.booster_file:BoosterFile",
    "onnx_file": "edgeloop.compress.sources.onnx_file:OnnxFile",
}
"""Drivers by name, in the order in which they are asked."""

REGISTRY: Registry[Source] = Registry("sources", BUILTIN)
"""Every known driver."""


def load_source(spec: str, work_directory: Path, state: tuple[StateBinding, ...] = ()) -> SourceModel:
    """Return the model that ``spec`` names.

    Args:
        spec: Path of an ``.onnx``, ``.tflite``, ``.json``, ``.ubj``, ``.txt`` or ``.cbm`` file,
            ``module:function`` or ``path/to/file.py:function``.
        work_directory: Where a driver may write; created when missing.
        state: Outputs that are fed back as inputs.

    Raises:
        NotFoundError: the file, module or function does not exist.
        InvalidInputError: it is not a model, or no driver knows what it is.
        UnsupportedError: inputs or outputs are not tensors of numbers.
        MissingDependencyError: the driver needs a package that is not installed.
    """
    for name in REGISTRY.names():
        driver = REGISTRY.load(name)()
        if driver.accepts(spec):
            path = driver.locate(spec, work_directory)
            description = driver.describe(path, driver.title_of(spec), state)
            module = module_beside(path)
            return SourceModel(
                path=path,
                files=(path, *driver.beside(path)),
                description=description,
                module=module if name == "python_object" and module.is_file() else None,
            )
    raise InvalidInputError(
        f"{spec!r} names no model.",
        next_step="Give an .onnx or .tflite file, module:function or path/to/file.py:function.",
    )
