"""Who may ask a serving process for what, by the table and over real TLS."""

from __future__ import annotations

import http.client
import ssl
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from edgeloop_agent.access.methods import Caller
from edgeloop_agent.access.peer import Peer
from edgeloop_agent.identity_files import DIRECTORY, IdentityFiles
from edgeloop_agent.serving.admission import RULES, Admission
from edgeloop_foundation.errors import AccessDeniedError, StateError, UnauthenticatedError
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_protocol.types.identity import Role
from edgeloop_protocol.types.serving import ServingSpec
from edgeloop_protocol.v1 import open_inference_grpc_pb2 as pb

from scripts.bench.serving_slots import SlotBoard, linear
from tests.device_agent.access.matrix import FleetKit, Pair
from tests.device_agent.serving.conftest import models_of, serving

X = np.ones((1, 4), np.float32)
REQUEST = pb.ModelInferRequest(
    model_name="demo",
    inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 4])],
    raw_input_contents=[X.tobytes()],
)
HTTP_BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,1,1,1]}]}'


def test_every_method_has_a_rule_and_nothing_else_has() -> None:
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert set(RULES) == {method.name for method in service.methods} | {"Metrics"}


def test_callers_by_the_table(tmp_path: Path) -> None:
    admission = Admission(IdentityFiles(OsFileSystem(), tmp_path))
    may = {
        caller: {
            method
            for method in (*RULES, "Unknown")
            if admits(admission, method, Peer(caller=caller, name="p"))
        }
        for caller in Caller
    }
    assert may[Caller.LOCAL] == may[Caller.CONTROLLER] == set(RULES)
    assert may[Caller.OBSERVER] == set(RULES) - {"ModelInfer"}
    assert may[Caller.DEVICE] == may[Caller.NOBODY] == set()


def admits(admission: Admission, method: str, peer: Peer) -> bool:
    try:
        admission.check(method, peer)
    except (AccessDeniedError, UnauthenticatedError):
        return False
    return True


async def test_beyond_loopback_a_device_without_identity_does_not_serve(board: SlotBoard) -> None:
    board.install("demo", 1, linear(2.0))
    served = models_of(board)
    with pytest.raises(StateError, match="only an enrolled device serves beyond loopback"):
        await served.serve(ServingSpec(name="demo", http_address="0.0.0.0:0"))
    assert served.list() == ()
    await served.stop()


async def test_over_tls_the_role_decides_and_a_revoked_key_is_refused(tmp_path: Path) -> None:
    kit = FleetKit(tmp_path / "fleet")
    kit.enrol((sys.executable, "-m", "edgeloop_agent"))
    board = SlotBoard(kit.state)
    board.install("demo", 1, linear(2.0))
    spec = ServingSpec(name="demo", grpc_address="0.0.0.0:0", http_address="0.0.0.0:0")
    desk, eve, odd = (
        kit.holder(Role.CONTROLLER, "desk"),
        kit.holder(Role.OBSERVER, "eve"),
        kit.odd(Role.DEVICE),
    )
    async with serving(board, spec) as (_, status):
        over_grpc = status.spec.grpc_address.replace("0.0.0.0", "127.0.0.1")
        over_http = status.spec.http_address.replace("0.0.0.0", "127.0.0.1")
        assert await infer(kit, over_grpc, desk) == grpc.StatusCode.OK
        assert await infer(kit, over_grpc, eve) == grpc.StatusCode.PERMISSION_DENIED
        assert await infer(kit, over_grpc, odd) == grpc.StatusCode.PERMISSION_DENIED
        assert await infer(kit, over_grpc, None) == grpc.StatusCode.UNAVAILABLE
        found = {who: (ask(kit, over_http, pair, "GET"), ask(kit, over_http, pair, "POST")) for who, pair in
                 {"desk": desk, "eve": eve, "odd": odd, "none": None}.items()}  # fmt: skip
        assert found == {"desk": (200, 200), "eve": (200, 403), "odd": (403, 403), "none": (0, 0)}
        files = IdentityFiles(OsFileSystem(), kit.state / DIRECTORY)
        files.write_trust(kit.revoke("desk"))
        while (code := await infer(kit, over_grpc, desk)) == grpc.StatusCode.OK:
            pass
        assert code == grpc.StatusCode.UNAUTHENTICATED
        assert ask(kit, over_http, desk, "POST") == 401


async def infer(kit: FleetKit, address: str, pair: Pair | None) -> grpc.StatusCode:
    async with kit.channel(address, pair) as channel:
        call: Any = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        try:
            answer = await call(REQUEST, timeout=30)
        except grpc.aio.AioRpcError as error:
            return error.code()
        assert answer.raw_output_contents[0] == (2 * X).tobytes()
        return grpc.StatusCode.OK


def ask(kit: FleetKit, address: str, pair: Pair | None, method: str) -> int:
    """Return the status of a scrape or an inference; 0 when there was no connection."""
    context = ssl.create_default_context(cadata=kit.roots.decode())
    context.check_hostname = False
    if pair is not None:
        file = kit.root / "client.pem"
        file.write_bytes(pair.chain if pair.chain == pair.key else pair.chain + pair.key)
        context.load_cert_chain(file)
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=30)
    try:
        path = "/metrics" if method == "GET" else "/v2/models/demo/infer"
        connection.request(method, path, body=HTTP_BODY if method == "POST" else None)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
