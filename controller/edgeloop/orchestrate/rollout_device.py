"""What a rollout does to one device: bring the release, hold it against what served before, look, take it back.

Every step returns how the device stands afterwards; a device that does not answer stands where it stood, and why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import BusyError, DeadlineError, EdgeloopError, StateError, UnavailableError
from edgeloop_protocol.types.deployment import OVER, DeploymentState, DeploymentStatus, ReleaseBundle
from edgeloop_protocol.types.run import Verdict

from edgeloop.domain.experiment import Listener
from edgeloop.domain.rollout import DevicePhase, Rollout, RolloutDevice
from edgeloop.orchestrate.certificate import attest_on, keep_certificate
from edgeloop.orchestrate.deploy import bring
from edgeloop.orchestrate.fleet import open_one
from edgeloop.orchestrate.measure import OpenDevice
from edgeloop.orchestrate.rollout_gate import hold_gate

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["DeviceWork"]

P = DevicePhase
Keep = Callable[[RolloutDevice], Awaitable[None]]

_AWAY = (UnavailableError, DeadlineError, BusyError)
_STATEMENT_LIFE_S = 30 * 86_400.0
_ASK_EVERY_S = 0.2
_SETTLE_S = 1200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceWork:
    """The steps of one rollout on any of its devices."""

    app: App
    rollout: Rollout
    listener: Listener
    #: Signed metadata of the release; None where it is only taken back.
    bundle: ReleaseBundle | None = None
    #: Runtime that it is signed for.
    runtime: str = ""

    async def bring(self, device: RolloutDevice, keep: Keep, *, simulated_evidence: bool) -> RolloutDevice:
        """Install the release, unless it serves already.

        Args:
            device: the device.
            keep: saves how the device stands before anything is done to it.
            simulated_evidence: whether the canaries that were gated were simulated boards, every one.
        """
        try:
            async with open_one(self.app, device.spec) as opened:
                device = replace(device, simulated=opened.facts.simulated)
                if simulated_evidence and not opened.facts.simulated:
                    return replace(
                        device,
                        phase=P.REFUSED,
                        reason="its canaries were simulated boards, whose figures satisfy no gate for a real device.",
                    )
                status = await self._settled(opened, device)
                if status is not None and self._is_new(status):
                    ours = device.phase is P.INSTALLING and status.previous_digest == device.before_digest
                    phase = P.SERVING if ours else P.PRESENT
                    return replace(device, phase=phase, before_digest=status.previous_digest, reason="")
                if device.phase is not P.INSTALLING:
                    before = "" if status is None else status.current_digest
                    device = replace(device, phase=P.INSTALLING, before_digest=before, reason="")
                    # A process that dies after this leaves a device that is known to be under way.
                    await keep(device)
                return await self._install(device, opened)
        except EdgeloopError as error:
            under_way = device.phase is P.INSTALLING
            phase = (P.INSTALLING if under_way else P.AWAY) if isinstance(error, _AWAY) else P.REFUSED
            return replace(device, phase=phase, reason=_of(device, error))

    async def _install(self, device: RolloutDevice, opened: OpenDevice) -> RolloutDevice:
        if self.bundle is None:
            raise StateError("there is no release to bring.")
        name, trial_s = self.rollout.plan.release, self.rollout.plan.trial_s
        digest = self.rollout.artifact_digest
        status, _ = await bring(self.app, opened, name, digest, self.bundle, trial_s)
        if status.state is DeploymentState.COMMITTED and self._is_new(status):
            return replace(device, phase=P.SERVING, reason="")
        reason = status.reason or f"it is {status.state.value} and serves release {status.current_counter}."
        return replace(device, phase=P.REFUSED, reason=reason)

    def _is_new(self, status: DeploymentStatus) -> bool:
        return (status.current_digest, status.current_counter) == (
            self.rollout.artifact_digest,
            self.rollout.counter,
        )

    async def _status(self, opened: OpenDevice) -> DeploymentStatus | None:
        listing = await opened.client.deployments.listing()
        return next((one for one in listing if one.name == self.rollout.plan.release), None)

    async def _settled(self, opened: OpenDevice, device: RolloutDevice) -> DeploymentStatus | None:
        """Return the status once nothing is under way: an installation of ours may have outlived its controller."""
        ends = time.monotonic() + self.rollout.plan.trial_s + _SETTLE_S
        while True:
            status = await self._status(opened)
            if status is None or status.state in OVER:
                return status
            if device.phase is not P.INSTALLING:
                raise BusyError(f"{device.spec.name}: another installation is {status.state.value}.")
            if time.monotonic() > ends:
                raise DeadlineError(f"{device.spec.name}: it is {status.state.value} for too long.")
            await asyncio.sleep(_ASK_EVERY_S)

    async def gate(self, device: RolloutDevice) -> tuple[RolloutDevice, Verdict]:
        """Hold a canary against what it served before, again after a failure, up to the plan's strikes."""
        plan = self.rollout.plan
        if not device.before_digest:
            said = "nothing served here before, so that only its own limits and its parity count"
            return replace(device, gate=(said,)), Verdict.PASSED
        versions = (device.before_digest, self.rollout.artifact_digest)
        for strike in range(1, plan.strikes + 1):
            try:
                async with open_one(self.app, device.spec) as opened:
                    answer = await hold_gate(
                        self.app, opened, versions, plan.gate, self.runtime, strike, self.listener
                    )
            except EdgeloopError as error:
                return replace(device, gate=(), reason=_of(device, error)), Verdict.UNDECIDED
            device = replace(device, gate=answer.sentences)
            if answer.verdict is not Verdict.FAILED:
                reason = answer.against if answer.verdict is Verdict.UNDECIDED else ""
                return replace(device, reason=reason), answer.verdict
            failed = "; ".join(s for s in answer.sentences if s.endswith("(failed)"))
            self.listener.note(f"{device.spec.name}: strike {strike} of {plan.strikes}: {failed}")
        # What was there before the rollout is not the rollout's to take back.
        phase = P.REFUSED if device.phase is P.PRESENT else P.UNHEALTHY
        return replace(device, phase=phase, reason=failed), Verdict.FAILED

    async def look(self, device: RolloutDevice) -> RolloutDevice:
        """Have what serves verified and run; too many bad looks in a row condemn it."""
        try:
            async with open_one(self.app, device.spec) as opened:
                status = await self._status(opened)
                if status is None or not self._is_new(status) or status.state not in OVER:
                    raise StateError("it no longer serves the release.")
                statement, envelope = await attest_on(
                    self.app, opened, self.rollout.plan.release, _STATEMENT_LIFE_S
                )
            if self.rollout.plan.certificate:
                path = await asyncio.to_thread(
                    keep_certificate, self.app.state_directory, opened, statement, envelope
                )
                device = replace(device, certificate=path.name)
        except BusyError as error:
            # Somebody else has it: that is no sign of ill health, and no look either.
            self.listener.note(_of(device, error))
            return replace(device, reason=_of(device, error))
        except EdgeloopError as error:
            strikes = device.strikes + 1
            phase = P.UNHEALTHY if strikes >= self.rollout.plan.strikes else device.phase
            reason = _of(device, error)
            self.listener.note(f"{device.spec.name}: strike {strikes}: {reason}")
            return replace(device, phase=phase, strikes=strikes, reason=reason)
        return replace(device, strikes=0, reason="")

    async def take_back(self, device: RolloutDevice) -> RolloutDevice:
        """Let what served before serve again; a device that does not answer stays as it is."""
        name = self.rollout.plan.release
        try:
            async with open_one(self.app, device.spec) as opened:
                calls = opened.client.deployments
                status = await self._status(opened)
                if status is not None and status.state not in OVER:
                    status = await calls.cancel(name)
                if status is not None and self._is_new(status):
                    if not status.previous_digest:
                        return replace(device, phase=P.STUCK, reason="nothing served here before.")
                    status = await calls.rollback(name)
                return replace(device, phase=P.BACK)
        except EdgeloopError as error:
            phase = device.phase if isinstance(error, _AWAY) else P.STUCK
            return replace(device, phase=phase, reason=_of(device, error))


def _of(device: RolloutDevice, error: EdgeloopError) -> str:
    return error.message.removeprefix(f"{device.spec.name}: ")
