"""The agent put together: stores, leases, jobs, and the server that offers them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from edgeloop_foundation.errors import BusyError, EdgeloopError, StateError
from edgeloop_foundation.locks import try_lock
from edgeloop_foundation.ports.clock import Clock
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, make_durable_directory
from edgeloop_foundation.ports.process import ProcessPort, SystemProcesses
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.v1 import (
    bytestream_pb2,
    deployment_pb2,
    deployment_pb2_grpc,
    device_pb2,
    device_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    lease_pb2,
    lease_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
    serving_pb2,
    serving_pb2_grpc,
    telemetry_pb2,
    telemetry_pb2_grpc,
)
from edgeloop_protocol.v1 import content_addressable_storage_pb2 as cas_pb2
from edgeloop_protocol.v1 import content_addressable_storage_pb2_grpc as cas_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from edgeloop_agent.access.admission import Access
from edgeloop_agent.cool_down import Rests
from edgeloop_agent.deployments import Deployments
from edgeloop_agent.device_identity import DeviceIdentity
from edgeloop_agent.directories import SCRATCH
from edgeloop_agent.execution import Execute
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.gate import ORDINARY_CALLS_MAX, RESERVED_CALLS_MAX, WAITING_CALLS_MAX, Gate
from edgeloop_agent.identity_files import Credentials
from edgeloop_agent.isolation_policy import IsolationPolicy
from edgeloop_agent.job_journal import JobJournal
from edgeloop_agent.jobs import Jobs
from edgeloop_agent.leases import Leases
from edgeloop_agent.listen import Listener, LoopbackListener
from edgeloop_agent.looks import Looks
from edgeloop_agent.quarantine import Quarantine
from edgeloop_agent.release_trust import ReleaseTrust
from edgeloop_agent.served_models import ServedModels
from edgeloop_agent.services.blobs import ByteStreamService, ContentService, add_byte_stream
from edgeloop_agent.services.deployments import DeploymentService
from edgeloop_agent.services.device import DeviceService
from edgeloop_agent.services.identity import IdentityService
from edgeloop_agent.services.jobs import JobService
from edgeloop_agent.services.leases import LeaseService
from edgeloop_agent.services.reflection import LazyReflection
from edgeloop_agent.services.serving import ServingService
from edgeloop_agent.services.spool import SpoolService
from edgeloop_agent.services.telemetry import TelemetryService
from edgeloop_agent.slots import Slot, SlotRecord, Slots
from edgeloop_agent.splice import Splicer
from edgeloop_agent.spool import Spool
from edgeloop_agent.store import ContentStore
from edgeloop_agent.telemetry.options import TelemetryOptions
from edgeloop_agent.telemetry.ring import Ring
from edgeloop_agent.telemetry.sampler import Telemetry
from edgeloop_agent.workspace import Workspace

if TYPE_CHECKING:
    from edgeloop_agent.board import Board

__all__ = ["SERVER_OPTIONS", "SERVICES", "Agent", "Limits", "StateLock"]

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
    # Above all calls that the gate admits, or one client's waiters would block its own heartbeat.
    ("grpc.max_concurrent_streams", 64),
    # As many waiters as may queue, each with a connection of its own, and sixteen besides.
    ("grpc.max_allowed_incoming_connections", 16 + WAITING_CALLS_MAX),
    # The default leaves a silent connection open for two minutes. Mutual TLS over a link of 2 s each way takes 4 s
    # of it, and one lost packet there as much again and more.
    ("grpc.server_handshake_timeout_ms", 15_000),
    # The name without "recv" is the one that works; by default a client that pings every 20 s is thrown out.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A client that vanished without a word loses its streams, and with them its place in the queue.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
    # Two agents on one port would share its calls at random.
    ("grpc.so_reuseport", 0),
)
"""How the server treats connections; each one's effect is tested."""

SERVICES: tuple[str, ...] = tuple(
    file.services_by_name[name].full_name
    for file, name in (
        (device_pb2.DESCRIPTOR, "DeviceService"),
        (lease_pb2.DESCRIPTOR, "LeaseService"),
        (job_pb2.DESCRIPTOR, "JobService"),
        (run_pb2.DESCRIPTOR, "SpoolService"),
        (identity_pb2.DESCRIPTOR, "IdentityService"),
        (deployment_pb2.DESCRIPTOR, "DeploymentService"),
        (serving_pb2.DESCRIPTOR, "ServingService"),
        (telemetry_pb2.DESCRIPTOR, "TelemetryService"),
        (bytestream_pb2.DESCRIPTOR, "ByteStream"),
        (cas_pb2.DESCRIPTOR, "ContentAddressableStorage"),
    )
)
"""Full names of the services, as health and reflection tell them."""

_STOP_GRACE_S = 3.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of the disk the agent uses."""

    #: Space that stays free for results.
    reserve_bytes: int = 128 * 1024 * 1024
    #: Most that blobs may take together.
    store_bytes: int = 8 * 1024 * 1024 * 1024


class StateLock:
    """Keeps a second agent out of a state directory; the system drops it with the process."""

    def __init__(self, state_directory: Path) -> None:
        make_durable_directory(OsFileSystem(), state_directory)
        self._descriptor = os.open(
            state_directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        if not try_lock(self._descriptor):
            os.close(self._descriptor)
            raise BusyError(
                f"another agent runs on the state directory {state_directory}.",
                next_step="Stop it, or choose another --state.",
            )

    def release(self) -> None:
        """Let the next agent in."""
        os.close(self._descriptor)


class Agent:
    """One agent on one board; ``start``, then ``stop``."""

    def __init__(
        self,
        *,
        fs: FileSystem,
        clock: Clock,
        state_directory: Path,
        board: Board,
        execute: Execute,
        boot_id: str,
        limits: Limits | None = None,
        options: tuple[tuple[str, int], ...] = SERVER_OPTIONS,
        ordinary_calls_max: int = ORDINARY_CALLS_MAX,
        interceptors: tuple[Any, ...] = (),
        identity: DeviceIdentity | None = None,
        telemetry: TelemetryOptions | None = None,
        processes: ProcessPort | None = None,
        isolation: IsolationPolicy | None = None,
        make_server: Callable[..., Any] = grpc.aio.server,
    ) -> None:
        processes = processes or SystemProcesses()
        limits = limits or Limits()
        reserve_bytes = limits.reserve_bytes
        self._board = board
        self._fs, self._scratch, self._state_directory = fs, state_directory / SCRATCH, state_directory
        self.store = ContentStore(
            fs, state_directory / "store", store_bytes=limits.store_bytes, reserve_bytes=reserve_bytes
        )
        self.splicer = Splicer(self.store)
        self.spool = Spool(fs, state_directory / "spool", reserve_bytes=reserve_bytes)
        self._clock = clock
        self.leases = Leases(fs=fs, clock=clock, root=state_directory / "leases", boot_id=boot_id)
        self.rests = Rests(fs=fs, root=state_directory / "leases", board=board)
        self.quarantine = Quarantine(fs=fs, root=state_directory / "quarantine", clock=clock)
        self.workspace = Workspace(fs, state_directory / "work", self.store, reserve_bytes=reserve_bytes)
        self.jobs = Jobs(
            journal=JobJournal(fs, state_directory / "jobs"),
            clock=clock,
            board=board,
            store=self.store,
            workspace=self.workspace,
            spool=self.spool,
            leases=self.leases,
            rests=self.rests,
            quarantine=self.quarantine,
            execute=execute,
        )
        self.looks = Looks(board=board, leases=self.leases, jobs=self.jobs, spool=self.spool, clock=clock)
        self.store.add_pin_source(self.spool.referenced_blobs)
        self._release_trust = ReleaseTrust(state_directory, processes)
        slots = Slots(fs, state_directory / "deployments", self.store)
        self.served = ServedModels(fs, state_directory, slots, processes, isolation, self.quarantine)
        #: Samples of how the device is; None when they are off.
        self.telemetry = None if telemetry is None else self._sampler(telemetry)
        self.deployments = Deployments(
            slots,
            self._release_trust.accept,
            self.workspace.read_manifest,
            board.facts,
            self._probe,
            self.quarantine.check,
        )
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self.identity = identity or DeviceIdentity(fs, clock, state_directory, processes)
        self.identity.on_change = self._trust
        self._access = Access()
        self._server = make_server(
            interceptors=(*interceptors, Gate(self._access, ordinary_calls_max)),
            options=options,
            maximum_concurrent_rpcs=ordinary_calls_max + RESERVED_CALLS_MAX + WAITING_CALLS_MAX,
        )
        self._watchdog: asyncio.Task[None] | None = None

    def _sampler(self, options: TelemetryOptions) -> Telemetry:
        ring = Ring(self._fs, self._state_directory / "telemetry", capacity_bytes=options.ring_bytes)
        return Telemetry(
            ring=ring,
            options=options,
            board=self._board,
            look=self.looks.look,
            served=self.served.telemetry,
            clock=self._clock,
        )

    async def _probe(self, record: SlotRecord, directory: Path, artifact: Artifact) -> str:
        # Loaded with the first deployment, an idle daemon does without.
        from edgeloop_agent.deployment_probe import probe_slot

        digest = Slot.parse(record.slot).digest
        try:
            text = (await probe_slot(self._board, record, directory, artifact)).text
        except StateError as error:
            # What the runner died of is what the probe's own sentence was made of.
            if isinstance(error.__cause__, RunnerFailure):
                await self.quarantine.note_probe(digest, error.__cause__)
            raise
        await self.quarantine.note_probe(digest, None)
        return text

    async def _attest(self, name: str, life_s: float) -> tuple[str, str]:
        from edgeloop_agent.attestation import attest

        return await attest(self.deployments, self._board, self.identity, self._clock, name, life_s)

    def _trust(self, credentials: Credentials) -> None:
        trust = credentials.trust
        self._access.trust(trust.fleet, frozenset(revoked.public_key for revoked in trust.revoked))

    def _open(self) -> None:
        # Runners die with their agent; what they left goes now.
        self._fs.remove_tree(self._scratch)
        self.store.open()
        self.spool.open()
        self.workspace.open()
        self.rests.open()
        self.quarantine.open()
        self.jobs.open()
        self.deployments.open()
        self.leases.open(token_floor=self.jobs.highest_fencing_token)
        if self.telemetry is not None:
            self.telemetry.ring.open()

    async def start(self, listener: Listener) -> str:
        """Recover, begin to serve and return the address that clients use.

        Raises:
            EdgeloopError: the address or the state directory cannot be used.
        """
        await asyncio.to_thread(self._open)
        facts = await self._board.facts()
        self._add_services(facts.device_id)
        self.identity.open()
        self._access.trusts_loopback = isinstance(listener, LoopbackListener)
        address = listener.bind(self._server)
        await self._server.start()
        self.deployments.resume()
        await self.served.start()
        self._watchdog = asyncio.create_task(self.leases.run(), name="leases")
        if self.telemetry is not None:
            self.telemetry.start()
        for service in ("", *SERVICES):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return address

    def _add_services(self, device_id: str) -> None:
        registrations: tuple[tuple[Any, object], ...] = (
            (
                device_pb2_grpc.add_DeviceServiceServicer_to_server,
                DeviceService(self._board, device_id, self.looks),
            ),
            (lease_pb2_grpc.add_LeaseServiceServicer_to_server, LeaseService(self.leases, self.rests)),
            (job_pb2_grpc.add_JobServiceServicer_to_server, JobService(self.jobs, self.quarantine)),
            (run_pb2_grpc.add_SpoolServiceServicer_to_server, SpoolService(self.spool)),
            (identity_pb2_grpc.add_IdentityServiceServicer_to_server, IdentityService(self.identity)),
            (
                deployment_pb2_grpc.add_DeploymentServiceServicer_to_server,
                DeploymentService(self.deployments, self._release_trust, self.leases, self._attest),
            ),
            (
                serving_pb2_grpc.add_ServingServiceServicer_to_server,
                ServingService(self.served, simulated=self._board.simulation is not None),
            ),
            (
                telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server,
                TelemetryService(self.telemetry, self._fs, self._state_directory, device_id),
            ),
            (add_byte_stream, ByteStreamService(self.store)),
            (
                cas_pb2_grpc.add_ContentAddressableStorageServicer_to_server,
                ContentService(self.store, self.splicer),
            ),
            (health_pb2_grpc.add_HealthServicer_to_server, self._health),
        )
        for add, servicer in registrations:
            add(servicer, self._server)
        self._server.add_generic_rpc_handlers((LazyReflection((*SERVICES, health.SERVICE_NAME)),))

    async def stop(self, grace_s: float = _STOP_GRACE_S) -> None:
        """Say so, interrupt the job, let calls end within ``grace_s``, keep what is worth keeping."""
        await self._health.enter_graceful_shutdown()
        if self.telemetry is not None:
            await self.telemetry.stop()
        await self.jobs.stop()
        await self.deployments.stop()
        self.splicer.stop()
        await self.served.stop()
        await self._server.stop(grace_s)
        if self._watchdog is not None:
            self._watchdog.cancel()
            await asyncio.wait({self._watchdog})
        try:
            await asyncio.to_thread(self.store.close)
        except (OSError, EdgeloopError) as error:
            _log.warning("the order of use of the blobs is lost: %s", error)
