"""A session inside a program on the board: the same slot, no wire, no copies on the way in.

``with open_session(STATE, "NAME") as session: session.run({"x": x})``
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from edgeloop_foundation.errors import InternalError, InvalidInputError, StateError
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_protocol.types.serving import ServingSpec

from edgeloop_agent.serving.model import LoadedSlot, ServedModel, load_slot, warm
from edgeloop_agent.serving.tensors import Array, check_claim, datatype_of
from edgeloop_agent.serving.versions import Versions
from edgeloop_agent.slots import SlotFiles

__all__ = ["Session", "open_session"]

_SHAPES_KEPT = 16


class _Unbound:
    """A version on any runtime: each run makes its outputs."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one inference."""
        for name, spec in self.model.inputs.items():
            check_claim(spec, datatype_of(feeds[name].dtype.name), feeds[name].shape)
        return dict(zip(self.model.output_names, self.model.run(feeds), strict=True))


class _Bound(_Unbound):
    """A version on ONNX Runtime: inputs are read where they lie, outputs written into arrays that are kept.

    Which shapes the outputs have is learned from the first run of each combination of inputs' shapes. A model whose
    outputs have other free axes than that of the rows is run without, as the shapes may depend on the values.
    """

    def __init__(self, model: ServedModel, session: Any) -> None:
        super().__init__(model)
        self._session = session
        self._kept: dict[tuple[tuple[int, ...], ...], tuple[Any, dict[str, Array]]] = {}
        self._dtypes = {name: np.dtype(spec.dtype) for name, spec in model.inputs.items()}
        self._names = tuple(model.inputs)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one inference."""
        arrays = []
        for name, dtype in self._dtypes.items():
            array = feeds[name]
            if array.dtype != dtype or not array.flags.c_contiguous:
                raise InvalidInputError(f"input {name!r} is a C-contiguous array of {dtype}.")
            arrays.append(array)
        shapes = tuple([array.shape for array in arrays])
        known = self._kept.get(shapes)
        if known is None:
            return self._first(feeds, shapes)
        binding, outputs = known
        for name, array in zip(self._names, arrays, strict=True):
            binding.bind_input(name, array)
        self._session.run_with_iobinding(binding, None)
        return outputs

    def _first(self, feeds: Mapping[str, Array], shapes: tuple[tuple[int, ...], ...]) -> dict[str, Array]:
        """Run without kept outputs, and keep arrays of their shapes for the next run."""
        from onnxruntime.capi.onnxruntime_pybind11_state import OrtDevice, SessionIOBinding

        outputs = super().run(feeds)
        if len(self._kept) < _SHAPES_KEPT:
            binding = SessionIOBinding(self._session)
            kept = {name: np.empty_like(array) for name, array in outputs.items()}
            device = OrtDevice(OrtDevice.cpu(), OrtDevice.default_memory(), 0)
            for name, array in kept.items():
                binding.bind_output(name, device, array.dtype, array.shape, array.ctypes.data)
            self._kept[shapes] = (binding, kept)
        return outputs


def _open(version: LoadedSlot, spec: ServingSpec) -> _Unbound:
    model = warm(version, spec)
    session = getattr(version.loaded, "session", None)
    on_processor = version.loaded.providers == ("CPUExecutionProvider",)
    fixed = all(-1 not in output.shape[1:] for output in version.artifact.outputs)
    if session is None or not on_processor or not fixed:
        return _Unbound(model)
    return _Bound(model, session._sess)


class Session:
    """A deployment inside a program; for one thread at a time.

    It follows the deployment's pointer: a new version is loaded and warmed on a thread of its own, and answers from
    the first run after that.
    """

    def __init__(self, versions: Versions[_Unbound]) -> None:
        self._versions = versions

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one inference and return the outputs by name.

        The arrays that come back are written anew by a later run with inputs of the same shapes: copy what is to be
        kept.

        Args:
            feeds: C-contiguous arrays of the model's element types and shapes, all inputs by name.

        Raises:
            InvalidInputError: an array is missing, or of another type, shape or layout.
            StateError: the deployment has no version any more.
            InternalError: the runtime failed.
        """
        version = self._versions.current
        if version is None:
            raise StateError("the deployment has no version.", next_step="Deploy one.")
        try:
            return version.run(feeds)
        except KeyError as error:
            raise InvalidInputError(f"the input {error} is missing.") from error
        except (InvalidInputError, InternalError):
            raise
        except Exception as error:
            raise InternalError(f"the runtime failed: {error}") from error

    @property
    def version(self) -> str:
        """Counter of the release that answers the next run; empty when there is none."""
        version = self._versions.current
        return "" if version is None else version.model.version

    @property
    def refused(self) -> str:
        """Why the version that the pointer names is not the one that answers; empty when it is."""
        return self._versions.refused

    def close(self) -> None:
        """Follow the pointer no more and let go of the model."""
        self._versions.stop()
        self._versions.current = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_session(state: Path, name: str, *, threads: int = 1) -> Session:
    """Open what a deployment serves, inside this program.

    Args:
        state: the agent's state directory; only its owner can read it.
        name: of the deployment.
        threads: of the runtime.

    Raises:
        StateError: the deployment has no version, or the one that it has does not open.
    """
    files = SlotFiles(OsFileSystem(), Path(state) / "deployments")
    spec = ServingSpec(name=name, batch_max=1, threads=threads)
    versions: Versions[_Unbound] = Versions(
        files, name, lambda slot: _open(load_slot(files, name, slot, threads), spec), lambda: None
    )
    versions.look()
    if versions.current is None:
        raise StateError(
            f"deployment {name!r} cannot be opened: {versions.refused or 'it has no version'}.",
            next_step="Deploy it first.",
        )
    versions.start()
    return Session(versions)
