"""One job from submission to stored results: nothing lost, nothing twice, whatever restarts in between.

The order is the promise: a record's samples are stored, then the record is committed, and only then is the
device told that it may forget both. A break anywhere before that leaves the record on the device, to be
fetched again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from edgeloop_foundation.errors import (
    CorruptDataError,
    DeadlineError,
    EdgeloopError,
    LeaseError,
    NotFoundError,
    UnavailableError,
)
from edgeloop_foundation.within import within
from edgeloop_protocol.raw_samples import raw_samples
from edgeloop_protocol.types.job import JobEvent
from edgeloop_protocol.types.run import Run, SpooledRun
from edgeloop_protocol.types.trial import JobSpec

from edgeloop.transport.client import AgentClient
from edgeloop.transport.rpc.lease import LeaseLoss

__all__ = ["Ingest", "StoreSamples", "drain_spool", "run_job"]

Ingest = Callable[[SpooledRun], Awaitable[bool]]
"""Commits a record and returns whether it was new; a record that comes again is no error."""

StoreSamples = Callable[[str, bytes], Awaitable[None]]
"""``store(digest, data)``: keeps the raw samples of a record (little-endian int64 nanoseconds)."""

_log = logging.getLogger("edgeloop.transport")

# The agent ends a job at its deadline; this is for an agent that does not.
_GRACE_S = 60.0
_CANCEL_S = 10.0


async def run_job(
    client: AgentClient,
    spec: JobSpec,
    ingest: Ingest,
    *,
    on_event: Callable[[JobEvent], None] | None = None,
    store_samples: StoreSamples | None = None,
    lost: LeaseLoss | None = None,
) -> tuple[Run, ...]:
    """Run a job on the device and return its records in the order of its trials.

    The job survives a restart of the agent: it is then interrupted and its records say so. Called again with
    the same request id after a restart of the controller it goes on with the same job; records that were
    acknowledged before that are in the store and are not returned again. Records of other jobs that still
    wait on the device are stored as well. When the caller is cancelled, so is the job on the device.

    Args:
        client: of the device.
        spec: the job.
        ingest: commits one record.
        on_event: told about every event.
        store_samples: keeps raw samples; without it they stay on the device.
        lost: set when the lease of the job is gone; the job is not waited for any longer then.

    Raises:
        DeadlineError: the agent did not end the job in time; it was told to cancel it.
        LeaseError: the lease was not ours any more when the job was submitted, or was lost while it ran.
        UnavailableError: the device stayed out of reach.
    """
    job = await client.submit(spec)
    ends_s = job.rest_s_max + spec.deadline_s + _GRACE_S
    try:
        following = _follow(client, job.job_id, on_event)
        await within(_while_held(client.device, following, lost), ends_s)
    except UnavailableError:
        raise  # the job ends by itself and its records wait on the device
    except BaseException as error:
        await asyncio.shield(_cancel(client, job.job_id))
        if isinstance(error, EdgeloopError) or not isinstance(error, asyncio.TimeoutError):
            raise
        raise DeadlineError(
            f"{client.device}: job {job.job_id} did not end within {ends_s:g} s.",
            next_step="Restart the agent; its journal then marks the job as interrupted.",
        ) from error
    runs = await drain_spool(client, ingest, store_samples=store_samples)
    order = {trial.trial_id: place for place, trial in enumerate(spec.trials)}
    own = {run.run_id: run for run in runs if run.request_id == spec.request_id}
    return tuple(sorted(own.values(), key=lambda run: order.get(run.trial.trial_id, len(order))))


async def _while_held(device: str, following: Awaitable[None], lost: LeaseLoss | None) -> None:
    """Follow a job to its end, or give up when its lease is lost first.

    What the agent had finished by then was measured under the lease: those records wait in its spool, and the
    next job brings them.
    """
    if lost is None:
        await following
        return
    follower, loss = asyncio.ensure_future(following), asyncio.ensure_future(lost.wait())
    try:
        await asyncio.wait({follower, loss}, return_when=asyncio.FIRST_COMPLETED)
        if follower.done():
            follower.result()
            return
    finally:
        for task in (follower, loss):
            task.cancel()
        await asyncio.wait({follower, loss})
    raise LeaseError(
        f"{device}: the lease was lost while its job ran: {lost.reason.rstrip('.')}; the job is not waited for.",
        next_step="Run it again; records of what was finished before come with it.",
    )


async def _follow(client: AgentClient, job_id: str, on_event: Callable[[JobEvent], None] | None) -> None:
    events = client.watch(job_id)
    async with contextlib.aclosing(events):
        async for event in events:
            if on_event is not None:
                on_event(event)


async def _cancel(client: AgentClient, job_id: str) -> None:
    try:
        await within(client.cancel(job_id), _CANCEL_S)
    except (EdgeloopError, asyncio.TimeoutError) as error:
        _log.warning(
            "%s: job %s could not be cancelled; it ends with its lease: %s", client.device, job_id, error
        )


async def drain_spool(
    client: AgentClient, ingest: Ingest, *, store_samples: StoreSamples | None = None
) -> tuple[Run, ...]:
    """Store every record that waits on the device, let the device forget those, and return them.

    Raises:
        EdgeloopError: the device cannot be reached; records that were not acknowledged stay there.
    """
    runs: list[Run] = []
    spools: dict[str, set[int]] = {}
    records = client.fetch()
    async with contextlib.aclosing(records):
        async for spooled in records:
            if store_samples is not None:
                await _keep_samples(client, spooled.run, store_samples)
            await ingest(spooled)
            runs.append(spooled.run)
            spools.setdefault(spooled.epoch, set()).add(spooled.sequence)
    for epoch, sequences in spools.items():
        await _acknowledge(client, epoch, sequences)
    return tuple(runs)


async def _acknowledge(client: AgentClient, epoch: str, sequences: set[int]) -> None:
    first, last = min(sequences), max(sequences)
    if lost := sorted(set(range(first, last + 1)) - sequences):
        _log.error("%s lost %d records, the first is number %d.", client.device, len(lost), lost[0])
    try:
        await client.acknowledge(epoch, last)
    except EdgeloopError as error:
        # All of them are committed here; the device shows them again and they are recognised.
        _log.warning("%s: results are stored but not acknowledged: %s", client.device, error)


async def _keep_samples(client: AgentClient, run: Run, store_samples: StoreSamples) -> None:
    for digest, size_bytes in raw_samples(run).items():
        try:
            data = await client.read_blob(digest, size_bytes)
        except (NotFoundError, CorruptDataError) as error:
            # The record stands without its samples; keeping it back would lose both.
            _log.error("%s: raw samples of run %s are gone: %s", client.device, run.run_id, error)
            continue
        await store_samples(digest, data)
