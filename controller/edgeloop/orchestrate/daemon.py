"""The controller's daemon: watches the fleet, runs its queue, and drives the rollouts that somebody lets go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import BusyError, EdgeloopError, InvalidInputError
from edgeloop_foundation.ports.clock import SystemClock

from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.inventory import InventoryEntry, check_word
from edgeloop.domain.registry import RegisteredModel
from edgeloop.domain.rollout import Rollout, RolloutState
from edgeloop.orchestrate.collector import Collector, CollectSettings
from edgeloop.orchestrate.deploy import audit_log, note_in_audit, repository
from edgeloop.orchestrate.fleet_watch import FleetWatch, LookState
from edgeloop.orchestrate.from_afar import KnownDevices
from edgeloop.orchestrate.queue import QueueDesk
from edgeloop.orchestrate.registry import models
from edgeloop.orchestrate.rollout import drive_rollout
from edgeloop.orchestrate.rollout_verbs import (
    approve_rollout,
    ask_rollout,
    lay_out,
    plan_of,
    resume_rollout,
    start_rollout,
)
from edgeloop.orchestrate.simulated_fleet import fleet_names, select_boards
from edgeloop.store.rollouts import RolloutStore
from edgeloop.store.serve_home import ServeHome

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["ROLLOUT_VERBS", "Daemon", "RolloutDesk", "with_fleets"]

_log = logging.getLogger(__name__)

ROLLOUT_VERBS = ("pause", "resume", "abort", "keep", "approve")
"""What can be asked of a rollout; "keep" aborts it and leaves the devices as they are."""

_INVENTORY_EVERY_S = 5.0
_FIRST = asyncio.FIRST_COMPLETED
_RESTING = (RolloutState.PAUSED, RolloutState.AWAITING_APPROVAL)


def with_fleets(home: Path, named: Sequence[InventoryEntry]) -> tuple[InventoryEntry, ...]:
    """Return the named devices and the boards of every started fleet, which are in a group of the fleet's name.

    A board that has the name of a device, or of a board of an earlier fleet, is called FLEET/BOARD.
    """
    found = {entry.name: entry for entry in named}
    for fleet in fleet_names(home):
        for spec in select_boards(home, f"fleet:{fleet}"):
            own = spec if spec.name not in found else replace(spec, name=f"{fleet}/{spec.name}")
            found[own.name] = InventoryEntry(spec=own, groups=(check_word(fleet, "a fleet"),))
    return tuple(found.values())


class RolloutDesk:
    """Rollouts as somebody acts on them from afar; what goes on is driven by this process.

    What it drives is written down, so that the next daemon of the home goes on with it.
    """

    def __init__(self, app: App, home: ServeHome, known: KnownDevices | None = None) -> None:
        self._app, self._home, self._known = app, home, known or KnownDevices()
        self._store = RolloutStore(app.state_directory)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        #: Why a rollout is not driven any more although it is not over, by its identifier.
        self.problems: dict[str, str] = {}

    def all(self) -> tuple[Rollout, ...]:
        """Return every rollout, the oldest first."""
        return self._store.all()

    def get(self, word: str) -> Rollout:
        """Return a rollout by its identifier, or the newest one of a release.

        Raises:
            NotFoundError: there is none.
        """
        return self._store.get(word)

    def driven(self) -> tuple[str, ...]:
        """Return the rollouts that this process drives."""
        return tuple(sorted(self._tasks))

    def releases(self) -> tuple[str, ...]:
        """Return the names that were signed; none where nothing was, or where releases cannot be read here."""
        try:
            return tuple(name for name, _, _ in repository(self._app.state_directory).releases())
        except EdgeloopError:
            return ()

    async def lay_out(self, tree: Mapping[str, Any]) -> Rollout:
        """Return the rollout that a plan stands for, as the tree of its TOML file; nothing is begun.

        Raises:
            InvalidInputError: the plan does not hold, or waves and devices do not fit together.
            NotFoundError: nothing was signed under the name of the release.
        """
        return await asyncio.to_thread(self._lay_out, tree)

    def _lay_out(self, tree: Mapping[str, Any]) -> Rollout:
        plan = plan_of(tree)
        return lay_out(self._app, plan, self._known.devices(plan.on), self._known.groups())

    async def start(self, tree: Mapping[str, Any], by: str, *, supersede: bool = False) -> Rollout:
        """Start the rollout of a plan and drive it; raises what ``lay_out`` does.

        Raises:
            AlreadyExistsError: one of the release is not over, and it is not to be superseded.
            StateError: that one is rolling back, which is finished first.
        """
        laid_out = await self.lay_out(tree)
        done = await asyncio.to_thread(start_rollout, self._app, laid_out, supersede=supersede)
        details = {"by": by, "through": "edgeloop serve"}
        await asyncio.to_thread(
            note_in_audit, self._app.state_directory, "asked: rollout start", done.rollout_id,
            done.state.value, details,
        )  # fmt: skip
        self._drive(done)
        return done

    async def act(self, word: str, verb: str, by: str) -> Rollout:
        """Do to a rollout what the verbs of the command line do, and drive it on where that lets it go on.

        Raises:
            InvalidInputError: it is none of the verbs.
            NotFoundError: there is no such rollout.
            StateError: that cannot happen now.
            BusyError: another process drives it, and has to be asked there.
        """
        if verb not in ROLLOUT_VERBS:
            raise InvalidInputError(f"a rollout knows {', '.join(ROLLOUT_VERBS)}, not {verb[:40]!r}.")
        done = await asyncio.to_thread(self._do, word, verb)
        details = {"by": by, "through": "edgeloop serve"}
        await asyncio.to_thread(
            note_in_audit, self._app.state_directory, f"asked: rollout {verb}", done.rollout_id,
            done.state.value, details,
        )  # fmt: skip
        self._drive(done)
        return done

    def _do(self, word: str, verb: str) -> Rollout:
        if verb == "approve":
            return approve_rollout(self._app, word)
        return resume_rollout(self._app, word) if verb == "resume" else ask_rollout(self._app, word, verb)

    async def go_on(self) -> None:
        """Drive what a daemon before this one drove."""
        known = {one.rollout_id: one for one in await asyncio.to_thread(self.all)}
        for name in await asyncio.to_thread(self._home.driven):
            if name in known:
                self._drive(known[name])

    def _drive(self, rollout: Rollout) -> None:
        name = rollout.rollout_id
        if rollout.over or rollout.state in _RESTING or name in self._tasks:
            return
        self.problems.pop(name, None)
        self._tasks[name] = asyncio.create_task(self._driving(name))
        self._home.keep_driven(self.driven())

    async def _driving(self, name: str) -> None:
        try:
            await drive_rollout(self._app, name, SystemClock(), SilentListener())
        except BusyError:
            _log.info("another process drives rollout %s", name)
        except EdgeloopError as error:
            self.problems[name] = str(error)
        except Exception as error:
            _log.exception("driving rollout %s failed", name)
            self.problems[name] = f"{type(error).__name__}: {error}"
        finally:
            self._tasks.pop(name, None)
            if not self._stopping:
                self._home.keep_driven(self.driven())

    async def stop(self) -> None:
        """Let go of every rollout where it stands; it goes on with the next daemon, or by ``rollout resume``."""
        self._stopping = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Daemon:
    """Everything that a front has to look at and to act through.

    Args:
        app: stores.
        entries: returns the devices to watch; asked again and again, so that edits of the inventory count.
        interval_s: time between two looks at a device that nobody looks at.
        collecting: how telemetry is collected; the default when not given.
        known: the devices that somebody elsewhere may name; none when not given.
        experiments_at_once: how many experiments of the queue run beside each other.
    """

    def __init__(
        self,
        app: App,
        entries: Callable[[], Sequence[InventoryEntry]],
        *,
        interval_s: float = 10.0,
        collecting: CollectSettings | None = None,
        known: KnownDevices | None = None,
        experiments_at_once: int = 1,
    ) -> None:
        self._entries = entries
        #: Stores.
        self.app = app
        #: Lists and counts of the records; keeps what it counted.
        self.overview = app.records.overview()
        #: The fleet as it is.
        self.watch = FleetWatch(app, interval_s=interval_s)
        #: Telemetry and alerts.
        self.collector = Collector(app, self.watch, collecting or CollectSettings())
        #: Rollouts.
        self.rollouts = RolloutDesk(app, ServeHome(app.state_directory), known)
        #: Experiments that were handed in.
        self.queue = QueueDesk(app, known or KnownDevices(), at_once=experiments_at_once)
        #: Why the inventory could not be read last; empty when it was.
        self.inventory_problem = ""
        #: The files as they were looked at last, and what was wrong.
        self._audit: tuple[tuple[tuple[int, int, int], ...] | None, str] = (None, "")

    async def run(self, stopping: asyncio.Event) -> None:
        """Watch, until somebody wants an end; then close every connection.

        Raises:
            InvalidInputError: the inventory cannot be read at the start.
            BusyError: the system does not allow so many connections.
        """
        followed = await asyncio.to_thread(self._entries)
        try:
            await self.watch.follow(followed)
            await self.rollouts.go_on()
            # Counts all runs once, so that the first scrape does not.
            await asyncio.to_thread(self.overview.run_counts)
            working = [asyncio.create_task(self.collector.run()), asyncio.create_task(self.queue.run())]
            ended = asyncio.create_task(stopping.wait())
            while not (await asyncio.wait((ended, *working), timeout=_INVENTORY_EVERY_S, return_when=_FIRST))[
                0
            ]:
                followed = await self._follow(followed)
            for task in working:
                if task.done():
                    task.result()
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
        finally:
            await self.queue.stop()
            await self.rollouts.stop()
            await self.watch.stop()

    async def _follow(self, before: Sequence[InventoryEntry]) -> Sequence[InventoryEntry]:
        """Follow an edited inventory; one that cannot be read changes nothing, and is said."""
        try:
            now = await asyncio.to_thread(self._entries)
            if now != before:
                await self.watch.follow(now)
        except (EdgeloopError, OSError) as error:
            self.inventory_problem = str(error)
            return before
        self.inventory_problem = ""
        return now

    def models(self) -> tuple[RegisteredModel, ...]:
        """Return the registry, with what devices said of their deployments at the last look."""
        told = {
            look.name: look.deployments
            for look in self.watch.looks()
            if look.state is LookState.ANSWERS and look.deployments is not None
        }
        return models(self.app, told)

    def audit_problem(self) -> str:
        """Return why the audit log is broken; empty when every line follows from the one before it."""
        paths = [self.app.state_directory / name for name in ("audit.jsonl", "audit.head")]
        found = [path.stat() for path in paths if path.exists()]
        stamp = tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)
        if self._audit[0] != stamp:
            try:
                audit_log(self.app.state_directory)
            except EdgeloopError as error:
                self._audit = (stamp, error.message)
            else:
                self._audit = (stamp, "")
        return self._audit[1]
