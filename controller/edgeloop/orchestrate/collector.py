"""Telemetry in rounds: what every watched device noted is brought home, and the rules are held against it.

A few devices at a time, so that the disk's work never stands before what somebody looks at.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, UnavailableError
from edgeloop_foundation.within import within

from edgeloop.domain.alert import RuleSettings
from edgeloop.domain.telemetry import Retention
from edgeloop.observe.notify import Sink
from edgeloop.orchestrate.alerts import check_alerts
from edgeloop.orchestrate.fleet_watch import FleetWatch, LookState
from edgeloop.orchestrate.telemetry import collect_from, trim

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["CollectSettings", "Collector"]

_log = logging.getLogger(__name__)

_AT_ONCE = 4
_DEVICE_S = 20.0
# The first looks are to be there, and whoever has just opened the dashboard comes first.
_FIRST_AFTER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectSettings:
    """How telemetry is collected, and when somebody is told."""

    #: Time between two rounds; devices take a sample every 10 s and keep hours of them.
    every_s: float = 60.0
    rules: RuleSettings = field(default_factory=RuleSettings)
    sink: Sink = field(default_factory=Sink)
    retention: Retention = field(default_factory=Retention)


class Collector:
    """Collects from what a fleet's watch has open."""

    def __init__(self, app: App, watch: FleetWatch, settings: CollectSettings) -> None:
        self._app, self._watch, self._settings = app, watch, settings
        #: What went wrong in the last round, one sentence each; a device that is away is no such thing.
        self.problems: tuple[str, ...] = ()

    async def run(self) -> None:
        """Go round until cancelled."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(_FIRST_AFTER_S)
        while True:
            begun = loop.time()
            await self.round()
            await asyncio.sleep(max(1.0, begun + self._settings.every_s - loop.time()))

    async def round(self) -> None:
        """Collect from everybody once, and check the rules."""
        turns = asyncio.Semaphore(_AT_ONCE)
        names = [look.name for look in self._watch.looks() if look.state is not LookState.ON_USE]

        async def one(name: str) -> None:
            async with turns:
                await self._collect(name)

        done = await asyncio.gather(*(one(name) for name in names), return_exceptions=True)
        problems = [_sentence(error) for error in done if isinstance(error, BaseException)]
        try:
            await trim(self._app, retention=self._settings.retention)
            checked = await check_alerts(self._app, self._settings.rules, self._settings.sink)
            problems += checked.untold
        except (EdgeloopError, OSError) as error:
            problems.append(_sentence(error))
        self.problems = tuple(dict.fromkeys(problems))

    async def _collect(self, name: str) -> None:
        look, opened = self._watch.look(name), self._watch.opened(name)
        if look is None or look.state is LookState.UNKNOWN:
            return
        gone = UnavailableError(look.reason or "its connection is not there.")
        await within(collect_from(self._app, name, opened.client if opened else gone), _DEVICE_S)


def _sentence(error: BaseException) -> str:
    if isinstance(error, EdgeloopError):
        return str(error)
    if isinstance(error, asyncio.TimeoutError):
        return f"a device did not send its telemetry within {_DEVICE_S:g} s."
    _log.error("collecting telemetry failed", exc_info=error)
    return f"{type(error).__name__}: {error}"
