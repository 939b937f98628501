"""Constant folding, dead-code removal and fusion, done once on the host."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InternalError, MissingDependencyError, UnsupportedError

from edgeloop.compress.equivalence import require_equivalence
from edgeloop.compress.graph import (
    external_locations,
    load_model,
    nodes_in,
    opsets_of,
    prune_opset_imports,
    save_model,
)
from edgeloop.compress.passes.base import Ensures, Pass, PassContext
from edgeloop.compress.passes.settings import one_of
from edgeloop.compress.prepare import fix_parameters
from edgeloop.compress.runtime import first_line, open_session, session_options
from edgeloop.domain.model import ModelDescription

__all__ = ["OptimizeGraph", "Settings"]

_TOOLS = ("onnxruntime", "onnxslim", "onnxscript", "transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a word that is not offered.
    """

    #: Library that does it; onnxslim and onnxscript are optional packages. "transformers" is ONNX Runtime's optimiser
    #: for encoders: attention, layer norms and GELU become one operator each, which quantize_dynamic knows; texts that
    #: are filled up must be so at their end.
    tool: str = "onnxruntime"
    #: "basic" stays within the ONNX standard; "extended" fuses into operators of ONNX Runtime. Only for
    #: onnxruntime.
    level: str = "basic"

    def __post_init__(self) -> None:
        one_of("optimize_graph", "tool", self.tool, _TOOLS)
        # "all" is left out: its memory layouts are right for this machine's instruction set alone.
        one_of("optimize_graph", "level", self.level, ("basic", "extended"))


class OptimizeGraph(Pass[Settings]):
    """Folds, removes and fuses; the answers stay the same, which is verified."""

    name = "optimize_graph"
    title = "graph optimisation"
    settings_type = Settings
    ensures = Ensures(domains=frozenset({"com.microsoft"}))

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        tools = {
            "onnxruntime": self._by_onnxruntime,
            "onnxslim": _by_onnxslim,
            "onnxscript": _by_onnxscript,
            "transformers": _by_transformers,
        }
        proto = tools[self.settings.tool](_constant(source, context.work_directory), context.work_directory)
        # The runtime stamps every domain that it knows; an older one on a board would refuse those.
        prune_opset_imports(proto)
        strange = sorted(
            set(dict(opsets_of(proto))) - set(dict(source_model.opsets)) - self.ensures.domains - {""}
        )
        if strange:
            raise InternalError(
                f"graph optimisation brought in {strange[0]!r}, which only this machine may know."
            )
        save_model(proto, target)
        before = sum(1 for _ in nodes_in(load_model(source)))
        note(
            f"graph optimisation ({self.settings.tool}): {before} nodes became "
            f"{sum(1 for _ in nodes_in(proto))}"
        )
        require_equivalence("graph optimisation", source, target, context, source_model, note)

    def _by_onnxruntime(self, source: Path, directory: Path) -> Any:
        options = session_options(self.settings.level, portable=True)
        path = directory / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        open_session(source, options)
        return load_model(path, external=True)


def _constant(source: Path, directory: Path) -> Path:
    """Return the model with its parameters as constants and in its file; the source itself when they are.

    The runtime writes names of external files as they are, and they do not lie beside what it writes.
    """
    plain = load_model(source)
    if not fix_parameters(plain) and not external_locations(plain, source):
        return source
    proto = load_model(source, external=True)
    fix_parameters(proto)
    save_model(proto, directory / "constant.onnx")
    return directory / "constant.onnx"


def _missing(tool: str, package: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"optimize_graph with tool {tool} needs the package {package!r}, which is not installed.",
        next_step=f"Install it: pip install {package}.",
    )


def _by_onnxslim(source: Path, directory: Path) -> Any:
    try:
        import onnxslim
    except ModuleNotFoundError as error:
        raise _missing("onnxslim", "onnxslim") from error
    return onnxslim.slim(load_model(source, external=True))


def _by_onnxscript(source: Path, directory: Path) -> Any:
    try:
        from onnxscript import optimizer
    except ModuleNotFoundError as error:
        raise _missing("onnxscript", "onnxscript") from error
    try:
        return optimizer.optimize(load_model(source, external=True))
    except Exception as error:  # it raises anything on graphs that it does not know
        raise UnsupportedError(f"onnxscript cannot optimise {source.name}: {first_line(error)}") from error


def _by_transformers(source: Path, directory: Path) -> Any:
    """Fuse by patterns of nodes; where no operator is new, nothing was."""
    if importlib.util.find_spec("sympy") is None:
        raise _missing("transformers", "sympy")
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_by_fusion

    options = FusionOptions("bert")
    # It would take the tables of embeddings in, which have passes of their own.
    options.enable_embed_layer_norm = False
    given = load_model(source, external=True)
    before = {node.op_type for node in nodes_in(given)}
    try:
        # Heads and width are read from the graph.
        made = optimize_by_fusion(given, "bert", 0, 0, options).model
    except Exception as error:  # it raises anything on graphs that it does not know
        raise UnsupportedError(
            f"ONNX Runtime's optimiser for encoders fails on {source.name}: {first_line(error)}",
            next_step="Take the tool onnxruntime.",
        ) from error
    if {node.op_type for node in nodes_in(made)} <= before:
        raise UnsupportedError(
            f"{source.name} has no attention, layer norm or GELU in a form that ONNX Runtime's optimiser for encoders "
            "knows.",
            next_step="Take the tool onnxruntime, or write attention as the published code of BERT does.",
        )
    return made
