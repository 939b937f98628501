"""Deployments: one installation at a time, from a bundle to a committed slot or back to what served before.

Rules:
- A state is on the disk before it is acted upon; the table decides what may follow.
- Nothing that is not verified, staged whole and probed on this board is ever pointed to.
- The step out of every state has a deadline; a cancelled or failed one ends in FAILED or ROLLED_BACK.
- After a restart: before ACTIVATING it is discarded; from there the pointer decides; a trial that the agent did not
  survive three times is rolled back.
- What the disk broke off is brought to its end by the same rules as soon as the disk takes it, without a restart.
- What somebody asked for goes on when they go away: no state is left that nobody brings to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from edgeloop_foundation.errors import (
    BusyError,
    CorruptDataError,
    EdgeloopError,
    InvalidInputError,
    NotFoundError,
    StateError,
)
from edgeloop_foundation.within import within
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.deployment import (
    OVER,
    DeploymentState,
    DeploymentStatus,
    ReleaseBundle,
    ReleaseTerms,
    check_deployment_name,
)
from edgeloop_protocol.types.facts import Facts

from edgeloop_agent.deployment_table import DEADLINE_S, DeploymentEvent, next_state
from edgeloop_agent.release_rules import check_artifact, check_device
from edgeloop_agent.slots import Pointer, Slot, SlotRecord, Slots

__all__ = ["Accepted", "Deployments"]

S = DeploymentState
V = TypeVar("V")

_STARTS_MAX = 3
_TRIAL_S_MAX = 3600.0
_CHECK_EVERY_S = 30.0
# A disk that is full for longer is met again by the next deployment or rollback.
_SETTLE_AFTER_S = (0.1, 0.5, 2.0, 5.0)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A release whose signatures hold."""

    #: SHA-256 of the artifact's manifest.
    digest: str
    #: What was signed beside it.
    terms: ReleaseTerms


Accept = Callable[[str, ReleaseBundle], Awaitable[Accepted]]
Probe = Callable[[SlotRecord, Path, Artifact], Awaitable[str]]
ReadManifest = Callable[[str], Artifact]


class Deployments:
    """The deployments of one device.

    Args:
        slots: the files.
        accept: verifies a bundle and remembers that it came.
        read_manifest: returns an artifact of the content store by its digest.
        facts: returns what this device is.
        probe: tries a slot on this board and returns what it measured.
        check_digest: refuses an artifact that this device opens no more.
    """

    def __init__(
        self,
        slots: Slots,
        accept: Accept,
        read_manifest: ReadManifest,
        facts: Callable[[], Awaitable[Facts]],
        probe: Probe,
        check_digest: Callable[[str], None] = lambda _digest: None,
    ) -> None:
        self._slots, self._accept, self._read_manifest = slots, accept, read_manifest
        self._facts, self._probe, self._check_digest = facts, probe, check_digest
        self._task: asyncio.Task[None] | None = None
        self._active = ""
        self._cancelled = False
        self._changing = asyncio.Lock()

    def open(self) -> None:
        """Bring what an earlier process left to where it can go on; blocks."""
        for name in self._slots.names():
            self._recover_logged(name)

    def _recover_logged(self, name: str) -> None:
        try:
            self._recover(name)
        except (EdgeloopError, OSError) as error:
            _log.error("deployment %s cannot be recovered: %s", name, error)

    def _recover(self, name: str) -> None:
        record = self._slots.record(name)
        if record.state in (S.RECEIVING, S.VERIFIED, S.STAGED, S.PROBED):
            record = self._move(record, DeploymentEvent.FAIL, "the agent was interrupted; deploy again.")
        elif record.state is S.ACTIVATING:
            if self._slots.pointer(name).current == record.slot:
                record = self._move(record, DeploymentEvent.ADVANCE)
            else:
                record = self._back(record, "the agent was interrupted before the switch; deploy again.")
        if record.state is S.TRIAL:
            record = self._count_start(record)
        elif record.state is S.ROLLING_BACK:
            record = self._back(record, record.reason)
        self._slots.sweep(name, record.slot if record.state not in OVER else "")

    def _count_start(self, record: SlotRecord) -> SlotRecord:
        record = replace(record, starts=record.starts + 1)
        self._slots.save(record)
        try:
            self._slots.verify(record.name, record.slot)
        except CorruptDataError as error:
            return self._back(record, str(error))
        if record.starts > _STARTS_MAX:
            return self._back(record, f"the agent did not survive its trial {record.starts} times.")
        return record

    def resume(self) -> None:
        """Go on with the trial that a restart interrupted."""
        for name in self._slots.names():
            with contextlib.suppress(EdgeloopError):
                record = self._slots.record(name)
                if record.state is S.TRIAL and self._task is None:
                    self._begin(name, self._watch_trial(record))

    async def stop(self) -> None:
        """Let go of the installation; it is recovered at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _begin(self, name: str, work: Awaitable[None]) -> None:
        self._active, self._cancelled = name, False
        self._task = asyncio.ensure_future(self._to_its_end(name, work))
        self._task.add_done_callback(self._ended)

    async def _to_its_end(self, name: str, work: Awaitable[None]) -> None:
        try:
            await work
        except (EdgeloopError, OSError) as error:
            _log.error("deployment %s broke off: %s", name, error)
            await self._settle_soon(name)

    async def _settle_soon(self, name: str) -> None:
        for pause_s in _SETTLE_AFTER_S:
            await asyncio.sleep(pause_s)
            try:
                await asyncio.to_thread(self._settle, name)
                break
            except (EdgeloopError, OSError) as error:
                _log.error("deployment %s cannot be brought to its end yet: %s", name, error)

    def _settle(self, name: str) -> None:
        """Bring what broke off to its end; blocks."""
        try:
            record = self._slots.record(name)
        except NotFoundError:
            return
        if record.state is not S.TRIAL:
            self._recover(name)
            record = self._slots.record(name)
        if record.state is S.TRIAL:
            self._back(record, "its trial broke off; deploy again.")
            self._slots.sweep(name)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task, self._active = None, ""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a deployment broke off: %s", error)

    @property
    def active(self) -> str:
        """Name of the installation under way; empty when there is none."""
        return self._active

    def list(self) -> tuple[DeploymentStatus, ...]:
        """Return every deployment by name; blocks."""
        return tuple(self.status(name) for name in self._slots.names())

    def status(self, name: str) -> DeploymentStatus:
        """Return one deployment; blocks.

        Raises:
            NotFoundError: there is none of that name.
        """
        record, pointer = self._slots.record(name), self._slots.pointer(name)
        slots = [
            Slot.parse(text) if text else None for text in (record.slot, pointer.current, pointer.previous)
        ]
        digests = ["" if slot is None else slot.digest for slot in slots]
        counters = [0 if slot is None else slot.counter for slot in slots]
        return DeploymentStatus(
            name=name,
            state=record.state,
            artifact_digest=digests[0],
            counter=counters[0],
            current_digest=digests[1],
            current_counter=counters[1],
            previous_digest=digests[2],
            previous_counter=counters[2],
            reason=record.reason,
            measured=record.measured,
            switch_s=record.switch_s,
        )

    async def deploy(self, name: str, bundle: ReleaseBundle, trial_s: float) -> DeploymentStatus:
        """Verify a bundle and begin to install; the same release as the one that serves is no error.

        Raises:
            BusyError: another installation is under way.
            EdgeloopError: the release does not hold for this device; what serves goes on to serve.
        """
        check_deployment_name(name)
        if not 0 <= trial_s <= _TRIAL_S_MAX:
            raise InvalidInputError(f"a trial takes 0 to {_TRIAL_S_MAX:.0f} s, not {trial_s:g}.")
        # Shielded: a client that goes away must not leave a state on the disk that nobody brings to its end.
        return await asyncio.shield(self._deploy_alone(name, bundle, float(trial_s)))

    async def _deploy_alone(self, name: str, bundle: ReleaseBundle, trial_s: float) -> DeploymentStatus:
        async with self._changing:
            if self._task is not None:
                raise BusyError(
                    f"deployment {self._active} is under way.", next_step="Wait for it, or cancel it."
                )
            try:
                await self._deploy(name, bundle, trial_s)
            except OSError:
                if self._task is None:
                    self._begin(name, self._settle_soon(name))
                raise
            return await asyncio.to_thread(self.status, name)

    async def _deploy(self, name: str, bundle: ReleaseBundle, trial_s: float) -> None:
        record = await asyncio.to_thread(self._receive, name, trial_s)
        try:
            accepted = await self._verified(name, bundle)
            slot = Slot(counter=accepted.terms.counter, digest=accepted.digest).text
            pointer = await asyncio.to_thread(self._slots.pointer, name)
        except (EdgeloopError, OSError, asyncio.TimeoutError) as error:
            sentence = str(error) or "the release could not be verified in time."
            await asyncio.to_thread(self._move, record, DeploymentEvent.FAIL, sentence)
            raise
        if slot == pointer.current:
            again = replace(record, slot=slot, state=S.COMMITTED, before=pointer)
            again = again.within(accepted.terms.limits)
            await asyncio.to_thread(self._slots.save, again)
            return
        record = replace(
            record,
            slot=slot,
            latency_us_max=accepted.terms.latency_us_max,
            runtime=accepted.terms.runtime,
        ).within(accepted.terms.limits)
        record = await asyncio.to_thread(self._move, record, DeploymentEvent.ADVANCE)
        self._begin(name, self._install(record, accepted))

    def _receive(self, name: str, trial_s: float) -> SlotRecord:
        with contextlib.suppress(NotFoundError):
            if self._slots.record(name).state not in OVER:
                self._settle(name)
        record = SlotRecord(name=name, state=S.RECEIVING, before=self._slots.pointer(name), trial_s=trial_s)
        self._slots.save(record)
        return record

    async def _verified(self, name: str, bundle: ReleaseBundle) -> Accepted:
        accepted = await within(self._accept(name, bundle), DEADLINE_S[S.RECEIVING])
        check_device(accepted.terms, await self._facts())
        self._check_digest(accepted.digest)
        artifact = await asyncio.to_thread(self._read_manifest, accepted.digest)
        check_artifact(accepted.terms, artifact)
        return accepted

    async def _install(self, record: SlotRecord, accepted: Accepted) -> None:
        artifact = await asyncio.to_thread(self._read_manifest, accepted.digest)
        try:
            # On the disk nothing can be called off: a thread that nobody waits for would go on writing.
            await asyncio.to_thread(self._slots.stage, record.name, record.slot, artifact)
            self._refuse_cancelled()
            record = await self._advance(record)
            directory = self._slots.directory(record.name, record.slot)
            measured = await self._step(record, self._probe(record, directory, artifact))
            record = await self._advance(replace(record, measured=measured))
            record = await self._advance(record)
            self._refuse_cancelled()
        except (EdgeloopError, OSError) as error:
            await asyncio.to_thread(self._end, await self._latest(record), str(error))
            return
        await self._switch(record)

    async def _latest(self, record: SlotRecord) -> SlotRecord:
        return await asyncio.to_thread(self._slots.record, record.name)

    async def _switch(self, record: SlotRecord) -> None:
        try:
            record = await asyncio.to_thread(self._activate, record)
        except (EdgeloopError, OSError) as error:
            await asyncio.to_thread(self._end, await self._latest(record), str(error))
            return
        await self._watch_trial(record)

    def _activate(self, record: SlotRecord) -> SlotRecord:
        started = time.monotonic()
        before = record.before
        pointer = Pointer(
            current=record.slot,
            current_limits=record.limits,
            previous=before.current,
            previous_limits=before.current_limits,
        )
        self._slots.point(record.name, pointer)
        return self._move(replace(record, switch_s=time.monotonic() - started), DeploymentEvent.ADVANCE)

    async def _watch_trial(self, record: SlotRecord) -> None:
        """Check the health of what serves now, at the beginning, in between and at the end, then commit."""
        try:
            measured = await self._step(record, self._trial(record))
            self._refuse_cancelled()
        except (EdgeloopError, OSError) as error:
            await asyncio.to_thread(self._end, record, f"on trial: {error}")
            return
        await asyncio.to_thread(self._commit, replace(record, measured=measured))

    def _commit(self, record: SlotRecord) -> None:
        self._move(record, DeploymentEvent.ADVANCE)
        self._slots.sweep(record.name)

    async def _trial(self, record: SlotRecord) -> str:
        loop = asyncio.get_running_loop()
        ends = loop.time() + record.trial_s
        directory = self._slots.directory(record.name, record.slot)
        while True:
            artifact = await asyncio.to_thread(self._slots.verify, record.name, record.slot)
            measured = await self._probe(record, directory, artifact)
            left_s = ends - loop.time()
            if left_s <= 0:
                return measured
            await asyncio.sleep(min(left_s, max(1.0, min(record.trial_s / 3, _CHECK_EVERY_S))))

    async def _step(self, record: SlotRecord, work: Awaitable[V]) -> V:
        """Do the step out of a state under its deadline; a cancelled one gives up.

        Raises:
            StateError: it was cancelled or took too long.
        """
        task = asyncio.ensure_future(work)
        limit_s = DEADLINE_S[record.state] + record.trial_s
        try:
            deadline = asyncio.get_running_loop().time() + limit_s
            while not task.done():
                self._refuse_cancelled()
                if asyncio.get_running_loop().time() > deadline:
                    raise StateError(
                        f"the step out of {record.state.value} took longer than {limit_s:.0f} s."
                    )
                await asyncio.wait({task}, timeout=0.05)
            return task.result()
        finally:
            task.cancel()
            await asyncio.wait({task})

    def _refuse_cancelled(self) -> None:
        if self._cancelled:
            raise StateError("it was cancelled.")

    async def _advance(self, record: SlotRecord) -> SlotRecord:
        return await asyncio.to_thread(self._move, record, DeploymentEvent.ADVANCE)

    def _move(self, record: SlotRecord, event: DeploymentEvent, reason: str = "") -> SlotRecord:
        moved = replace(record, state=next_state(record.state, event), reason=reason or record.reason)
        self._slots.save(moved)
        return moved

    def _end(self, record: SlotRecord, reason: str) -> None:
        """Bring a failed installation to its end; blocks."""
        if record.state in (S.ACTIVATING, S.TRIAL):
            self._back(record, reason)
        elif record.state not in OVER:
            self._move(record, DeploymentEvent.FAIL, reason)
        self._slots.sweep(record.name)

    def _back(self, record: SlotRecord, reason: str) -> SlotRecord:
        """Let what served before serve again; the same from wherever it was interrupted."""
        if record.state is not S.ROLLING_BACK:
            record = self._move(record, DeploymentEvent.FAIL, reason)
        return self._go_back(record)

    def _go_back(self, record: SlotRecord) -> SlotRecord:
        started = time.monotonic()
        if self._slots.pointer(record.name) != record.before:
            self._slots.point(record.name, record.before)
        return self._move(replace(record, switch_s=time.monotonic() - started), DeploymentEvent.ADVANCE)

    async def rollback(self, name: str) -> DeploymentStatus:
        """Go back to the version before the committed one.

        Raises:
            NotFoundError: there is no deployment of that name.
            BusyError: an installation is under way.
            StateError: there is no version before it.
        """
        # Shielded: nothing else may begin while a thread still writes.
        return await asyncio.shield(self._roll_back_alone(name))

    async def _roll_back_alone(self, name: str) -> DeploymentStatus:
        async with self._changing:
            if self._task is not None:
                raise BusyError(f"deployment {self._active} is under way.", next_step="Cancel it.")
            try:
                await asyncio.to_thread(self._roll_back, name)
            except OSError:
                self._begin(name, self._settle_soon(name))
                raise
            return await asyncio.to_thread(self.status, name)

    def _roll_back(self, name: str) -> None:
        record = self._slots.record(name)
        if record.state not in OVER:
            self._settle(name)
        if record.state is S.ROLLING_BACK:
            return
        record, pointer = self._slots.record(name), self._slots.pointer(name)
        if record.state not in OVER or not pointer.previous:
            raise StateError(f"deployment {name} has no version to go back to.")
        record = replace(record, state=S.COMMITTED, slot=pointer.current, before=pointer.back)
        record = self._move(record, DeploymentEvent.ROLL_BACK, "somebody asked for it.")
        self._go_back(record)
        self._slots.sweep(name)

    async def inspect(self, name: str, look: Callable[[SlotRecord, Path, Artifact], Awaitable[V]]) -> V:
        """Verify every byte of what serves and return what ``look`` makes of it; nothing changes meanwhile.

        Raises:
            NotFoundError: nothing serves under that name.
            BusyError: an installation is under way.
            CorruptDataError: it is not what was signed.
        """
        async with self._changing:
            if self._task is not None:
                raise BusyError(f"deployment {self._active} is under way.", next_step="Wait for it.")
            record, artifact = await asyncio.to_thread(self._serving, name)
            return await look(record, self._slots.directory(name, record.slot), artifact)

    def _serving(self, name: str) -> tuple[SlotRecord, Artifact]:
        record, pointer = self._slots.record(name), self._slots.pointer(name)
        if not pointer.current:
            raise NotFoundError(f"deployment {name} serves nothing.", next_step="Deploy it first.")
        if record.slot != pointer.current:
            # What the record limits is a version that does not serve.
            record = replace(record, slot=pointer.current, latency_us_max=0).within(pointer.current_limits)
        return record, self._slots.verify(name, pointer.current)

    async def cancel(self, name: str) -> DeploymentStatus:
        """End an installation under way and return how it stands; one that is over stays as it is.

        Raises:
            NotFoundError: there is no deployment of that name.
        """
        if self._active == name and self._task is not None:
            self._cancelled = True
            await asyncio.wait({self._task})
        return await asyncio.to_thread(self.status, name)
