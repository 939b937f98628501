"""What passes on a trainable form share: it is loaded, changed, exported and kept for the next pass."""

from __future__ import annotations

import hashlib
import json
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from edgeloop_foundation.errors import InvalidInputError

from edgeloop.compress.functions import code_digest
from edgeloop.compress.passes.base import Condition, Pass, PassContext
from edgeloop.compress.passes.settings import one_of
from edgeloop.compress.training.data import TrainingData, load_held, load_training_data
from edgeloop.compress.training.export import export_onnx, name_outputs
from edgeloop.compress.training.judge import Judge, first_output, load_loss
from edgeloop.compress.training.loop import Plan, Task, fit, torch_threads
from edgeloop.compress.training.module import Trainable, load_trainable, module_beside, save_trainable
from edgeloop.domain.model import ModelDescription

__all__ = ["HAS_DATA", "HAS_MODULE", "ModulePass", "TrainingPass", "TrainingSettings", "plain_loss", "within"]

S = TypeVar("S")
T = TypeVar("T", bound="TrainingSettings")


def _no_module(model: ModelDescription, settings: Any, context: PassContext) -> str:
    if context.module is not None:
        return ""
    return "there is no torch module to train (it did not come as one, or an earlier pass left it behind)"


def _no_data(model: ModelDescription, settings: Any, context: PassContext) -> str:
    if settings.train:
        return ""
    return "no training data was named"


HAS_MODULE = Condition(
    text="the model came as a torch module",
    broken_because=_no_module,
    advice="Name a function that returns (module, example inputs) as the model.",
)
HAS_DATA = Condition(
    text="training data is named",
    broken_because=_no_data,
    advice="Give --train file.py:function, or the setting train.",
)


def within(pass_name: str, name: str, value: float, low: float, high: float) -> None:
    """Check a setting's range.

    Raises:
        InvalidInputError: it is out of it.
    """
    if not (low <= value <= high):
        raise InvalidInputError(f"pass {pass_name!r}: {name} is {low:g} to {high:g}, not {value:g}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """What every training pass takes.

    Raises:
        InvalidInputError: a value is out of range.
    """

    #: ``file.py:function`` that returns (inputs, labels), or batches of them each time it is iterated.
    train: str = ""
    #: The same for the items that stages are judged by; without it a tenth of the training arrays is held back.
    validate: str = ""
    #: ``file.py:function`` of (outputs, labels); cross entropy for whole labels, else squared error.
    loss: str = ""
    epochs: int = 3
    learning_rate: float = 0.02
    #: "sgd" (Nesterov momentum 0.9) or "adam" (AdamW); the rate falls along half a cosine.
    optimizer: str = "sgd"
    batch_size: int = 128
    #: Epochs without a better score after which it stops; 0 for never.
    patience: int = 0
    #: Least share of the original's score that this stage and every later one must keep; 0 for no check.
    keep: float = 0.0
    #: Threads of torch; 0 for its own choice.
    threads: int = 0
    #: Time limit; the best state so far is taken.
    max_minutes: float = 60.0
    #: Memory limit of the process, above which the stage is given up; 0 for none but the host's.
    max_memory_gb: float = 0.0

    def __post_init__(self) -> None:
        one_of("training", "optimizer", self.optimizer, ("sgd", "adam"))
        within("training", "epochs", self.epochs, 1, 10_000)
        within("training", "learning_rate", self.learning_rate, 1e-9, 100)
        within("training", "batch_size", self.batch_size, 2, 65536)
        within("training", "patience", self.patience, 0, 10_000)
        within("training", "keep", self.keep, 0, 1)
        within("training", "threads", self.threads, 0, 1024)
        within("training", "max_minutes", self.max_minutes, 0.001, 10_000)
        within("training", "max_memory_gb", self.max_memory_gb, 0, 1e6)

    @property
    def plan(self) -> Plan:
        """How long and how fast."""
        return Plan(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            patience=self.patience,
            limit_s=60 * self.max_minutes,
            memory_limit_bytes=1e9 * self.max_memory_gb if self.max_memory_gb else math.inf,
        )


class ModulePass(Pass[S]):
    """A pass whose input and output have a trainable form beside the ONNX file."""

    requires: ClassVar[tuple[Condition, ...]] = (HAS_MODULE,)

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        import torch

        assert context.module is not None  # a requirement
        with torch.random.fork_rng(devices=[]), torch_threads(getattr(self.settings, "threads", 0)):
            torch.manual_seed(context.seed)
            made = self._transform(load_trainable(context.module), context, note)
            self._write(made, target)
        # The exporter names outputs after the operator that they come from, and another network ends in another one.
        name_outputs(target, [output.name for output in source_model.outputs])

    def _write(self, made: Trainable, target: Path) -> None:
        """Write the ONNX file, and the trainable form beside it."""
        made.net.eval()
        export_onnx(made, target)
        save_trainable(made, module_beside(target))

    @abstractmethod
    def _transform(self, given: Trainable, context: PassContext, note: Callable[[str], None]) -> Trainable:
        """Return the changed form; ``given`` may be changed in place."""


class TrainingPass(ModulePass[T]):
    """A pass that learns from the user's data."""

    requires: ClassVar[tuple[Condition, ...]] = (HAS_MODULE, HAS_DATA)

    def fingerprint(self) -> str:
        """Return a digest of the user's functions, whose text decides the outcome as settings do."""
        specs = [self.settings.train, self.settings.validate, self.settings.loss, *self._more_specs()]
        parts = [code_digest(spec) for spec in specs if spec]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _more_specs(self) -> tuple[str, ...]:
        return ()

    def expected_limit_s(self) -> float:
        """Return the time limit of the settings, in seconds."""
        return 60 * self.settings.max_minutes

    def judge_of(self, context: PassContext) -> tuple[Callable[[Path], float], float] | None:
        """Return what scores an ONNX file and the least share of the original's score; None for no check."""
        if not self.settings.keep or not self.settings.train:
            return None
        judge = self._judge(load_held(self.settings.train, self.settings.validate, context.seed))
        return judge.of_file, self.settings.keep

    def _judge(self, held: Any) -> Judge:
        return Judge(held=held, loss=load_loss(self.settings.loss), own_loss=bool(self.settings.loss))

    def _data(self, context: PassContext) -> TrainingData:
        chosen = self.settings
        return load_training_data(chosen.train, chosen.validate, chosen.batch_size, context.seed)

    def _trained(
        self,
        given: Trainable,
        data: TrainingData,
        context: PassContext,
        note: Callable[[str], None],
        *,
        loss: Callable[[tuple[Any, ...], Any], Any] | None = None,
        **more: Any,
    ) -> float:
        """Train in place, zeros of sparse parameters staying zero; return the best state's score."""
        judge, net = self._judge(data.held), given.net
        task = Task(
            net=net,
            data=data,
            loss=loss or plain_loss(net, judge),
            score=lambda: judge.of_net(net),
            spec=self.settings.train,
            **{"mode": net.train, "after_step": zeros_kept(net, given.sparse), **more},
        )
        return fit(task, self.settings.plan, context.checkpoint_directory, note)


def plain_loss(net: Any, judge: Judge) -> Callable[[tuple[Any, ...], Any], Any]:
    """Return the loss of a batch under the judge's own measure."""
    return lambda inputs, labels: judge.loss(first_output(net(*inputs)), labels)


def zeros_kept(net: Any, names: tuple[str, ...]) -> Callable[[], None]:
    """Return what puts the present zeros of the named parameters back."""
    import torch

    known = dict(net.named_parameters())
    masks = [(known[name], known[name].detach() != 0) for name in names if name in known]

    def put_back() -> None:
        with torch.no_grad():
            for parameter, mask in masks:
                parameter.mul_(mask)

    return put_back
