"""Writes the trained network with the operator set that the board's runtime knows, and ends its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeloop.compress.passes.base import Pass, PassContext
from edgeloop.compress.training.base import HAS_MODULE, within
from edgeloop.compress.training.export import OPSET, export_onnx
from edgeloop.compress.training.module import load_trainable
from edgeloop.domain.model import ModelDescription

__all__ = ["ExportModule", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: an operator set that is not written.
    """

    #: Standard operator set, 18 to 21.
    opset: int = OPSET

    def __post_init__(self) -> None:
        within("export_module", "opset", self.opset, 18, 21)


class ExportModule(Pass[Settings]):
    """Passes that train already write ONNX with operator set 20; this one is for another set."""

    name = "export_module"
    title = "export"
    settings_type = Settings
    requires = (HAS_MODULE,)

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        assert context.module is not None  # a requirement
        export_onnx(load_trainable(context.module), target, self.settings.opset)
        note(f"exported with operator set {self.settings.opset}")
