"""The Open Inference Protocol over gRPC."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import grpc
import numpy as np
from edgeloop_foundation.errors import (
    EdgeloopError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from edgeloop_protocol.errors import status_for
from edgeloop_protocol.types.artifact import TensorSpec
from edgeloop_protocol.v1 import open_inference_grpc_pb2 as pb
from edgeloop_protocol.v1 import open_inference_grpc_pb2_grpc as pb_grpc
from edgeloop_protocol.wire_format import encode_varint, tag_of

from edgeloop_agent import __version__
from edgeloop_agent.access.peer import LOOPBACK, peer_of
from edgeloop_agent.listen import Listener
from edgeloop_agent.serving.admission import Admission
from edgeloop_agent.serving.engine import Answer, Engine
from edgeloop_agent.serving.handler_threads import HandlerThreads
from edgeloop_agent.serving.model import ServedModel
from edgeloop_agent.serving.raw_request import Head, RawRequest, RequestReader
from edgeloop_agent.serving.tensors import (
    Array,
    array_of_list,
    array_of_raw,
    check_claim,
    datatype_of,
    raw_of,
)

__all__ = ["GrpcListener", "InferenceService"]

R = TypeVar("R")

Layout: TypeAlias = tuple[tuple[str, "np.dtype[Any]", tuple[int, ...]], ...]
"""Name, element type and shape of each output."""

_MESSAGE_LENGTH_MAX = 2000
# Health and metadata find a thread while every place in line is taken.
_SPARE_THREADS = 4
_CONNECTIONS_MAX = 64

_RAW_OUTPUT = encode_varint(tag_of(pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER))

_CONTENTS = {
    "bool": "bool_contents",
    "int8": "int_contents",
    "int16": "int_contents",
    "int32": "int_contents",
    "int64": "int64_contents",
    "uint8": "uint_contents",
    "uint16": "uint_contents",
    "uint32": "uint_contents",
    "uint64": "uint64_contents",
    "float32": "fp32_contents",
    "float64": "fp64_contents",
}

_log = logging.getLogger(__name__)


class InferenceService(pb_grpc.GRPCInferenceServiceServicer):
    """Decodes, asks the engine, encodes; errors become status codes.

    Args:
        engine: answers.
        admission: says who may ask.
        trusts_loopback: whether the listener is a plain one, on loopback.
    """

    def __init__(self, engine: Engine, admission: Admission, *, trusts_loopback: bool) -> None:
        self._engine, self._admission, self._trusts_loopback = engine, admission, trusts_loopback

    def _guarded(self, method: str, context: grpc.ServicerContext, work: Callable[[], R]) -> R:
        try:
            # On a plain listener nobody proves anything: there is nothing to ask the connection for.
            peer = LOOPBACK if self._trusts_loopback else peer_of(context, trusts_loopback=False)
            self._admission.check(method, peer)
            return work()
        except Exception as error:
            known = error if isinstance(error, EdgeloopError) else InternalError("the server failed.")
            if known is not error:
                _log.error("a call failed", exc_info=error)
            context.abort(status_for(known), str(known)[:_MESSAGE_LENGTH_MAX])

    def ServerLive(  # noqa: N802 - named by the wire
        self, request: pb.ServerLiveRequest, context: grpc.ServicerContext
    ) -> pb.ServerLiveResponse:
        """Say that the process answers."""
        return self._guarded("ServerLive", context, lambda: pb.ServerLiveResponse(live=True))

    def ServerReady(  # noqa: N802 - named by the wire
        self, request: pb.ServerReadyRequest, context: grpc.ServicerContext
    ) -> pb.ServerReadyResponse:
        """Say whether a version is warm."""
        return self._guarded("ServerReady", context, lambda: pb.ServerReadyResponse(ready=self._engine.ready))

    def ModelReady(  # noqa: N802 - named by the wire
        self, request: pb.ModelReadyRequest, context: grpc.ServicerContext
    ) -> pb.ModelReadyResponse:
        """Say whether a version of the model is warm."""

        def work() -> pb.ModelReadyResponse:
            try:
                self._engine.model(request.name, request.version)
            except (NotFoundError, UnavailableError):
                return pb.ModelReadyResponse(ready=False)
            return pb.ModelReadyResponse(ready=True)

        return self._guarded("ModelReady", context, work)

    def ServerMetadata(  # noqa: N802 - named by the wire
        self, request: pb.ServerMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ServerMetadataResponse:
        """Tell name and version of the server."""
        return self._guarded(
            "ServerMetadata", context, lambda: pb.ServerMetadataResponse(name="edgeloop", version=__version__)
        )

    def ModelMetadata(  # noqa: N802 - named by the wire
        self, request: pb.ModelMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ModelMetadataResponse:
        """Tell inputs and outputs."""

        def work() -> pb.ModelMetadataResponse:
            model = self._engine.model(request.name, request.version)
            inputs, outputs = self._engine.metadata(model)
            return pb.ModelMetadataResponse(
                name=request.name,
                versions=[model.version],
                platform=model.platform,
                inputs=_tensors(inputs),
                outputs=_tensors(outputs),
            )

        return self._guarded("ModelMetadata", context, work)

    def ModelInfer(  # noqa: N802 - named by the wire
        self, asked: RawRequest, context: grpc.ServicerContext
    ) -> bytes:
        """Run one inference and return the encoded ModelInferResponse."""

        def work() -> bytes:
            with self._engine.counted("grpc") as counted:
                said = asked.head.message
                model = self._engine.model(said.model_name, said.model_version)
                wanted = [output.name for output in said.outputs]
                answer = self._engine.infer(model, _feeds(model, asked), wanted, context.is_active)
                response = _encoded(asked.head, answer)
                counted.answer = answer
            return response

        return self._guarded("ModelInfer", context, work)


def _tensors(specs: Sequence[TensorSpec]) -> list[pb.ModelMetadataResponse.TensorMetadata]:
    return [
        pb.ModelMetadataResponse.TensorMetadata(
            name=spec.name, datatype=datatype_of(spec.dtype), shape=spec.shape
        )
        for spec in specs
    ]


def _claims(model: ServedModel, message: pb.ModelInferRequest) -> list[tuple[TensorSpec, tuple[int, ...]]]:
    """Return the input that each tensor is for, and its shape.

    Raises:
        InvalidInputError: they are not what the model takes.
    """
    claims: dict[str, tuple[TensorSpec, tuple[int, ...]]] = {}
    for tensor in message.inputs:
        spec = model.inputs.get(tensor.name)
        if spec is None or tensor.name in claims:
            raise InvalidInputError(
                f"{tensor.name[:80]!r} is no input, or came twice; {', '.join(model.inputs)} are inputs."
            )
        claims[tensor.name] = spec, check_claim(spec, tensor.datatype, tensor.shape)
    return list(claims.values())


def _raw_claims(
    model: ServedModel, message: pb.ModelInferRequest
) -> list[tuple[TensorSpec, tuple[int, ...]]]:
    claims = _claims(model, message)
    for tensor in message.inputs:
        if tensor.HasField("contents"):
            raise InvalidInputError(f"input {tensor.name!r} came both raw and in contents.")
    return claims


def _feeds(model: ServedModel, asked: RawRequest) -> dict[str, Array]:
    """Return the arrays of a request.

    Raises:
        InvalidInputError: they are not what the model takes.
    """
    raw, message = asked.raw, asked.head.message
    if not raw:
        return {
            spec.name: array_of_list(spec, shape, _contents(spec, tensor))
            for (spec, shape), tensor in zip(_claims(model, message), message.inputs, strict=True)
        }
    claims = asked.head.checked(model, _raw_claims)
    if len(raw) != len(claims):
        raise InvalidInputError(f"{len(claims)} inputs came with {len(raw)} raw contents.")
    return {spec.name: array_of_raw(spec, shape, one) for (spec, shape), one in zip(claims, raw, strict=True)}


def _contents(spec: TensorSpec, tensor: pb.ModelInferRequest.InferInputTensor) -> Sequence[Any]:
    field = _CONTENTS.get(spec.dtype)
    if field is None:
        raise InvalidInputError(f"{datatype_of(spec.dtype)} comes as raw contents only.")
    found: Sequence[Any] = getattr(tensor.contents, field)
    return found


def _encoded(head: Head, answer: Answer) -> bytes:
    """Return the response as the wire has it, outputs not copied twice on the way there."""
    layout = tuple((name, array.dtype, array.shape) for name, array in answer.outputs)
    pieces = [head.encoded((answer.version, layout), _response)]
    for _, array in answer.outputs:
        raw = raw_of(array)
        pieces += (_RAW_OUTPUT, encode_varint(len(raw)), raw)
    return b"".join(pieces)


def _response(asked: pb.ModelInferRequest, said: tuple[str, Layout]) -> bytes:
    """Return a response but for its raw contents, whose number is the highest: they come last."""
    version, layout = said
    response = pb.ModelInferResponse(model_name=asked.model_name, model_version=version, id=asked.id)
    for name, dtype, shape in layout:
        response.outputs.add(name=name, datatype=datatype_of(dtype.name), shape=shape)
    return response.SerializeToString()


class _Methods:
    """Takes the generated methods to a server, with inferences read and written without the copies of the library."""

    def __init__(self, server: grpc.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler[Any, Any]]) -> None:
        """Leave out the same table in its older form."""

    def add_registered_method_handlers(
        self, service: str, methods: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Take the table."""
        infer: Any = methods["ModelInfer"]
        raw = grpc.unary_unary_rpc_method_handler(
            infer.unary_unary,
            request_deserializer=RequestReader().read,
        )
        add: Any = self._server
        add.add_registered_method_handlers(service, {**methods, "ModelInfer": raw})


class GrpcListener:
    """A gRPC server of its own for one deployment."""

    def __init__(self, engine: Engine, admission: Admission, listener: Listener, *, plain: bool) -> None:
        spec = engine.spec
        threads = spec.queue_max + 2 * spec.batch_max + _SPARE_THREADS
        # Declared as the standard pool, of which gRPC calls ``submit`` alone.
        pool: Any = HandlerThreads(threads, engine.settle)
        self._server = grpc.server(
            pool,
            options=(
                ("grpc.max_receive_message_length", spec.message_bytes_max),
                ("grpc.max_send_message_length", spec.message_bytes_max),
                ("grpc.max_allowed_incoming_connections", _CONNECTIONS_MAX),
                ("grpc.server_handshake_timeout_ms", 2000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.so_reuseport", 0),
            ),
            # Beyond it the library itself says RESOURCE_EXHAUSTED.
            maximum_concurrent_rpcs=threads,
        )
        service = InferenceService(engine, admission, trusts_loopback=plain)
        add: Any = pb_grpc.add_GRPCInferenceServiceServicer_to_server
        add(service, _Methods(self._server))
        self.address = listener.bind(self._server)

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def stop(self, grace_s: float) -> None:
        """Take no more calls and let those under way end within ``grace_s``."""
        self._server.stop(grace_s).wait()
