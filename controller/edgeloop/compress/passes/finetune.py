"""Trains the network further as it is, with the user's data and loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeloop.compress.passes.base import Ensures, PassContext
from edgeloop.compress.training.base import TrainingPass, TrainingSettings
from edgeloop.compress.training.module import Trainable

__all__ = ["Finetune", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(TrainingSettings):
    """Settings of the pass: those that every training pass takes."""


class Finetune(TrainingPass[Settings]):
    """The state with the best score on the items held back is kept, the one before included."""

    name = "finetune"
    title = "fine-tuning"
    settings_type = Settings
    ensures = Ensures(approximate=True)

    def _transform(self, given: Trainable, context: PassContext, note: Callable[[str], None]) -> Trainable:
        data = self._data(context)
        before = self._judge(data.held).of_net(given.net)
        after = self._trained(given, data, context, note)
        note(f"fine-tuning: score {before:.4f} -> {after:.4f} on {len(data.held.labels)} items held back")
        return given
