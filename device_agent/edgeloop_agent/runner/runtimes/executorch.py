"""ExecuTorch: PyTorch's runtime for devices, through its Python bindings (which bring PyTorch along).

A ``.pte`` file has inputs and outputs by position alone, so the artifact's manifest gives them their names. Which
backend computes what was decided when the file was made; it can be checked here and not changed.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.facts import RuntimeFacts
from edgeloop_protocol.types.outcome import FailureKind, Outcome, Placement
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.runtime_settings import (
    out_of_memory,
    pin,
    refuse,
    require_plain,
    unsupported,
)
from edgeloop_agent.runner.runtimes.base import Arrays, Execute, LoadedModel, Runtime

__all__ = ["ExecuTorch", "backends_in", "error_name"]

_METHOD = "forward"
_PORTABLE = "portable"
_CODE = re.compile(r"0x:?([0-9a-fA-F]+)")
_ERRORS = {
    0x01: "Internal",
    0x02: "InvalidState",
    0x10: "NotSupported",
    0x11: "NotImplemented",
    0x12: "InvalidArgument",
    0x13: "InvalidType",
    0x14: "OperatorMissing",
    0x20: "NotFound",
    0x21: "MemoryAllocationFailed",
    0x22: "AccessFailed",
    0x23: "InvalidProgram",
    0x24: "InvalidExternalData",
    0x25: "OutOfResources",
    0x30: "DelegateInvalidCompatibility",
    0x31: "DelegateMemoryAllocationFailed",
    0x32: "DelegateInvalidHandle",
}
"""Codes of ``executorch/runtime/core/error.h``; the bindings give the number alone."""

_MEMORY = frozenset({"MemoryAllocationFailed", "DelegateMemoryAllocationFailed", "OutOfResources"})
_MISSING = frozenset({"OperatorMissing", "NotSupported", "NotImplemented", "DelegateInvalidCompatibility"})


class ExecuTorch(Runtime):
    """The ``executorch`` package."""

    name: ClassVar[str] = "executorch"
    formats: ClassVar[tuple[str, ...]] = ("pte",)
    distributions: ClassVar[tuple[str, ...]] = ("executorch",)

    def prepare(self) -> str:
        """Import the package."""
        _module()
        return f"{self.name} {self.installed()}"

    def _facts(self) -> RuntimeFacts:
        if not self.installed():
            return RuntimeFacts(name=self.name, reason="the package executorch is not installed")
        registry = _module().Runtime.get().backend_registry
        usable = tuple(name for name in registry.registered_backend_names if registry.is_available(name))
        version = self.installed()
        return RuntimeFacts(name=self.name, version=version, providers=(*usable, _PORTABLE))

    def _load(
        self, directory: Path, artifact: Artifact, settings: RuntimeSettings, profile: Path | None
    ) -> LoadedModel:
        module = _module()
        version = self.prepare()
        require_plain(settings, version)
        pin(settings.affinity)
        _set_threads(settings.intra_op_threads, version)
        runtime = module.Runtime.get()
        path = directory / artifact.model_file
        try:
            program = runtime.load_program(str(path))
            found = backends_in(path, runtime.backend_registry.registered_backend_names)
            providers = (*found, _PORTABLE)
            if settings.providers and settings.providers != providers[: len(settings.providers)]:
                raise refuse(
                    f"the backends of a .pte file are chosen when it is made: this one has {', '.join(providers)}, "
                    f"not {', '.join(settings.providers)}."
                )
            if _METHOD not in program.method_names:
                raise unsupported(
                    f"the program has the methods {', '.join(program.method_names)}, not {_METHOD}."
                )
            return ExecuTorchModel(program, artifact, providers, version)
        except RunnerFailure:
            raise
        except Exception as error:
            raise _explain(error, version, loading=True) from error


class ExecuTorchModel(LoadedModel):
    """The method ``forward`` of a program."""

    def __init__(self, program: Any, artifact: Artifact, providers: tuple[str, ...], version: str) -> None:
        # The method reads from the program's memory for as long as it lives.
        self._program = program
        self._method = program.load_method(_METHOD)
        metadata = self._method.metadata
        self._inputs = tuple(spec.name for spec in artifact.inputs)
        self.output_names = tuple(spec.name for spec in artifact.outputs)
        self.providers = providers
        self._version = version
        for names, count, what in (
            (self._inputs, metadata.num_inputs(), "inputs"),
            (self.output_names, metadata.num_outputs(), "outputs"),
        ):
            if len(names) != count:
                raise RunnerFailure(
                    Outcome.USER_ERROR,
                    FailureKind.CORRUPT_ARTIFACT,
                    f"the program has {count} {what}, the manifest names {len(names)}: {', '.join(names) or 'none'}.",
                )

    def executor(self) -> Execute:
        """Return one execution: tensors share the inputs' memory, outputs have their own."""
        import torch

        method, inputs, share = self._method, self._inputs, torch.from_numpy

        def execute(feed: Arrays) -> Sequence[Any]:
            return [output.numpy() for output in method.execute([share(feed[name]) for name in inputs])]

        return execute

    def explain(self, error: Exception) -> RunnerFailure:
        """Read ExecuTorch's message."""
        if isinstance(error, KeyError):
            return RunnerFailure(
                Outcome.USER_ERROR,
                FailureKind.INFERENCE_FAILED,
                f"the model has the inputs {', '.join(self._inputs)}; nothing is given for {error}.",
            )
        return _explain(error, self._version, loading=False)

    def placement(self, first_run: int) -> Placement:
        """Return why there is none: the released bindings are built without event tracing."""
        return Placement(reason=f"{self._version} tells Python neither operators nor their times")


def backends_in(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return the backends that a program's delegates name, sorted; a delegate carries its backend's name."""
    if path.stat().st_size == 0:
        return ()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        # A FlatBuffers string: its length before it, a zero after it.
        return tuple(
            name
            for name in sorted(names)
            if content.find(len(name).to_bytes(4, "little") + name.encode() + b"\0") >= 0
        )


def error_name(text: str) -> str:
    """Return the name of the error code in a message; empty without one that is known."""
    found = _CODE.search(text)
    return _ERRORS.get(int(found[1], 16), "") if found else ""


def _module() -> Any:
    try:
        from executorch import runtime
    except ImportError as error:
        if "failed to map segment" in str(error):
            raise out_of_memory("importing executorch", error) from error
        raise refuse(f"executorch cannot be imported: {error}") from error
    return runtime


def _set_threads(count: int, version: str) -> None:
    """Give the thread pool that XNNPACK and the kernels share its size; it is read back."""
    from executorch.extension.pybindings import portable_lib

    try:
        portable_lib._unsafe_reset_threadpool(count)
        found = portable_lib._threadpool_get_thread_count()
    except AttributeError as error:
        raise refuse(f"{version} cannot be given a number of threads from Python.") from error
    if found != count:
        raise refuse(f"{version} takes {found} threads here, not {count}.")


def _explain(error: Exception, version: str, *, loading: bool) -> RunnerFailure:
    text = " ".join(str(error).split())[:300]
    name = error_name(text)
    doing = "loading the model" if loading else "running the model"
    if isinstance(error, MemoryError) or name in _MEMORY:
        return out_of_memory(doing, error)
    told = f"{text} ({name})" if name else text
    if name in _MISSING:
        return unsupported(f"{version} does not run this model: {told}")
    kind = FailureKind.LOAD_FAILED if loading else FailureKind.INFERENCE_FAILED
    verb = "load" if loading else "run"
    return RunnerFailure(Outcome.USER_ERROR, kind, f"{version} cannot {verb} the model: {told}")
