"""Serving processes as clients and the daemon see them: real processes, real wire."""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from edgeloop_agent.served_models import ServedModels
from edgeloop_agent.telemetry.request_log import request_log_lines
from edgeloop_foundation.errors import NotFoundError, StateError
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_protocol.types.serving import ServingSpec, ServingState, ServingStatus
from edgeloop_protocol.v1 import open_inference_grpc_pb2 as pb
from edgeloop_protocol.v1 import open_inference_grpc_pb2_grpc as pb_grpc

from scripts.bench.serving_slots import SlotBoard, linear
from tests.device_agent.serving.conftest import models_of, serving, until_ready

X = np.arange(8, dtype=np.float32).reshape(2, 4)
SMALL = ServingSpec(name="demo", message_bytes_max=1 << 16, drift=True, request_log_bytes=1 << 16)


@pytest.fixture
def board(tmp_path: Path) -> SlotBoard:
    made = SlotBoard(tmp_path / "state")
    made.install("demo", 2, linear(2.0), items=8)
    return made


def request(shape: tuple[int, ...] = (2, 4), raw: bytes = X.tobytes(), **words: Any) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=shape)
    return pb.ModelInferRequest(
        **{"model_name": "demo", "inputs": [tensor], "raw_input_contents": [raw], **words}
    )


def stub_of(channel: grpc.aio.Channel) -> Any:
    make: Any = pb_grpc.GRPCInferenceServiceStub
    return make(channel)


async def refusal(stub: Any, sent: pb.ModelInferRequest) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(sent, timeout=30)
    return caught.value.code(), caught.value.details() or ""


def ask(status: ServingStatus, method: str, path: str, body: bytes = b"", **head: str) -> tuple[int, bytes]:
    host, _, port = status.spec.http_address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        connection.request(method, path, body=body or None, headers=head)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def test_both_protocols_answer_and_refuse(board: SlotBoard) -> None:
    async with serving(board, SMALL) as (served, status):
        assert (status.counter, status.restarts) == (2, 0)
        async with grpc.aio.insecure_channel(status.spec.grpc_address) as channel:
            stub = stub_of(channel)
            answer = await stub.ModelInfer(request(), timeout=30)
            assert answer.raw_output_contents[0] == (2 * X).tobytes()
            assert (answer.model_version, list(answer.outputs[0].shape)) == ("2", [2, 4])
            codes = [
                await refusal(stub, sent)
                for sent in (
                    request(model_name="other"),
                    request(model_version="9"),
                    request(shape=(1 << 40, 4)),
                    request(raw=bytes(31)),
                    request(shape=(5000, 4), raw=bytes(80_000)),
                )
            ]
            C = grpc.StatusCode
            assert [code for code, _ in codes] == [
                C.NOT_FOUND, C.NOT_FOUND, C.INVALID_ARGUMENT, C.INVALID_ARGUMENT, C.RESOURCE_EXHAUSTED,
            ]  # fmt: skip
            assert "takes 17592186044416 bytes, 32 were sent" in codes[2][1]
        over_http = await asyncio.to_thread(http_answers, status)
        assert over_http == {
            "infer": 200,
            "large": 413,
            "web page": 403,
            "rebound": 403,
            "nothing": 404,
            "ready": 200,
        }
        await check_telemetry(served, board)


async def test_a_change_goes_on_when_who_asked_for_it_goes_away(board: SlotBoard) -> None:
    async with serving(board, SMALL) as (served, _):
        asking = asyncio.create_task(served.serve(replace(SMALL, drift=False)))
        await asyncio.sleep(0.05)
        assert asking.cancel(), "the old process is being ended"
        await asyncio.wait({asking})
        async with asyncio.timeout(60):
            while not any(status.spec.drift is False for status in served.list()):  # noqa: ASYNC110 - as a client asks
                await asyncio.sleep(0.01)
        assert (await until_ready(served)).spec.drift is False
        await served.stop()
        again = models_of(board)
        try:
            await again.start()
            assert [status.spec.drift for status in again.list()] == [False]
        finally:
            await again.stop()


async def check_telemetry(served: ServedModels, board: SlotBoard) -> None:
    """What the process above counted: two answers of three rows, and a line in the log for each."""
    (counted,) = await served.telemetry()
    assert (counted.name, counted.counter, counted.digest[:4], counted.threads) == (
        "demo",
        2,
        board.slots.pointer("demo").current[2:6],
        1,
    )
    assert (counted.request_count, counted.latency.total_count) == (2, 2)
    # A request of two rows is no run on a single row.
    assert (counted.run.total_count, counted.error_count >= 5) == (1, True)
    assert [(sketch.tensor, sketch.row_count, sum(sketch.counts)) for sketch in counted.drift] == [
        ("x", 3, 12),
        ("y", 3, 12),
    ]
    lines = b"".join(request_log_lines(OsFileSystem(), board.state, "demo")).splitlines()
    logged = [json.loads(line) for line in lines]
    assert [(line["protocol"], line["rows"], line["version"], line["precision"]) for line in logged] == [
        ("grpc", 2, "2", "fp32"),
        ("http", 1, "2", "fp32"),
    ]
    assert all(0 <= line["queue_s"] <= line["latency_s"] < 60 for line in logged)


def http_answers(status: ServingStatus) -> dict[str, int]:
    body = json.dumps(
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    ).encode()
    infer = "/v2/models/demo/versions/2/infer"
    code, answer = ask(status, "POST", infer, body)
    assert json.loads(answer)["outputs"][0]["data"] == [2, 4, 6, 8]
    scraped = ask(status, "GET", "/metrics")[1].decode()
    assert 'edgeloop_serving_request_seconds_count{model="demo",version="2",protocol="http"} 1' in scraped
    assert 'edgeloop_serving_errors_total{model="demo",protocol="grpc",error="NotFoundError"} 2' in scraped
    return {
        "infer": code,
        "large": ask(status, "POST", infer, bytes(1 << 20))[0],
        "web page": ask(status, "POST", infer, body, Origin="http://site.test")[0],
        "rebound": ask(status, "GET", "/metrics", Host="site.test:80")[0],
        "nothing": ask(status, "GET", "/else")[0],
        "ready": ask(status, "GET", "/v2/health/ready")[0],
    }


async def test_a_switch_under_load_fails_no_request_and_tears_no_answer(board: SlotBoard) -> None:
    async with serving(board, SMALL) as (served, status):
        seen: set[str] = set()
        enough = asyncio.Event()

        async def client() -> int:
            count = 0
            async with grpc.aio.insecure_channel(status.spec.grpc_address) as channel:
                stub = stub_of(channel)
                while not enough.is_set():
                    answer = await stub.ModelInfer(request(), timeout=30)
                    # Releases 2 and 3 multiply by their own number.
                    assert answer.raw_output_contents[0] == (int(answer.model_version) * X).tobytes()
                    seen.add(answer.model_version)
                    count += 1
            return count

        async def until_seen(version: str) -> None:
            async with asyncio.timeout(60):
                while version not in seen:  # noqa: ASYNC110 - the clients wait for nothing
                    await asyncio.sleep(0.01)

        clients = [asyncio.create_task(client()) for _ in range(3)]
        await until_seen("2")
        board.install("demo", 3, linear(3.0))
        await until_ready(served, 3)
        await until_seen("3")
        board.back("demo")
        await until_ready(served, 2)
        enough.set()
        assert min(await asyncio.gather(*clients)) > 0
        assert seen == {"2", "3"}


async def test_a_killed_process_comes_back_on_its_ports_and_so_does_the_agent(board: SlotBoard) -> None:
    async with serving(board, SMALL) as (served, before):
        pid = only_child_of(os.getpid(), "edgeloop_agent.serving")
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while served.list()[0].restarts == 0:  # noqa: ASYNC110 - as a client asks
                await asyncio.sleep(0.01)
        assert "status -9" in served.list()[0].reason or served.list()[0].state is not ServingState.FAILED
        after = await until_ready(served)
        assert (after.spec, after.restarts) == (before.spec, 1)
        await served.stop()
        again = models_of(board)
        await again.start()
        try:
            assert (await until_ready(again)).spec == before.spec
            assert await again.stop_serving("demo") is True
            assert await again.stop_serving("demo") is False
        finally:
            await again.stop()
        gone = models_of(board)
        await gone.start()
        assert gone.list() == ()


async def test_more_than_fits_is_refused_at_once_on_both_listeners(board: SlotBoard) -> None:
    # One that waits and two batches of one: three places.
    async with serving(board, ServingSpec(name="demo", queue_max=1, batch_max=1)) as (_, status):
        body = json.dumps(
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
        )
        held = [await asyncio.to_thread(half_sent, status, body) for _ in range(3)]
        sent = functools.partial(
            asyncio.to_thread, ask, status, "POST", "/v2/models/demo/infer", body.encode()
        )
        inside = b'edgeloop_serving_requests_under_way{model="demo"} 3\n'
        async with asyncio.timeout(60):
            while inside not in (await asyncio.to_thread(ask, status, "GET", "/metrics"))[1]:
                pass
        answer = await sent()
        assert answer[0] == 429
        assert b"3 requests are under way" in answer[1]
        async with grpc.aio.insecure_channel(status.spec.grpc_address) as channel:
            code, _ = await refusal(stub_of(channel), request())
            assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await asyncio.to_thread(ask, status, "GET", "/v2/health/ready"))[0] == 200
        assert [await asyncio.to_thread(rest_sent, one, body) for one in held] == [200] * 3
        assert (await sent())[0] == 200


def half_sent(status: ServingStatus, body: str) -> http.client.HTTPConnection:
    """Begin an inference and hold back the last byte."""
    host, _, port = status.spec.http_address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.putrequest("POST", "/v2/models/demo/infer")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:-1].encode())
    return connection


def rest_sent(connection: http.client.HTTPConnection, body: str) -> int:
    connection.send(body[-1:].encode())
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def only_child_of(parent: int, word: str) -> int:
    """Return the process that has a word in its command line and this parent."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode()
                its_parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if word in words and its_parent == parent:
                found.append(int(entry.name))
    (one,) = found
    return one


async def test_only_what_is_installed_is_served(board: SlotBoard) -> None:
    served = models_of(board)
    with pytest.raises(NotFoundError, match="no deployment 'other'"):
        await served.serve(ServingSpec(name="other"))
    async with serving(board, SMALL) as (first, status):
        # A port that is taken: what was served before is served on.
        with pytest.raises(StateError, match="cannot listen on"):
            await served.serve(ServingSpec(name="demo", http_address=status.spec.http_address))
        assert (await until_ready(first)).spec == status.spec
    assert served.list() == ()
