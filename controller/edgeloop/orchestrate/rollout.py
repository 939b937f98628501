"""Rollouts at work: waves of devices, brought, held against what served before, watched, and taken back if they must.

One process drives a rollout at a time; a lock that dies with it says so. How it stands is saved before anything is done
to a device, so that another process goes on where one was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import BusyError, StateError
from edgeloop_foundation.locks import try_lock
from edgeloop_foundation.ports.clock import Clock
from edgeloop_protocol.types.run import Verdict

from edgeloop.domain.experiment import Listener
from edgeloop.domain.rollout import (
    ENDS,
    REQUESTS,
    DevicePhase,
    Rollout,
    RolloutDevice,
    RolloutEvent,
    RolloutState,
    moved,
)
from edgeloop.domain.rollout_plan import wait_for_window_s
from edgeloop.orchestrate.deploy import audit_log, note_in_audit, repository
from edgeloop.orchestrate.rollout_device import DeviceWork
from edgeloop.store.rollouts import RolloutStore

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["RolloutDriver", "drive_rollout", "driving"]

S, E, P = RolloutState, RolloutEvent, DevicePhase

# A request of another process is heard at least this often.
_NAP_S = 5.0
_REASONS = {
    "pause": "somebody paused it.",
    "abort": "somebody aborted it.",
    "keep": "somebody aborted it where it stood.",
    "supersede": "a newer rollout took its place.",
}


class _Interrupted(Exception):  # noqa: N818 - a signal between steps, no error
    """The rollout is in another state than the step that runs was for."""


@contextlib.contextmanager
def driving(store: RolloutStore, rollout_id: str) -> Iterator[None]:
    """Hold the right to drive a rollout; the kernel gives it back with the process.

    Raises:
        BusyError: another process drives it.
    """
    with (store.directory(rollout_id) / "lock").open("a") as file:
        if not try_lock(file.fileno()):
            raise BusyError(f"another process drives rollout {rollout_id}.")
        yield


async def drive_rollout(
    app: App, rollout_id: str, clock: Clock, listener: Listener, *, wait: bool = True
) -> Rollout:
    """Drive a rollout until it ends, is paused or needs approval.

    Args:
        app: stores.
        rollout_id: the rollout.
        clock: time, and waiting.
        listener: hears what happens.
        wait: whether to stay for a window that is closed and for devices that are away.

    Raises:
        BusyError: another process drives it.
        StateError: another release was signed under its name since.
    """
    store = RolloutStore(app.state_directory)
    with driving(store, rollout_id):
        return await RolloutDriver(app, store, store.get(rollout_id), clock, listener, wait=wait).drive()


class RolloutDriver:
    """One rollout, driven."""

    def __init__(
        self,
        app: App,
        store: RolloutStore,
        rollout: Rollout,
        clock: Clock,
        listener: Listener,
        *,
        wait: bool,
    ) -> None:
        self._app, self._store, self._clock, self._listener = app, store, clock, listener
        self._rollout, self._wait = rollout, wait
        self._saving, self._heeding = asyncio.Lock(), asyncio.Lock()
        self._last_begin_s = float("-inf")
        self._work: DeviceWork | None = None

    async def drive(self) -> Rollout:
        """Go from state to state until somebody else has to act, or it is over."""
        resting = (*ENDS, S.PAUSED, S.AWAITING_APPROVAL)
        steps = {
            S.PENDING: self._begin,
            S.RUNNING: self._run_wave,
            S.WATCHING: self._watch_wave,
            S.ROLLING_BACK: self._go_back,
        }
        while True:
            await self._heed()
            if self._rollout.state in resting:
                return self._rollout
            before = self._rollout
            try:
                done = await steps[before.state]()
            except _Interrupted:
                continue
            if not done:
                return self._rollout

    # How it stands

    def _now(self) -> float:
        return self._clock.wall_s()

    async def _save(self, rollout: Rollout) -> None:
        self._rollout = rollout
        async with self._saving:
            # Not what it was when this waited for its turn: the newest is never overwritten by an older one.
            await asyncio.to_thread(self._store.save, self._rollout)

    async def _move(self, event: RolloutEvent, reason: str = "") -> None:
        before = self._rollout.state
        await self._save(moved(self._rollout, event, self._now(), reason))
        if self._rollout.state is not before:
            state = self._rollout.state.value.replace("_", " ")
            self._listener.note(f"{self._rollout.rollout_id}: {state}{f': {reason}' if reason else ''}")
            self._note(f"rollout {event.value}", self._rollout.rollout_id, state, reason)

    def _note(self, action: str, subject: str, outcome: str, reason: str) -> None:
        home = self._app.state_directory
        beside = note_in_audit(home, action, subject, outcome, {"reason": reason} if reason else None)
        if beside:
            self._listener.note(beside)

    async def _keep(self, device: RolloutDevice) -> None:
        await self._save(self._rollout.with_device(device))

    async def _heed(self) -> None:
        """Do what another process asked for, and end what took too long."""
        async with self._heeding:
            rollout = self._rollout
            if rollout.over:
                return
            request = await asyncio.to_thread(self._store.take_request, rollout.rollout_id)
            if self._rollout.over:
                return
            # What goes back goes back to its end.
            if request and self._rollout.state is not S.ROLLING_BACK:
                await self._move(REQUESTS[request], _REASONS[request])
            elif self._now() - self._rollout.since_wall_s > rollout.plan.deadline_s:
                await self._expire()

    async def _expire(self) -> None:
        rollout = self._rollout
        last = rollout.wave == len(rollout.plan.waves) - 1
        serving = any(device.phase in (P.SERVING, P.UNHEALTHY, P.INSTALLING) for device in rollout.devices)
        if rollout.state is S.RUNNING and last and not serving and self._enough():
            away = sum(device.phase is P.AWAY for device in rollout.devices)
            await self._move(E.FINISH, f"{away} devices never answered." if away else "")
        elif rollout.state is not S.PAUSED or serving:
            await self._move(E.EXPIRE, f"it was {rollout.state.value.replace('_', ' ')} for too long.")
        else:
            await self._move(E.KEEP, "it was paused for too long; waves that were held stay.")

    async def _nap(self, seconds: float) -> None:
        """Wait, and leave the step when the rollout is in another state afterwards."""
        state, ends = self._rollout.state, self._now() + seconds
        while (left := ends - self._now()) > 0:
            await self._clock.sleep(min(left, _NAP_S))
            await self._heed()
            if self._rollout.state is not state:
                raise _Interrupted

    async def _device_work(self) -> DeviceWork:
        """Return the steps on a device, with the bundle of exactly this release.

        Raises:
            StateError: another release was signed under the name.
        """
        if self._work is None:
            releases = repository(self._app.state_directory)
            rollout = self._rollout
            signed = releases.find(rollout.plan.release)
            if signed is None or (signed[0], signed[1].counter) != (rollout.artifact_digest, rollout.counter):
                raise StateError(
                    f"{rollout.plan.release} stands for another release than {rollout.counter} by now.",
                    next_step=f"Start a new one: edgeloop rollout start PLAN --supersede; or end this one: "
                    f"edgeloop rollout abort {rollout.rollout_id}.",
                )
            bundle = await asyncio.to_thread(releases.bundle)
            self._work = DeviceWork(
                app=self._app,
                rollout=rollout,
                bundle=bundle,
                runtime=signed[1].runtime,
                listener=self._listener,
            )
        return self._work

    async def _each(
        self, devices: Sequence[RolloutDevice], step: Callable[[RolloutDevice], Awaitable[None]]
    ) -> None:
        """Do a step on several devices, so many at a time as the plan allows; none is begun after a change of state."""
        turns, state = asyncio.Semaphore(self._rollout.plan.parallel), self._rollout.state

        async def one(device: RolloutDevice) -> None:
            async with turns:
                if self._rollout.state is state:
                    await step(device)

        # All of them go to their end, also when one breaks: nothing is left half told.
        done = await asyncio.gather(*(one(device) for device in devices), return_exceptions=True)
        if broken := next((error for error in done if error is not None), None):
            raise broken
        if self._rollout.state is not state:
            raise _Interrupted

    # The states

    async def _begin(self) -> bool:
        await self._device_work()
        await self._move(E.BEGIN)
        return True

    def _enough(self) -> bool:
        plan, wave = self._rollout.plan, self._rollout.wave
        canaries = self._rollout.of_wave(0)
        if wave == 0 and canaries and not any(device.gated for device in canaries):
            return False
        return self._rollout.success_share(wave) >= plan.waves[wave].success_share_min

    async def _run_wave(self) -> bool:
        """Bring the release to what the waves up to this one have not got yet."""
        rollout = self._rollout
        if rollout.plan.waves[rollout.wave].approve and rollout.approved_wave < rollout.wave:
            await self._move(
                E.ASK, f"wave {rollout.plan.waves[rollout.wave].name or rollout.wave + 1} waits."
            )
            return True
        await self._device_work()
        todo = [d for d in rollout.devices if d.wave <= rollout.wave and _to_be_brought(d)]
        if todo and not await self._window():
            return False
        await self._each(todo, self._bring)
        if self._ungated() or any(device.phase is P.SERVING for device in self._rollout.devices):
            await self._move(E.BROUGHT)
            return True
        return await self._advance()

    async def _advance(self) -> bool:
        """Go on to the next wave, or wait for those that are away."""
        rollout = self._rollout
        away = [d for d in rollout.devices if d.wave <= rollout.wave and _to_be_brought(d)]
        last = rollout.wave == len(rollout.plan.waves) - 1
        if last and not away and self._enough():
            await self._move(E.FINISH)
        elif not last and self._enough():
            await self._save(replace(rollout, wave=rollout.wave + 1))
        elif not away:
            # Refused ones within the threshold, and yet too few that serve: nobody is waited for.
            await self._stop(f"only {100 * rollout.success_share(rollout.wave):.0f} % of the wave serve it.")
        elif not self._wait:
            return False
        else:
            self._listener.note(f"{len(away)} devices are away; tried again in {rollout.plan.retry_s:g} s.")
            await self._nap(rollout.plan.retry_s)
        return True

    async def _window(self) -> bool:
        """Wait for the maintenance window; return False when it is closed and nobody waits."""
        while (wait_s := wait_for_window_s(self._rollout.plan.windows, self._now())) > 0:
            if not self._wait:
                self._listener.note(f"the next window opens in {wait_s / 60:.0f} minutes.")
                return False
            await self._nap(wait_s)
        return True

    async def _bring(self, device: RolloutDevice) -> None:
        if not await self._may_begin():
            return
        # Nothing is begun that could not be written down.
        await asyncio.to_thread(audit_log, self._app.state_directory)
        work = await self._device_work()
        gated = [d for d in self._rollout.of_wave(0) if d.gated]
        evidence = device.wave > 0 and bool(gated) and all(d.simulated for d in gated)
        rollout_id = self._rollout.rollout_id
        done = await work.bring(device, self._keep, simulated_evidence=evidence)
        await self._keep(done)
        self._note(f"rollout {rollout_id}", device.spec.name, done.phase.value, done.reason)
        await self._hold_thresholds()

    async def _may_begin(self) -> bool:
        """Keep the rate and the window; return False when the device's turn has to come later."""
        state = self._rollout.state
        if self._rollout.plan.per_minute:
            gap_s = 60.0 / self._rollout.plan.per_minute
            wait_s = self._last_begin_s + gap_s - self._now()
            self._last_begin_s = max(self._now(), self._last_begin_s + gap_s)
            if wait_s > 0:
                await self._clock.sleep(wait_s)
        await self._heed()
        if self._rollout.state is not state:
            return False
        return wait_for_window_s(self._rollout.plan.windows, self._now()) == 0

    async def _hold_thresholds(self) -> None:
        """Stop once when too many failed, however many groups and waves say so."""
        said = [s for wave in range(self._rollout.wave + 1) for s in self._rollout.over_threshold(wave)]
        if said:
            await self._stop("; ".join(said))

    async def _stop(self, reason: str) -> None:
        if self._rollout.state is not S.ROLLING_BACK and not self._rollout.over:
            await self._move(E.STOP, reason)

    async def _watch_wave(self) -> bool:
        """Gate the canaries, then look at every device again and again until the watch is over."""
        rollout = self._rollout
        if not rollout.watch_from_wall_s:
            undecided = await self._gate_canaries()
            if undecided:
                await self._move(E.PAUSE, f"the gate cannot say: {undecided}")
                return True
            await self._save(replace(self._rollout, watch_from_wall_s=self._now()))
        ends = self._rollout.watch_from_wall_s + rollout.plan.watch_s
        while True:
            last = self._now() >= ends
            await self._each([d for d in self._rollout.devices if d.phase is P.SERVING], self._look)
            watched = [d for d in self._rollout.devices if d.phase is P.SERVING]
            if not watched or (last and not any(device.reason for device in watched)):
                break
            await self._nap(
                rollout.plan.watch_every_s if last else min(rollout.plan.watch_every_s, ends - self._now())
            )
        for device in watched:
            await self._keep(replace(device, phase=P.HELD))
        await self._move(E.HELD)
        return True

    async def _gate_canaries(self) -> str:
        """Return what could not be decided, for people; empty when every canary passed."""
        work, undecided = await self._device_work(), []

        async def gate(device: RolloutDevice) -> None:
            done, verdict = await work.gate(device)
            approved = verdict is Verdict.UNDECIDED and self._rollout.approved_wave >= self._rollout.wave
            await self._keep(replace(done, gated=approved or verdict is Verdict.PASSED))
            if verdict is Verdict.UNDECIDED and not approved:
                undecided.append(f"{done.spec.name}: {done.reason}")
            await self._hold_thresholds()

        await self._each(self._ungated(), gate)
        return "; ".join(undecided)

    def _ungated(self) -> list[RolloutDevice]:
        """Return the canaries that serve the release and were held against nothing yet."""
        ready = (P.SERVING, P.PRESENT)
        return [d for d in self._rollout.of_wave(0) if d.phase in ready and not d.gated]

    async def _look(self, device: RolloutDevice) -> None:
        work = await self._device_work()
        await self._keep(await work.look(device))
        await self._hold_thresholds()

    async def _go_back(self) -> bool:
        """Take the release back from every device that this rollout brought it to."""
        todo = [d for d in self._rollout.devices if _to_be_taken_back(d)]
        await self._each(todo, self._take_back)
        left = [d for d in self._rollout.devices if _to_be_taken_back(d)]
        stuck = [d.spec.name for d in self._rollout.devices if d.phase is P.STUCK]
        if not left:
            reason = self._rollout.reason
            if stuck:
                await self._move(E.GIVE_UP, f"{reason} Not back: {', '.join(stuck)}.")
            else:
                await self._move(E.WENT_BACK, reason)
            return True
        self._listener.note(f"{len(left)} devices do not answer and are still to be taken back.")
        if not self._wait:
            return False
        await self._nap(self._rollout.plan.retry_s)
        return True

    async def _take_back(self, device: RolloutDevice) -> None:
        work = self._work or DeviceWork(app=self._app, rollout=self._rollout, listener=self._listener)
        done = await work.take_back(device)
        # Why it went back is worth more than that it did.
        await self._keep(replace(done, reason=device.reason or done.reason))
        if done.phase is not device.phase:
            self._note(f"rollback {self._rollout.rollout_id}", done.spec.name, done.phase.value, done.reason)


def _to_be_brought(device: RolloutDevice) -> bool:
    return device.phase in (P.WAITING, P.AWAY, P.INSTALLING)


def _to_be_taken_back(device: RolloutDevice) -> bool:
    return device.phase in (P.INSTALLING, P.SERVING, P.HELD, P.UNHEALTHY)
