"""From submission to stored results: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from typing import Any

import pytest
from edgeloop.transport.client import AgentClient
from edgeloop.transport.collect import drain_spool, run_job
from edgeloop.transport.rpc.lease import LeaseLoss
from edgeloop_foundation.errors import LeaseError, UnavailableError
from edgeloop_protocol.types.job import JobEvent, JobState
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Block, FailureKind, Run, SpooledRun, Timing
from edgeloop_protocol.types.trial import JobSpec, Trial

DONE = [
    JobEvent(job_id="job-1", sequence=1, state=JobState.RUNNING),
    JobEvent(job_id="job-1", sequence=2, state=JobState.SUCCEEDED),
]


class Records:
    """A store of records that tells new from known."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], Run] = {}
        self.arrivals = 0
        self.acknowledged_before: list[int] = []

    async def ingest(self, spooled: SpooledRun) -> bool:
        self.arrivals += 1
        key = (spooled.epoch, spooled.sequence)
        new = key not in self.rows
        self.rows[key] = spooled.run
        return new


def spooled(sequence: int, run: Run, epoch: str = "e") -> SpooledRun:
    return SpooledRun(epoch=epoch, sequence=sequence, run=run)


async def test_records_come_back_in_the_order_of_the_trials(
    agent: Any, client: AgentClient, spec: JobSpec, run_of: Callable[..., Run]
) -> None:
    agent.script.events = DONE
    first, second = spec.trials
    agent.script.spool = [spooled(5, run_of(second)), spooled(6, run_of(first))]
    records = Records()
    events: list[JobEvent] = []
    runs = await run_job(client, spec, records.ingest, on_event=events.append)
    assert [run.trial.trial_id for run in runs] == ["first", "second"]
    assert [e.state for e in events] == [JobState.RUNNING, JobState.SUCCEEDED]
    assert agent.script.acknowledged == [("e", 6)]
    assert agent.script.spool == []


async def test_records_of_other_jobs_are_stored_but_not_returned(
    agent: Any, client: AgentClient, spec: JobSpec, run_of: Callable[..., Run]
) -> None:
    agent.script.events = DONE
    stranger = run_of(Trial(trial_id="x", label="x", artifact_digest="0" * 64), request_id="older")
    agent.script.spool = [spooled(1, stranger), spooled(2, run_of(spec.trials[0]))]
    records = Records()
    runs = await run_job(client, spec, records.ingest)
    assert [run.request_id for run in runs] == [spec.request_id]
    assert len(records.rows) == 2


async def test_an_interrupted_job_returns_its_interrupted_records(
    agent: Any, client: AgentClient, spec: JobSpec, interrupted: Callable[[Trial], Run]
) -> None:
    agent.script.events = [DONE[0], JobEvent(job_id="job-1", sequence=2, state=JobState.INTERRUPTED)]
    agent.script.watch_breaks = [1, 1]
    agent.script.spool = [spooled(i, interrupted(t)) for i, t in enumerate(spec.trials, 1)]
    runs = await run_job(client, spec, Records().ingest)
    assert [run.failure_kind for run in runs] == [FailureKind.INTERRUPTED] * 2


async def test_breaks_while_fetching_repeat_nothing(
    agent: Any, client: AgentClient, spec: JobSpec, run_of: Callable[..., Run]
) -> None:
    agent.script.spool = [spooled(i, run_of(spec.trials[0], run_id=f"r{i}")) for i in range(1, 8)]
    agent.script.fetch_breaks = [2, 3, 1]
    records = Records()
    assert len(await drain_spool(client, records.ingest)) == 7
    assert records.arrivals == 7


async def test_nothing_is_acknowledged_before_it_is_stored(
    agent: Any, client: AgentClient, spec: JobSpec, run_of: Callable[..., Run]
) -> None:
    agent.script.spool = [spooled(i, run_of(spec.trials[0], run_id=f"r{i}")) for i in (1, 2, 3)]
    stored: list[int] = []

    async def full_disk(item: SpooledRun) -> bool:
        if item.sequence == 2:
            raise OSError(28, "No space left on device")
        stored.append(item.sequence)
        return True

    with pytest.raises(OSError, match="No space"):
        await drain_spool(client, full_disk)
    assert agent.script.acknowledged == []
    records = Records()
    await drain_spool(client, records.ingest)
    assert sorted(sequence for _, sequence in records.rows) == [1, 2, 3]


async def test_a_lost_acknowledgement_is_sent_again_and_then_brings_no_duplicate(
    agent: Any, client: AgentClient, spec: JobSpec, run_of: Callable[..., Run]
) -> None:
    agent.script.spool = [spooled(1, run_of(spec.trials[0]))]
    agent.script.acknowledge_failures = 2
    records = Records()
    await drain_spool(client, records.ingest)
    assert agent.script.acknowledged == [("e", 1)]


async def test_an_acknowledgement_that_never_arrives_costs_no_result(
    agent: Any,
    client: AgentClient,
    spec: JobSpec,
    run_of: Callable[..., Run],
    caplog: pytest.LogCaptureFixture,
) -> None:
    agent.script.spool = [spooled(1, run_of(spec.trials[0]))]
    agent.script.acknowledge_failures = 10_000
    records = Records()
    with caplog.at_level(logging.WARNING):
        assert len(await drain_spool(client, records.ingest)) == 1
    assert "stored but not acknowledged" in caplog.text
    agent.script.acknowledge_failures = 0
    await drain_spool(client, records.ingest)
    assert (records.arrivals, len(records.rows)) == (2, 1)


async def test_a_hole_is_reported(
    agent: Any,
    client: AgentClient,
    spec: JobSpec,
    run_of: Callable[..., Run],
    caplog: pytest.LogCaptureFixture,
) -> None:
    agent.script.spool = [spooled(i, run_of(spec.trials[0], run_id=f"r{i}")) for i in (4, 7)]
    with caplog.at_level(logging.ERROR):
        await drain_spool(client, Records().ingest)
    assert "bench lost 2 records, the first is number 5" in caplog.text


async def test_samples_are_kept_before_the_record_is(
    agent: Any, client: AgentClient, spec: JobSpec, run_of: Callable[..., Run]
) -> None:
    data = bytes(range(240))
    digest = hashlib.sha256(data).hexdigest()
    agent.script.blobs[digest] = data
    absent = Estimate.absent("not measured")
    blocks = tuple(
        Block(round=i, position=0, sample_offset=i * 15, sample_count=15, p50_s=1.0) for i in (0, 1)
    )
    timing = Timing(
        cold_load_s=absent,
        warm_load_s=absent,
        first_inference_s=absent,
        reason="short",
        blocks=blocks,
        samples_digest=digest,
    )
    agent.script.spool = [spooled(1, run_of(spec.trials[0], timing=timing))]
    order: list[object] = []

    async def ingest(item: SpooledRun) -> bool:
        order.append(item.sequence)
        return True

    async def keep(name: str, content: bytes) -> None:
        order.append((name, content))

    await drain_spool(client, ingest, store_samples=keep)
    assert order == [(digest, data), 1]
    del agent.script.blobs[digest]
    agent.script.spool = [spooled(2, run_of(spec.trials[0], timing=timing))]
    await drain_spool(client, ingest, store_samples=keep)
    assert order[2:] == [2]


async def test_cancelling_the_caller_cancels_the_job(
    agent: Any, client: AgentClient, spec: JobSpec, until: Any
) -> None:
    task = asyncio.create_task(run_job(client, spec, Records().ingest))
    await until(lambda: agent.script.watched_from)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert agent.script.cancelled == ["job-1"]


async def test_an_error_in_the_callers_callback_cancels_the_job(
    agent: Any, client: AgentClient, spec: JobSpec
) -> None:
    agent.script.events = DONE

    def fail(_: JobEvent) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_job(client, spec, Records().ingest, on_event=fail)
    assert agent.script.cancelled == ["job-1"]


async def test_a_device_that_stays_away_does_not_hang_the_caller(
    agent: Any, client: AgentClient, spec: JobSpec
) -> None:
    agent.script.events = DONE
    agent.script.watch_breaks = [1] * 1000
    with pytest.raises(UnavailableError):
        await run_job(client, spec, Records().ingest)


async def test_a_job_whose_lease_is_lost_is_cancelled_and_not_waited_for(
    agent: Any, client: AgentClient, spec: JobSpec
) -> None:
    agent.script.events = DONE[:1]
    lost = LeaseLoss()
    lost.tell("the agent was silent for 45 s.")
    records = Records()
    with pytest.raises(LeaseError, match="lost while its job ran: the agent was silent for 45 s; the job"):
        await run_job(client, spec, records.ingest, lost=lost)
    assert agent.script.cancelled == ["job-1"]
    assert records.arrivals == 0


async def test_a_job_whose_lease_holds_ends_as_ever(
    agent: Any, client: AgentClient, spec: JobSpec, run_of: Callable[..., Run]
) -> None:
    agent.script.events = DONE
    agent.script.spool = [spooled(1, run_of(spec.trials[0]))]
    runs = await run_job(client, spec, Records().ingest, lost=LeaseLoss())
    assert [run.trial for run in runs] == [spec.trials[0]]
    assert not agent.script.cancelled
