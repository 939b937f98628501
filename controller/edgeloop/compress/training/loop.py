"""The one training loop: an epoch at a time, each a checkpoint, within limits, the best state kept."""

from __future__ import annotations

import contextlib
import math
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from edgeloop_foundation.errors import InternalError, InvalidInputError

from edgeloop.compress.training.data import TrainingData, batch_errors

__all__ = ["Plan", "Task", "fit", "resident_bytes", "torch_threads"]

_CHECKPOINT = "epoch.pt"
_WARM_UP_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast."""

    epochs: int
    learning_rate: float
    optimizer: str = "sgd"
    #: Epochs without a better score after which it stops; 0 for never.
    patience: int = 0
    limit_s: float = math.inf
    memory_limit_bytes: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """What is trained, and on what."""

    net: Any
    data: TrainingData
    #: ``(input tensors, labels) -> tensor``; the loss of one batch.
    loss: Callable[[tuple[Any, ...], Any], Any]
    #: Score of the network as it is; more is better.
    score: Callable[[], float]
    #: Name of the data, for people.
    spec: str
    #: Further modules that learn along.
    extras: Any = None
    #: Called after every step.
    after_step: Callable[[], None] = field(default=lambda: None)
    #: Called with the number of the epoch, from 0, before it.
    before_epoch: Callable[[int], None] = field(default=lambda epoch: None)
    #: Switches between training and evaluation.
    mode: Callable[[bool], None]
    #: First epoch after which a state may be the best one; before it the network is another one still.
    best_from: int = 0


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads inside the block; 0 leaves it as it is."""
    import torch

    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resident_bytes() -> int:
    """Return the memory that this process holds; its peak where the system does not tell the present one."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def fit(task: Task, plan: Plan, checkpoint: Path | None, note: Callable[[str], None]) -> float:
    """Train and leave the network in its best state; return that state's score.

    Args:
        task: Network, data, loss.
        plan: Epochs, rate, limits.
        checkpoint: Directory in which every finished epoch is kept, and from which an interrupted run goes on.
        note: Takes notes for people.

    Raises:
        InternalError: the loss is no number any more, or more memory is needed than is allowed.
        InvalidInputError: the data do not go through the network.
    """
    run = _Run(task, plan, checkpoint)
    run.resume(note)
    end = monotonic() + plan.limit_s
    while run.epoch < plan.epochs:
        task.before_epoch(run.epoch)
        if not run.one_epoch(end):
            note(f"the time limit ended the training in epoch {run.epoch + 1} of {plan.epochs}")
            run.judge()  # what a part of an epoch brought is worth having too
            break
        run.judge()
        if plan.patience and run.stale >= plan.patience:
            note(f"stopped after epoch {run.epoch} of {plan.epochs}: no better for {run.stale}")
            break
    run.finish()
    return run.best_score


class _Run:
    """State of one training."""

    def __init__(self, task: Task, plan: Plan, checkpoint: Path | None) -> None:
        import torch

        self.task, self.plan, self.checkpoint = task, plan, checkpoint
        learnt = [p for p in task.net.parameters() if p.requires_grad]
        learnt += list(task.extras.parameters()) if task.extras is not None else []
        if plan.optimizer == "adam":
            self.optimizer: Any = torch.optim.AdamW(learnt, plan.learning_rate)
        else:
            self.optimizer = torch.optim.SGD(
                learnt, plan.learning_rate, momentum=0.9, nesterov=True, weight_decay=1e-4
            )
        self.epoch = self.step = self.stale = 0
        #: Whether the last epoch was not broken off.
        self.whole = False
        self.best_score, self.best = -math.inf, self._state()
        if task.best_from == 0:
            task.mode(False)
            self.best_score = task.score()

    def _state(self) -> dict[str, Any]:
        return {name: value.detach().clone() for name, value in self.task.net.state_dict().items()}

    def one_epoch(self, end: float) -> bool:
        """Learn from every batch once; return False when the time is over."""
        self.task.mode(True)
        self.whole = started = False
        for inputs, labels in self.task.data.batches:
            started = True
            if monotonic() > end:
                return False
            self._step(inputs, labels)
        if not started:
            raise InvalidInputError(
                f"{self.task.spec} gave no batch in epoch {self.epoch + 1}.",
                next_step="It returns an object that can be iterated again and again, not a generator.",
            )
        self.epoch += 1
        self.whole = True
        return True

    def _step(self, inputs: tuple[Any, ...], labels: Any) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.zero_grad()
        with batch_errors(self.task.spec, inputs):
            loss = self.task.loss(inputs, labels)
        if not math.isfinite(float(loss.detach())):
            raise InternalError(
                f"the loss was no number any more in epoch {self.epoch + 1}; a lower learning_rate may help"
            )
        loss.backward()
        self.optimizer.step()
        self.task.after_step()
        self.step += 1
        held = resident_bytes()
        if held > self.plan.memory_limit_bytes:
            raise InternalError(
                f"it held {held / 1e9:.2f} GB of memory, more than the allowed "
                f"{self.plan.memory_limit_bytes / 1e9:.2f}; smaller batches take less"
            )

    def _rate(self) -> float:
        """Return the learning rate of this step: a short warm-up, then half a cosine to zero."""
        length = self.task.data.length
        done = self.step / (length * self.plan.epochs) if length else self.epoch / self.plan.epochs
        falling = 0.5 + 0.5 * math.cos(math.pi * min(done, 1.0))
        return self.plan.learning_rate * min(1.0, (self.step + 1) / _WARM_UP_STEPS) * falling

    def judge(self) -> None:
        """Score the epoch, keep it when it is the best, and write the checkpoint."""
        self.task.mode(False)
        score = self.task.score() if self.epoch >= self.task.best_from else -math.inf
        if score > self.best_score:
            self.best_score, self.best, self.stale = score, self._state(), 0
        elif self.epoch >= self.task.best_from:
            self.stale += 1
        if self.whole:
            self._keep()

    def _keep(self) -> None:
        import torch

        if self.checkpoint is None:
            return
        self.checkpoint.mkdir(parents=True, exist_ok=True)
        extras = self.task.extras.state_dict() if self.task.extras is not None else {}
        kept = {"net": self.task.net.state_dict(), "extras": extras, "optimizer": self.optimizer.state_dict()}
        counts = {"epoch": self.epoch, "step": self.step, "stale": self.stale, "score": self.best_score}
        unfinished = self.checkpoint / "unfinished.pt"
        torch.save({**kept, "best": self.best, "counts": counts}, unfinished)
        unfinished.replace(self.checkpoint / _CHECKPOINT)

    def resume(self, note: Callable[[str], None]) -> None:
        """Go on where an interrupted run stopped, if there is one."""
        import torch

        path = self.checkpoint / _CHECKPOINT if self.checkpoint is not None else None
        if path is None or not path.is_file():
            return
        try:
            kept = torch.load(path, weights_only=True)
            self.task.net.load_state_dict(kept["net"])
            if self.task.extras is not None:
                self.task.extras.load_state_dict(kept["extras"])
            self.optimizer.load_state_dict(kept["optimizer"])
        except Exception as error:  # a checkpoint that cannot be read is worth no more than none
            note(f"the checkpoint of an interrupted run was left aside: {type(error).__name__}")
            return
        counts = kept["counts"]
        self.epoch, self.step, self.stale = counts["epoch"], counts["step"], counts["stale"]
        self.best, self.best_score = kept["best"], counts["score"]
        if hasattr(self.task.data.batches, "turn"):
            self.task.data.batches.turn = self.epoch
        note(f"went on after epoch {self.epoch}, where an interrupted run had stopped")

    def finish(self) -> None:
        """Leave the network in its best state."""
        if self.best_score == -math.inf:  # the time was over before any state could be judged
            self.task.mode(False)
            self.best_score = self.task.score()
        else:
            self.task.net.load_state_dict(self.best)
            self.task.mode(False)
