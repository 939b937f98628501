"""The Python interface of shipping: sign, deploy, roll out in waves, go back, and prove parity on paper."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_protocol.types.attestation import ParityStatement
from edgeloop_protocol.types.deployment import ReleaseTerms

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import Listener
from edgeloop.domain.rollout import Rollout
from edgeloop.domain.rollout_plan import RolloutPlan
from edgeloop.interfaces.beside_loop import works_beside_a_loop

if TYPE_CHECKING:
    from edgeloop_foundation.ports.clock import Clock

    from edgeloop.app import App
    from edgeloop.orchestrate.deploy import Deployed, Selectors

__all__ = ["Shipping"]

_LIFE_S = 30 * 86_400.0


@works_beside_a_loop
class Shipping:
    """What ``edgeloop release|deploy|deployment|rollout|certificate`` do, as methods.

    Every method raises the subclasses of ``EdgeloopError`` that the orchestrate function of its name states.

    Args:
        open_app: opens the stores, for one call.
        listener: hears what happens.
        clock: time of a rollout; None is the clock of this machine.
    """

    def __init__(
        self,
        open_app: Callable[[], AbstractContextManager[App]],
        listener: Listener,
        clock: Clock | None = None,
    ) -> None:
        self._open, self._listener, self._clock = open_app, listener, clock

    def sign(
        self, artifact: str, name: str, selectors: Selectors | None = None, keys: Path | None = None
    ) -> ReleaseTerms:
        """Let a name stand for a kept artifact from now on."""
        from edgeloop.orchestrate.deploy import Selectors, sign

        with self._open() as app:
            return sign(app, artifact, name, selectors or Selectors(), keys)

    def deploy(
        self, name: str, devices: Sequence[DeviceSpec], *, trial_s: float = 5.0
    ) -> tuple[Deployed, ...]:
        """Install a signed release on every device at once, without waves."""
        from edgeloop.orchestrate.deploy import deploy

        with self._open() as app:
            return asyncio.run(deploy(app, name, devices, trial_s=trial_s))

    def deployments(self, devices: Sequence[DeviceSpec]) -> tuple[Deployed, ...]:
        """Ask every device how its deployments stand."""
        from edgeloop.orchestrate.deploy import statuses

        with self._open() as app:
            return asyncio.run(statuses(app, devices))

    def roll_back(self, name: str, devices: Sequence[DeviceSpec]) -> tuple[Deployed, ...]:
        """Go back to the version before the committed one on every device."""
        from edgeloop.orchestrate.deploy import roll_back

        with self._open() as app:
            return asyncio.run(roll_back(app, name, devices))

    def read_plan(self, path: Path) -> RolloutPlan:
        """Read the plan of a rollout."""
        from edgeloop.orchestrate.rollout_verbs import read_plan

        return read_plan(path)

    def lay_out(
        self,
        plan: RolloutPlan,
        devices: Sequence[DeviceSpec],
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> Rollout:
        """Return the rollout that a plan stands for; nothing is begun or written."""
        from edgeloop.orchestrate.rollout_verbs import lay_out

        with self._open() as app:
            return lay_out(app, plan, devices, groups or {})

    def start(self, rollout: Rollout, *, supersede: bool = False, wait: bool = True) -> Rollout:
        """Start a rollout and drive it until it ends, is paused or needs approval."""
        from edgeloop.orchestrate.rollout_verbs import start_rollout

        with self._open() as app:
            started = start_rollout(app, rollout, supersede=supersede)
            return self._drive(app, started, wait=wait)

    def resume(self, word: str, *, wait: bool = True) -> Rollout:
        """Go on with a rollout that was paused, killed, or left with devices that were away."""
        from edgeloop.orchestrate.rollout_verbs import resume_rollout

        with self._open() as app:
            return self._drive(app, resume_rollout(app, word), wait=wait)

    def approve(self, word: str, *, wait: bool = True) -> Rollout:
        """Let the wave that waits begin, or an answer that cannot be given count as passed, and drive on."""
        from edgeloop.orchestrate.rollout_verbs import approve_rollout

        with self._open() as app:
            return self._drive(app, approve_rollout(app, word), wait=wait)

    def pause(self, word: str) -> Rollout:
        """Let a rollout begin nothing further."""
        return self._ask(word, "pause")

    def abort(self, word: str, *, keep: bool = False, wait: bool = True) -> Rollout:
        """Stop a rollout and take the release back from every device that it reached, or leave those with ``keep``."""
        asked = self._ask(word, "keep" if keep else "abort")
        if asked.over or keep:
            return asked
        from edgeloop_foundation.errors import BusyError

        with self._open() as app:
            try:
                return self._drive(app, asked, wait=wait)
            except BusyError:
                return asked  # the process that drives it has heard it

    def rollouts(self) -> tuple[Rollout, ...]:
        """Return every rollout, the oldest first."""
        from edgeloop.store.rollouts import RolloutStore

        with self._open() as app:
            return RolloutStore(app.state_directory).all()

    def rollout(self, word: str) -> Rollout:
        """Return a rollout by its identifier, or the newest one of a release."""
        from edgeloop.store.rollouts import RolloutStore

        with self._open() as app:
            return RolloutStore(app.state_directory).get(word)

    def issue_certificate(
        self, name: str, device: DeviceSpec, *, life_s: float = _LIFE_S
    ) -> tuple[Path, ParityStatement]:
        """Have a device sign a parity certificate about what it serves; return file and content."""
        from edgeloop.orchestrate.certificate import issue_certificate

        with self._open() as app:
            return asyncio.run(issue_certificate(app, name, device, life_s))

    def verify_certificate(
        self, path: Path, roots: Sequence[Path] = (), *, device: str = "", artifact: str = ""
    ) -> ParityStatement:
        """Verify a parity certificate offline."""
        from edgeloop.orchestrate.certificate import trusted_here, verify_file

        with self._open() as app:
            trusted = trusted_here(app.state_directory, roots)
        return verify_file(path, trusted, device=device, artifact=artifact)

    def _ask(self, word: str, request: str) -> Rollout:
        from edgeloop.orchestrate.rollout_verbs import ask_rollout

        with self._open() as app:
            return ask_rollout(app, word, request)

    def _drive(self, app: App, rollout: Rollout, *, wait: bool) -> Rollout:
        from edgeloop_foundation.ports.clock import SystemClock

        from edgeloop.orchestrate.rollout import drive_rollout

        clock = self._clock or SystemClock()
        return asyncio.run(drive_rollout(app, rollout.rollout_id, clock, self._listener, wait=wait))
