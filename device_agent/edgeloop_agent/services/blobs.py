"""Blobs on the wire: ByteStream with the resource names of the Remote Execution API."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Collection
from functools import partial

import grpc
from edgeloop_foundation.errors import InvalidInputError, NotFoundError, StateError
from edgeloop_protocol.chunk_list import CHUNKS_INSTANCE, CHUNKS_MAX, Chunk
from edgeloop_protocol.v1 import bytestream_pb2, bytestream_pb2_grpc
from edgeloop_protocol.v1 import content_addressable_storage_pb2 as cas_pb2
from edgeloop_protocol.v1 import content_addressable_storage_pb2_grpc as cas_pb2_grpc

from edgeloop_agent.gate import Context
from edgeloop_agent.memory import give_back_memory_later
from edgeloop_agent.services.write_request import WriteFrame, decode_write
from edgeloop_agent.splice import Splicer
from edgeloop_agent.store import ContentStore
from edgeloop_agent.upload import Upload, UploadName, check_digest

__all__ = ["ByteStreamService", "ContentService", "add_byte_stream"]

# Requests of an upload that go to the disk together; each may be 4 MiB.
_TOGETHER = 2

# The library lets go of the buffers of an upload some time after its end, the last ones with the connection.
_SETTLE_S = (0.5, 5.0)

_UPLOAD_NAME = re.compile(
    r"uploads/([^/]{1,64})/blobs/([^/]{1,128})/([0-9]{1,18})(?:/chunks-of/([^/]{1,128})/([0-9]{1,18}))?"
)
_BLOB_NAME = re.compile(r"blobs/([^/]{1,128})/([0-9]{1,18})")


def _upload_name(resource_name: str) -> UploadName:
    match = _UPLOAD_NAME.fullmatch(resource_name)
    if match is None:
        raise InvalidInputError(
            f"{resource_name[:200]!r} is not of the form uploads/UUID/blobs/SHA-256/SIZE[/chunks-of/SHA-256/SIZE]."
        )
    return UploadName(
        uuid=match[1],
        digest=match[2],
        size_bytes=int(match[3]),
        chunks_of=match[4] or "",
        spliced_bytes=int(match[5] or 0),
    )


class ByteStreamService(bytestream_pb2_grpc.ByteStreamServicer):
    """Reads and writes blobs."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store

    async def Read(  # noqa: N802 - named by the wire
        self, request: bytestream_pb2.ReadRequest, context: Context
    ) -> AsyncIterator[bytestream_pb2.ReadResponse]:
        """Stream a blob, or a part of it."""
        match = _BLOB_NAME.fullmatch(request.resource_name)
        if match is None:
            raise InvalidInputError(f"{request.resource_name[:200]!r} is not of the form blobs/SHA-256/SIZE.")
        digest, size = match[1], int(match[2])
        # In threads: the store is locked while it syncs or makes room, and a memory card takes seconds for that.
        if await asyncio.to_thread(self._store.size_of, digest) != size:
            raise NotFoundError(f"blob {digest} with {size} bytes is not in the store.")
        if not 0 <= request.read_offset <= size or request.read_limit < 0:
            await context.abort(
                grpc.StatusCode.OUT_OF_RANGE, f"offset {request.read_offset} is outside of 0 to {size}."
            )
        left = min(request.read_limit or size, size - request.read_offset)
        chunks = await asyncio.to_thread(self._store.read_chunks, digest, request.read_offset)
        while left > 0 and (chunk := await asyncio.to_thread(next, chunks, b"")):
            yield bytestream_pb2.ReadResponse(data=chunk[:left])
            left -= len(chunk)

    async def Write(  # noqa: N802 - named by the wire
        self, request_iterator: AsyncIterator[WriteFrame], context: Context
    ) -> bytestream_pb2.WriteResponse:
        """Take an upload from its committed size on; a break leaves what was committed."""
        async for first in request_iterator:
            name = _upload_name(first.resource_name)
            upload = await self._begin(name)
            if upload is None:
                return bytestream_pb2.WriteResponse(committed_size=name.size_bytes)
            committed = await _receive(upload, first, request_iterator)
            return bytestream_pb2.WriteResponse(committed_size=committed)
        raise InvalidInputError("the upload ended before its first message, which names it.")

    async def _begin(self, name: UploadName) -> Upload | None:
        """Open an upload; a call that is cancelled meanwhile must not leave it open without a writer."""
        beginning = asyncio.get_running_loop().run_in_executor(None, self._store.begin, name)
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            await asyncio.wait({beginning})
            if beginning.exception() is None and (upload := beginning.result()) is not None:
                await asyncio.to_thread(upload.suspend)
            raise

    async def QueryWriteStatus(  # noqa: N802 - named by the wire
        self, request: bytestream_pb2.QueryWriteStatusRequest, context: Context
    ) -> bytestream_pb2.QueryWriteStatusResponse:
        """Tell how much of an upload is safe."""
        name = _upload_name(request.resource_name)
        # Asked every few megabytes of an upload: that answer needs neither the store's lock nor a thread.
        under_way = self._store.committed_while_open(name)
        if under_way is not None:
            return bytestream_pb2.QueryWriteStatusResponse(committed_size=under_way)
        committed, complete = await asyncio.to_thread(self._store.status, name)
        return bytestream_pb2.QueryWriteStatusResponse(committed_size=committed, complete=complete)


async def _receive(
    upload: Upload,
    first: WriteFrame,
    rest: AsyncIterator[WriteFrame],
) -> int:
    """Write one stream of requests: those before are hashed and go to the disk, older ones are synced, meanwhile."""
    request, received = first, upload.written_bytes
    writing, syncing = _Step(), _Step()
    waiting: list[memoryview] = []
    loop = asyncio.get_running_loop()
    try:
        while True:
            _check_order(request, first, received)
            received += len(request.data)
            waiting.append(request.data)
            # While the disk is busy, another one is taken first: half as many ways to a thread and back.
            if not writing.busy or len(waiting) >= _TOGETHER:
                await writing.done()
                if upload.commit_due:
                    await syncing.done()
                    syncing.start(upload.commit)
                writing.start(partial(upload.append_all, waiting), partial(upload.hash_all, waiting))
                waiting = []
            if request.finish_write or (following := await anext(rest, None)) is None:
                break
            request = following
        await writing.done()
        if waiting:
            writing.start(partial(upload.append_all, waiting), partial(upload.hash_all, waiting))
            await writing.done()
        await syncing.done()
        return await asyncio.to_thread(upload.finish if request.finish_write else upload.commit)
    finally:
        await writing.settle()
        await syncing.settle()
        await asyncio.to_thread(upload.suspend)
        give_back_memory_later(loop, _SETTLE_S)


def add_byte_stream(servicer: ByteStreamService, server: grpc.aio.Server) -> None:
    """Offer the service as its generated code would, but for the requests of Write, whose data is not copied."""
    handlers = {
        "Read": grpc.unary_stream_rpc_method_handler(
            servicer.Read,
            bytestream_pb2.ReadRequest.FromString,
            bytestream_pb2.ReadResponse.SerializeToString,
        ),
        "Write": grpc.stream_unary_rpc_method_handler(
            servicer.Write, decode_write, bytestream_pb2.WriteResponse.SerializeToString
        ),
        "QueryWriteStatus": grpc.unary_unary_rpc_method_handler(
            servicer.QueryWriteStatus,
            bytestream_pb2.QueryWriteStatusRequest.FromString,
            bytestream_pb2.QueryWriteStatusResponse.SerializeToString,
        ),
    }
    name = bytestream_pb2.DESCRIPTOR.services_by_name["ByteStream"].full_name
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))


class _Step:
    """Pieces of work that go on side by side, each in a thread."""

    def __init__(self) -> None:
        self._pieces: list[asyncio.Future[object]] = []

    def start(self, *pieces: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        self._pieces = [loop.run_in_executor(None, piece) for piece in pieces]

    @property
    def busy(self) -> bool:
        """Whether one still runs."""
        return not all(piece.done() for piece in self._pieces)

    async def done(self) -> None:
        """Wait for all and raise what the first that failed raised."""
        await self.settle()
        for piece in self._pieces:
            piece.result()
        self._pieces = []

    async def settle(self) -> None:
        """Wait for all, whatever they raised."""
        if self._pieces:
            # It cancels nothing: a call that is cancelled must not let go of work that still runs.
            await asyncio.wait(self._pieces)
        for piece in self._pieces:
            piece.exception()


def _check_order(request: WriteFrame, first: WriteFrame, received: int) -> None:
    if request.write_offset != received:
        # A writer that this one replaced may have made more safe in between: the client asks again and goes on.
        raise StateError(
            f"data for offset {request.write_offset} came where {received} was next.",
            next_step="Ask for the committed size and go on from there.",
        )
    if request.resource_name not in ("", first.resource_name):
        raise InvalidInputError("an upload carries the name of its first message, or none.")


class ContentService(cas_pb2_grpc.ContentAddressableStorageServicer):
    """Tells what is missing and puts blobs together."""

    def __init__(self, store: ContentStore, splicer: Splicer) -> None:
        self._store = store
        self._splicer = splicer

    async def FindMissingBlobs(  # noqa: N802 - named by the wire
        self, request: cas_pb2.FindMissingBlobsRequest, context: Context
    ) -> cas_pb2.FindMissingBlobsResponse:
        """Return those that are not here with that size; of chunks, those that are not inside of any blob."""
        if request.instance_name == CHUNKS_INSTANCE:
            chunks = _chunks(request.blob_digests)
            lacking = await asyncio.to_thread(self._splicer.missing, chunks)
            missing = [(chunk.digest.hex(), chunk.size_bytes) for chunk in lacking]
        else:
            wanted = [(digest.hash, digest.size_bytes) for digest in request.blob_digests]
            missing = await asyncio.to_thread(self._store.missing, wanted)
        digests = [cas_pb2.Digest(hash=name, size_bytes=size) for name, size in missing]
        return cas_pb2.FindMissingBlobsResponse(missing_blob_digests=digests)

    async def SpliceBlob(  # noqa: N802 - named by the wire
        self, request: cas_pb2.SpliceBlobRequest, context: Context
    ) -> cas_pb2.SpliceBlobResponse:
        """Make a blob of chunks that are here."""
        blob = request.blob_digest
        chunks = _chunks(request.chunk_digests)
        try:
            await asyncio.to_thread(self._splicer.splice, check_digest(blob.hash), blob.size_bytes, chunks)
        finally:
            give_back_memory_later(asyncio.get_running_loop(), _SETTLE_S)
        return cas_pb2.SpliceBlobResponse(blob_digest=blob)


def _chunks(digests: Collection[cas_pb2.Digest]) -> list[Chunk]:
    if len(digests) > CHUNKS_MAX:
        raise InvalidInputError(f"at most {CHUNKS_MAX} chunks are taken at once, not {len(digests)}.")
    return [Chunk(digest=bytes.fromhex(check_digest(one.hash)), size_bytes=one.size_bytes) for one in digests]
