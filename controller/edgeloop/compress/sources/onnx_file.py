"""A model that is an ONNX file already; it is read where it stands."""

from __future__ import annotations

from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError, NotFoundError

from edgeloop.compress.sources.base import Source

__all__ = ["OnnxFile"]

_OTHER_FORMATS = {
    ".pt": "a torch file",
    ".pth": "a torch file",
    ".safetensors": "a file of bare weights",
    ".h5": "a Keras file",
    ".keras": "a Keras file",
    ".pkl": "a pickle",
    ".joblib": "a pickle",
    ".pickle": "a pickle",
    ".skops": "a skops file",
    ".ort": "an ONNX Runtime file, which cannot be compressed any more",
}


class OnnxFile(Source):
    """Takes every path; says in one sentence when it is not an ONNX model."""

    name = "onnx_file"

    def accepts(self, spec: str) -> bool:
        """Return True: what is not a Python object is a path."""
        return True

    def locate(self, spec: str, work_directory: Path) -> Path:
        """Return the file's path.

        Raises:
            NotFoundError: there is no such file.
            InvalidInputError: it is a directory or another kind of file.
        """
        path = Path(spec).expanduser()
        if path.is_dir():
            raise InvalidInputError(
                f"{spec} is not an ONNX model: it is a directory.", next_step="Name the file in it."
            )
        if not path.exists():
            raise NotFoundError(f"model {spec} does not exist.", next_step="Check the path.")
        if path.suffix.lower() in _OTHER_FORMATS:
            pickled = _OTHER_FORMATS[path.suffix.lower()] == "a pickle"
            hint = "Export it as ONNX, or name a Python function that returns it (file.py:function)."
            if pickled:
                hint = (
                    "A pickle runs code when it is opened, so it is not opened here; name a function of yours that "
                    "loads and returns it (file.py:function)."
                )
            raise InvalidInputError(
                f"{path.name} is not an ONNX model: it looks like {_OTHER_FORMATS[path.suffix.lower()]}.",
                next_step=hint,
            )
        return path.absolute()
