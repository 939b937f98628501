"""The rest of a board before each job: so long idle, or so cool, in the board's own time, whoever submits the job.

The rule is the device's, set by a person and kept over restarts; a client can neither skip nor shorten it, and each run
says how the board rested. What was before the agent started is unknown, and counts as work.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError, UnsupportedError
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory, write_durably
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.conditions import Rest
from edgeloop_protocol.types.lease import CoolDown

from edgeloop_agent.execution import Progress, StopSignal
from edgeloop_agent.fitness.vitals import temperature_of
from edgeloop_agent.sealed import seal, unseal_object

if TYPE_CHECKING:
    from edgeloop_agent.board import Board

__all__ = ["Rests"]

_LOOK_S = 1.0
_TOLD_S = 5.0

_log = logging.getLogger(__name__)


class Rests:
    """The rests of one board; every method runs on the one loop, but for ``open``, which blocks."""

    def __init__(self, *, fs: FileSystem, root: Path, board: Board) -> None:
        self._fs = fs
        self._path = root / "cool_down.json"
        self._board = board
        self._idle_since_ns = board.clock.monotonic_ns()
        self._rule: CoolDown | None = None

    @property
    def rule(self) -> CoolDown | None:
        """How the board rests; None when it does not."""
        return self._rule

    def open(self) -> None:
        """Read the rule from the disk; a spoiled one is set aside, and the log says so."""
        make_durable_directory(self._fs, self._path.parent)
        if not self._fs.exists(self._path):
            return
        try:
            self._rule = from_json(unseal_object(self._fs.read(self._path)), CoolDown)
        except (CorruptDataError, InvalidInputError) as error:
            _log.error("%s is set aside, this board does not rest: %s", self._path, error)
            self._fs.rename(self._path, self._path.with_suffix(".corrupt"))

    async def set_rule(self, rule: CoolDown | None) -> None:
        """Let the board rest so before each job from now on, also after a restart.

        Raises:
            UnsupportedError: it is to cool down, and shows no temperature.
        """
        if rule is not None and rule.below_celsius is not None and await self._hottest() is None:
            raise UnsupportedError(
                "this board shows no temperature to wait for.", next_step="Let it rest by time: --idle 60s."
            )
        await asyncio.to_thread(self._keep, rule)
        self._rule = rule

    def _keep(self, rule: CoolDown | None) -> None:
        if rule is not None:
            write_durably(self._fs, self._path, seal(json.dumps(to_json(rule)).encode()))
        elif self._fs.exists(self._path):
            self._fs.remove(self._path)
            self._fs.sync_directory(self._path.parent)

    def note_work(self) -> None:
        """From now on the board idles."""
        self._idle_since_ns = self._board.clock.monotonic_ns()

    async def rest(self, stop: StopSignal, report: Callable[[Progress], None]) -> Rest | None:
        """Wait until the board has rested, the limit is reached or the job is to stop; return how it rested."""
        rule, clock = self._rule, self._board.clock
        if rule is None:
            return None
        begin_ns, told_s = clock.monotonic_ns(), -_TOLD_S
        while True:
            now_ns = clock.monotonic_ns()
            rest = Rest(
                idle_s=rule.idle_s,
                below_celsius=rule.below_celsius,
                limit_s=rule.limit_s,
                rested_s=(now_ns - self._idle_since_ns) / 1e9,
                waited_s=(now_ns - begin_ns) / 1e9,
                temperature_celsius=await self._hottest(),
            )
            if rest.met or rest.waited_s >= rule.limit_s or stop.reason is not None:
                return rest
            if rest.waited_s - told_s >= _TOLD_S:
                told_s = rest.waited_s
                report(Progress(phase="cool_down", message=f"rests: {rest.text}; wanted {rest.wanted}"))
            await clock.sleep(_LOOK_S)

    async def _hottest(self) -> float | None:
        return temperature_of((await self._board.vitals()).readings).value
