"""Server reflection, loaded when somebody asks: an idle daemon does without its modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

__all__ = ["LazyReflection"]

_SERVICE = "grpc.reflection.v1alpha.ServerReflection"


class LazyReflection(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not generic when it runs
    """Tells clients such as grpcurl which services there are."""

    def __init__(self, service_names: Sequence[str]) -> None:
        self._names = (*service_names, _SERVICE)
        self._handler: Any = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of reflection's one method, None for any other."""
        if handler_call_details.method != f"/{_SERVICE}/ServerReflectionInfo":
            return None
        if self._handler is None:
            from grpc_reflection.v1alpha import reflection, reflection_pb2

            servicer = reflection.aio.ReflectionServicer(self._names)  # type: ignore[attr-defined]
            self._handler = grpc.stream_stream_rpc_method_handler(
                servicer.ServerReflectionInfo,
                request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
                response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
            )
        return self._handler
