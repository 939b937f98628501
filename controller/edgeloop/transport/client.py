"""The typed client of one agent: our values in, our values and errors out."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc.aio
from edgeloop_foundation.errors import (
    CorruptDataError,
    DeadlineError,
    EdgeloopError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from edgeloop_protocol import CAPABILITIES, PROTOCOL_VERSION
from edgeloop_protocol.convert import to_wire
from edgeloop_protocol.types.artifact import FileEntry
from edgeloop_protocol.types.facts import Facts, Hello
from edgeloop_protocol.types.identity import IdentityStatus, SignedTrust
from edgeloop_protocol.types.job import TERMINAL, Job, JobEvent
from edgeloop_protocol.types.lease import Availability, CoolDown, Lease
from edgeloop_protocol.types.quarantine import QuarantinedArtifact
from edgeloop_protocol.types.run import SpooledRun
from edgeloop_protocol.types.trial import JobSpec
from edgeloop_protocol.types.vitals import DeviceVitals
from edgeloop_protocol.v1 import (
    bytestream_pb2,
    bytestream_pb2_grpc,
    content_addressable_storage_pb2_grpc,
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
    serving_pb2_grpc,
    telemetry_pb2_grpc,
)

from edgeloop import __version__
from edgeloop.transport.rpc.call import Caller, RetryPolicy, decoded
from edgeloop.transport.rpc.deployment import DeploymentCalls
from edgeloop.transport.rpc.lease import LeaseHandle, availability_in, hold_lease, new_request
from edgeloop.transport.rpc.pace import PushLimits
from edgeloop.transport.rpc.push import Pusher, PushResult, find_missing
from edgeloop.transport.rpc.serving import ServingCalls
from edgeloop.transport.rpc.telemetry import TelemetryCalls
from edgeloop.transport.rpc.upload import CHUNK_BYTES, blob_name, raw_writer

if TYPE_CHECKING:
    from edgeloop.domain.ports import ArtifactStore

__all__ = ["AgentClient", "LeaseHandle", "PushLimits", "PushResult", "RetryPolicy"]

_SHORT_S = 15.0
# Probing starts a program or two on a slow board.
_PROBE_S = 60.0
# A watch is renewed from where it stands after this, so that a call is never without a deadline.
_WATCH_S = 600.0
_READ_OUT_S = 1.0


class AgentClient:
    """Speaks to one agent over one channel.

    Every call has a deadline. Whatever goes wrong is raised as a subclass of ``EdgeloopError`` whose sentence
    names the device: ``UnavailableError`` when it cannot be reached, ``DeadlineError`` when it does not
    answer in time, and otherwise the error that the agent raised.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        device: str,
        address: str = "",
        policy: RetryPolicy | None = None,
        diagnose: Callable[[], str] = lambda: "",
        examine: Callable[[], Awaitable[None]] | None = None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """Take a channel over.

        Args:
            channel: closed by ``close``.
            device: name for messages.
            address: where it is, for messages.
            policy: how often to try again.
            diagnose: returns why trying again is in vain, or an empty string.
            examine: looks at the connection before an attempt is repeated and raises what makes that vain.
            chunk_bytes: size of one message of an upload.
        """
        self._channel = channel
        self._chunk_bytes = chunk_bytes
        self._caller = Caller(device, address, policy or RetryPolicy(), diagnose, examine)
        self._devices = _stub(device_pb2_grpc.DeviceServiceStub, channel)
        self._identity = _stub(identity_pb2_grpc.IdentityServiceStub, channel)
        self._store = _stub(content_addressable_storage_pb2_grpc.ContentAddressableStorageStub, channel)
        self._bytes = _stub(bytestream_pb2_grpc.ByteStreamStub, channel)
        self._bytes.Write = raw_writer(channel)
        self._leases = _stub(lease_pb2_grpc.LeaseServiceStub, channel)
        self._jobs = _stub(job_pb2_grpc.JobServiceStub, channel)
        self._spool = _stub(run_pb2_grpc.SpoolServiceStub, channel)
        #: Releases on the device.
        self.deployments = DeploymentCalls(
            self._caller, _stub(deployment_pb2_grpc.DeploymentServiceStub, channel)
        )
        #: What the device serves.
        self.serving = ServingCalls(self._caller, _stub(serving_pb2_grpc.ServingServiceStub, channel))
        #: What the device notes about itself over time.
        self.telemetry = TelemetryCalls(self._caller, _stub(telemetry_pb2_grpc.TelemetryServiceStub, channel))
        #: What both sides can do; known after ``hello``.
        self.capabilities: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """The device's name."""
        return self._caller.device

    async def close(self) -> None:
        """Close the channel; calls that are under way end."""
        await self._channel.close(None)

    async def hello(self) -> Hello:
        """Exchange versions and capabilities.

        Raises:
            UnsupportedError: the agent speaks another protocol version.
        """
        request = device_pb2.SayHelloRequest()
        mine = Hello(
            protocol_version=PROTOCOL_VERSION, software_version=__version__, capabilities=CAPABILITIES
        )
        to_wire(mine, request.hello)
        answer = await self._caller.once(
            self._devices.SayHello, request, what="the greeting", deadline_s=_SHORT_S
        )
        hello = decoded(answer.hello, Hello, self.device)
        if hello.protocol_version != PROTOCOL_VERSION:
            older = "agent" if hello.protocol_version < PROTOCOL_VERSION else "controller"
            raise UnsupportedError(
                f"{self.device}: its agent {hello.software_version} speaks protocol version "
                f"{hello.protocol_version}, this controller {__version__} speaks {PROTOCOL_VERSION}.",
                next_step=f"Update the {older}.",
            )
        self.capabilities = tuple(name for name in CAPABILITIES if name in hello.capabilities)
        return hello

    async def describe(self) -> Facts:
        """Let the device probe itself and return its facts."""
        answer = await self._caller.again(
            self._devices.Describe,
            device_pb2.DescribeRequest(),
            what="describing itself",
            deadline_s=_PROBE_S,
        )
        return decoded(answer.facts, Facts, self.device)

    async def vitals(self) -> DeviceVitals:
        """Return how the device is now; needs no lease and changes nothing.

        Raises:
            UnsupportedError: the agent is too old to tell.
        """
        answer = await self._caller.once(
            self._devices.GetVitals,
            device_pb2.GetVitalsRequest(),
            what="telling how it is",
            deadline_s=_SHORT_S,
        )
        return decoded(answer.vitals, DeviceVitals, self.device)

    async def identity_status(self) -> IdentityStatus:
        """Return how the device stands in its fleet."""
        answer = await self._caller.again(
            self._identity.GetIdentity,
            identity_pb2.GetIdentityRequest(),
            what="telling its identity",
            deadline_s=_SHORT_S,
        )
        return decoded(answer.status, IdentityStatus, self.device)

    async def request_certificate(self) -> str:
        """Let the device make a new key and return the request for its certificate, PEM."""
        answer = await self._caller.once(
            self._identity.RequestCertificate,
            identity_pb2.RequestCertificateRequest(),
            what="requesting a certificate",
            deadline_s=_PROBE_S,
        )
        return str(answer.request_pem)

    async def install_certificate(self, chain_pem: str) -> IdentityStatus:
        """Give the device the certificate for the key that it made last."""
        answer = await self._caller.once(
            self._identity.InstallCertificate,
            identity_pb2.InstallCertificateRequest(chain_pem=chain_pem),
            what="installing a certificate",
            deadline_s=_PROBE_S,
        )
        return decoded(answer.status, IdentityStatus, self.device)

    async def update_trust(self, trust: SignedTrust) -> IdentityStatus:
        """Give the device a newer trust list; sending the same one twice is no error."""
        request = identity_pb2.UpdateTrustRequest()
        to_wire(trust, request.trust)
        answer = await self._caller.again(
            self._identity.UpdateTrust, request, what="updating its trust list", deadline_s=_PROBE_S
        )
        return decoded(answer.status, IdentityStatus, self.device)

    async def health(self, service: str = "") -> bool:
        """Return whether a service of the agent ("" is the agent as a whole) says that it serves.

        Raises:
            NotFoundError: the agent knows no such service.
        """
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        answer = await self._caller.once(
            _stub(health_pb2_grpc.HealthStub, self._channel).Check,
            health_pb2.HealthCheckRequest(service=service),
            what="the health check",
            deadline_s=_SHORT_S,
        )
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def find_missing(self, entries: Sequence[FileEntry]) -> set[str]:
        """Return the digests of those blobs that the device does not have."""
        return await find_missing(self._caller, self._store, entries)

    async def lacks(self, digests: Sequence[str], store: ArtifactStore) -> bool:
        """Return whether anything of these artifacts would have to be sent.

        Raises:
            NotFoundError: the store has no such artifact.
        """
        entries = {entry.digest: entry for digest in digests for entry in _entries(digest, store)}
        return bool(await self.find_missing(list(entries.values())))

    async def push_artifact(
        self,
        digest: str,
        store: ArtifactStore,
        progress: Callable[[int, int], None] | None = None,
        limits: PushLimits | None = None,
    ) -> PushResult:
        """Send every blob of an artifact, its manifest last, that the device does not have.

        After ``hello`` with an agent that can splice, only those chunks of a large blob are sent that the device does
        not have inside of others.

        Args:
            digest: the artifact.
            store: has it.
            progress: gets bytes that are there or handed over and bytes in all; the former goes back when a
                connection breaks before the device has written them.
            limits: what it may cost.

        Raises:
            NotFoundError: the store has no such artifact.
            OverBudgetError: it would send more than the limits allow.
            CorruptDataError: a file of the store does not match the manifest.
            BusyError: the device has no room.
            UnavailableError: attempt after attempt brought nothing.
        """
        pusher = Pusher(
            self._caller,
            self._store,
            self._bytes,
            store,
            limits=limits or PushLimits(),
            splices="chunks" in self.capabilities,
            message_bytes=self._chunk_bytes,
        )
        return await pusher.push(_entries(digest, store), progress or (lambda _done, _total: None))

    async def read_blob(self, digest: str, size_bytes: int) -> bytes:
        """Return a blob's content, checked against its digest; goes on where a broken connection stopped.

        Raises:
            NotFoundError: the device does not have it.
            CorruptDataError: what came does not match.
        """
        data = bytearray()

        async def rest() -> None:
            request = bytestream_pb2.ReadRequest(
                resource_name=blob_name(digest, size_bytes), read_offset=len(data)
            )
            deadline_s = 60.0 + size_bytes / 32768
            answers = self._caller.stream(
                self._bytes.Read, request, what=f"reading blob {digest[:12]}", deadline_s=deadline_s
            )
            async with contextlib.aclosing(answers):
                async for answer in answers:
                    data.extend(answer.data)
                    if len(data) > size_bytes:
                        break

        await self._caller.repeat(rest)
        if len(data) != size_bytes or hashlib.sha256(data).hexdigest() != digest:
            raise CorruptDataError(
                f"{self.device}: blob {digest[:12]} came with {len(data)} bytes that do not match; "
                f"expected were {size_bytes} bytes of that digest."
            )
        return bytes(data)

    def lease(
        self,
        holder: str,
        *,
        ttl_s: float = 55.0,
        wait_timeout_s: float = 0.0,
        priority: int = 0,
        shared: bool = False,
        on_wait: Callable[[Lease], None] | None = None,
    ) -> contextlib.AbstractAsyncContextManager[LeaseHandle]:
        """Hold the device for the length of an ``async with`` block.

        Args:
            holder: who asks, for people.
            ttl_s: the device is free this long after our last sign of life.
            wait_timeout_s: how long to wait in the queue; 0 means not at all.
            priority: a higher one goes before a lower one; -100 to 100.
            shared: whether others may hold it in the same way: enough to bring something, not to run a job. An agent
                that knows no shared leases gives the device to us alone.
            on_wait: told about every change of our place in the queue.

        Raises:
            BusyError: somebody else holds the device and the wait is over.
        """
        request = new_request(holder, ttl_s, wait_timeout_s, priority, shared=shared)
        return hold_lease(self._caller, self._leases, request, on_wait)

    async def leases(self) -> tuple[tuple[Lease, ...], Availability]:
        """Return what ``list_leases`` and ``availability`` do, of one moment."""
        answer = await self._caller.again(
            self._leases.ListLeases, lease_pb2.ListLeasesRequest(), what="listing leases", deadline_s=_SHORT_S
        )
        leases = tuple(decoded(lease, Lease, self.device) for lease in answer.leases)
        return leases, availability_in(answer, self.device)

    async def list_leases(self) -> tuple[Lease, ...]:
        """Return the leases that are granted, and then the queue in order."""
        return (await self.leases())[0]

    async def availability(self) -> Availability:
        """Return whether the device gives out leases; an agent that cannot be drained always does."""
        return (await self.leases())[1]

    async def drain(self, reason: str, drained_by: str) -> Availability:
        """Let the device give out no new leases; who holds one finishes.

        Raises:
            InvalidInputError: no reason is given, or it is too long.
            UnsupportedError: the agent is too old.
        """
        request = lease_pb2.DrainRequest(reason=reason, drained_by=drained_by)
        answer = await self._caller.again(
            self._leases.Drain, request, what="draining the device", deadline_s=_SHORT_S
        )
        return decoded(answer.availability, Availability, self.device)

    async def undrain(self) -> Availability:
        """Let the device give out leases again.

        Raises:
            UnsupportedError: the agent is too old.
        """
        answer = await self._caller.again(
            self._leases.Undrain,
            lease_pb2.UndrainRequest(),
            what="undraining the device",
            deadline_s=_SHORT_S,
        )
        return decoded(answer.availability, Availability, self.device)

    async def quarantine(self) -> tuple[QuarantinedArtifact, ...]:
        """Return the artifacts whose runners ended badly there, those that are opened no more first.

        Raises:
            UnsupportedError: the agent is too old.
        """
        answer = await self._caller.again(
            self._jobs.ListQuarantine,
            job_pb2.ListQuarantineRequest(),
            what="listing its quarantine",
            deadline_s=_SHORT_S,
        )
        return tuple(decoded(one, QuarantinedArtifact, self.device) for one in answer.artifacts)

    async def clear_quarantine(self, digest: str) -> tuple[str, ...]:
        """Let the device open artifacts again, named by the beginning of their digest or as "all"; return the digests.

        Raises:
            NotFoundError: no artifact that begins so has a strike.
            UnsupportedError: the agent is too old.
        """
        request = job_pb2.ClearQuarantineRequest(digest=digest)
        answer = await self._caller.once(
            self._jobs.ClearQuarantine, request, what="clearing its quarantine", deadline_s=_SHORT_S
        )
        return tuple(answer.digests)

    async def set_cool_down(self, rule: CoolDown | None) -> Availability:
        """Let the device rest so before each job from now on; None for no rest.

        Raises:
            UnsupportedError: it shows no temperature to wait for, or the agent is too old.
        """
        request = lease_pb2.SetCoolDownRequest()
        if rule is not None:
            to_wire(rule, request.cool_down)
            request.cool_down.SetInParent()
        answer = await self._caller.again(
            self._leases.SetCoolDown, request, what="setting its rest", deadline_s=_SHORT_S
        )
        return decoded(answer.availability, Availability, self.device)

    async def submit(self, spec: JobSpec) -> Job:
        """Hand a job over; again with the same request id and body it is the same job.

        Raises:
            LeaseError: the lease is not ours (any more).
            BusyError: another job runs, or the spool is full.
            NotFoundError: a blob of an artifact is missing on the device.
            AlreadyExistsError: the request id belongs to another job.
        """
        request = job_pb2.SubmitRequest()
        to_wire(spec, request.spec)
        answer = await self._caller.again(
            self._jobs.Submit, request, what="submitting a job", deadline_s=_PROBE_S
        )
        return decoded(answer.job, Job, self.device)

    async def get_job(self, job_id: str) -> Job:
        """Return a job as it stands.

        Raises:
            NotFoundError: no such job.
        """
        request = job_pb2.GetJobRequest(job_id=job_id)
        answer = await self._caller.again(
            self._jobs.GetJob, request, what="asking for a job", deadline_s=_SHORT_S
        )
        return decoded(answer.job, Job, self.device)

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop; in a terminal state this changes nothing."""
        request = job_pb2.CancelRequest(job_id=job_id)
        answer = await self._caller.again(
            self._jobs.Cancel, request, what="cancelling a job", deadline_s=_SHORT_S
        )
        return decoded(answer.job, Job, self.device)

    async def watch(self, job_id: str) -> AsyncGenerator[JobEvent, None]:
        """Yield a job's events, each once, up to a terminal one, across breaks and restarts of the agent.

        Raises:
            NotFoundError: no such job.
            UnavailableError: the device stayed out of reach.
        """
        sequence, failure_count = 0, 0
        while True:
            try:
                events = self._events(job_id, sequence)
                async with contextlib.aclosing(events):
                    async for event in events:
                        failure_count = 0
                        if event.sequence <= sequence:
                            continue
                        sequence = event.sequence
                        yield event
                        if event.state in TERMINAL:
                            await _read_out(events)
                            return
                failure_count += 1
                broken = UnavailableError(f"{self.device} stopped reporting on job {job_id}.")
            except UnavailableError as error:
                failure_count += 1
                broken = error
            except DeadlineError:
                continue
            if failure_count >= self._caller.policy.attempt_count or self._caller.hopeless():
                raise broken
            await self._caller.pause(failure_count)
            if (end := await self._ended(job_id, sequence)) is not None:
                yield end
                return

    async def _events(self, job_id: str, after_sequence: int) -> AsyncGenerator[JobEvent, None]:
        request = job_pb2.WatchRequest(job_id=job_id, after_sequence=after_sequence)
        answers = self._caller.stream(self._jobs.Watch, request, what="watching a job", deadline_s=_WATCH_S)
        async with contextlib.aclosing(answers):
            async for answer in answers:
                yield decoded(answer.event, JobEvent, self.device)

    async def _ended(self, job_id: str, sequence: int) -> JobEvent | None:
        """Return the end of a job whose later events a restart of the agent has swallowed."""
        try:
            job = await self.get_job(job_id)
        except UnavailableError:
            return None  # the next watch finds out, and counts it
        if job.state not in TERMINAL or job.last_sequence > sequence:
            return None
        return JobEvent(
            job_id=job_id, sequence=sequence + 1, state=job.state, phase="done", message=job.reason
        )

    async def fetch(self, after_sequence: int = 0) -> AsyncGenerator[SpooledRun, None]:
        """Yield the records that wait on the device, oldest first, each once even across breaks.

        Raises:
            UnavailableError: attempt after attempt brought nothing.
        """
        sequence, failure_count = after_sequence, 0
        while True:
            request = run_pb2.FetchRequest(after_sequence=sequence)
            answers = self._caller.stream(
                self._spool.Fetch, request, what="fetching results", deadline_s=_WATCH_S
            )
            try:
                async with contextlib.aclosing(answers):
                    async for answer in answers:
                        spooled = decoded(answer.spooled_run, SpooledRun, self.device)
                        failure_count = 0
                        sequence = max(sequence, spooled.sequence)
                        yield spooled
                return
            except UnavailableError:
                failure_count += 1
                if failure_count >= self._caller.policy.attempt_count or self._caller.hopeless():
                    raise
            await self._caller.pause(failure_count)

    async def acknowledge(self, epoch: str, up_to_sequence: int) -> int:
        """Let the device forget records that are stored here and return how many still wait.

        Raises:
            StateError: the device's spool is another one (its state was lost).
        """
        request = run_pb2.AcknowledgeRequest(epoch=epoch, up_to_sequence=up_to_sequence)
        answer = await self._caller.again(
            self._spool.Acknowledge, request, what="acknowledging results", deadline_s=_SHORT_S
        )
        return int(answer.remaining_count)


async def _read_out(events: AsyncGenerator[JobEvent, None]) -> None:
    """Let the agent end its stream: cancelled while it does, a call leaves some hundred bytes behind in the agent."""
    with contextlib.suppress(EdgeloopError, TimeoutError):
        async with asyncio.timeout(_READ_OUT_S):
            async for _ in events:
                pass


def _stub(kind: Any, channel: grpc.aio.Channel) -> Any:
    return kind(channel)


def _entries(digest: str, store: ArtifactStore) -> list[FileEntry]:
    """Return what has to be on the device, each content once, the manifest last."""
    manifest = store.manifest(digest)
    path = store.blob(digest)
    if not path.is_file():
        raise NotFoundError(f"the store has no manifest blob {digest[:12]}.")
    own = FileEntry(name="manifest.json", digest=digest, size_bytes=path.stat().st_size)
    return [*{entry.digest: entry for entry in manifest.files}.values(), own]
