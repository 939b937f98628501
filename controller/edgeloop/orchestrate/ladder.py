"""Climbs a ladder: stage on stage, each judged before the next stands on it, the last good one never lost.

Every stage and every candidate is kept under the digest of all that decides it, so that a climb that was interrupted,
or is repeated with another budget, goes on from what was built.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError
from edgeloop_protocol.types.artifact import StateBinding

from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.experiment import Listener
from edgeloop.domain.ladder import Climb, Ladder, Rung, Stage, Step, unfit
from edgeloop.domain.recipe import ORIGINAL, Recipe
from edgeloop.orchestrate.candidates import build_candidates, evaluate_model, model_path
from edgeloop.orchestrate.prepare import Prepared, prepare
from edgeloop.orchestrate.workers import in_worker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeloop.app import App

    Outputs = Mapping[str, NDArray[np.generic]]

__all__ = ["ClimbRequest", "climb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClimbRequest:
    """What to climb and what must be kept.

    Raises:
        InvalidInputError: a share or a time out of range, or no data.
    """

    model: str
    data: str
    ladder: Ladder
    #: Least share of the original's quality to keep, at the lower end of the 95 % interval.
    keep: float = 0.99
    #: No rung is begun after so many seconds; None for no limit.
    limit_s: float | None = None
    state: tuple[StateBinding, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.keep <= 1.0:
            raise InvalidInputError(
                f"the share of quality to keep is above 0 and at most 1, not {self.keep:g}."
            )
        if self.limit_s is not None and self.limit_s <= 0:
            raise InvalidInputError(f"the time limit is above 0 s, not {self.limit_s:g} s.")
        if not self.data:
            raise InvalidInputError(
                "a ladder is climbed on labelled data, and none was given.",
                next_step="Give it with --data; without labels build recipes with edgeloop compress.",
            )


class _Climber:
    """One climb: the model, the original's answers, and the last good candidate."""

    def __init__(self, app: App, request: ClimbRequest, prepared: Prepared, listener: Listener) -> None:
        self._app, self._request = app, request
        self._prepared, self._listener = prepared, listener
        self._baseline: Outputs | None = None
        self._began = time.monotonic()
        self.good: Candidate | None = None
        self.steps: list[Step] = []

    async def begin(self) -> Candidate:
        """Build and judge the original."""
        self.good = await self._judged(await self._built(ORIGINAL))
        return self.good

    async def try_stage(self, stage: Stage, good: Candidate) -> tuple[Candidate, str]:
        """Try the rungs of a stage in turn; return the last good candidate, and why the climb must end."""
        for rung in stage.rungs:
            if self._over():
                return good, f"the time limit of {self._request.limit_s:g} s was over before {rung.label!r}"
            candidate, reason = await self._try(rung, good)
            self.steps.append(
                Step(
                    stage=stage.name,
                    rung=rung.label,
                    candidate=candidate,
                    taken=not reason,
                    reason=reason,
                )
            )
            self._listener.note(
                f"{stage.name}: {rung.label}: {f'rolled back: {reason}' if reason else 'taken'}"
            )
            if not reason:
                return candidate, ""
        return good, ""

    async def _try(self, rung: Rung, good: Candidate) -> tuple[Candidate, str]:
        candidate = await self._built(rung.on(good.recipe))
        if candidate.state is CandidateState.BUILT:
            try:
                candidate = await self._judged(candidate)
            except EdgeloopError as error:
                return candidate, f"it cannot be judged on the host: {error}"
        return candidate, unfit(candidate, good, self._request.keep)

    def _over(self) -> bool:
        limit = self._request.limit_s
        return limit is not None and time.monotonic() - self._began > limit

    async def _built(self, recipe: Recipe) -> Candidate:
        (candidate,) = await build_candidates(
            self._app, self._prepared, (recipe,), self._request.seed, self._listener
        )
        return candidate

    async def _judged(self, candidate: Candidate) -> Candidate:
        data = self._prepared.evaluation
        if data is None:
            raise InvalidInputError(
                f"{self._request.data} has no labels, so that no stage can be judged.",
                next_step="Give labelled data, or build recipes with edgeloop compress.",
            )
        path = model_path(self._app, candidate)
        outputs, quality = await in_worker(
            self._app, candidate.label, evaluate_model, path, data, self._baseline, self._request.seed
        )
        self._baseline = outputs if self._baseline is None else self._baseline
        return replace(candidate, quality=quality)


async def climb(app: App, request: ClimbRequest, listener: Listener) -> Climb:
    """Climb a ladder.

    Raises:
        InvalidInputError: the model or the data cannot be used, or the data has no labels.
    """
    listener.phase("Model and data")
    prepared = await asyncio.to_thread(
        prepare, app, request.model, request.data, request.state, request.seed, listener
    )
    climber = _Climber(app, request, prepared, listener)
    good = await climber.begin()
    stopped = ""
    for stage in request.ladder.stages:
        listener.phase(f"Stage {stage.name}")
        good, stopped = await climber.try_stage(stage, good)
        if stopped:
            break
    return Climb(
        ladder=request.ladder.name,
        keep=request.keep,
        steps=tuple(climber.steps),
        chosen=good,
        stopped=stopped,
    )
