"""One device under a test session: measures what the tests ask about, and compares it with a baseline.

A lease is held while a job runs and never between jobs, so that several sessions share a device fairly; whoever
is killed holds nothing that does not expire by itself. An agent that we start ourselves serves one session at a
time: a lock file beside its state orders them, and the kernel lets go of it with the process.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import BusyError, InvalidInputError, UnavailableError
from edgeloop_foundation.locks import try_lock
from edgeloop_protocol.types.artifact import StateBinding
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.run import Outcome, Run
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

from edgeloop.domain.candidate import CandidateState
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import Listener
from edgeloop.domain.recipe import ORIGINAL
from edgeloop.domain.strategy import Evidence
from edgeloop.orchestrate.candidates import build_candidates, given_candidate
from edgeloop.orchestrate.fleet import open_one
from edgeloop.orchestrate.measure import MeasureRequest, OpenDevice, measure_device
from edgeloop.orchestrate.prepare import Prepared, prepare

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["GateDevice", "GateRequest", "Gated", "hold_file"]

_STARTED_BY_US = ("local", "simulated")
_LOOK_S = 0.25
_ATTEMPTS = 3
_DIGEST_LENGTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """What a test wants to know about; equal requests have equal answers within a session."""

    #: Path of the model, ``path.py:function``, or the whole digest of a kept artifact.
    model: str
    #: Data whose inputs are used; empty for random ones.
    data: str = ""
    #: Model whose outputs count as right; empty for the model itself.
    reference: str = ""
    state: tuple[StateBinding, ...] = ()
    settings: RuntimeSettings = RuntimeSettings()
    benchmark: Benchmark = Benchmark()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """One model as it was measured on the device."""

    artifact_digest: str
    facts: Facts
    run: Run
    #: Its figures; the gains are over the other model of the same job.
    evidence: Evidence


class GateDevice:
    """A device as a test session sees it.

    Args:
        app: stores and workers.
        spec: the device.
        lease_wait_s: how long to wait for the device when somebody else has it.
        keep_open: whether to stay connected between measurements; a session of several processes gives an
            agent of its own back each time, so that its other processes get their turn.
        context: kept with every run.
    """

    def __init__(
        self,
        app: App,
        spec: DeviceSpec,
        *,
        lease_wait_s: float,
        keep_open: bool,
        context: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._app, self.spec = app, spec
        self._lease_wait_s = lease_wait_s
        self._keep_open = keep_open or spec.transport not in _STARTED_BY_US
        self._context = context
        self._open = AsyncExitStack()
        self._device: OpenDevice | None = None

    async def facts(self, listener: Listener) -> Facts:
        """Return what the device found out about itself.

        Raises:
            EdgeloopError: it cannot be reached.
        """
        async with self._connected(listener) as device:
            return device.facts

    async def measure(self, request: GateRequest, listener: Listener) -> Gated:
        """Measure one model.

        Raises:
            EdgeloopError: the model or data cannot be used, or the device did not do its work.
        """
        digest = await self._artifact(request, listener)
        (gated,) = await self._undisturbed(((_label(request.model), digest),), request, listener)
        return gated

    async def compare(self, baseline: str, request: GateRequest, listener: Listener) -> tuple[Gated, Gated]:
        """Measure ``baseline`` and the model of ``request`` interleaved and return both in this order.

        The gains of the second are over the first, paired round by round.

        ``baseline`` is a model file or the digest of a kept artifact. Raises what ``measure`` raises.
        """
        old = await self._artifact(replace(request, model=baseline, reference=""), listener)
        new = await self._artifact(request, listener)
        pair = ((f"baseline {_label(baseline)}", old), (f"now {_label(request.model)}", new))
        # Parity was checked when the model was measured by itself; here only the ratio counts.
        benchmark = replace(
            request.benchmark,
            interleave="batch",
            check_parity=False,
            measure_memory=False,
            measure_nodes=False,
        )
        first, second = await self._undisturbed(pair, replace(request, benchmark=benchmark), listener)
        return first, second

    def keeps(self, digest: str) -> bool:
        """Return whether an artifact is at hand here, so that it can be measured again."""
        return digest in self._app.artifacts.digests()

    async def close(self) -> None:
        """Disconnect; an agent that was started for this session ends."""
        self._device = None
        await self._open.aclose()

    async def _artifact(self, request: GateRequest, listener: Listener) -> str:
        if len(request.model) == _DIGEST_LENGTH and self.keeps(request.model):
            return request.model
        # Builds of one session share files by name; several processes take turns.
        lock = self._app.state_directory / "build.lock"
        async with hold_file(lock, self._lease_wait_s, "the build directory", listener):
            prepared = await self._prepare(request.model, request, listener)
            reference = (
                await self._prepare(request.reference, request, listener) if request.reference else None
            )
            seed = request.benchmark.seed
            (built,) = await build_candidates(
                self._app, prepared, (ORIGINAL,), seed, listener, reference=reference
            )
        if built.state is not CandidateState.BUILT:
            raise InvalidInputError(f"{request.model}: {built.reason}")
        return built.artifact_digest

    async def _prepare(self, model: str, request: GateRequest, listener: Listener) -> Prepared:
        seed = request.benchmark.seed
        return await asyncio.to_thread(prepare, self._app, model, request.data, request.state, seed, listener)

    async def _undisturbed(
        self, artifacts: tuple[tuple[str, str], ...], request: GateRequest, listener: Listener
    ) -> tuple[Gated, ...]:
        """Measure, again where something disturbed it; every attempt is recorded.

        Whether it is repeated depends on the disturbance alone, never on the figures, so that nothing is selected.
        """
        from edgeloop.select.gate import objection

        for attempt in range(1, _ATTEMPTS + 1):
            gated = await self._job(artifacts, request, listener)
            disturbed = [objection(g.run) for g in gated if g.run.outcome is Outcome.SUCCESS]
            against = next(filter(None, disturbed), "")
            if not against or attempt == _ATTEMPTS:
                break
            listener.note(f"{self.spec.name}: {against}; measured again ({attempt + 1} of {_ATTEMPTS}).")
        return gated

    async def _job(
        self, artifacts: tuple[tuple[str, str], ...], request: GateRequest, listener: Listener
    ) -> tuple[Gated, ...]:
        from edgeloop.select.evidence import collect

        asked = MeasureRequest(
            experiment_id=f"gate-{uuid.uuid4().hex}",
            artifacts=artifacts,
            anchor=artifacts[0][0],
            settings=request.settings,
            benchmark=request.benchmark,
            lease_wait_s=self._lease_wait_s,
            context=self._context,
        )
        async with self._connected(listener) as device:
            result = await measure_device(self._app, device, asked, listener)
        if result.error:
            raise UnavailableError(result.error)
        candidates = [
            given_candidate(self._app, label, digest, original=i == 0)
            for i, (label, digest) in enumerate(artifacts)
        ]
        runs = {run.trial.label: run for run in result.runs}
        if len(runs) < len(artifacts):
            raise UnavailableError(f"{self.spec.name}: the job came back without a run of each model.")
        return tuple(
            Gated(
                artifact_digest=found.artifact_digest,
                facts=device.facts,
                run=runs[found.candidate],
                evidence=found,
            )
            for found in collect(candidates, result.runs)
        )

    @asynccontextmanager
    async def _connected(self, listener: Listener) -> AsyncIterator[OpenDevice]:
        if self._device is None:
            self._device = await self._connect(listener)
        try:
            yield self._device
        finally:
            if not self._keep_open:
                await self.close()
                self._open = AsyncExitStack()

    async def _connect(self, listener: Listener) -> OpenDevice:
        async with AsyncExitStack() as stack:
            if self.spec.transport in _STARTED_BY_US:
                lock = self._app.state_directory / "agents" / f"{uuid.uuid5(_SPACE, self.spec.name)}.lock"
                await stack.enter_async_context(hold_file(lock, self._lease_wait_s, self.spec.name, listener))
            device = await stack.enter_async_context(open_one(self._app, self.spec))
            self._open.push_async_exit(stack.pop_all())
            return device


_SPACE = uuid.NAMESPACE_OID


def _label(model: str) -> str:
    return model[:12] if len(model) == _DIGEST_LENGTH else Path(model).name


@asynccontextmanager
async def hold_file(path: Path, wait_s: float, what: str, listener: Listener) -> AsyncIterator[None]:
    """Hold a lock that other processes of this machine see; a process that dies lets go of it.

    Raises:
        BusyError: somebody else held it for longer than ``wait_s``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        give_up, told = time.monotonic() + wait_s, False
        while not try_lock(file.fileno()):
            if time.monotonic() >= give_up:
                raise BusyError(
                    f"{what} is in use by another test process for more than {wait_s:.0f} s.",
                    next_step="Wait for it, or raise --edgeloop-lease-wait.",
                )
            if not told:
                listener.note(f"{what} is in use by another test process; waiting.")
                told = True
            await asyncio.sleep(_LOOK_S)
        yield
