"""Trains the network to answer as a larger one does: by its outputs, or by what its inner layers say too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgeloop_foundation.errors import InvalidInputError

from edgeloop.compress.passes.base import Ensures, PassContext
from edgeloop.compress.passes.settings import one_of
from edgeloop.compress.training.base import TrainingPass, TrainingSettings, within
from edgeloop.compress.training.judge import first_output
from edgeloop.compress.training.module import Trainable, build_trainable, load_trainable

__all__ = ["Distill", "Settings", "feature_loss", "response_loss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(TrainingSettings):
    """Settings of the pass.

    Raises:
        InvalidInputError: a value is out of range.
    """

    #: "response": outputs alone. "feature": what inner layers say as well.
    kind: str = "response"
    #: ``file.py:function`` of the larger network, ``(module, example inputs)``; the original model without it.
    teacher: str = ""
    #: The same of a network to start from; the network as it is without it.
    student: str = ""
    #: Softens the teacher's decisions, so that its doubts are learnt too; for whole labels.
    temperature: float = 4.0
    #: Share of the teacher in the loss; the rest is the loss on the labels.
    share: float = 0.7
    #: Weight of the inner layers for "feature".
    feature_weight: float = 1.0
    #: Names of layers, "student=teacher" where they differ; the direct children that both have without it.
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        one_of("distill", "kind", self.kind, ("response", "feature"))
        within("distill", "temperature", self.temperature, 0.1, 100)
        within("distill", "share", self.share, 0, 1)
        within("distill", "feature_weight", self.feature_weight, 0, 1e6)


class Distill(TrainingPass[Settings]):
    """The student's best state on the items held back is kept."""

    name = "distill"
    title = "distillation"
    settings_type = Settings
    ensures = Ensures(approximate=True)

    def _more_specs(self) -> tuple[str, ...]:
        return self.settings.teacher, self.settings.student

    def _transform(self, given: Trainable, context: PassContext, note: Callable[[str], None]) -> Trainable:
        chosen, data = self.settings, self._data(context)
        assert context.original_module is not None  # the runner gives it with every module
        teacher = (
            build_trainable(chosen.teacher) if chosen.teacher else load_trainable(context.original_module)
        )
        student = build_trainable(chosen.student) if chosen.student else given
        judge = self._judge(data.held)
        first = judge.of_net(student.net)
        teacher.net.requires_grad_(False)
        pairs = _pairs(chosen.layers, student.net, teacher.net) if chosen.kind == "feature" else ()
        features = _Features(student, teacher.net, pairs) if pairs else None

        def loss(inputs: tuple[Any, ...], labels: Any) -> Any:
            import torch

            with torch.no_grad():
                said = first_output(teacher.net(*inputs))
            outputs = first_output(student.net(*inputs))
            decides = not labels.dtype.is_floating_point
            value = chosen.share * response_loss(outputs, said, chosen.temperature, decides=decides)
            if chosen.share < 1:
                value = value + (1 - chosen.share) * judge.loss(outputs, labels)
            return value if features is None else value + chosen.feature_weight * features.loss()

        try:
            score = self._trained(
                student, data, context, note, loss=loss, extras=features.bridges if features else None
            )
        finally:
            if features is not None:
                features.close()
        layers = f", {len(pairs)} inner layers" if pairs else ""
        note(
            f"distillation by {chosen.kind}{layers}: score {first:.4f} -> {score:.4f}, the teacher's is "
            f"{judge.of_net(teacher.net):.4f}"
        )
        return replace(student, example=given.example)


def response_loss(outputs: Any, teacher: Any, temperature: float, *, decides: bool = True) -> Any:
    """Return how far outputs are from the teacher's, of one shape both.

    Kullback-Leibler divergence at the temperature, times its square (Hinton et al., 2015), of decisions ``[n, k]``;
    squared error where there are no k > 1 classes, and of numbers that decide nothing, as embeddings do not.
    """
    from torch.nn import functional

    if outputs.shape != teacher.shape:
        raise InvalidInputError(
            f"the student answers with shape {list(outputs.shape)}, the teacher with {list(teacher.shape)}.",
            next_step="Both need the same outputs.",
        )
    if not decides or outputs.dim() != 2 or outputs.shape[1] < 2:
        return functional.mse_loss(outputs, teacher)
    soft = functional.log_softmax(outputs / temperature, dim=1)
    wanted = functional.log_softmax(teacher / temperature, dim=1)
    return functional.kl_div(soft, wanted, reduction="batchmean", log_target=True) * temperature**2


def feature_loss(mine: Any, theirs: Any) -> Any:
    """Return the squared error of inner values of one shape, by the size of the teacher's."""
    from torch.nn import functional

    return functional.mse_loss(mine, theirs) / (theirs.pow(2).mean() + 1e-6)


def _pairs(layers: tuple[str, ...], student: Any, teacher: Any) -> tuple[tuple[str, str], ...]:
    """Return names of layers to compare, student's first.

    Raises:
        InvalidInputError: there is none, or one of them does not exist.
    """
    mine, theirs = dict(student.named_modules()), dict(teacher.named_modules())
    if not layers:
        shared = [n for n, _ in student.named_children() if n in dict(teacher.named_children())]
        layers = tuple(shared[:-1])  # the last one is the answer, which the response covers
    pairs = tuple((left, right or left) for left, _, right in (name.partition("=") for name in layers))
    for names, known, whose in ((0, mine, "student"), (1, theirs, "teacher")):
        for pair in pairs:
            if pair[names] not in known:
                raise InvalidInputError(
                    f"pass 'distill': the {whose} has no layer {pair[names]!r}.",
                    next_step=f"It has {', '.join(n for n in list(known)[1:9])}, ...",
                )
    if not pairs:
        raise InvalidInputError("pass 'distill': student and teacher share no layers; name them in layers.")
    return pairs


class _Features:
    """Inner values of both networks, and a learnt bridge where their channels differ."""

    def __init__(self, student: Trainable, teacher: Any, pairs: tuple[tuple[str, str], ...]) -> None:
        import torch

        self._values: dict[tuple[str, str], Any] = {}
        self._pairs = pairs
        self._hooks = []
        for whose, net, place in (("student", student.net, 0), ("teacher", teacher, 1)):
            known = dict(net.named_modules())
            for name in {pair[place] for pair in pairs}:
                self._hooks.append(known[name].register_forward_hook(self._keeper(whose, name)))
        with torch.no_grad():
            student.net(*student.example)
            teacher(*student.example)
        bridges = {str(i): self._bridge(pair) for i, pair in enumerate(pairs)}
        self.bridges = torch.nn.ModuleDict(bridges)

    def _keeper(self, whose: str, name: str) -> Callable[..., None]:
        def keep(module: Any, inputs: Any, output: Any) -> None:
            self._values[whose, name] = first_output(output)

        return keep

    def _bridge(self, pair: tuple[str, str]) -> Any:
        import torch

        mine, theirs = self._values["student", pair[0]], self._values["teacher", pair[1]]
        if mine.shape == theirs.shape:
            return torch.nn.Identity()
        if mine.shape[2:] != theirs.shape[2:] or mine.dim() != theirs.dim() or mine.dim() not in (2, 3, 4):
            raise InvalidInputError(
                f"pass 'distill': layer {pair[0]!r} gives {list(mine.shape)}, the teacher's {pair[1]!r} "
                f"{list(theirs.shape)}: only their channels may differ."
            )
        kinds: Mapping[int, Any] = {2: torch.nn.Linear, 3: torch.nn.Conv1d, 4: torch.nn.Conv2d}
        sizes = (mine.shape[1], theirs.shape[1])
        return kinds[2](*sizes) if mine.dim() == 2 else kinds[mine.dim()](*sizes, 1)

    def loss(self) -> Any:
        """Return the mean over the pairs, of the batch that went through last."""
        parts = [
            feature_loss(
                self.bridges[str(i)](self._values["student", mine]), self._values["teacher", theirs].detach()
            )
            for i, (mine, theirs) in enumerate(self._pairs)
        ]
        return sum(parts) / len(parts)

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()
