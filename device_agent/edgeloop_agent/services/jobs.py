"""Jobs on the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from edgeloop_protocol.convert import from_wire, to_wire
from edgeloop_protocol.types.trial import JobSpec
from edgeloop_protocol.v1 import job_pb2, job_pb2_grpc

from edgeloop_agent.gate import Context
from edgeloop_agent.jobs import Jobs
from edgeloop_agent.quarantine import Quarantine

__all__ = ["JobService"]


class JobService(job_pb2_grpc.JobServiceServicer):
    """Submits, watches and cancels."""

    def __init__(self, jobs: Jobs, quarantine: Quarantine) -> None:
        self._jobs, self._quarantine = jobs, quarantine

    async def Submit(  # noqa: N802 - named by the wire
        self, request: job_pb2.SubmitRequest, context: Context
    ) -> job_pb2.SubmitResponse:
        """Accept a job or refuse it."""
        job = await self._jobs.submit(from_wire(request.spec, JobSpec))
        return job_pb2.SubmitResponse(job=to_wire(job, job_pb2.Job()))

    async def Watch(  # noqa: N802 - named by the wire
        self, request: job_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[job_pb2.WatchResponse]:
        """Stream events up to the terminal one."""
        async with aclosing(self._jobs.watch(request.job_id, request.after_sequence)) as events:
            async for event in events:
                yield job_pb2.WatchResponse(event=to_wire(event, job_pb2.JobEvent()))

    async def Cancel(  # noqa: N802 - named by the wire
        self, request: job_pb2.CancelRequest, context: Context
    ) -> job_pb2.CancelResponse:
        """Ask a job to stop."""
        job = await self._jobs.cancel(request.job_id)
        return job_pb2.CancelResponse(job=to_wire(job, job_pb2.Job()))

    async def GetJob(  # noqa: N802 - named by the wire
        self, request: job_pb2.GetJobRequest, context: Context
    ) -> job_pb2.GetJobResponse:
        """Return a job as it stands."""
        return job_pb2.GetJobResponse(job=to_wire(self._jobs.get(request.job_id), job_pb2.Job()))

    async def ListQuarantine(  # noqa: N802 - named by the wire
        self, request: job_pb2.ListQuarantineRequest, context: Context
    ) -> job_pb2.ListQuarantineResponse:
        """Return the artifacts whose runners ended badly."""
        found = [to_wire(one, job_pb2.QuarantinedArtifact()) for one in self._quarantine.listing()]
        return job_pb2.ListQuarantineResponse(artifacts=found)

    async def ClearQuarantine(  # noqa: N802 - named by the wire
        self, request: job_pb2.ClearQuarantineRequest, context: Context
    ) -> job_pb2.ClearQuarantineResponse:
        """Open artifacts again."""
        return job_pb2.ClearQuarantineResponse(digests=await self._quarantine.clear(request.digest))
