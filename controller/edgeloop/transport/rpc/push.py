"""Bringing an artifact to a device with as few bytes as it takes.

Blobs that the device has cost nothing. Of a large one that it lacks, it is asked for the chunks; when it has enough of
them inside of other blobs, only the others go, as one pack, and the device splices the blob. What a push will send is
known, and held against its budget, before the first byte of it goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import grpc
from edgeloop_foundation.errors import (
    CorruptDataError,
    DeadlineError,
    InvalidInputError,
    NotFoundError,
    StateError,
    UnavailableError,
)
from edgeloop_protocol.chunk_list import (
    CHUNKED_BYTES_MIN,
    CHUNKS_INSTANCE,
    Chunk,
    check_chunks,
    encoded_bytes,
)
from edgeloop_protocol.types.artifact import FileEntry
from edgeloop_protocol.v1 import content_addressable_storage_pb2 as cas_pb2

from edgeloop.transport.rpc.call import Caller
from edgeloop.transport.rpc.pace import OverBudgetError, Pace, PushLimits
from edgeloop.transport.rpc.source import Pack, SharedFile, Source, open_shared
from edgeloop.transport.rpc.upload import Sender, squeezed_bytes, upload_name

if TYPE_CHECKING:
    from edgeloop.domain.ports import ArtifactStore

__all__ = ["PushResult", "Pusher", "find_missing"]

_ASK_S = 60.0
_DIGESTS_PER_CALL = 1000
_CHUNKS_PER_CALL = 20_000
# A splice has to save this share of the bytes to be worth its second copy on the device's disk.
_WORTH = 0.1
_SLOWEST_DISK_BYTES_PER_S = 2e6
_PLANS_MAX = 3
# Compressing runs at some 30 MB/s, for each device: of packs up to a size, those that lose a share of their bytes.
_SQUEEZE_WORTH = ((1 << 20, 0.03), (4 << 20, 0.25))
_SAMPLE_BYTES = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """What it took to bring an artifact to a device."""

    #: Bytes handed to the network, those sent again after a break and the lists of chunks included.
    sent_bytes: int
    #: Bytes that the device had already.
    present_bytes: int
    #: Time from the first question to the last answer.
    duration_s: float
    #: Breaks after which it went on.
    retries: int
    #: Of the bytes that it had, those that it took out of other blobs.
    spliced_bytes: int = 0
    #: Of the bytes sent, those of lists of chunks in questions and splices, and not of content.
    list_bytes: int = 0


@dataclass(slots=True)
class _Tally:
    """What a push has cost so far."""

    sent_bytes: int = 0
    present_bytes: int = 0
    retries: int = 0
    spliced_bytes: int = 0
    list_bytes: int = 0

    def add_list(self, size_bytes: int) -> None:
        self.sent_bytes += size_bytes
        self.list_bytes += size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """How one blob gets there."""

    entry: FileEntry
    #: Its chunks in order; none for a blob that is too small to have any.
    chunks: tuple[Chunk, ...] = ()
    #: Those of them that go in a pack, with their places in the file; absent when the blob goes whole.
    parts: tuple[tuple[int, Chunk], ...] | None = None
    #: Content bytes that will be sent.
    cost_bytes: int


async def find_missing(caller: Caller, content: Any, entries: Sequence[FileEntry]) -> set[str]:
    """Return the digests of those blobs that the device does not have."""
    sizes = {entry.digest: entry.size_bytes for entry in entries}
    digests = sorted(sizes)
    missing: set[str] = set()
    for start in range(0, len(digests), _DIGESTS_PER_CALL):
        request = cas_pb2.FindMissingBlobsRequest()
        for digest in digests[start : start + _DIGESTS_PER_CALL]:
            request.blob_digests.add(hash=digest, size_bytes=sizes[digest])
        answer = await caller.again(
            content.FindMissingBlobs, request, what="looking for blobs", deadline_s=_ASK_S
        )
        missing |= {digest.hash for digest in answer.missing_blob_digests}
    return missing & set(sizes)


class Pusher:
    """One push to one device."""

    def __init__(
        self,
        caller: Caller,
        content: Any,
        byte_stream: Any,
        store: ArtifactStore,
        *,
        limits: PushLimits,
        splices: bool,
        message_bytes: int,
    ) -> None:
        """Prepare; nothing is asked or sent yet.

        Args:
            caller: makes the calls.
            content: stub of the ContentAddressableStorage service.
            byte_stream: stub of the ByteStream service, its Write a ``raw_writer``.
            store: has the artifact.
            limits: what it may cost.
            splices: whether the device can splice.
            message_bytes: size of one message of an upload.
        """
        self._caller = caller
        self._content = content
        self._byte_stream = byte_stream
        self._store = store
        self._limits = limits
        self._splices = splices
        self._message_bytes = message_bytes
        self._pace = Pace(limits.bytes_per_s)
        self._tally = _Tally()

    async def push(self, entries: Sequence[FileEntry], tell: Callable[[int, int], None]) -> PushResult:
        """Send what the device lacks, in order.

        Args:
            entries: what has to be there, each content once.
            tell: gets bytes that are there or handed over and bytes in all.

        Raises:
            OverBudgetError: it would send more than the limits allow.
            CorruptDataError: a file of the store does not match its entry.
            BusyError: the device has no room.
            UnavailableError: attempt after attempt brought nothing.
        """
        started = time.monotonic()
        total = sum(entry.size_bytes for entry in entries)
        missing = await find_missing(self._caller, self._content, entries)
        done = sum(entry.size_bytes for entry in entries if entry.digest not in missing)
        self._tally.present_bytes = done
        tell(done, total)
        plans = [await self._plan(entry) for entry in entries if entry.digest in missing]
        self._check_budget(plans)
        for plan in plans:
            await self._carry_out(plan, lambda part, before=done: tell(before + part, total))  # type: ignore[misc]
            done += plan.entry.size_bytes
        tell(total, total)
        tally = self._tally
        return PushResult(
            sent_bytes=tally.sent_bytes,
            present_bytes=tally.present_bytes,
            duration_s=time.monotonic() - started,
            retries=tally.retries,
            spliced_bytes=tally.spliced_bytes,
            list_bytes=tally.list_bytes,
        )

    def _check_budget(self, plans: Sequence[_Plan]) -> None:
        cost, most = sum(plan.cost_bytes for plan in plans), self._limits.max_bytes
        if most is not None and cost > most:
            raise OverBudgetError(
                f"{self._caller.device}: the push would send {cost} bytes, at most {most} are allowed; "
                "nothing was sent.",
                next_step="Allow more with --max-bytes, or push a smaller artifact.",
            )

    async def _plan(self, entry: FileEntry) -> _Plan:
        """Decide how a blob goes, and what that will send."""
        left = entry.size_bytes
        if self._limits.max_bytes is not None or entry.size_bytes >= CHUNKED_BYTES_MIN:
            left -= await self._committed(entry)
        whole = _Plan(entry=entry, cost_bytes=left)
        if not self._splices or entry.size_bytes < CHUNKED_BYTES_MIN:
            return whole
        chunks = tuple(await asyncio.to_thread(self._store.chunks, entry.digest))
        try:
            check_chunks(chunks, entry.size_bytes)
        except InvalidInputError:
            return whole  # more chunks than a list holds
        whole = replace(whole, chunks=chunks)
        lacking = await self._lacking(chunks)
        parts = _parts(chunks, lacking)
        cost = sum(chunk.size_bytes for _, chunk in parts)
        cost += encoded_bytes(len(parts)) if parts else 0
        if cost > (1 - _WORTH) * left:
            return whole
        return replace(whole, parts=parts, cost_bytes=cost)

    async def _committed(self, entry: FileEntry) -> int:
        async with self._sender_of(entry) as sender:
            committed, _ = await self._caller.repeat(sender.committed)
        return committed

    async def _lacking(self, chunks: Sequence[Chunk]) -> set[bytes]:
        """Return the digests of those chunks that are nowhere on the device."""
        wanted = list({chunk.digest: chunk for chunk in chunks}.values())
        lacking: set[bytes] = set()
        for start in range(0, len(wanted), _CHUNKS_PER_CALL):
            request = cas_pb2.FindMissingBlobsRequest(instance_name=CHUNKS_INSTANCE)
            _add(request.blob_digests, wanted[start : start + _CHUNKS_PER_CALL])
            answer = await self._caller.again(
                _squeezed(self._content.FindMissingBlobs),
                request,
                what="looking for chunks",
                deadline_s=_ASK_S,
            )
            self._tally.add_list(squeezed_bytes(request.SerializeToString()))
            lacking |= {_digest(missing.hash) for missing in answer.missing_blob_digests}
        return lacking

    async def _carry_out(self, plan: _Plan, tell: Callable[[int], None]) -> None:
        for _ in range(_PLANS_MAX):
            if plan.parts is None:
                break
            try:
                await self._send_parts(plan, plan.parts, tell)
                return
            except NotFoundError:
                # What was there is gone, or was not what the device thought it was; now it knows.
                self._tally.retries += 1
                plan = replace(plan, parts=_parts(plan.chunks, await self._lacking(plan.chunks)))
        await self._send_whole(plan, tell)

    async def _send_whole(self, plan: _Plan, tell: Callable[[int], None]) -> None:
        async with self._sender_of(plan.entry) as sender:
            upload = await sender.send(tell)
        self._tally.sent_bytes += upload.sent_bytes
        self._tally.present_bytes += upload.present_bytes
        self._tally.retries += upload.retry_count
        if plan.chunks:
            await self._splice(plan)  # it is there: this leaves the list of its chunks

    async def _send_parts(
        self, plan: _Plan, parts: Sequence[tuple[int, Chunk]], tell: Callable[[int], None]
    ) -> None:
        had = plan.entry.size_bytes - sum(chunk.size_bytes for _, chunk in parts)
        tell(had)
        if parts:
            async with self._opened(plan.entry) as file:
                pack = Pack(file, parts)
                digest = await asyncio.to_thread(pack.digest)
                name = f"{upload_name(digest, pack.size_bytes)}/chunks-of/{plan.entry.digest}/{plan.entry.size_bytes}"
                squeezed = await asyncio.to_thread(_pays, pack)
                sender = self._sender(pack, name, squeezed=squeezed)
                try:
                    upload = await sender.send(lambda part: tell(min(plan.entry.size_bytes, had + part)))
                finally:
                    self._tally.sent_bytes += sender.sent_bytes
            self._tally.retries += upload.retry_count
        await self._splice(plan)
        self._tally.present_bytes += had
        self._tally.spliced_bytes += had

    async def _splice(self, plan: _Plan) -> None:
        """Let the device put the blob together, and wait for it across breaks."""
        request = cas_pb2.SpliceBlobRequest()
        request.blob_digest.hash, request.blob_digest.size_bytes = plan.entry.digest, plan.entry.size_bytes
        _add(request.chunk_digests, plan.chunks)
        deadline_s = _ASK_S + plan.entry.size_bytes / _SLOWEST_DISK_BYTES_PER_S
        ends, failure_count = time.monotonic() + deadline_s, 0
        while True:
            self._tally.add_list(squeezed_bytes(request.SerializeToString()))
            try:
                await self._caller.once(
                    _squeezed(self._content.SpliceBlob),
                    request,
                    what="splicing a blob",
                    deadline_s=deadline_s,
                )
                return
            except StateError:
                # The call before broke and the device is still at it.
                if time.monotonic() > ends:
                    raise
                failure_count = 1
            except (UnavailableError, DeadlineError):
                failure_count += 1
                if failure_count >= self._caller.policy.attempt_count or self._caller.hopeless():
                    raise
            self._tally.retries += 1
            await self._caller.pause(failure_count)

    @contextlib.asynccontextmanager
    async def _sender_of(self, entry: FileEntry) -> AsyncIterator[Sender]:
        async with self._opened(entry) as file:
            yield self._sender(file, upload_name(entry.digest, entry.size_bytes))

    def _sender(self, source: Source, name: str, *, squeezed: bool = False) -> Sender:
        return Sender(
            self._caller,
            self._byte_stream,
            source,
            name,
            message_bytes=self._message_bytes,
            pace=self._pace,
            squeezed=squeezed,
        )

    @contextlib.asynccontextmanager
    async def _opened(self, entry: FileEntry) -> AsyncIterator[SharedFile]:
        # In a thread: the store checks the digest the first time.
        path = await asyncio.to_thread(self._store.blob, entry.digest)
        with open_shared(path) as file:
            if file.size_bytes != entry.size_bytes:
                raise CorruptDataError(
                    f"{path} has {file.size_bytes} bytes, its manifest says {entry.size_bytes}.",
                    next_step="Remove it from the store and build the candidate again.",
                )
            yield file


def _parts(chunks: Sequence[Chunk], lacking: set[bytes]) -> tuple[tuple[int, Chunk], ...]:
    """Return each chunk that is lacking once, with its first place in the file."""
    left, place, parts = set(lacking), 0, list[tuple[int, Chunk]]()
    for chunk in chunks:
        if chunk.digest in left:
            left.remove(chunk.digest)
            parts.append((place, chunk))
        place += chunk.size_bytes
    return tuple(parts)


def _add(digests: Any, chunks: Sequence[Chunk]) -> None:
    for chunk in chunks:
        digests.add(hash=chunk.digest.hex(), size_bytes=chunk.size_bytes)


def _squeezed(method: Any) -> Any:
    """Return a method whose requests are compressed: digests are text on this wire, half of which says nothing."""
    return functools.partial(method, compression=grpc.Compression.Gzip)


def _pays(pack: Pack) -> bool:
    """Return whether a pack gets smaller by compression, and enough so for its size."""
    worth = next((worth for most_bytes, worth in _SQUEEZE_WORTH if pack.size_bytes <= most_bytes), None)
    if worth is None:
        return False
    sample = bytes(pack.read(0, _SAMPLE_BYTES))
    return squeezed_bytes(sample) < (1 - worth) * len(sample)


def _digest(text: str) -> bytes:
    with contextlib.suppress(ValueError):
        return bytes.fromhex(text)
    return b""  # matches no chunk
