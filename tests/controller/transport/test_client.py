"""The client against an agent in memory: what it asks, what it makes of answers and of breaks."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import random
from typing import Any

import grpc
import pytest
from edgeloop.transport.client import AgentClient, RetryPolicy
from edgeloop.transport.rpc.call import Caller
from edgeloop_foundation.errors import (
    BusyError,
    CorruptDataError,
    DeadlineError,
    EdgeloopError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from edgeloop_protocol import PROTOCOL_VERSION
from edgeloop_protocol.types.artifact import FileEntry
from edgeloop_protocol.types.job import Job, JobEvent, JobState


def entry(data: bytes, name: str = "a.bin") -> FileEntry:
    return FileEntry(name=name, digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def event(sequence: int, state: JobState = JobState.RUNNING) -> JobEvent:
    return JobEvent(job_id="job-1", sequence=sequence, state=state)


async def test_hello_keeps_what_both_can_do(client: AgentClient) -> None:
    hello = await client.hello()
    assert hello.software_version == "9.9"
    assert client.capabilities == ("blobs", "jobs")


@pytest.mark.parametrize(("step", "update"), [(1, "controller"), (-1, "agent")])
async def test_another_protocol_version_is_refused_and_says_whom_to_update(
    agent: Any, client: AgentClient, step: int, update: str
) -> None:
    agent.script.protocol_version = PROTOCOL_VERSION + step
    with pytest.raises(UnsupportedError, match=f"bench: .*protocol version.*Update the {update}"):
        await client.hello()


async def test_describe_brings_facts(client: AgentClient) -> None:
    assert (await client.describe()).hardware.logical_cores == 2


async def test_health_of_an_agent_without_the_service_is_unsupported(client: AgentClient) -> None:
    with pytest.raises(UnsupportedError, match="bench"):
        await client.health()


async def test_nobody_there_is_one_sentence_with_name_and_place(agent: Any) -> None:
    await agent.server.stop(0)
    client = agent.client()
    with pytest.raises(UnavailableError) as caught:
        await client.hello()
    assert str(caught.value).startswith("bench cannot be reached at 127.0.0.1:")
    assert "nothing listens there" in str(caught.value)
    await client.close()


async def test_a_dead_agent_is_not_tried_again(agent: Any) -> None:
    await agent.server.stop(0)
    tired = RetryPolicy(attempt_count=100, base_s=60.0, cap_s=60.0)
    client = agent.client(policy=tired, diagnose=lambda: "its agent ended by SIGKILL.")
    with pytest.raises(UnavailableError, match="bench: its agent ended by SIGKILL"):
        await asyncio.wait_for(client.describe(), 20)
    await client.close()


async def test_a_closed_client_says_so(agent: Any) -> None:
    client = agent.client()
    await client.close()
    with pytest.raises(RuntimeError, match="bench: the connection is closed"):
        await client.hello()


async def test_find_missing_asks_in_pieces_and_believes_only_what_was_asked(
    agent: Any, client: AgentClient
) -> None:
    entries = [entry(str(i).encode(), f"f{i}") for i in range(2500)]
    agent.script.blobs = {e.digest: b"" for e in entries[::2]}
    assert await client.find_missing(entries) == {e.digest for e in entries[1::2]}


async def test_push_sends_what_is_missing_and_counts_it(
    agent: Any, client: AgentClient, make_artifact: Any
) -> None:
    first, second = os.urandom(3_000_000), os.urandom(1_000)
    digest, store = make_artifact(first, second)
    agent.script.blobs[hashlib.sha256(second).hexdigest()] = second
    seen: list[tuple[int, int]] = []
    result = await client.push_artifact(digest, store, lambda done, total: seen.append((done, total)))
    manifest = store.blob(digest).stat().st_size
    assert result.sent_bytes == len(first) + manifest
    assert result.present_bytes == len(second)
    assert result.retries == 0
    assert agent.script.blobs[hashlib.sha256(first).hexdigest()] == first
    assert digest in agent.script.blobs
    total = len(first) + len(second) + manifest
    assert seen[0] == (len(second), total)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


async def test_the_manifest_goes_last(agent: Any, client: AgentClient, make_artifact: Any) -> None:
    digest, store = make_artifact(b"model", b"golden")
    await client.push_artifact(digest, store)
    assert list(agent.script.blobs)[-1] == digest


async def test_pushing_again_sends_nothing(client: AgentClient, make_artifact: Any) -> None:
    digest, store = make_artifact(b"x" * 100)
    await client.push_artifact(digest, store)
    again = await client.push_artifact(digest, store)
    assert again.sent_bytes == 0
    assert again.present_bytes == 100 + store.blob(digest).stat().st_size


async def test_an_empty_file_arrives(agent: Any, client: AgentClient, make_artifact: Any) -> None:
    digest, store = make_artifact(b"", b"x")
    await client.push_artifact(digest, store)
    assert agent.script.blobs[hashlib.sha256(b"").hexdigest()] == b""


async def test_a_push_through_a_breaking_link_resumes(agent: Any, proxy: Any, make_artifact: Any) -> None:
    data = os.urandom(24 << 20)
    digest, store = make_artifact(data)
    rng = random.Random(20261122)
    proxy.breaks = [rng.randrange(2 << 20, 6 << 20) for _ in range(8)]
    client = agent.client(proxy.port)
    result = await client.push_artifact(digest, store)
    assert agent.script.blobs[hashlib.sha256(data).hexdigest()] == data
    assert proxy.broken >= 4
    assert result.retries >= proxy.broken
    # Each break costs what was under way and at most one unit that the device had not made safe.
    sent_again = result.sent_bytes + result.present_bytes - len(data) - store.blob(digest).stat().st_size
    assert 0 < sent_again <= proxy.broken * (4 << 20)
    assert len(set(agent.script.write_offsets)) > 3
    await client.close()


async def test_a_new_controller_goes_on_where_the_last_one_stopped(
    agent: Any, proxy: Any, make_artifact: Any
) -> None:
    data = os.urandom(12 << 20)
    digest, store = make_artifact(data)
    proxy.breaks = [6 << 20]
    quitter = agent.client(proxy.port, policy=RetryPolicy(attempt_count=1, base_s=0.01, cap_s=0.01))
    with pytest.raises(UnavailableError):
        await quitter.push_artifact(digest, store)
    await quitter.close()
    (held,) = (len(part) for part in agent.script.uploads.values())
    assert held > 0
    other = agent.client()
    result = await other.push_artifact(digest, store)
    assert result.present_bytes == held
    assert result.sent_bytes == len(data) - held + store.blob(digest).stat().st_size
    await other.close()


async def test_a_link_that_never_gets_through_ends_in_an_error(
    agent: Any, proxy: Any, make_artifact: Any
) -> None:
    digest, store = make_artifact(os.urandom(4 << 20))
    proxy.breaks = [200_000] * 1000
    client = agent.client(proxy.port, policy=RetryPolicy(attempt_count=3, base_s=0.01, cap_s=0.02))
    with pytest.raises(UnavailableError, match="bench"):
        await client.push_artifact(digest, store)
    assert proxy.broken <= 12
    await client.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, BusyError),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidInputError),
        (grpc.StatusCode.DATA_LOSS, CorruptDataError),
    ],
)
async def test_an_answer_is_not_a_break(
    agent: Any, client: AgentClient, make_artifact: Any, status: grpc.StatusCode, error: type[Exception]
) -> None:
    digest, store = make_artifact(b"x" * 10)
    agent.script.write_status = status
    with pytest.raises(error, match="bench: the disk is full"):
        await client.push_artifact(digest, store)
    assert len(agent.script.write_offsets) == 0


async def test_our_own_dead_connection_that_the_agent_still_believes_in_is_waited_for(
    agent: Any, client: AgentClient, make_artifact: Any
) -> None:
    digest, store = make_artifact(b"x" * 10)
    agent.script.write_conflicts = [grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED]
    result = await client.push_artifact(digest, store)
    assert digest in agent.script.blobs
    assert result.retries == 2


async def test_a_store_file_of_the_wrong_size_is_found_before_it_is_sent(
    agent: Any, client: AgentClient, make_artifact: Any
) -> None:
    digest, store = make_artifact(b"x" * 10)
    store.blob(hashlib.sha256(b"x" * 10).hexdigest()).write_bytes(b"short")
    with pytest.raises(CorruptDataError, match="has 5 bytes, its manifest says 10"):
        await client.push_artifact(digest, store)
    assert not agent.script.blobs


async def test_read_blob_is_checked(agent: Any, client: AgentClient) -> None:
    data = os.urandom(300_000)
    digest = hashlib.sha256(data).hexdigest()
    agent.script.blobs[digest] = data
    assert await client.read_blob(digest, len(data)) == data
    agent.script.blobs[digest] = data[:-1] + b"?"
    with pytest.raises(CorruptDataError, match="do not match"):
        await client.read_blob(digest, len(data))
    with pytest.raises(NotFoundError, match="bench: no such blob"):
        await client.read_blob("0" * 64, 1)


async def test_watch_goes_on_after_breaks_and_repeats_nothing(agent: Any, client: AgentClient) -> None:
    agent.script.events = [*(event(i) for i in range(1, 9)), event(9, JobState.SUCCEEDED)]
    agent.script.watch_breaks = [3, 3, 7]
    seen = [e.sequence async for e in client.watch("job-1")]
    assert seen == list(range(1, 10))
    assert agent.script.watched_from == [0, 3, 3, 7]


async def test_watch_ends_when_a_restart_swallowed_the_end(agent: Any, client: AgentClient) -> None:
    agent.script.events = [event(1), event(2), event(3)]
    agent.script.watch_breaks = [2]
    agent.script.job = Job(
        job_id="job-1", request_id="r", state=JobState.INTERRUPTED, last_sequence=2, reason="restarted"
    )
    seen = [(e.sequence, e.state, e.message) async for e in client.watch("job-1")]
    assert seen[-1] == (3, JobState.INTERRUPTED, "restarted")


async def test_watch_gives_up_on_an_agent_that_stays_away(agent: Any, client: AgentClient) -> None:
    agent.script.events = [event(1), event(2)]
    agent.script.watch_breaks = [1] * 100
    with pytest.raises(UnavailableError, match="bench"):
        _ = [e async for e in client.watch("job-1")]
    assert len(agent.script.watched_from) < 10


async def test_leaving_a_watch_early_leaves_nothing_behind(agent: Any, client: AgentClient) -> None:
    agent.script.events = [event(i) for i in range(1, 50)]
    events = client.watch("job-1")
    async for one in events:
        assert one.sequence == 1
        break
    await events.aclose()
    assert (await client.get_job("job-1")).job_id == "job-1"


async def test_a_question_that_nobody_answers_is_asked_again_for_as_long_as_a_dead_connection_is_unnoticed() -> (
    None
):
    failures: list[EdgeloopError] = []

    async def answer() -> str:
        if len(failures) < 3:
            failures.append(DeadlineError("bench: no answer"))
            raise failures[-1]
        return "there"

    policy = RetryPolicy(attempt_count=6, base_s=0.0, cap_s=0.0)
    assert await Caller("bench", "", policy).repeat(answer) == "there"
    assert len(failures) == 3
    failures.clear()
    impatient = dataclasses.replace(policy, silence_s=0.0)
    with pytest.raises(DeadlineError, match="no answer"):
        await Caller("bench", "", impatient).repeat(answer)
    assert len(failures) == 1
