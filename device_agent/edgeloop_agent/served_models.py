"""The deployments that are served, each by a process of its own that the daemon starts, watches and starts again.

``NAME.json`` below ``serving/`` holds what was asked for, sealed: it outlives the agent, which starts everything in
there when it starts. Ports that the system chose are kept in it, so that clients find the process again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from edgeloop_foundation.errors import EdgeloopError, StateError
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory, write_durably
from edgeloop_foundation.ports.process import ProcessPort
from edgeloop_foundation.within import within
from edgeloop_protocol.convert import from_json, to_canonical_json
from edgeloop_protocol.types.deployment import check_deployment_name
from edgeloop_protocol.types.serving import ServingSpec, ServingState, ServingStatus
from edgeloop_protocol.types.telemetry import ServedTelemetry

from edgeloop_agent.enclosure import Enclosure
from edgeloop_agent.frames import encode_frame
from edgeloop_agent.isolation_policy import IsolationPolicy
from edgeloop_agent.quarantine import Quarantine
from edgeloop_agent.sealed import seal, unseal
from edgeloop_agent.served_process import ENDS_S, Ended, Served, ServedProcess, ServingHost
from edgeloop_agent.slots import Slot, SlotFiles

__all__ = ["ServedModels"]

_SUFFIX = ".json"
_PAUSES_S = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
# A process that has answered for so long did not fail at its start.
_STEADY_S = 60.0
_LISTENS_S = 60.0
# An agent that is asked to end is killed after a few seconds.
_ENDS_WITH_AGENT_S = 3.0
_COUNTS_S = 2.0
# Beyond it a sample would not fit its place in the ring.
_COUNTED_MAX = 32

_log = logging.getLogger(__name__)


class ServedModels:
    """Everything that is served on one device.

    Args:
        fs: where the specifications are.
        state: the agent's state directory.
        slots: the deployments.
        processes: starts children.
        policy: how far they are confined.
        quarantine: counts processes that end badly, and says what is opened no more.
    """

    def __init__(
        self,
        fs: FileSystem,
        state: Path,
        slots: SlotFiles,
        processes: ProcessPort,
        policy: IsolationPolicy | None = None,
        quarantine: Quarantine | None = None,
    ) -> None:
        self._fs, self._root, self._slots = fs, state / "serving", slots
        self._host = ServingHost(
            fs=fs,
            state=state,
            slots=slots,
            processes=processes,
            policy=policy or IsolationPolicy(),
            quarantine=quarantine,
            enclosure=Enclosure(processes),
        )
        self._served: dict[str, Served] = {}
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        """Serve what was served before the agent ended."""
        for spec in await asyncio.to_thread(self._specs):
            self._begin(spec)

    def _specs(self) -> list[ServingSpec]:
        found = []
        for entry, _ in self._fs.entries(self._root) if self._fs.exists(self._root) else ():
            if not entry.endswith(_SUFFIX):
                self._fs.remove(self._root / entry)
                continue
            try:
                found.append(from_json(unseal(self._fs.read(self._root / entry)), ServingSpec))
            except (EdgeloopError, OSError) as error:
                _log.error("serving %s cannot go on: %s", entry.removesuffix(_SUFFIX), error)
        return found

    def _path(self, name: str) -> Path:
        return self._root / f"{check_deployment_name(name)}{_SUFFIX}"

    def _save(self, spec: ServingSpec) -> None:
        make_durable_directory(self._fs, self._root)
        write_durably(self._fs, self._path(spec.name), seal(to_canonical_json(spec)))

    async def serve(self, spec: ServingSpec) -> ServingStatus:
        """Serve a deployment from now on; return once its process listens.

        Raises:
            NotFoundError: there is no deployment of that name.
            StateError: the deployment has no version, or its process cannot listen as asked; then it is not served.
        """
        # Shielded: a client that goes away must leave neither nothing served nor what is served off the disk.
        return await asyncio.shield(self._serve(spec))

    async def _serve(self, spec: ServingSpec) -> ServingStatus:
        async with self._changing:
            await asyncio.to_thread(self._slots.record, spec.name)
            pointer = await asyncio.to_thread(self._slots.pointer, spec.name)
            if not pointer.current:
                raise StateError(f"deployment {spec.name} has no version.", next_step="Deploy one first.")
            before = self._served.pop(spec.name, None)
            if before is not None:
                await self._end(before)
            served = self._begin(spec)
            with contextlib.suppress(asyncio.TimeoutError):
                await within(served.listens.wait(), _LISTENS_S)
            if served.status.state is ServingState.FAILED:
                await self._end(self._served.pop(spec.name))
                if before is not None:
                    self._begin(before.status.spec)
                raise StateError(
                    f"{spec.name} cannot be served so: {served.status.reason}",
                    next_step="What was served before is served on." if before is not None else "",
                )
            await asyncio.to_thread(self._save, served.status.spec)
            return served.status

    async def stop_serving(self, name: str) -> bool:
        """Serve a deployment no more; return whether it was served."""
        return await asyncio.shield(self._stop_serving(name))

    async def _stop_serving(self, name: str) -> bool:
        async with self._changing:
            served = self._served.pop(check_deployment_name(name), None)
            if served is not None:
                await self._end(served)
            known = await asyncio.to_thread(self._fs.exists, self._path(name))
            if known:
                await asyncio.to_thread(self._forget, name)
            return served is not None

    def _forget(self, name: str) -> None:
        self._fs.remove(self._path(name))
        self._fs.sync_directory(self._root)

    def list(self) -> tuple[ServingStatus, ...]:
        """Return everything that is served, by name."""
        return tuple(self._served[name].status for name in sorted(self._served))

    async def telemetry(self) -> tuple[ServedTelemetry, ...]:
        """Return what each process has counted, by name; one that does not answer says so."""
        chosen = [self._served[name] for name in sorted(self._served)[:_COUNTED_MAX]]
        return tuple(await asyncio.gather(*(self._counted(one) for one in chosen)))

    async def _counted(self, served: Served) -> ServedTelemetry:
        name, child = served.status.spec.name, served.child
        if child is None or not served.listens.is_set():
            return ServedTelemetry(name=name, process="", reason=f"it is {served.status.state.value}")
        while not served.counts.empty():
            served.counts.get_nowait()
        try:
            await child.write(encode_frame({"ask": "counts"}))
            return await within(served.counts.get(), _COUNTS_S)
        except (ConnectionError, asyncio.TimeoutError):
            return ServedTelemetry(name=name, process="", reason=f"it told nothing within {_COUNTS_S:g} s")

    async def stop(self) -> None:
        """Let every process end; what was asked for stays, for the agent's next start."""
        async with self._changing:
            served, self._served = list(self._served.values()), {}
            await asyncio.gather(*(self._end(one, _ENDS_WITH_AGENT_S) for one in served))

    def _begin(self, spec: ServingSpec) -> Served:
        served = self._served[spec.name] = Served(spec)
        served.task = asyncio.create_task(self._watch(served), name=f"serving {spec.name}")
        return served

    async def _end(self, served: Served, within_s: float = ENDS_S) -> None:
        served.ends_within_s = within_s
        served.ends.set()
        if served.task is not None:
            await asyncio.wait({served.task})

    async def _watch(self, served: Served) -> None:
        """Keep a process running until it is to end; the pause before the next try grows with every failure."""
        loop, tries = asyncio.get_running_loop(), 0
        while not served.ends.is_set():
            started_s = loop.time()
            reason, started = await self._quarantined(served), False
            if not reason:
                started = True
                ended = await ServedProcess(self._host, served).run()
                if ended is None or served.ends.is_set():
                    return
                reason = ended.reason
                await self._strike(ended)
            tries = 0 if loop.time() - started_s > _STEADY_S else tries + 1
            if reason != served.status.reason:
                _log.error("serving %s ended: %s", served.status.spec.name, reason)
            served.now(
                state=ServingState.FAILED,
                reason=reason,
                counter=0,
                digest="",
                form="",
                restarts=served.status.restarts + started,
            )
            served.listens.set()
            with contextlib.suppress(asyncio.TimeoutError):
                await within(served.ends.wait(), _PAUSES_S[min(tries, len(_PAUSES_S)) - 1])

    async def _quarantined(self, served: Served) -> str:
        """Return why what is to be served is opened no more; empty when it is opened."""
        if self._host.quarantine is None:
            return ""
        try:
            pointer = await asyncio.to_thread(self._slots.pointer, served.status.spec.name)
        except (EdgeloopError, OSError):
            return ""
        if not pointer.current:
            return ""
        failure = self._host.quarantine.refusal(Slot.parse(pointer.current).digest)
        return "" if failure is None else failure.reason

    async def _strike(self, ended: Ended) -> None:
        if self._host.quarantine is not None and ended.failure is not None and ended.digest:
            await self._host.quarantine.note_probe(ended.digest, ended.failure)
